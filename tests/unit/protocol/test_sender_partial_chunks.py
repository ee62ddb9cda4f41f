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
    """Read all that is wanted, and take it: chunk, offset and length of each piece."""
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
    """Of a chunk of which the receiver has the beginning only what comes behind it is sent, with the whole's digest."""
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
    """Wanted again, on this connection or on another one, the chunk comes whole."""
    sender = accepted()
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 10]), 0)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 10, 90), (3, 0, 100)]
    sender.disconnected()
    connect(sender)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 0, 100)]


def test_the_rest_once_for_each_connection() -> None:
    """Each connection may begin with the rest of a chunk; later there is no cause to ask for one."""
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
        [0, 0],  # nothing is there
        [0, CHUNK],  # everything is
        [0, CHUNK + 1],
        [0, -1],
        [3, 100],  # of a shorter one
        [4, 1],  # of an empty one
        [2, 1],  # of one that is not wanted
        [5, 1],  # of one that there is not
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
def test_a_rest_that_cannot_be(rest: Any) -> None:
    """A rest of what is not wanted, or of as many bytes as cannot be there, ends the transfer."""
    sender = accepted()
    sender.receive(control("want", chunks=[[0, 2], [3, 5]], rest=rest), 0)
    assert isinstance(sender.error, RemoteProtocolError)
