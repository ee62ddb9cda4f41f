"""The sender sends the rest of a chunk of which the receiver has the beginning."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import RemoteProtocolError
from nbferry.protocol.frames import Control, LeafRun, decode
from nbferry.protocol.sender import Sender
from unit.protocol.sender_setup import CHUNK, FILES, accepted, connect, read, want
from wire import control


def pieces_sent(sender: Sender) -> list[tuple[int, int, int]]:
    """Read and take everything that is wanted; return chunk, offset and length of each piece."""
    while read(sender):
        continue
    sent = []
    while (frame := sender.next_frame(0)) is not None:
        pieces = decode(memoryview(bytes(frame)))
        assert not isinstance(pieces, Control | LeafRun)
        for part in pieces:
            stop = part.offset + len(part.data)
            assert part.data == FILES["abc"[max(0, part.chunk - 2)]][part.offset : stop]
            assert part.digest == chunk_digest((FILES["a"][:CHUNK], FILES["b"])[part.chunk == 3])
            sent.append((part.chunk, part.offset, len(part.data)))
    return sent


def test_the_rest_of_a_chunk() -> None:
    """The sender sends only the rest of a chunk that the receiver has in part, with the digest of the whole."""
    sender = accepted()
    sender.frame_size = 1500
    sender.receive(control("want", chunks=[[1, 2]], rest=[1, 3000]), 0)
    want(sender, [[2, 4]])
    assert pieces_sent(sender) == [
        (1, 3000, CHUNK - 3000),
        (2, 0, 1451),
        (2, 1451, 1451),
        (2, 2902, CHUNK - 2902),
        (3, 0, 100),
    ]


def test_the_last_byte_of_a_chunk() -> None:
    """The rest of a chunk may be one byte of it."""
    sender = accepted()
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 99]), 0)
    assert pieces_sent(sender) == [(3, 99, 1)]


def test_the_rest_belongs_to_its_want() -> None:
    """A want without a rest gets the whole chunk, on this connection and on the next one."""
    sender = accepted()
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 10]), 0)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 10, 90), (3, 0, 100)]
    sender.disconnected()
    connect(sender)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 0, 100)]


def test_the_rest_once_for_each_connection() -> None:
    """The receiver may ask for a rest once on each connection, with its first chunks."""
    sender = accepted()
    for _ in range(2):
        sender.receive(control("want", leaves=[[0, 1]]), 0)
        sender.receive(control("want", chunks=[[0, 4]], rest=[0, 10]), 0)
        assert sender.error is None
        sender.disconnected()
        connect(sender)
    want(sender, [[0, 1]])
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 10]), 0)
    assert isinstance(sender.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "rest",
    [
        # the receiver has no byte of it
        [0, 0],
        # the receiver has all of it
        [0, CHUNK],
        [0, CHUNK + 1],
        [0, -1],
        # beyond the end of a short chunk
        [3, 100],
        # an empty chunk
        [4, 1],
        # a chunk that is not wanted
        [2, 1],
        # no such chunk
        [5, 1],
        [-1, 1],
        [0],
        [0, 1, 2],
        [0, 0.5],
        ["0", 1],
        {"0": 1},
        "all",
        7,
    ],
    ids=str,
)
def test_impossible_rests(rest: Any) -> None:
    """A rest of an unwanted chunk, or from an impossible offset, ends the transfer."""
    sender = accepted()
    sender.receive(control("want", chunks=[[0, 2], [3, 5]], rest=rest), 0)
    assert isinstance(sender.error, RemoteProtocolError)
