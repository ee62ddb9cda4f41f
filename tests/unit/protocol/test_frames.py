"""Frames to bytes and back; any bytes at all are tried in tests/property/test_frames.py."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import LocalProtocolError, RemoteProtocolError
from nbferry.limits import MAX_MESSAGE, KiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import (
    LEAVES_HEADER,
    MAX_CONTROL,
    MAX_LEAVES,
    MAX_RANGES,
    PIECE_HEADER,
    RANGES_PER_FRAME,
    ChunkBatch,
    Control,
    LeafRun,
    Piece,
    decode,
    encode_leaves,
    ranges_to_wire,
    split,
)
from wire import chunk_frame, piece, raw

HEADER = PIECE_HEADER.size
DIGEST = bytes(range(32))


def pieces_of(frame: memoryview | bytes) -> list[Piece]:
    """The pieces of a chunk frame."""
    read = decode(memoryview(frame))
    assert not isinstance(read, Control | LeafRun)
    return list(read)


# ---------------------------------------------------------------- control frames
def test_a_control_frame_travels() -> None:
    """A name and fields come out as they went in, lone surrogates of file names, too."""
    frame = Control("offer", {"id": "x", "names": ["ä", "\udcff", "🚢"], "n": 2**53, "none": None})
    assert decode(memoryview(frame.encode())) == frame
    assert frame.encode()[:1] == b"\x01"


def test_a_control_frame_of_ours_that_is_too_large() -> None:
    """A control frame above the bound is our own mistake, and is not sent."""
    with pytest.raises(LocalProtocolError):
        Control("progress", {"verified": "x" * MAX_CONTROL}).encode()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x04{}",
        b"\x01",
        b"\x01{",
        b"\x01\xff",
        b"\x01[]",
        b"\x01[1]",
        b"\x01null",
        b'\x01"frame"',
        b"\x01{}",
        b'\x01{"frame": 5}',
        b'\x01{"frame": null}',
        b"\x01" + b"[" * 100_000,
        b"\x01" + b"1" * 10_000,
        b'\x01{"frame": "' + b"x" * MAX_CONTROL + b'"}',
        bytes([2]) * (MAX_MESSAGE + 1),
    ],
    ids=lambda frame: repr(frame[:12]),
)
def test_what_is_no_frame(frame: bytes) -> None:
    """Anything that is not a frame is the other side's mistake."""
    with pytest.raises(RemoteProtocolError):
        decode(memoryview(frame))


def control(**fields: Any) -> Control:
    """A control frame that was decoded."""
    frame = decode(raw({"frame": "test", **fields}))
    assert isinstance(frame, Control)
    return frame


def test_text_fields() -> None:
    """A text is cut to what is asked for, and has a default."""
    assert control(a="x" * 600).text("a") == "x" * 500
    assert control(a="xyz").text("a", limit=2) == "xy"
    assert control().text("a") == ""
    assert control().text("a", "none") == "none"
    with pytest.raises(RemoteProtocolError, match="test frame has a wrong 'a'"):
        control(a=5).text("a")


def test_number_fields() -> None:
    """A number must be there, be whole and lie between its bounds."""
    assert control(a=7).number("a", minimum=7, maximum=7) == 7
    for wrong in (None, True, 7.0, "7", -1, 8, [7]):
        with pytest.raises(RemoteProtocolError):
            control(a=wrong).number("a", maximum=7)
    with pytest.raises(RemoteProtocolError):
        control().number("a", maximum=7)


def test_list_fields() -> None:
    """A list may be absent, and may not be longer than what is asked for."""
    assert control(a=[1, "b"]).items("a", limit=2) == [1, "b"]
    assert control().items("a", limit=0) == []
    for wrong in (None, {}, "ab", [1, 2, 3]):
        with pytest.raises(RemoteProtocolError):
            control(a=wrong).items("a", limit=2)


def test_range_fields() -> None:
    """Ranges may come in any order and overlap; absent means empty."""
    assert control(a=[[5, 6], [0, 2], [1, 3]]).ranges("a", stop=6) == RangeSet(((0, 3), (5, 6)))
    assert control().ranges("a", stop=0) == RangeSet()


@pytest.mark.parametrize(
    "pair", [[0, 0], [2, 1], [-1, 1], [0, 7], [0], [0, 1, 2], [0, "1"], [0.0, 1], 5, "ab", None, {"0": 1}]
)
def test_wrong_ranges(pair: Any) -> None:
    """A pair that is no range, or goes beyond the end, is the other side's mistake."""
    with pytest.raises(RemoteProtocolError):
        control(a=[[0, 1], pair]).ranges("a", stop=6)


def test_too_many_ranges() -> None:
    """No field has more ranges than the specification says."""
    pairs = [[n, n + 1] for n in range(MAX_RANGES + 1)]
    assert len(Control("test", {"a": pairs[1:]}).ranges("a", stop=10**6)) == MAX_RANGES
    with pytest.raises(RemoteProtocolError):
        Control("test", {"a": pairs}).ranges("a", stop=10**6)


