"""Frames: values to bytes and back. The package's docstring specifies the layout of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from struct import Struct
from typing import Any, NamedTuple

from nbferry.errors import LocalProtocolError, RemoteProtocolError
from nbferry.limits import MAX_MESSAGE, MiB
from nbferry.model.ranges import RangeSet

CONTROL_TYPE, CHUNK_TYPE, LEAVES_TYPE = 0x01, 0x02, 0x03
MAX_CONTROL = 1 * MiB  # a control frame is parsed as a whole, so its size is checked first
MAX_RANGES = 65_536  # accepted in one field of one frame
# Sent in one field: three fields of them stay below MAX_CONTROL, even with the largest numbers.
RANGES_PER_FRAME = 10_000
MAX_LEAVES = 8_192  # in one frame

PIECE_HEADER = Struct("!QII32s")  # chunk, offset in it, length, digest of the whole chunk
LEAVES_HEADER = Struct("!BQ")  # type, first chunk
LEAF = 32  # bytes of a chunk's digest


@dataclass(frozen=True, slots=True)
class Control:
    """A control frame: its name and its fields, all JSON values."""

    name: str
    fields: dict[str, Any]

    def encode(self) -> bytes:
        """The bytes of this frame. A frame that is too large is our own mistake."""
        body = json.dumps({"frame": self.name, **self.fields}, separators=(",", ":"), ensure_ascii=False)
        frame = bytes([CONTROL_TYPE]) + body.encode("utf-8", "surrogatepass")
        if len(frame) > MAX_CONTROL:
            raise LocalProtocolError(f"A {self.name} frame of {len(frame)} bytes is too large.")
        return frame

    def text(self, field: str, default: str = "", *, limit: int = 500) -> str:
        """A field that is text, cut to ``limit`` characters."""
        value = self.fields.get(field, default)
        if not isinstance(value, str):
            raise self.wrong(field)
        return value[:limit]

    def number(self, field: str, *, minimum: int = 0, maximum: int) -> int:
        """A field that is a whole number between two bounds."""
        value = self.fields.get(field)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self.wrong(field)
        return value

    def items(self, field: str, *, limit: int) -> list[Any]:
        """A field that is a list of at most ``limit`` items; absent means empty."""
        value = self.fields.get(field, [])
        if not isinstance(value, list) or len(value) > limit:
            raise self.wrong(field)
        return value

    def ranges(self, field: str, *, stop: int) -> RangeSet:
        """A field of ``[start, stop]`` pairs, all below ``stop``; absent means empty."""
        pairs = self.items(field, limit=MAX_RANGES)
        for pair in pairs:
            match pair:
                case [int(first), int(last)] if 0 <= first < last <= stop:
                    continue
            raise self.wrong(field)
        return RangeSet.union((first, last) for first, last in pairs)

    def wrong(self, field: str) -> RemoteProtocolError:
        """The error that says which field of this frame is wrong."""
        return RemoteProtocolError(f"A {self.name} frame has a wrong {field!r}.")


class Piece(NamedTuple):
    """Part of a chunk in a frame; ``data`` is a view of the frame."""

    chunk: int
    offset: int
    digest: bytes
    data: memoryview


class ChunkData(NamedTuple):
    """A whole chunk as it goes to a sink: number, promised digest, bytes."""

    chunk: int
    digest: bytes
    data: memoryview


class LeafRun(NamedTuple):
    """The digests of consecutive chunks in a frame, one after the other; ``digests`` is a view of the frame."""

    first: int
    digests: memoryview

    @property
    def chunks(self) -> RangeSet:
        """The chunks whose digests these are."""
        return RangeSet.span(self.first, self.first + len(self.digests) // LEAF)

    def pairs(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk and its digest."""
        for chunk in self.chunks:
            at = (chunk - self.first) * LEAF
            yield chunk, bytes(self.digests[at : at + LEAF])


def encode_leaves(first: int, digests: bytes) -> bytes:
    """The frame of the digests of at most ``MAX_LEAVES`` consecutive chunks."""
    return LEAVES_HEADER.pack(LEAVES_TYPE, first) + digests


def split(*sets: RangeSet) -> Iterator[tuple[RangeSet, ...]]:
    """Split sets of any number of ranges into parts that fit into one frame each; at least one part."""
    cuts = [
        [
            RangeSet(ranges.ranges[at : at + RANGES_PER_FRAME])
            for at in range(0, len(ranges.ranges), RANGES_PER_FRAME)
        ]
        for ranges in sets
    ]
    yield from zip_longest(*cuts, fillvalue=RangeSet()) if any(cuts) else [tuple(sets)]


def ranges_to_wire(chunks: RangeSet) -> list[list[int]]:
    """A range set as JSON: ``[start, stop]`` pairs."""
    return [list(pair) for pair in chunks.ranges]


def decode(frame: memoryview) -> Control | LeafRun | Iterator[Piece]:
    """Read a frame: a control frame and digests at once, the pieces of a chunk frame one by one.

    Raises :class:`RemoteProtocolError`, at once or from the iterator, on anything that is not a frame.
    """
    if not 1 <= len(frame) <= MAX_MESSAGE:
        raise RemoteProtocolError(f"A frame of {len(frame)} bytes arrived.")
    match frame[0]:
        case 0x01:
            return _decode_control(frame)
        case 0x02:
            return _decode_pieces(frame)
        case 0x03:
            return _decode_leaves(frame)
    raise RemoteProtocolError("A frame of an unknown type arrived.")


