"""Power failures at every moment. A program's file operations are recorded, then each disk that could result is built.

What may be lost at a crash point, as in practice on Linux's local file systems:

    bytes written and sizes set       unless the file was flushed since; a write may be torn in two
    a name made, moved, taken away    unless the folder was flushed since (the new one, if it was moved between two)

Any part may be lost and the rest kept, with one rule: a later operation on a name presupposes the earlier ones.
A rename is lost or kept as a whole. Flushing a file does not keep its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from nbferry.storage.disk import rename, run_log
from nbferry.storage.disk.system import REAL_DISK, Disk, rename_exclusively
from nbferry.storage.folder.journal import RecordKind

# Up to this many losable operations, every subset is tried.
MOST_EXACT = 10
# Above that, this many subsets are tried.
SAMPLE = 1 << MOST_EXACT

Name = tuple[int, str]  # folder, name in the folder


# ---------------------------------------------------------------------- operations
@dataclass(frozen=True, slots=True)
class Op:
    """One operation. Files and folders are known by inode. ``names`` are those it gives or takes."""

    kind: str  # make, folder, write, resize, move, link, remove, flush, flush all, mark
    inode: int = 0
    names: tuple[Name, ...] = ()
    offset: int = 0
    data: bytes = b""
    mark: Any = None

    def is_flushed_by(self, flush: Op) -> bool:
        """Whether a later flush makes this durable."""
        if flush.kind == "flush all":
            return True
        return flush.kind == "flush" and flush.inode == (self.names[-1][0] if self.names else self.inode)


LASTING = frozenset({"flush", "flush all", "mark"})  # these change no file


class Files:
    """A file system in memory: contents by inode, names by folder."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.files: dict[int, bytearray] = {}
        self.folders: dict[int, dict[str, int]] = {root: {}}

    def apply(self, op: Op) -> None:
        """Apply one operation."""
        match op.kind:
            case "make" | "link":
                self.files.setdefault(op.inode, bytearray())
                self._enter(op.names[0], op.inode)
            case "folder":
                self.folders.setdefault(op.inode, {})
                self._enter(op.names[0], op.inode)
            case "move":
                self._enter(op.names[1], self._leave(op.names[0]))
            case "remove":
                self._leave(op.names[0])
            case "write":
                content = self.files.setdefault(op.inode, bytearray())
                content.extend(bytes(max(0, op.offset - len(content))))
                content[op.offset : op.offset + len(op.data)] = op.data
            case "resize":
                content = self.files.setdefault(op.inode, bytearray())
                content.extend(bytes(max(0, op.offset - len(content))))
                del content[op.offset :]

    def _enter(self, name: Name, inode: int) -> None:
        self.folders.setdefault(name[0], {})[name[1]] = inode

    def _leave(self, name: Name) -> int:
        return self.folders.setdefault(name[0], {}).pop(name[1])

    def walk(self, folder: int | None = None, above: str = "") -> Iterator[tuple[str, int]]:
        """Path and inode of all reachable files and folders, each folder before its content."""
        inside = self.folders[self.root if folder is None else folder]
        for name, inode in sorted(inside.items()):
            path = f"{above}{name}"
            yield path, inode
            if inode in self.folders:
                yield from self.walk(inode, f"{path}/")

    def content(self, inode: int) -> bytes | None:
        """The bytes of a file; None for a folder."""
        return None if inode in self.folders else bytes(self.files.get(inode, b""))


