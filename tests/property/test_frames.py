"""Any bytes are a frame or an error, and every frame can be read back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from nbferry.errors import RemoteProtocolError
from nbferry.model.manifest import Entry
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import (
    PIECE_HEADER,
    ChunkBatch,
    Control,
    LeafRun,
    Piece,
    decode,
    encode_leaves,
    ranges_to_wire,
)

TEXT = st.text(st.characters(categories=None), max_size=20)  # lone surrogates, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
HEADER = PIECE_HEADER.size


def read(frame: bytes | memoryview) -> Control | LeafRun | list[Piece]:
    """Decode a frame to the end."""
    decoded = decode(memoryview(frame))
    return decoded if isinstance(decoded, Control | LeafRun) else list(decoded)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x02" + bytes(48) + b"\x00")
def test_any_bytes(frame: bytes) -> None:
    """Any bytes are a frame or a protocol error, and never another exception."""
    with suppress(RemoteProtocolError):
        read(frame)


@given(st.sampled_from([1, 2, 3]), st.binary(max_size=300))
def test_any_bytes_of_a_known_kind(kind: int, body: bytes) -> None:
    """Pieces and digests lie in their frames without gaps; anything else is an error."""
    with suppress(RemoteProtocolError):
        frame = read(bytes([kind]) + body)
        if isinstance(frame, LeafRun):
            assert 8 + 32 * len(frame.chunks) == len(body)
        if isinstance(frame, list):
            assert sum(HEADER + len(piece.data) for piece in frame) == len(body)


@given(JSON)
def test_any_json(value: Any) -> None:
    """Any JSON is a control frame with a name, or an error."""
    with suppress(RemoteProtocolError):
        body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        frame = read(b"\x01" + body)
        assert isinstance(frame, Control)
        assert value["frame"] == frame.name


@given(TEXT, st.dictionaries(TEXT.filter("frame".__ne__), JSON, max_size=4))
def test_control_frames_are_read_back(name: str, fields: dict[str, Any]) -> None:
    """A control frame's name and fields are read back."""
    frame = Control(name, fields)
    assert read(frame.encode()) == frame


@given(JSON)
def test_fields_of_any_kind(value: Any) -> None:
    """Reading a field of any kind gives a value of the right kind or an error."""
    frame = Control("test", {"field": value})
    for ask, kind in (
        (lambda: frame.text("field", limit=10), str),
        (lambda: frame.number("field", maximum=100), int),
        (lambda: frame.items("field", limit=3), list),
        (lambda: frame.ranges("field", stop=100), RangeSet),
        (lambda: Entry.from_wire(value), Entry),
    ):
        with suppress(RemoteProtocolError):
            assert type(ask()) is kind


@given(st.sets(st.integers(0, 200)))
def test_sets_of_chunks_are_read_back(chunks: set[int]) -> None:
    """A set of chunks is read back as the same set."""
    ranges = RangeSet.of(*chunks)
    frame = read(Control("want", {"chunks": ranges_to_wire(ranges)}).encode())
    assert isinstance(frame, Control)
    assert frame.ranges("chunks", stop=201) == ranges


@given(st.integers(0, 2**64 - 100), st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20))
def test_digests_of_chunks_are_read_back(first: int, digests: list[bytes]) -> None:
    """Digests of consecutive chunks are read back, each with its chunk."""
    run = read(encode_leaves(first, b"".join(digests)))
    assert isinstance(run, LeafRun)
    assert list(run.pairs()) == list(enumerate(digests, first))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any valid entry of an offer."""
    folder = draw(st.booleans())
    size = 0 if folder else draw(st.integers(0, 1 << 53))
    return Entry(
        draw(TEXT), size, draw(st.integers(1 - (1 << 63), (1 << 63) - 1)), draw(st.booleans()), folder
    )


@given(entries())
def test_entries_are_read_back(entry: Entry) -> None:
    """An entry is read back unchanged."""
    frame = read(Control("entries", {"entries": [entry.to_wire()]}).encode())
    assert isinstance(frame, Control)
    assert Entry.from_wire(frame.fields["entries"][0]) == entry


@given(
    st.lists(st.binary(max_size=400), max_size=12),
    st.integers(HEADER + 2, 700),
    st.integers(0, 3000),
)
def test_batches(chunks: list[bytes], max_frame: int, room: int) -> None:
    """For chunks, frames and buffers of any size, the chunks that fit are read back whole and in order."""
    batch = ChunkBatch(bytearray(room), max_frame)
    laid_out = 0
    for number, data in enumerate(chunks):
        slots = batch.reserve(number, len(data))
        if slots is None:
            break
        at = 0
        for slot in slots:
            slot[:] = data[at : at + len(slot)]
            at += len(slot)
        assert at == len(data)
        batch.commit(number, number.to_bytes(32))
        laid_out += 1
    frames = batch.frames()
    assert all(len(frame) <= max_frame for frame in frames)
    assert sum(map(len, frames)) <= room
    assert list(batch.digests) == list(range(laid_out))
    if laid_out < len(chunks) and not laid_out:
        assert room < ChunkBatch.room_for(len(chunks[0]), max_frame)
    whole: dict[int, bytes] = {}
    for frame in frames:
        pieces = read(frame)
        assert isinstance(pieces, list)
        for piece in pieces:
            assert piece.digest == piece.chunk.to_bytes(32)
            assert piece.offset == len(whole.get(piece.chunk, b""))
            assert piece.chunk == max([*whole, piece.chunk])
            whole[piece.chunk] = whole.get(piece.chunk, b"") + bytes(piece.data)
    assert whole == dict(enumerate(chunks[:laid_out]))