def test_ranges_on_the_wire() -> None:
    """A set of chunks is a list of pairs, which reads back as the same set."""
    chunks = RangeSet.of(1, 2, 5)
    assert ranges_to_wire(chunks) == [[1, 3], [5, 6]]
    assert control(a=ranges_to_wire(chunks)).ranges("a", stop=6) == chunks


def test_large_sets_are_split() -> None:
    """Sets of very many ranges are cut into parts that fit into a frame together, and add up."""
    scattered = RangeSet(tuple((n, n + 1) for n in range(2**38, 2**38 + 5 * RANGES_PER_FRAME, 2)))
    parts = list(split(scattered, RangeSet.of(1), scattered, scattered))
    assert [len(part[0].ranges) for part in parts] == [
        RANGES_PER_FRAME,
        RANGES_PER_FRAME,
        RANGES_PER_FRAME // 2,
    ]
    assert [part[1] for part in parts] == [RangeSet.of(1), RangeSet(), RangeSet()]
    assert RangeSet.union(pair for part in parts for pair in part[2].ranges) == scattered
    fields = {str(n): ranges_to_wire(ranges) for n, ranges in enumerate(parts[0][1:])}
    assert len(Control("want", fields).encode()) <= MAX_CONTROL


def test_small_sets_are_one_part() -> None:
    """Sets of few ranges are one part, and so is nothing at all."""
    assert list(split(RangeSet.of(1), RangeSet())) == [(RangeSet.of(1), RangeSet())]
    assert list(split(RangeSet(), RangeSet())) == [(RangeSet(), RangeSet())]


# ---------------------------------------------------------------- digests of chunks
def test_digests_travel() -> None:
    """A run of digests comes out as it went in, and lies in the frame."""
    digests = bytes(range(32)) + bytes(32)
    frame = memoryview(encode_leaves(2**40, digests))
    run = decode(frame)
    assert isinstance(run, LeafRun)
    assert run.chunks == RangeSet.span(2**40, 2**40 + 2)
    assert list(run.pairs()) == [(2**40, DIGEST), (2**40 + 1, bytes(32))]
    assert run.digests.obj is frame.obj
    assert bytes(frame[:9]) == b"\x03" + (2**40).to_bytes(8)


@pytest.mark.parametrize("length", [0, 5, 8, 8 + 31, 8 + 33, 8 + 32 * (MAX_LEAVES + 1)])
def test_digests_of_a_wrong_length(length: int) -> None:
    """No digest, too many, or a part of one are the other side's mistake."""
    assert LEAVES_HEADER.size == 9
    with pytest.raises(RemoteProtocolError):
        decode(memoryview(b"\x03" + bytes(length)))
    assert isinstance(decode(memoryview(encode_leaves(0, bytes(32 * MAX_LEAVES)))), LeafRun)


# ---------------------------------------------------------------- chunk frames
def test_pieces_are_views_of_the_frame() -> None:
    """The pieces of a chunk frame lie in it, one after the other; an empty one is a piece, too."""
    frame = chunk_frame(piece(7, b"seven", DIGEST), piece(8, b""), piece(2**64 - 1, b"x", offset=2**32 - 1))
    first, second, third = pieces_of(frame)
    assert (first.chunk, first.offset, first.digest, bytes(first.data)) == (7, 0, DIGEST, b"seven")
    assert (second.chunk, len(second.data)) == (8, 0)
    assert (third.chunk, third.offset) == (2**64 - 1, 2**32 - 1)
    assert first.data.obj is frame.obj


def test_a_chunk_frame_without_pieces() -> None:
    """A chunk frame may be empty."""
    assert pieces_of(b"\x02") == []


@pytest.mark.parametrize("cut", [1, HEADER - 1, HEADER, HEADER + 4])
def test_a_chunk_frame_that_is_cut_short(cut: int) -> None:
    """A header or a piece that goes beyond the frame is the other side's mistake; what comes before is given."""
    whole = piece(1, b"whole")
    pieces = decode(chunk_frame(whole, piece(2, b"half!")[:cut]))
    assert not isinstance(pieces, Control | LeafRun)
    assert next(pieces).chunk == 1
    with pytest.raises(RemoteProtocolError):
        next(pieces)


# ---------------------------------------------------------------- batches
def fill(batch: ChunkBatch, chunk: int, data: bytes) -> bool:
    """Lay a chunk out; whether there was room."""
    slots = batch.reserve(chunk, len(data))
    if slots is None:
        return False
    at = 0
    for slot in slots:
        slot[:] = data[at : at + len(slot)]
        at += len(slot)
    assert at == len(data)
    batch.commit(chunk, bytes([chunk]) * 32)
    return True


def test_small_chunks_share_a_frame() -> None:
    """Chunks that fit into one frame together travel in one, empty ones, too."""
    batch = ChunkBatch(bytearray(1000), max_frame=300)
    data = {1: b"one", 2: b"", 3: b"three"}
    assert all(fill(batch, chunk, part) for chunk, part in data.items())
    (frame,) = batch.frames()
    assert {piece.chunk: bytes(piece.data) for piece in pieces_of(frame)} == data
    assert batch.digests == {1: b"\1" * 32, 2: b"\2" * 32, 3: b"\3" * 32}


