"""The journal: which chunks are verified and durable, so that a resumed transfer need not hash them again.

It lies in the staging root as logs ``have.<16 hex digits>.log`` (format: :mod:`nbferry.storage.disk.run_log`), one
for each process that ever wrote. The key of a log is the transfer id, a NUL and the id of the manifest, in UTF-8. A log
of another list of files is foreign, and is removed before a byte of data changes. Kinds of records; whole numbers are
big-endian:

    1 boot      the kernel's boot id in ASCII, empty where there is none: first in every log
    2 run       8 bytes first chunk, then 32 bytes of digest for it and for each following chunk
    3 finished  the content digest: all chunks were verified, and times, modes and data are durable
    4 placing   8 bytes inode of a top-level entry in data/ (its low 64 bits), 2 bytes length of its name, its name,
                and the name that it will get at the destination, both in UTF-8
    5 doubt     empty: the disk reported an error, or the files contradict a log; all recorded chunks must be read
                and hashed before publishing

A record of another kind, or one that does not fit the offer, puts everything in doubt.

Order of writing. Nothing is recorded before it is durable:

    verify a chunk -> write it -> fsync the file, and the folder if the file is new -> append "run" -> fsync the log
    all runs -> set times and modes -> fsync -> append "finished" -> fsync the log
    choose a name -> append "placing" -> fsync the log -> rename -> fsync the destination

The logs are read as one. A chunk is recorded if any log has it, unless two logs differ about its digest. If a log has
another boot id than the current one, the power may have failed since, so everything is in doubt. To withdraw damaged
chunks, the journal writes a log with only a doubt, then one with all correct chunks. When both are durable it removes
the others, and the doubt last. If that stops halfway, the withdrawn chunks are still in doubt.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from nbferry.crypto.digest import DIGEST_SIZE
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.run_log import RunLog, is_foreign, log_names, read_logs
from nbferry.storage.disk.system import Disk

JOURNAL_PREFIX = "have"
MAX_LEAVES = 8192
"""Digests in one record: 256 KiB."""

_FIRST = Struct("!Q")
_PLACING = Struct("!QH")


class RecordKind(IntEnum):
    """Kinds of records."""

    BOOT = 1
    RUN = 2
    FINISHED = 3
    PLACING = 4
    DOUBT = 5


class Intent(NamedTuple):
    """The name that a top-level entry is about to get, and its inode, which identifies it there."""

    new: str
    inode: int


class Recorded:
    """The contents of a journal's logs. Takes 33 bytes for each chunk, touched only where the chunk is known."""

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
        for kind, payload in read_logs(root, JOURNAL_PREFIX, key):
            try:
                if kind == RecordKind.RUN:
                    runs.append(found._add_run(payload, differing))
                else:
                    found._add(kind, payload)
            # From a later version, or planted.
            except (ValueError, struct.error):
                found.doubted = True
        found.have = RangeSet.union(runs) - RangeSet.of(*differing)
        return found

    def _add_run(self, payload: bytes, differing: list[int]) -> tuple[int, int]:
        (first,) = _FIRST.unpack_from(payload)
        leaves = memoryview(payload)[_FIRST.size :]
        stop = first + len(leaves) // DIGEST_SIZE
        if stop > self._count or len(leaves) % DIGEST_SIZE:
            raise ValueError("an impossible run")
        if 1 in self._known[first:stop]:
            differing += self._differences(first, leaves)
        self._known[first:stop] = b"\x01" * (stop - first)
        self._leaves[first * DIGEST_SIZE : stop * DIGEST_SIZE] = leaves
        return first, stop

    def _differences(self, first: int, leaves: memoryview) -> list[int]:
        """Return the chunks about which this run and an earlier one differ."""
        stop = first + len(leaves) // DIGEST_SIZE
        if self._leaves[first * DIGEST_SIZE : stop * DIGEST_SIZE] == leaves:
            return []
        theirs = (leaves[at : at + DIGEST_SIZE] for at in range(0, len(leaves), DIGEST_SIZE))
        both = enumerate(theirs, first)
        return [chunk for chunk, leaf in both if self._known[chunk] and self.leaf(chunk) != leaf]

    def _add(self, kind: int, payload: bytes) -> None:
        match kind:
            case RecordKind.BOOT:
                self.doubted |= payload.decode("ascii") != self._boot
            case RecordKind.FINISHED if len(payload) == DIGEST_SIZE:
                self.finished = payload
            case RecordKind.PLACING:
                name, intent = _placed(payload)
                self.intents.setdefault(name, []).append(intent)
            case _:
                self.doubted = True

    def leaf(self, chunk: int) -> bytes:
        """Return the digest of a known chunk."""
        return bytes(self._leaves[chunk * DIGEST_SIZE : (chunk + 1) * DIGEST_SIZE])

    def runs(self, chunks: RangeSet) -> Iterator[tuple[int, bytes]]:
        """Yield the runs of these chunks, all of them known: first chunk, joined digests."""
        for first, stop in chunks.ranges:
            for at in range(first, stop, MAX_LEAVES):
                end = min(stop, at + MAX_LEAVES)
                yield at, bytes(self._leaves[at * DIGEST_SIZE : end * DIGEST_SIZE])