# ---------------------------------------------------------------------- recording
class Recorder:
    """Records all operations below one folder while ``recording`` is active."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.ops: list[Op] = []
        self.now = Files(base.stat().st_ino)
        # Inode -> a descriptor, which keeps the system from reusing the inode.
        self._held: dict[int, int] = {}
        self._real = {name: getattr(os, name) for name in ("open", "stat", "fsync")}
        self._take_in(base)
        self.before = list(self.ops)
        self.ops.clear()

    def _take_in(self, folder: Path) -> None:
        """Count all files at the start as durable."""
        for path in sorted(folder.iterdir()):
            inode, name = path.stat().st_ino, (folder.stat().st_ino, path.name)
            if path.is_dir():
                self._add(Op("folder", inode, (name,)))
                self._take_in(path)
            else:
                self._add(Op("make", inode, (name,)))
                self._hold(inode, os.open(path, os.O_RDONLY))
                self.catch_up()

    def disk(self, boot: str) -> Disk:
        """A disk for a sink, whose operations are recorded."""
        return Disk(write=self._write, sync=os.fsync, sync_whole=self._sync_whole, boot=lambda: boot)

    def mark(self, what: Any) -> None:
        """Record that the program has reached a point."""
        self.catch_up()
        self._add(Op("mark", mark=what))

    def close(self) -> None:
        """Close all files."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _add(self, op: Op) -> None:
        self.now.apply(op)
        self.ops.append(op)

    def _hold(self, inode: int, fd: int) -> None:
        self._held[inode] = fd

    def catch_up(self) -> None:
        """Record writes of other origin before the next operation."""
        for inode, fd in list(self._held.items()):
            real, known = os.pread(fd, os.fstat(fd).st_size, 0), self.now.files[inode]
            if real == known:
                continue
            first = next(
                (at for at, (a, b) in enumerate(zip(real, known, strict=False)) if a != b), len(known)
            )
            if len(real) < len(known):
                self._add(Op("resize", inode, offset=len(real)))
            if first < len(real):
                self._note_write(inode, first, real[first:])

    def _note_write(self, inode: int, offset: int, data: bytes) -> None:
        """Record a write as two halves, because it may be torn."""
        middle = len(data) // 2
        for at, part in ((0, data[:middle]), (middle, data[middle:])):
            if part:
                self._add(Op("write", inode, offset=offset + at, data=part))

    # ---------------------------------------------------------------- the calls
    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record this process's file operations until the end of the block, and check that none was missed."""
        calls: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "mkdir": self._named(os.mkdir, self._made_folder),
            "unlink": self._named(os.unlink, self._removed),
            "remove": self._named(os.remove, self._removed),
            "rmdir": self._named(os.rmdir, self._removed),
            "rename": self._moved(os.rename),
            "replace": self._moved(os.replace),
            "link": self._linked(os.link),
            "ftruncate": self._sized(os.ftruncate),
            "fsync": self._flushed(os.fsync),
        }
        with ExitStack() as patches:
            for name, call in calls.items():
                patches.enter_context(mock.patch.object(os, name, call))
            exclusively = self._moved_exclusively(rename_exclusively)
            patches.enter_context(mock.patch.object(rename, "rename_exclusively", exclusively))
            yield
        self.catch_up()
        real = {path.relative_to(self.base).as_posix(): _content(path) for path in self.base.rglob("*")}
        assert real == {path: self.now.content(inode) for path, inode in self.now.walk()}, (
            "something was missed"
        )

    def _where(self, path: Any, dir_fd: int | None) -> Name:
        head, name = os.path.split(os.fspath(path))
        return self._real["stat"](head or ".", dir_fd=dir_fd).st_ino, name

    def _is_ours(self, name: Name) -> bool:
        return name[0] in self.now.folders

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        self.catch_up()
        name = self._where(path, dir_fd)
        fd = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        if self._is_ours(name) and name[1] not in self.now.folders[name[0]]:
            inode = os.fstat(fd).st_ino
            self._add(Op("make", inode, (name,)))
            self._hold(inode, self._real["open"](f"/proc/self/fd/{fd}", os.O_RDONLY))
        return fd

    def _named(self, call: Callable[..., Any], note: Callable[[Name], None]) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, dir_fd: int | None = None) -> None:
            self.catch_up()
            name = self._where(path, dir_fd)
            call(path, *arguments, dir_fd=dir_fd)
            if self._is_ours(name):
                note(name)

        return called

    def _made_folder(self, name: Name) -> None:
        parent = next(path for path in self._folders() if path.stat().st_ino == name[0])
        self._add(Op("folder", (parent / name[1]).stat().st_ino, (name,)))

    def _folders(self) -> Iterator[Path]:
        yield self.base
        yield from (path for path in self.base.rglob("*") if path.is_dir())

    def _removed(self, name: Name) -> None:
        self._add(Op("remove", names=(name,)))

    def _moved(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(
            old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
        ) -> None:
            self.catch_up()
            names = self._where(old, src_dir_fd), self._where(new, dst_dir_fd)
            call(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            self._add(Op("move", names=names))

        return called

    def _moved_exclusively(self, call: Callable[..., bool]) -> Callable[..., bool]:
        def called(source: int, name: str, target: int, new: str) -> bool:
            self.catch_up()
            names = (os.fstat(source).st_ino, name), (os.fstat(target).st_ino, new)
            done = call(source, name, target, new)
            if done:
                self._add(Op("move", names=names))
            return done

        return called

    def _linked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(
            old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **more: Any
        ) -> None:
            self.catch_up()
            folder, name = self._where(old, src_dir_fd)
            where = self._where(new, dst_dir_fd)
            call(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **more)
            self._add(Op("link", self.now.folders[folder][name], (where,)))

        return called

    def _sized(self, call: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def called(fd: int, size: int) -> None:
            self.catch_up()
            call(fd, size)
            if os.fstat(fd).st_ino in self.now.files:
                self._add(Op("resize", os.fstat(fd).st_ino, offset=size))

        return called

    def _flushed(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def called(fd: int) -> None:
            self.catch_up()
            call(fd)
            self._add(Op("flush", os.fstat(fd).st_ino))

        return called

    def _write(self, fd: int, data: memoryview, offset: int) -> int:
        self.catch_up()
        count = REAL_DISK.write(fd, data, offset)
        self._note_write(os.fstat(fd).st_ino, offset, bytes(data[:count]))
        return count

    def _sync_whole(self, _: int) -> bool:
        self.catch_up()
        self._add(Op("flush all"))
        return True


def _content(path: Path) -> bytes | None:
    return None if path.is_dir() else path.read_bytes()


# ---------------------------------------------------------------------- what may be left
@dataclass(frozen=True)
class Disks:
    """Every disk that a power failure could leave at any recorded point.

    ``most``: how many subsets of losable operations are tried at each point. Beyond that a fixed sample is tried.
    """

    recorder: Recorder
    most: int = SAMPLE

    def points(self) -> Iterator[int]:
        """The crash points, as numbers of completed operations."""
        return iter(range(len(self.recorder.ops) + 1))

    def at(self, point: int) -> Iterator[Files]:
        """The possible disks after this many operations."""
        ops = self.recorder.ops[:point]
        pending = self._not_durable(ops)
        needs = self._needs(ops, pending)
        for choice in self._choices(len(pending), point):
            lost = {number for bit, number in enumerate(pending) if not choice >> bit & 1}
            for number in pending:  # in order: a lost operation takes its successors along
                if needs[number] & lost:
                    lost.add(number)
            yield self._made_of(op for number, op in enumerate(ops) if number not in lost)

    def _not_durable(self, ops: Sequence[Op]) -> list[int]:
        pending: list[int] = []
        for number, op in enumerate(ops):
            if op.kind.startswith("flush"):
                pending = [each for each in pending if not ops[each].is_flushed_by(op)]
            elif op.kind not in LASTING:
                pending.append(number)
        return self._not_presupposed(ops, pending)

    def _not_presupposed(self, ops: Sequence[Op], pending: list[int]) -> list[int]:
        """Leave out operations that a later durable one needs, as they cannot have been lost."""
        may_be_lost, needed = set(pending), set[Name]()
        for number in reversed(range(len(ops))):
            if number not in may_be_lost or needed.intersection(ops[number].names):
                may_be_lost.discard(number)
                needed.update(ops[number].names)
        return sorted(may_be_lost)

    def _needs(self, ops: Sequence[Op], pending: list[int]) -> dict[int, set[int]]:
        """For each operation on names, the earlier ones on the same names."""
        return {
            number: {
                each for each in pending if each < number and set(ops[each].names) & set(ops[number].names)
            }
            for number in pending
        }

    def _choices(self, count: int, point: int) -> Iterator[int]:
        """Which operations are kept, as bits: none, all, and all or many choices between."""
        everything = (1 << count) - 1
        if 1 << count <= self.most:
            yield from range(everything + 1)
            return
        pick = Random(point)  # noqa: S311  # the same in every run
        yield from (0, everything)
        yield from (pick.getrandbits(count) for _ in range(self.most - 2))

    def _made_of(self, ops: Iterator[Op]) -> Files:
        files = Files(self.recorder.now.root)
        for op in self.recorder.before:
            files.apply(op)
        for op in ops:
            files.apply(op)
        return files


def build(files: Files, base: Path, key: bytes) -> None:
    """Make these files and folders. ``key`` is the journal's, which stores inodes, and these differ here."""
    logs: list[tuple[Path, bytes]] = []
    inodes: dict[int, int] = {}
    for path, inode in files.walk():
        content = files.content(inode)
        if content is None:
            (base / path).mkdir()
        elif path.endswith(".log"):
            logs.append((base / path, content))
            continue
        else:
            (base / path).write_bytes(content)
        inodes[inode] = (base / path).stat().st_ino
    for where, content in logs:
        where.write_bytes(_with_inodes(content, key, inodes))


def _with_inodes(log: bytes, key: bytes, inodes: dict[int, int]) -> bytes:
    """A log of the same entries with their present inodes."""
    derived = run_log._derived(key)
    writer = run_log._writer_of(log[: run_log._HEADER], derived)
    out, at = bytearray(log), run_log._HEADER
    while writer and len(out) >= at + run_log._RECORD.size:
        length, _, kind = run_log._RECORD.unpack_from(out, at)
        start = at + run_log._RECORD.size
        end = start + length
        head, payload = bytes(out[at:start]), out[start:end]
        if bytes(out[end : end + 16]) != run_log._tag(derived, writer, head, bytes(payload)):
            break
        if kind == RecordKind.PLACING:
            old = int.from_bytes(payload[:8])
            payload[:8] = inodes.get(old, 0).to_bytes(8)
            out[start:end] = payload
            out[end : end + 16] = run_log._tag(derived, writer, head, bytes(payload))
        at = end + 16
    return bytes(out)
