"""A disk that fills up, fails, is slow and forgets unflushed data. It outlives the process that writes to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from nbferry.limits import GiB
from nbferry.storage.disk.system import Disk
from simulation.loop import Killed

# Free bytes while the disk is not full.
FREE = 1 * GiB


@dataclass
class _Unflushed:
    """A file's content at its last flush, and the writes since then."""

    before: bytes
    writes: list[tuple[int, bytes]] = field(default_factory=list)


class SimDisk:
    """Real files in one folder, whose calls fail on command.

    ``full_until``: no byte fits before this time. ``over_quota_until``: the same, but the disk reports free space.
    ``bad_writes``, ``bad_flushes``: this many of the next calls fail with EIO, and a failed flush loses some of the
    data. ``short``: the probability that a write takes only part of its bytes. ``dies_after``: the process is killed
    in this many calls.
    """

    def __init__(self, root: Path, random: Random, now: Callable[[], float]) -> None:
        self._root, self._random, self._now = root, random, now
        self.full_until = self.over_quota_until = 0.0
        self.bad_writes = self.bad_flushes = 0
        # How many flushes have failed so far, for any reason.
        self.failed_flushes = 0
        self.short = 0.0
        self.dies_after: int | None = None
        self._boots = 1
        self._unflushed: dict[tuple[int, int], _Unflushed] = {}

    def for_new_life(self) -> Disk:
        """The disk of a new process. A planned death of the old process is void."""
        self.dies_after = None
        return Disk(
            write=self._write, sync=self._sync, sync_whole=self._sync_whole, free=self._free, boot=self._boot
        )

    @property
    def is_full(self) -> bool:
        """Whether the disk is full."""
        return self._now() < max(self.full_until, self.over_quota_until)

    # ---------------------------------------------------------------- the calls
    def _write(self, fd: int, data: memoryview, offset: int) -> int:
        self._may_die()
        self._may_be_full()
        if self.bad_writes:
            self.bad_writes -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if len(data) > 1 and self._random.random() < self.short:
            data = data[: self._random.randrange(1, len(data))]
        self._record_write(fd, data, offset)
        return os.pwrite(fd, data, offset)

    def _sync(self, fd: int) -> None:
        self._may_die()
        self._may_fail(self._forget_some, fd)
        self._unflushed.pop(_key(fd), None)

    def _sync_whole(self, fd: int) -> bool:
        self._may_die()
        self._may_fail(self._forget_all, fd)
        self._unflushed.clear()
        return True

    def _free(self, _: int | str) -> int:
        return 0 if self._now() < self.full_until else FREE

    def _boot(self) -> str:
        return str(self._boots)

    # ---------------------------------------------------------------- what goes wrong
    def _may_die(self) -> None:
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after <= 0:
                raise Killed

    def _may_be_full(self) -> None:
        for until, number in ((self.full_until, errno.ENOSPC), (self.over_quota_until, errno.EDQUOT)):
            if self._now() < until:
                raise OSError(number, os.strerror(number))

    def _may_fail(self, forget: Callable[[int], None], fd: int) -> None:
        """Fail a flush as some file systems do: only the flush reports a full disk or lost data."""
        number = 0
        if self.bad_flushes:
            self.bad_flushes -= 1
            forget(fd)
            number = errno.EIO
        elif self._unflushed and self.is_full:
            number = errno.ENOSPC
        if number:
            self.failed_flushes += 1
            raise OSError(number, os.strerror(number))

    # ---------------------------------------------------------------- what is not flushed
    def _record_write(self, fd: int, data: memoryview, offset: int) -> None:
        key = _key(fd)
        if key not in self._unflushed:
            self._unflushed[key] = _Unflushed(os.pread(fd, os.fstat(fd).st_size, 0))
        self._unflushed[key].writes.append((offset, bytes(data)))

    def _forget_some(self, fd: int) -> None:
        if unflushed := self._unflushed.pop(_key(fd), None):
            self._damage(fd, unflushed)

    def lose_power(self) -> None:
        """Lose any part of the unflushed data."""
        self._boots += 1
        self._forget_all(0)

    def rot(self, path: Path) -> None:
        """Flip one bit of a file, flushed or not."""
        data = bytearray(path.read_bytes())
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        info = path.stat()
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    def _forget_all(self, _: int) -> None:
        unflushed, self._unflushed = self._unflushed, {}
        for path in self._root.rglob("*"):
            info = path.lstat()
            if found := unflushed.get((info.st_dev, info.st_ino)):
                fd = os.open(path, os.O_RDWR)
                try:
                    self._damage(fd, found)
                finally:
                    os.close(fd)

    def _damage(self, fd: int, unflushed: _Unflushed) -> None:
        size = os.fstat(fd).st_size
        content = bytearray(unflushed.before)
        for offset, data in unflushed.writes:
            match self._random.randrange(4):
                case 0:
                    continue
                case 1:
                    data = data[: self._random.randrange(len(data) + 1)]  # noqa: PLW2901  # the write is torn
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
        if self._random.random() < 0.5:
            content.extend(bytes(max(0, size - len(content))))
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))


def drop_files(folder: Path) -> None:
    """Close the files that a killed process had open below a folder, as the system does."""
    for fd in open_files():
        with suppress(OSError):
            if Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(folder):
                os.close(fd)


def _key(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def open_files() -> list[int]:
    """The descriptors of this process."""
    return [int(each.name) for each in Path("/proc/self/fd").iterdir()]