class Journal:
    """The journal of one transfer in its staging root. Not thread-safe.

    The first record creates the log. Methods raise OSError; then nothing was recorded, and the next call starts a new
    log if necessary.
    """

    def __init__(self, root: Directory, transfer_id: str, manifest: Manifest, disk: Disk) -> None:
        self._root, self._disk, self._boot = root, disk, disk.boot()
        self._key, self._count = journal_key(transfer_id, manifest), manifest.chunk_count
        self._log: RunLog | None = None
        self.finished: bytes | None = None
        self.intents: dict[str, list[Intent]] = {}
        self.doubted = False
        self._doubt_recorded = False

    def load(self) -> Recorded:
        """Read all logs, and adopt what is not about chunks."""
        found = Recorded.read(self._root, self._key, self._count, self._boot)
        self.finished, self.intents = found.finished, found.intents
        if found.doubted:
            self.doubted = self._doubt_recorded = True
        return found

    def refresh_intents(self) -> None:
        """Read the intents that another process has recorded since; it may publish the same transfer."""
        found = Recorded.read(self._root, self._key, self._count, self._boot).intents
        for name, intents in found.items():
            known = self.intents.setdefault(name, [])
            known += [intent for intent in intents if intent not in known]

    def remove_foreign(self) -> bool:
        """Remove logs of other data; return whether there were any. Call it before data changes."""
        foreign = [
            name for name in log_names(self._root, JOURNAL_PREFIX) if is_foreign(self._root, name, self._key)
        ]
        for name in foreign:
            self._root.remove(name)
        if foreign:
            self._root.sync(self._disk.sync)
        return bool(foreign)

    # -------------------------------------------------------------- recording
    def add(self, leaves: Mapping[int, bytes]) -> None:
        """Record chunks with durable bytes, and their digests; durable when this returns."""
        self._record((RecordKind.RUN, payload) for payload in _runs_of(leaves))

    def finish(self, digest: bytes) -> None:
        """Record that everything is verified and durable under this content digest."""
        self._record([(RecordKind.FINISHED, digest)])
        self.finished = digest

    def place(self, intents: Mapping[str, Intent]) -> None:
        """Record where top-level entries are about to be moved."""
        self._record((RecordKind.PLACING, _placing(name, intent)) for name, intent in intents.items())
        for name, intent in intents.items():
            self.intents.setdefault(name, []).append(intent)

    def doubt(self) -> None:
        """Record once that everything is in doubt. In this process that holds even if recording fails."""
        self.doubted = True
        if not self._doubt_recorded:
            self._record([(RecordKind.DOUBT, b"")])
            self._doubt_recorded = True

    def _record(self, records: Iterable[tuple[int, bytes]]) -> None:
        self._append(records).sync()

    def _append(self, records: Iterable[tuple[int, bytes]]) -> RunLog:
        if self._log is None or self._log.closed:
            disk = self._disk
            self._log = RunLog.create(self._root, JOURNAL_PREFIX, self._key, sync=disk.sync, write=disk.write)
        first = [(RecordKind.BOOT, self._boot.encode("ascii"))] if self._log.empty else []
        self._log.append_all([*first, *records])
        return self._log

    def replace(self, recorded: Recorded, right: RangeSet, finished: bytes | None) -> None:
        """Record only these chunks, in a new log, and remove all others. Nothing is in doubt afterwards."""
        old = log_names(self._root, JOURNAL_PREFIX)
        self.close()
        doubt = self._append([(RecordKind.DOUBT, b"")])
        doubt.sync()
        self.close()
        # One by one, because the digests of a tebibyte take 32 MiB.
        for first, leaves in recorded.runs(right):
            self._append([(RecordKind.RUN, _FIRST.pack(first) + leaves)])
        self._record(self._kept(finished))
        self._remove(old)
        self._remove([doubt.name])
        self.finished, self.doubted, self._doubt_recorded = finished, False, False

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            # Another process may have removed it.
            with suppress(FileNotFoundError):
                self._root.unlink(name)
        self._root.sync(self._disk.sync)

    def _kept(self, finished: bytes | None) -> Iterator[tuple[int, bytes]]:
        for name, intents in self.intents.items():
            for intent in intents:
                yield RecordKind.PLACING, _placing(name, intent)
        if finished:
            yield RecordKind.FINISHED, finished

    def close(self) -> None:
        """Close the log. May be called twice."""
        if self._log is not None:
            self._log.close()


def journal_key(transfer_id: str, manifest: Manifest) -> bytes:
    """Return the key of the logs of a transfer and a manifest."""
    return f"{transfer_id}\0{manifest.id}".encode()


def _runs_of(leaves: Mapping[int, bytes]) -> Iterator[bytes]:
    for first, stop in RangeSet.of(*leaves).ranges:
        for at in range(first, stop, MAX_LEAVES):
            numbers = range(at, min(stop, at + MAX_LEAVES))
            yield _FIRST.pack(at) + b"".join(map(leaves.__getitem__, numbers))


def _placing(name: str, intent: Intent) -> bytes:
    encoded = name.encode()
    return _PLACING.pack(intent.inode, len(encoded)) + encoded + intent.new.encode()


def _placed(payload: bytes) -> tuple[str, Intent]:
    """Read what :func:`_placing` wrote. Raises ValueError for a name that leads out of its folder."""
    inode, length = _PLACING.unpack_from(payload)
    stop = _PLACING.size + length
    name, new = payload[_PLACING.size : stop].decode(), payload[stop:].decode()
    for each in (name, new):
        if each in ("", ".", "..") or not {"/", "\0", os.sep}.isdisjoint(each):
            raise ValueError("an impossible name")
    return name, Intent(new, inode)
