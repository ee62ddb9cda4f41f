"""Remembers digests of files that a sender has hashed, so that a resumed offer is not read twice.

    <state folder>/digests/leaves.<16 hex digits>.log    one for each writer; format: storage.disk.run_log

A file is identified by device, inode, size, time of modification and time of change. A change of its bytes always
changes the last of these. A file changed less than two seconds before it was hashed is not remembered, because another
change in the same tick of the file system's clock would not show.

A record of kind 1 holds items, each 56 bytes of header, its fields as big-endian whole numbers, and 32 bytes for each
chunk: device, inode, size, mtime in ns, ctime in ns (8 bytes each), chunk size (4), first chunk in the file (8), number
of chunks (4). A lost entry only means hashing again, so nothing here is made durable, and disk errors do not matter.
The key of the logs names this computer, because on another one the same numbers would mean other files.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from os import stat_result
from pathlib import Path
from struct import Struct

from nbferry.crypto.digest import DIGEST_SIZE
from nbferry.errors import NbferryError
from nbferry.limits import KiB, MiB
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.private import private_folder
from nbferry.storage.disk.run_log import RunLog, log_names, read_log
from nbferry.storage.disk.state import existing_state, insist, made_state
from nbferry.storage.disk.system import WORD, no_sync

DIGEST_FOLDER = "digests"
LOG_PREFIX = "leaves"
ITEMS = 1
"""The kind of a record."""
MAX_CACHE_BYTES = 128 * MiB
"""Of all logs together: as much as 4 TiB in chunks of 1 MiB need."""
MAX_LOGS = 256
SETTLED = 2_000_000_000
"""Nanoseconds; FAT has the coarsest clock."""
FLUSH_BYTES, FLUSH_SECONDS = 64 * KiB, 5.0
"""What a crash costs at most: hashing 2 GiB, or 5 s of work."""
MAX_RUN = 8192
"""Digests in one item: 256 KiB."""

_IDENTITY = Struct("!QQQQQI")
_RUN = Struct("!QI")
_INODE = Struct("!8xQ")
# Digests whose memory is allocated together.
_PAGE = 1024
_ALL = RangeSet.span(0, 1)

log = logging.getLogger("nbferry")


def identity(info: stat_result, chunk_size: int) -> bytes:
    """Return the identity of a file in its current state, and of its chunk size."""
    times = (info.st_mtime_ns & WORD, info.st_ctime_ns & WORD)
    return _IDENTITY.pack(info.st_dev & WORD, info.st_ino & WORD, info.st_size, *times, chunk_size)


def is_settled(info: stat_result, now_ns: int) -> bool:
    """Whether the last change is old enough for the next one to show. A time in the future is not."""
    return max(info.st_mtime_ns, info.st_ctime_ns) + SETTLED <= now_ns


def this_computer() -> bytes:
    """Return bytes that identify this computer, because others may share the folder."""
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = b""
    return b"\0".join((b"nbferry digests", machine, socket.gethostname().encode()))


class CachedLeaves:
    """The known digests of a file's chunks. Memory is allocated only where digests are known."""

    __slots__ = ("_pages", "known")

    def __init__(self) -> None:
        self.known = RangeSet()
        self._pages: dict[int, bytearray] = {}

    def add(self, first: int, digests: bytes | memoryview) -> None:
        """Add the digests of chunks from ``first`` on."""
        count = len(digests) // DIGEST_SIZE
        at = first
        while at < first + count:
            page, start = divmod(at, _PAGE)
            taken = min(_PAGE - start, first + count - at)
            held = self._pages.setdefault(page, bytearray())
            stop = (start + taken) * DIGEST_SIZE
            held.extend(bytes(max(0, stop - len(held))))
            held[start * DIGEST_SIZE : stop] = digests[
                (at - first) * DIGEST_SIZE : (at - first + taken) * DIGEST_SIZE
            ]
            at += taken
        self.known |= RangeSet.span(first, first + count)

    def __getitem__(self, chunk: int) -> bytes:
        page, start = divmod(chunk, _PAGE)
        return bytes(self._pages[page][start * DIGEST_SIZE : (start + 1) * DIGEST_SIZE])


class _Single:
    """The same for a file of one chunk; there may be 100,000 of them."""

    __slots__ = ("_digest",)
    known = _ALL

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def __getitem__(self, _: int) -> bytes:
        return self._digest