def test_a_full_frame_is_followed_by_another() -> None:
    """No frame is larger than what was asked for; the next chunk starts a new one."""
    batch = ChunkBatch(bytearray(1000), max_frame=1 + HEADER + 100)
    assert fill(batch, 1, bytes(60))
    assert fill(batch, 2, bytes(60))
    assert [len(frame) for frame in batch.frames()] == [1 + HEADER + 60] * 2


def test_a_large_chunk_is_cut() -> None:
    """A chunk that no frame holds is spread over several, in order, and the next may share the last of them."""
    batch = ChunkBatch(bytearray(1000), max_frame=1 + HEADER + 100)
    data = bytes(range(210))
    assert fill(batch, 1, data)
    assert fill(batch, 2, b"more")
    frames = batch.frames()
    assert [len(frame) for frame in frames] == [1 + HEADER + 100] * 2 + [1 + 2 * HEADER + 14]
    pieces = [piece for frame in frames for piece in pieces_of(frame)]
    assert [(p.chunk, p.offset, len(p.data)) for p in pieces] == [
        (1, 0, 100),
        (1, 100, 100),
        (1, 200, 10),
        (2, 0, 4),
    ]
    assert b"".join(piece.data for piece in pieces) == data + b"more"


def test_a_batch_without_room() -> None:
    """A chunk for which there is no room is not laid out, and what is there stays as it is."""
    batch = ChunkBatch(bytearray(1 + HEADER + 50), max_frame=1000)
    assert fill(batch, 1, b"a" * 40)
    assert not fill(batch, 2, b"")
    assert not fill(batch, 2, b"b" * 20)
    (frame,) = batch.frames()
    assert [(p.chunk, bytes(p.data)) for p in pieces_of(frame)] == [(1, b"a" * 40)]


def test_the_rest_of_a_chunk() -> None:
    """Of a chunk whose beginning is there already all is read, and only the rest is in the frames."""
    batch = ChunkBatch(bytearray(1000), max_frame=1 + HEADER + 100)
    batch.start(1 + HEADER + 100, rest=(7, 60))
    data = bytes(range(210))
    assert fill(batch, 7, data)
    assert fill(batch, 8, b"more")
    pieces = [piece for frame in batch.frames() for piece in pieces_of(frame)]
    assert [(p.chunk, p.offset, len(p.data)) for p in pieces] == [(7, 60, 100), (7, 160, 50), (8, 0, 4)]
    assert b"".join(piece.data for piece in pieces) == data[60:] + b"more"
    assert all(len(frame) <= 1 + HEADER + 100 for frame in batch.frames())


def test_the_rest_of_a_chunk_behind_others() -> None:
    """It may come after other chunks, then in a frame of its own, and is whole in the next use of the batch."""
    batch = ChunkBatch(bytearray(1000), max_frame=500)
    batch.start(500, rest=(2, 1))
    assert fill(batch, 1, b"one")
    assert fill(batch, 2, b"two")
    assert fill(batch, 3, b"three")
    first, second = (
        [(p.chunk, p.offset, bytes(p.data)) for p in pieces_of(frame)] for frame in batch.frames()
    )
    assert first == [(1, 0, b"one")]
    assert second == [(2, 1, b"wo"), (3, 0, b"three")]
    batch.start(500)
    assert fill(batch, 2, b"two")
    assert [p.offset for frame in batch.frames() for p in pieces_of(frame)] == [0]


@pytest.mark.parametrize("known", [1, 64 * KiB - 1 - HEADER, 64 * KiB, 1024 * KiB])
def test_room_for_the_rest_of_a_chunk(known: int) -> None:
    """A buffer of ``room_for`` a chunk holds it also when its beginning is only read."""
    size, frame = 1024 * KiB + 1, 64 * KiB
    batch = ChunkBatch(bytearray(ChunkBatch.room_for(size, frame)), frame)
    batch.start(frame, rest=(1, known))
    assert fill(batch, 1, bytes(size))


def test_a_batch_begins_anew() -> None:
    """After ``start`` the buffer is free, with frames of another size."""
    batch = ChunkBatch(bytearray(1 + HEADER + 50), max_frame=1000)
    assert fill(batch, 1, b"a" * 50)
    batch.start(1 + HEADER + 50)
    assert batch.frames() == []
    assert batch.digests == {}
    assert fill(batch, 2, b"b" * 50)


@pytest.mark.parametrize("size", [0, 1, 4 * KiB, 64 * KiB - 1 - HEADER, 64 * KiB, 1024 * KiB + 1])
def test_room_for_one_chunk(size: int) -> None:
    """A buffer of ``room_for`` a chunk holds one, and one of a byte less does not."""
    frame = 64 * KiB
    assert fill(ChunkBatch(bytearray(ChunkBatch.room_for(size, frame)), frame), 1, bytes(size))
    assert not fill(ChunkBatch(bytearray(ChunkBatch.room_for(size, frame) - 1), frame), 1, bytes(size))
