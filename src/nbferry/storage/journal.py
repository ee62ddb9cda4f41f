"""The journal: which chunks are on the disk, verified and durable, so that nobody has to hash them again.

It lies in the staging root as logs ``have.<16 hex digits>.log`` (the format is that of
:mod:`nbferry.storage.runlog`), one for each process that ever wrote. The key of a log is the transfer id, a NUL
and the id of the manifest, in UTF-8: a log of another list of files is foreign, and is removed before a byte of
data changes. Kinds of records; whole numbers are big-endian:

    1 boot      the kernel's boot id in ASCII, empty where there is none: first in every log
    2 run       8 bytes first chunk, then 32 bytes of digest for it and for each chunk that follows it
    3 finished  the content digest: all chunks were verified, and times, modes and data are durable
    4 placing   8 bytes inode of a top-level entry in data/, 2 bytes length of its name, its name, the name that
                it is about to get at the destination
    5 doubt     empty: the disk reported an error; what is recorded has to be read and hashed before it is published

Order of writing. Nothing is recorded that was not durable before:

    verify a chunk -> write it -> fsync the file, and the folder if the file is new -> append "run" -> fsync the log
    all runs -> set times and modes -> fsync -> append "finished" -> fsync the log
    choose a name -> append "placing" -> fsync the log -> rename -> fsync the destination

What all logs say is one: a chunk is vouched for if any of them has it, and is not if two of them differ about it.
A log written under another boot id than now means that the power may have failed meanwhile, so everything is in doubt.
To take back what turned out to be damaged, a new log with all that is right is written and made durable; then the
others are removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from nbferry.crypto.digest import DIGEST_SIZE
from nbferry.manifest import Manifest
from nbferry.ranges import RangeSet
from nbferry.storage.directory import Directory
from nbferry.storage.runlog import RunLog, is_foreign, log_names, read_logs
from nbferry.storage.system import Disk

PREFIX = "have"
MOST_LEAVES = 8192  # in one record: 256 KiB

_FIRST = Struct("!Q")
_PLACING = Struct("!QH")


class Kind(IntEnum):
    """Kinds of records."""

    BOOT = 1
    RUN = 2
    FINISHED = 3
    PLACING = 4
    DOUBT = 5


class Intent(NamedTuple):
    """Where a top-level entry was about to be placed, and the inode by which it is recognised there."""

    new: str
    inode: int


class Recorded:
    """What the logs of a journal say. Memory: 33 bytes for each chunk, touched only where they are known."""

    def __init__(self, chunk_count: int, boot: str) -> None:
        self.have = RangeSet()
        self.finished: bytes | None = None
        self.intents: dict[str, list[Intent]] = {}
        self.doubted = False
        self._count, self._boot = chunk_count, boot
        self._known, self._leaves = bytearray(chunk_count), bytearray(DIGEST_SIZE * chunk_count)

    @classmethod
    def read(cls, root: Directory, key: bytes, chunk_count: int, boot: str = "") -> Recorded:
        """Read all logs of this key."""
        found = cls(chunk_count, boot)
        runs: list[tuple[int, int]] = []
        differing: list[int] = []
        for kind, payload in read_logs(root, PREFIX, key):
            if kind == Kind.RUN:
                runs.append(found._add_run(payload, differing))
            else:
                found._add(kind, payload)
        found.have = RangeSet.union(runs) - RangeSet.of(*differing)
        return found

    def _add_run(self, payload: bytes, differing: list[int]) -> tuple[int, int]:
        (first,) = _FIRST.unpack_from(payload)
        leaves = memoryview(payload)[_FIRST.size :]
        stop = first + len(leaves) // DIGEST_SIZE
        if stop > self._count:
            self.doubted = True
            return 0, 0
        if 1 in self._known[first:stop]:
            differing += self._differences(first, leaves)
        self._known[first:stop] = b"\x01" * (stop - first)
        self._leaves[first * DIGEST_SIZE : stop * DIGEST_SIZE] = leaves
        return first, stop

    def _differences(self, first: int, leaves: memoryview) -> list[int]:
        """Collect the chunks about which this run and an earlier one differ."""
        stop = first + len(leaves) // DIGEST_SIZE
        if self._leaves[first * DIGEST_SIZE : stop * DIGEST_SIZE] == leaves:
            return []
        theirs = (leaves[at : at + DIGEST_SIZE] for at in range(0, len(leaves), DIGEST_SIZE))
        both = enumerate(theirs, first)
        return [chunk for chunk, leaf in both if self._known[chunk] and self.leaf(chunk) != leaf]

    def _add(self, kind: int, payload: bytes) -> None:
        match kind:
            case Kind.BOOT:
                self.doubted |= payload.decode("ascii") != self._boot
            case Kind.FINISHED:
                self.finished = payload
            case Kind.PLACING:
                inode, length = _PLACING.unpack_from(payload)
                name = payload[_PLACING.size : _PLACING.size + length].decode()
                self.intents.setdefault(name, []).append(
                    Intent(payload[_PLACING.size + length :].decode(), inode)
                )
            case _:
                self.doubted = True

    def leaf(self, chunk: int) -> bytes:
        """The digest of a chunk that is known."""
        return bytes(self._leaves[chunk * DIGEST_SIZE : (chunk + 1) * DIGEST_SIZE])

    def runs(self, chunks: RangeSet) -> Iterator[tuple[int, bytes]]:
        """First chunk and joined digests of runs that make up these chunks, all of them known."""
        for first, stop in chunks.ranges:
            for at in range(first, stop, MOST_LEAVES):
                end = min(stop, at + MOST_LEAVES)
                yield at, bytes(self._leaves[at * DIGEST_SIZE : end * DIGEST_SIZE])


class Journal:
    """The journal of one transfer in its staging root. Not for several threads at once.

    Nothing is written before there is something to record. Methods raise OSError; what they were to record is
    then not recorded, and the next call begins a new log if need be.
    """

    def __init__(self, root: Directory, transfer_id: str, manifest: Manifest, disk: Disk) -> None:
        self._root, self._disk, self._boot = root, disk, disk.boot()
        self._key, self._count = journal_key(transfer_id, manifest), manifest.chunk_count
        self._log: RunLog | None = None
        self.finished: bytes | None = None
        self.intents: dict[str, list[Intent]] = {}
        self.doubted = False

    def load(self) -> Recorded:
        """Read what all logs say, and take over what is not about chunks."""
        found = Recorded.read(self._root, self._key, self._count, self._boot)
        self.finished, self.intents = found.finished, found.intents
        self.doubted |= found.doubted
        return found

    def refresh_intents(self) -> None:
        """See what another process, which publishes the same, has recorded meanwhile."""
        found = Recorded.read(self._root, self._key, self._count, self._boot).intents
        for name, intents in found.items():
            known = self.intents.setdefault(name, [])
            known += [intent for intent in intents if intent not in known]

    def remove_foreign(self) -> bool:
        """Remove what vouches for other data than ours; whether there was any. To be done before data changes."""
        foreign = [name for name in log_names(self._root, PREFIX) if is_foreign(self._root, name, self._key)]
        for name in foreign:
            self._root.remove_tree(name) if self._root.is_folder(name) else self._root.unlink(name)
        if foreign:
            self._root.sync(self._disk.sync)
        return bool(foreign)

    # -------------------------------------------------------------- recording
    def add(self, leaves: Mapping[int, bytes]) -> None:
        """Record chunks whose bytes are durable, with their digests; durable when this returns."""
        self._record((Kind.RUN, payload) for payload in _runs_of(leaves))

    def finish(self, digest: bytes) -> None:
        """Record that all is verified and durable under this content digest."""
        self._record([(Kind.FINISHED, digest)])
        self.finished = digest

    def place(self, intents: Mapping[str, Intent]) -> None:
        """Record where top-level entries are about to be moved."""
        self._record((Kind.PLACING, _placing(name, intent)) for name, intent in intents.items())
        for name, intent in intents.items():
            self.intents.setdefault(name, []).append(intent)

    def doubt(self) -> None:
        """Record that the disk reported an error. In this process it counts even if that cannot be recorded."""
        if not self.doubted:
            self.doubted = True
            self._record([(Kind.DOUBT, b"")])

    def _record(self, records: Iterable[tuple[int, bytes]]) -> None:
        if self._log is None or self._log.closed:
            self._log = self._begin()
        self._log.append_all(records)
        self._log.sync()

    def _begin(self) -> RunLog:
        disk = self._disk
        log = RunLog.create(self._root, PREFIX, self._key, sync=disk.sync, write=disk.write)
        try:
            log.append(Kind.BOOT, self._boot.encode("ascii"))
        except BaseException:
            log.close()
            raise
        return log

    def replace(self, recorded: Recorded, right: RangeSet, finished: bytes | None) -> None:
        """Record these chunks alone, in a new log, and remove all others: nothing is in doubt any more."""
        old = log_names(self._root, PREFIX)
        self.close()
        self._log = self._begin()
        records = [(Kind.RUN, _FIRST.pack(first) + leaves) for first, leaves in recorded.runs(right)]
        records += [
            (Kind.PLACING, _placing(name, each)) for name, intents in self.intents.items() for each in intents
        ]
        if finished:
            records.append((Kind.FINISHED, finished))
        for record in records:
            self._log.append(*record)
        self._log.sync()
        for name in old:
            self._root.unlink(name)
        self._root.sync(self._disk.sync)
        self.finished, self.doubted = finished, False

    def close(self) -> None:
        """Let go of the log. May be called twice."""
        if self._log is not None:
            self._log.close()


def journal_key(transfer_id: str, manifest: Manifest) -> bytes:
    """What keys the logs of a transfer and a manifest."""
    return f"{transfer_id}\0{manifest.id}".encode()


def _runs_of(leaves: Mapping[int, bytes]) -> Iterator[bytes]:
    for first, stop in RangeSet.of(*leaves).ranges:
        for at in range(first, stop, MOST_LEAVES):
            numbers = range(at, min(stop, at + MOST_LEAVES))
            yield _FIRST.pack(at) + b"".join(map(leaves.__getitem__, numbers))


def _placing(name: str, intent: Intent) -> bytes:
    encoded = name.encode()
    return _PLACING.pack(intent.inode, len(encoded)) + encoded + intent.new.encode()
