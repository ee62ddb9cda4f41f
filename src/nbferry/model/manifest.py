"""The content of an offer: an ordered list of files and folders, cut into numbered chunks.

Chunks are numbered across the whole manifest, so that one :class:`~nbferry.model.ranges.RangeSet` can describe the
state of 100,000 files. A file of ``size`` bytes has ``max(1, ceil(size / chunk_size))`` chunks: an empty file
has one empty chunk, verified like any other. A folder has none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from struct import Struct
from typing import Any, NamedTuple

from nbferry.errors import RemoteProtocolError
from nbferry.model.ranges import RangeSet

MAX_SIZE = 1 << 53
"""The largest whole number that every JSON implementation represents exactly."""

# Chunk size, number of entries.
_HEAD = Struct("!QQ")
# Bytes of the path, size, mtime, flags; the path follows.
_ENTRY = Struct("!QQqB")
_EXECUTABLE, _FOLDER = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of an offer.

    ``path`` is relative, its parts joined by ``/``; ``size`` in bytes; ``mtime_ns`` nanoseconds since 1970.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    executable: bool = False
    folder: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of this entry; default values are left out."""
        wire: dict[str, Any] = {"path": self.path, "mtime": self.mtime_ns}
        if self.folder:
            wire["folder"] = True
        else:
            wire["size"] = self.size
        if self.executable:
            wire["executable"] = True
        return wire

    def packed(self) -> bytes:
        """Return the entry as hashed into a manifest's id, without a folder's time: our own state folder changes it."""
        path = self.path.encode("utf-8", "surrogatepass")
        flags = self.executable * _EXECUTABLE + self.folder * _FOLDER
        mtime_ns = 0 if self.folder else self.mtime_ns
        return _ENTRY.pack(len(path), self.size, mtime_ns, flags) + path

    @classmethod
    def from_wire(cls, wire: Any) -> Entry:
        """Read an entry. Raises :class:`RemoteProtocolError` on a wrong type or range; does not check the path."""
        if not isinstance(wire, dict):
            raise RemoteProtocolError("An entry of the offer is not an object.")
        path, size, mtime = wire.get("path"), wire.get("size", 0), wire.get("mtime", 0)
        if not isinstance(path, str):
            raise RemoteProtocolError("An entry of the offer has no path.")
        if type(size) is not int or not 0 <= size <= MAX_SIZE:
            raise RemoteProtocolError("An entry of the offer has an impossible size.")
        if type(mtime) is not int or abs(mtime) >= 1 << 63:
            raise RemoteProtocolError("An entry of the offer has an impossible time.")
        folder = wire.get("folder") is True
        if folder and size:
            raise RemoteProtocolError("A folder of the offer has a size.")
        return cls(path, size, mtime, wire.get("executable") is True, folder)


class Place(NamedTuple):
    """Where a chunk lies: index of its entry, byte offset in the file, length in bytes."""

    entry: int
    offset: int
    length: int


@dataclass(frozen=True)
class Manifest:
    """The ordered entries of an offer and the size of their chunks."""

    entries: tuple[Entry, ...]
    chunk_size: int

    @cached_property
    def id(self) -> str:
        """The identity of this list: 32 hex digits of BLAKE2b over the chunk size and every entry.

        Equal lists have equal ids in every process. A changed path, size or file time changes the id.
        """
        packed = b"".join(entry.packed() for entry in self.entries)
        head = _HEAD.pack(self.chunk_size, len(self.entries))
        return blake2b(head + packed, digest_size=16, person=b"nbferry manifest").hexdigest()

    @cached_property
    def _stops(self) -> list[int]:
        return list(accumulate(map(self._count, self.entries)))

    def _count(self, entry: Entry) -> int:
        return 0 if entry.folder else max(1, -(-entry.size // self.chunk_size))

    @property
    def chunk_count(self) -> int:
        """Number of chunks of all files."""
        return self._stops[-1] if self._stops else 0

    @cached_property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    @cached_property
    def file_count(self) -> int:
        """Number of files, folders not counted."""
        return sum(not entry.folder for entry in self.entries)

    @cached_property
    def files(self) -> RangeSet:
        """The entries that are files."""
        return RangeSet.of(*(index for index, entry in enumerate(self.entries) if not entry.folder))

    def chunks_of(self, entry: int) -> tuple[int, int]:
        """Return the first chunk of an entry and the one after its last."""
        return (self._stops[entry - 1] if entry else 0), self._stops[entry]

    def entry_of(self, chunk: int) -> int:
        """Return the index of the entry that a chunk belongs to."""
        if not 0 <= chunk < self.chunk_count:
            raise IndexError(chunk)
        return bisect_right(self._stops, chunk)

    def entries_of(self, chunks: RangeSet) -> RangeSet:
        """Return the entries that a set of chunks belongs to, and folders between them."""
        entry_of = self.entry_of
        return RangeSet.union((entry_of(start), entry_of(stop - 1) + 1) for start, stop in chunks.ranges)

    def place(self, chunk: int) -> Place:
        """Return where a chunk lies; raises IndexError if there is none."""
        entry = self.entry_of(chunk)
        offset = (chunk - self.chunks_of(entry)[0]) * self.chunk_size
        return Place(entry, offset, min(self.chunk_size, self.entries[entry].size - offset))

    def bytes_in(self, chunks: RangeSet) -> int:
        """Return how many bytes a set of chunks holds. The cost depends on the ranges, not on their length."""
        return sum(self._position(stop) - self._position(start) for start, stop in chunks.ranges)

    def _position(self, chunk: int) -> int:
        """Return the bytes of all chunks before this one."""
        if chunk >= self.chunk_count:
            return self._bytes_before[-1]
        entry, offset, _ = self.place(chunk)
        return self._bytes_before[entry] + offset

    @cached_property
    def _bytes_before(self) -> list[int]:
        return list(accumulate((entry.size for entry in self.entries), initial=0))

    @cached_property
    def top_names(self) -> tuple[str, ...]:
        """The first ten top-level names, by which a person knows the offer."""
        return tuple(dict.fromkeys(entry.path.partition("/")[0] for entry in self.entries))[:10]

    @classmethod
    def of(cls, entries: Iterable[Entry], chunk_size: int) -> Manifest:
        """Make a manifest from any iterable of entries."""
        return cls(tuple(entries), chunk_size)
