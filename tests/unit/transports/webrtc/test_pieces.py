"""Messages in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import TransportBroken
from nbferry.transports.webrtc.pieces import HEADER, MAX_ASSEMBLED, Cutter, PieceAssembler


def cut(cutter: Cutter, message: bytes) -> list[bytes]:
    """The pieces of a message."""
    with cutter.room(len(message)) as room:
        room[:] = message
    return list(cutter.pieces())


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=HEADER, max_value=20))
def test_messages_come_out_as_they_went_in(messages, piece):
    """Of any size, empty ones too, one after the other, with no piece too large."""
    cutter, joiner = Cutter(piece), PieceAssembler()
    joined = []
    for message in messages:
        for part in cut(cutter, message):
            assert len(part) <= piece
            if (whole := joiner.add(part)) is not None:
                joined.append(bytes(whole))
    assert joined == messages


def test_the_largest_message():
    """What a frame, its tag and an envelope may have; one byte more is our own mistake."""
    cutter, joiner = Cutter(), PieceAssembler()
    *begin, last = cut(cutter, bytes(MAX_ASSEMBLED))
    assert all(joiner.add(piece) is None for piece in begin)
    whole = joiner.add(last)
    assert whole is not None
    assert len(whole) == MAX_ASSEMBLED
    with pytest.raises(ValueError, match="at most"):
        cutter.room(MAX_ASSEMBLED + 1)


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"\0\0\0"],
        [(MAX_ASSEMBLED + 1).to_bytes(4, "big")],
        [b"\xff\xff\xff\xff"],
        [b"\0\0\0\1ab"],
        [b"\0\0\0\3a", b"bcd"],
        [b"\0\0\0\3a", b""],
        ["text"],
        [b"\0\0\0\3a", "b"],
    ],
)
def test_what_is_no_message_breaks_the_pipe(pieces):
    """Sizes that lie, pieces of nothing, text."""
    joiner = PieceAssembler()
    *good, bad = pieces
    for piece in good:
        assert joiner.add(piece) is None
    with pytest.raises(TransportBroken):
        joiner.add(bad)


def test_memory_is_used_again():
    """Messages of one size need one buffer on each side."""
    cutter, joiner = Cutter(), PieceAssembler()
    buffers = set()
    for _ in range(3):
        for piece in cut(cutter, bytes(1000)):
            if (whole := joiner.add(piece)) is not None:
                buffers.add(id(whole.obj))
    assert len(buffers) == 1
