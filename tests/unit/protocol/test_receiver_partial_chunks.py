"""The receiver keeps the beginning of a chunk over a lost connection and asks for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DigestMismatch
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import Control
from rig import SMALL, manifest_of
from unit.protocol.receiver_setup import CHUNK, FILES, Peer, accepted, fails, pieces_of
from wire import chunk_frame, piece


def cut_off(*pieces: bytes) -> tuple[Peer, list[Control]]:
    """A receiver that got these pieces before its connection was lost, and what it wants on the next one."""
    peer = accepted()
    peer.say(chunk_frame(*pieces))
    peer.receiver.disconnected()
    peer.connect()
    return peer, wants(peer.offer())


def wants(frames: list[Control]) -> list[dict[str, Any]]:
    """The fields of all wants, without empty ones."""
    return [
        {name: value for name, value in frame.fields.items() if value}
        for frame in frames
        if frame.name == "want"
    ]


def test_pieces_of_a_lost_connection() -> None:
    """The receiver keeps the beginning of a chunk, and first wants its rest on the next connection."""
    first, second, third = pieces_of(1, 1000, 3000, 96)
    peer, heard = cut_off(first, second)
    assert heard == [
        {"chunks": [[1, 2]], "rest": [1, 4000]},
        {"chunks": [[0, 1], [2, 4]], "digests": [[0, 3]]},
    ]
    peer.say(chunk_frame(third))
    (chunk,) = peer.to_store()
    assert bytes(chunk.data) == b"a" * CHUNK
    assert chunk.digest == chunk_digest(b"a" * CHUNK)


def test_pieces_over_many_connections() -> None:
    """The pieces of a chunk may come over as many connections."""
    parts = pieces_of(0, 1000, 1000, 1000, 1096)
    peer, _ = cut_off(parts[0])
    for times, part in enumerate(parts[1:], 1):
        peer.receiver.disconnected()
        peer.connect()
        assert wants(peer.offer())[0] == {"chunks": [[0, 1]], "rest": [0, 1000 * times]}
        peer.say(chunk_frame(part))
    assert [bytes(chunk.data) for chunk in peer.to_store()] == [b"A" * CHUNK]


def test_a_sender_that_begins_the_chunk_again() -> None:
    """A chunk may also come again from its beginning, in pieces or whole."""
    peer, _ = cut_off(*pieces_of(0, 1000))
    peer.say(chunk_frame(*pieces_of(0, 500, 3500, 96)))
    assert [bytes(chunk.data) for chunk in peer.to_store()] == [b"A" * CHUNK]
    peer, _ = cut_off(*pieces_of(0, 1000))
    assert [bytes(chunk.data) for chunk in peer.send(0)] == [b"A" * CHUNK]
    assert peer.send(1, 2)
    assert peer.receiver.error is None


def test_a_rest_that_does_not_match_the_beginning() -> None:
    """Bytes that change between two connections damage the chunk: the receiver wants all of it again."""
    peer, _ = cut_off(piece(0, b"?" * 1000, bytes(32)))
    peer.say(chunk_frame(*pieces_of(0, 1000, 3096)[1:]))
    (chunk,) = peer.to_store()
    assert chunk.digest == chunk_digest(FILES["a"][:CHUNK]) != chunk_digest(chunk.data)
    peer.store([chunk], right=RangeSet())
    assert wants(peer.heard()) == [{"chunks": [[0, 1]]}]
    assert peer.send(0)
    assert peer.receiver.error is None


def test_rests_that_never_match() -> None:
    """The receiver gives up on a chunk whose bytes keep changing, as on one that is always damaged."""
    peer = accepted()
    for _ in range(SMALL.chunk_attempts):
        peer.say(chunk_frame(piece(0, b"?" * 1000)))
        peer.receiver.disconnected()
        peer.connect()
        peer.offer()
        peer.say(chunk_frame(*pieces_of(0, 1000, 3096)[1:]))
        peer.store(peer.to_store(), right=RangeSet())
    assert fails(peer, DigestMismatch)


@pytest.mark.parametrize(
    "parts",
    [
        # overlaps the bytes that are here already
        [pieces_of(0, 500, 1000)[1:]],
        # a gap
        [pieces_of(0, 2000, 1000)[1:]],
        # continued twice
        [pieces_of(0, 1000, 3097)[1:2], pieces_of(0, 1000, 3096)[1:]],
        # from its beginning, twice
        [pieces_of(0, 1000), pieces_of(0, 1000)],
        # continued first, then from its beginning
        [pieces_of(0, 1000, 1000)[1:], pieces_of(0, 1000)],
        [[piece(0, b"", offset=1000)]],
        [[piece(0, bytes(CHUNK), offset=1000)]],
        # another chunk first
        [[piece(2, FILES["b"])]],
        [pieces_of(1, 1000)],
    ],
)
def test_pieces_that_do_not_continue_the_chunk(parts: list[list[bytes]]) -> None:
    """A piece that neither continues the chunk nor begins it again ends the transfer."""
    peer, _ = cut_off(*pieces_of(0, 1000))
    for part in parts:
        peer.say(chunk_frame(*part))
    assert fails(peer)


def test_a_piece_before_its_rest_is_wanted() -> None:
    """The sender may not continue a chunk before the receiver wants its rest."""
    peer = accepted()
    peer.say(chunk_frame(*pieces_of(0, 1000)))
    peer.receiver.disconnected()
    peer.receiver.pause()
    peer.connect()
    assert wants(peer.offer()) == []
    peer.say(chunk_frame(*pieces_of(0, 1000, 96)[1:]))
    assert fails(peer)


def test_a_rest_after_a_pause() -> None:
    """After pauses, and connections that were paused throughout, the receiver still wants the rest first."""
    peer = accepted()
    peer.say(chunk_frame(*pieces_of(1, 1000)))
    peer.receiver.pause()
    for _ in range(2):
        peer.receiver.disconnected()
        peer.connect()
        assert wants(peer.offer()) == []
    peer.receiver.resume()
    assert wants(peer.heard())[0] == {"chunks": [[1, 2]], "rest": [1, 1000]}


def test_the_rest_before_lower_chunks() -> None:
    """The receiver wants the rest before lower chunks, within the window, and no digest of an incomplete file."""
    files = {"a": bytes(8 * CHUNK), "b": bytes(CHUNK)}
    peer = Peer(manifest_of(files))
    peer.files = files
    peer.connect()
    peer.offer()
    peer.list()
    peer.receiver.accept(0.0, RangeSet())
    assert wants(peer.heard()) == [{"chunks": [[0, 4]]}]
    stored = peer.send(0, 1, 2)
    peer.say(chunk_frame(piece(3, bytes(CHUNK - 1))))
    peer.receiver.disconnected()
    peer.store(stored, right=RangeSet.of(1, 2))
    peer.connect()
    assert wants(peer.offer()) == [
        {"chunks": [[3, 4]], "rest": [3, CHUNK - 1]},
        {"chunks": [[0, 1], [4, 6]]},
    ]
    assert peer.receiver.outstanding <= SMALL.window


def test_the_rest_that_completes_a_file() -> None:
    """If only a rest completes a file, the receiver asks for the file's digest after it."""
    peer = accepted()
    peer.store(peer.send(0, 2, 3))
    peer.say(chunk_frame(*pieces_of(1, 1000)))
    peer.receiver.disconnected()
    peer.connect()
    first, second = wants(peer.offer())
    assert first == {"chunks": [[1, 2]], "rest": [1, 1000]}
    assert second == {"digests": [[0, 1]]}