class DigestCache:
    """Digests kept in the state folder ``folder``, or only in memory if it is None.

    ``clock`` returns nanoseconds since 1970, ``ticks`` monotonic seconds; ``computer`` identifies this computer.
    Thread-safe, and usable after :meth:`close`. No method raises an error of the disk.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        clock: Callable[[], int] = time.time_ns,
        ticks: Callable[[], float] = time.monotonic,
        computer: bytes | None = None,
        limit: int = MAX_CACHE_BYTES,
    ) -> None:
        self._folder, self._clock, self._ticks, self._limit = folder, clock, ticks, limit
        self._key = this_computer() if computer is None else computer
        self._lock = threading.Lock()
        self._known: dict[bytes, CachedLeaves | bytes] = {}
        # Of the known files.
        self._inodes: set[int] = set()
        self._expected: set[int] = set()
        self._unread: set[int] = set()
        self._pending = bytearray()
        self._flushed = ticks()
        self._log: RunLog | None = None
        self._written = 0

    def expect(self, inodes: Iterable[int]) -> None:
        """Announce files; only their entries are loaded from the logs."""
        with self._lock:
            self._unread.update(inode & WORD for inode in inodes)

    def may_know(self, inode: int) -> bool:
        """Whether anything is known about a file with this inode; if not, a look at the file is needless."""
        with self._lock:
            self._load()
            return inode & WORD in self._inodes

    def known(self, file: bytes) -> CachedLeaves | _Single | None:
        """Return the known digests of a file, given its :func:`identity`, by chunk number in that file."""
        with self._lock:
            self._load()
            found = self._known.get(file)
        return _Single(found) if isinstance(found, bytes) else found

    def add(self, info: stat_result, chunk_size: int, first: int, digests: bytes) -> None:
        """Remember 32-byte digests of chunks of a file; ``info`` was the same before and after reading them."""
        if not digests or not is_settled(info, self._clock()):
            return
        file = identity(info, chunk_size)
        with self._lock:
            self._load()
            if self._has(file, first, digests):
                return
            self._take(file, first, digests)
            step = MAX_RUN * DIGEST_SIZE
            for at in range(0, len(digests), step):
                part = digests[at : at + step]
                self._pending += file + _RUN.pack(first + at // DIGEST_SIZE, len(part) // DIGEST_SIZE) + part
                self._flush_if_due()

    def close(self) -> None:
        """Write what is pending, and close the log. May be called twice."""
        with self._lock:
            self._flush()
            held, self._log = self._log, None
            if held:
                held.close()

    # -------------------------------------------------------------- in memory
    def _has(self, file: bytes, first: int, digests: bytes) -> bool:
        """Whether all of this is known already."""
        found = self._known.get(file)
        if not isinstance(found, CachedLeaves):
            return found == digests
        chunks = range(first, first + len(digests) // DIGEST_SIZE)
        known = RangeSet.span(chunks.start, chunks.stop) & found.known
        return len(known) == len(chunks) and b"".join(map(found.__getitem__, chunks)) == digests

    def _take(self, file: bytes, first: int, digests: bytes | memoryview) -> None:
        self._inodes.add(_INODE.unpack_from(file)[0])
        if first == 0 and len(digests) == DIGEST_SIZE and _count(file) == 1:
            self._known[file] = bytes(digests)
            return
        leaves = self._known.get(file)
        if not isinstance(leaves, CachedLeaves):
            leaves = self._known[file] = CachedLeaves()
        leaves.add(first, digests)

    # -------------------------------------------------------------- from the logs
    def _load(self) -> None:
        """Read the logs for files announced since the last time."""
        if not self._unread:
            return
        wanted, self._unread = self._unread - self._expected, set()
        self._expected |= wanted
        if self._folder is None or not wanted:
            return
        with (
            suppress(OSError, NbferryError),
            existing_state(self._folder) as state,
            state.child(DIGEST_FOLDER) as folder,
        ):
            for _, _, name in _oldest_first(folder):
                for kind, payload in read_log(folder, name, self._key):
                    if kind == ITEMS:
                        self._take_items(payload, wanted)

    def _take_items(self, payload: bytes, wanted: set[int]) -> None:
        view = memoryview(payload)
        for at, first, count in _items(payload):
            if _INODE.unpack_from(payload, at)[0] in wanted:
                file = payload[at : at + _IDENTITY.size]
                start = at + _IDENTITY.size + _RUN.size
                if 0 < count <= _count(file) - first:
                    self._take(file, first, view[start : start + count * DIGEST_SIZE])

    # -------------------------------------------------------------- to the log
    def _flush_if_due(self) -> None:
        if len(self._pending) >= FLUSH_BYTES or self._ticks() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        """Write pending digests, unless an error occurred before or the log has reached the limit."""
        payload, self._pending, self._flushed = bytes(self._pending), bytearray(), self._ticks()
        if not payload or self._folder is None or self._written + len(payload) > self._limit:
            return
        try:
            if self._log is None:
                folder = self._folder
                self._log = insist(lambda: self._create(folder))
            self._log.append(ITEMS, payload)
            self._written += len(payload)
        except (OSError, NbferryError) as error:
            log.debug("cannot remember digests: %s", type(error).__name__)
            self._written = self._limit

    def _create(self, path: Path) -> RunLog:
        with made_state(path, no_sync) as state, private_folder(state, DIGEST_FOLDER) as folder:
            _prune(folder, self._limit)
            return RunLog.create(folder, LOG_PREFIX, self._key, sync=no_sync)


def _count(file: bytes) -> int:
    """Return the number of chunks of a file, given its :func:`identity`."""
    _, _, size, _, _, chunk_size = _IDENTITY.unpack(file)
    return max(1, -(-size // chunk_size)) if chunk_size else 0


def _items(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the items of a record: offset, first chunk, number of chunks."""
    at = 0
    while at + _IDENTITY.size + _RUN.size <= len(payload):
        first, count = _RUN.unpack_from(payload, at + _IDENTITY.size)
        stop = at + _IDENTITY.size + _RUN.size + count * DIGEST_SIZE
        if stop > len(payload):
            return
        yield at, first, count
        at = stop


def _oldest_first(folder: Directory) -> list[tuple[int, int, str]]:
    """List the logs, newest last, so that it wins: time of modification in ns, bytes, name."""
    found = ((folder.look(name), name) for name in log_names(folder, LOG_PREFIX))
    return sorted((info.st_mtime_ns, info.st_size, name) for info, name in found if info)


def _prune(folder: Directory, limit: int) -> None:
    """Remove the oldest logs until the rest is small and few enough."""
    aged = _oldest_first(folder)
    total = sum(size for _, size, _ in aged)
    for number, (_, size, name) in enumerate(aged):
        if total <= limit and len(aged) - number < MAX_LOGS:
            return
        with suppress(OSError):
            folder.unlink(name)
        total -= size