def _decode_control(frame: memoryview) -> Control:
    if len(frame) > MAX_CONTROL:
        raise RemoteProtocolError("A control frame is too large.")
    try:
        fields = json.loads(str(frame[1:], "utf-8", "surrogatepass"))
        name = fields.pop("frame")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise RemoteProtocolError("A control frame cannot be read.") from error
    if not isinstance(name, str):
        raise RemoteProtocolError("A control frame has no name.")
    return Control(name, fields)


def _decode_pieces(frame: memoryview) -> Iterator[Piece]:
    at = 1
    while at < len(frame):
        start = at + PIECE_HEADER.size
        if start > len(frame):
            raise RemoteProtocolError("A chunk frame is cut short.")
        chunk, offset, length, digest = PIECE_HEADER.unpack_from(frame, at)
        at = start + length
        if at > len(frame):
            raise RemoteProtocolError("A chunk frame is cut short.")
        yield Piece(chunk, offset, digest, frame[start:at])


def _decode_leaves(frame: memoryview) -> LeafRun:
    count, rest = divmod(len(frame) - LEAVES_HEADER.size, LEAF)
    if rest or not 1 <= count <= MAX_LEAVES:
        raise RemoteProtocolError("A frame of digests has a wrong length.")
    _, first = LEAVES_HEADER.unpack_from(frame)
    return LeafRun(first, frame[LEAVES_HEADER.size :])


class ChunkBatch:
    """A buffer in which chunks are laid out as CHUNK frames while they are read, so that no byte is copied.

    ``reserve`` returns where the bytes of the next chunk go, ``commit`` writes the headers in front of them. Small
    chunks share a frame; a chunk that is larger than ``max_frame`` is spread over several, a piece in each. The other
    side may have the first bytes of one chunk: these are read, for the digest, and left out of the frames.
    """

    def __init__(self, buffer: bytearray, max_frame: int) -> None:
        self._view = memoryview(buffer)
        self.start(max_frame)

    @classmethod
    def room_for(cls, chunk_size: int, max_frame: int) -> int:
        """Bytes of a buffer that holds one chunk of this size, headers and all."""
        overhead = 1 + PIECE_HEADER.size
        pieces = max(1, -(-chunk_size // (max_frame - overhead)))
        return chunk_size + pieces * overhead

    def start(self, max_frame: int, rest: tuple[int, int] | None = None) -> None:
        """Clear the buffer, for frames of at most this size.

        ``rest`` names a chunk of which the other side has the first bytes, and how many: fewer than all.
        """
        self._max_frame = max_frame
        self._rest = rest
        self._frames: list[list[int]] = []  # [start, stop] in the buffer
        self._reserved: list[tuple[int, int, int]] = []  # (header at, offset in the chunk, length)
        self.digests: dict[int, bytes] = {}

    def reserve(self, chunk: int, length: int) -> list[memoryview] | None:
        """Where the next chunk's bytes go, in order; None when the buffer has no room for it."""
        known = self._rest[1] if self._rest and self._rest[0] == chunk else 0
        return (None if known else self._beside(length)) or self._spread(length, known)

    def _beside(self, length: int) -> list[memoryview] | None:
        """Room for a whole chunk in the last frame, if it has any."""
        if not self._frames:
            return None
        start, stop = self._frames[-1]
        at = stop + PIECE_HEADER.size
        if at + length > min(start + self._max_frame, len(self._view)):
            return None
        self._reserved = [(stop, 0, length)]
        return [self._view[at : at + length]]

    def _spread(self, length: int, known: int) -> list[memoryview] | None:
        """Room in new frames for a chunk; its first ``known`` bytes lie in front of these frames."""
        header, largest = PIECE_HEADER.size, self._max_frame - 1 - PIECE_HEADER.size
        at = self._frames[-1][1] if self._frames else 0
        slots = [self._view[at : at + known]] if known else []
        at += known
        self._reserved = []
        for offset in range(known, max(1, length), largest):
            part = min(largest, length - offset)
            self._reserved.append((at + 1, offset, part))
            slots.append(self._view[at + 1 + header : at + 1 + header + part])
            at += 1 + header + part
        return slots if at <= len(self._view) else None

    def commit(self, chunk: int, digest: bytes) -> None:
        """Write the headers of a chunk whose bytes are where ``reserve`` said."""
        for at, offset, length in self._reserved:
            PIECE_HEADER.pack_into(self._view, at, chunk, offset, length, digest)
            stop = at + PIECE_HEADER.size + length
            if self._frames and self._frames[-1][1] == at:
                self._frames[-1][1] = stop
            else:
                self._view[at - 1] = CHUNK_TYPE
                self._frames.append([at - 1, stop])
        self.digests[chunk] = digest

    def frames(self) -> list[memoryview]:
        """The finished frames; valid until ``start``."""
        return [self._view[start:stop] for start, stop in self._frames]
