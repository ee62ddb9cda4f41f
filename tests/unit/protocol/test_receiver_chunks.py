"""The receiver takes exactly the chunks that it asked for."""

from __future__ import annotations

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DigestMismatch, DiskFull
from nbferry.limits import GiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Store
from nbferry.protocol.phases import Phase
from rig import SMALL
from unit.protocol.receiver_setup import CHUNK, FILES, accepted, fails, offered, pieces_of
from wire import chunk_frame, names, piece, the


def test_chunks_are_stored() -> None:
    """A chunk is verified when it is checked and written; the next report tells the sender."""
    peer = accepted()
    peer.receiver.deadline_passed(0.0)
    peer.heard()
    chunks = peer.send(2, 3, now=7.0)
    assert [bytes(chunk.data) for chunk in chunks] == [FILES["b"], b""]
    assert peer.receiver.verified == RangeSet()
    peer.store(chunks, now=7.0)
    assert peer.receiver.verified == RangeSet.of(2, 3)
    assert peer.receiver.next_deadline() == 7.0 + SMALL.report_interval
    assert peer.heard() == []
    peer.receiver.deadline_passed(7.0 + SMALL.report_interval)
    expected = {"verified": [[2, 4]], "durable": [], "state": "transferring", "all": False}
    assert the(peer.heard(), "progress") == expected


def test_a_whole_chunk_is_not_copied() -> None:
    """A chunk that comes whole is not copied: the driver keeps the frame until it is stored."""
    peer = accepted()
    frame = chunk_frame(piece(3, b""), piece(2, FILES["b"]))
    peer.say(frame)
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert not event.assembled
    assert all(chunk.data.obj is frame.obj for chunk in event.chunks)


def test_a_chunk_in_pieces() -> None:
    """A chunk in pieces is assembled in memory of its own; the driver need not keep the frames."""
    peer = accepted()
    for part in pieces_of(0, 1000, 3000, CHUNK - 4000):
        assert peer.to_store() == []
        peer.say(chunk_frame(part))
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert event.assembled
    assert bytes(event.chunks[0].data) == FILES["a"][:CHUNK]
    assert event.chunks[0].digest == chunk_digest(FILES["a"][:CHUNK])


def test_the_end_of_a_chunk_beside_whole_ones() -> None:
    """A frame that ends one chunk and has others whole is needed until they are stored."""
    peer = accepted()
    first, last = pieces_of(0, 4000, CHUNK - 4000)
    peer.say(chunk_frame(first))
    for order in ([last, piece(2, FILES["b"])],):
        peer.say(chunk_frame(*order))
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert [chunk.chunk for chunk in event.chunks] == [0, 2]
    assert not event.assembled


@pytest.mark.parametrize(
    "frames",
    [
        # no such chunk
        [[piece(9, b"")]],
        [[piece(2**64 - 1, b"")]],
        # too long
        [[piece(2, FILES["b"] + b"!")]],
        # the right length, but not from the chunk's beginning
        [[piece(2, FILES["b"], offset=1)]],
        # an empty piece of a chunk that is not empty
        [[piece(2, b"")]],
        [[piece(3, b"!")]],
        # twice at once
        [[piece(2, FILES["b"]), piece(2, FILES["b"])]],
        # twice
        [[piece(2, FILES["b"])], [piece(2, FILES["b"])]],
        # the second piece without the first
        [pieces_of(0, 1000, 96)[1:]],
        # the first piece again
        [pieces_of(0, 1000, 3000)[:1], pieces_of(0, 1000, 3000)[:1]],
        # a gap
        [[*pieces_of(0, 1000)], pieces_of(0, 2000, 2096)[1:]],
        # another chunk before the end of this one
        [[*pieces_of(0, 1000)], [piece(2, FILES["b"])]],
        [[*pieces_of(0, 1000)], [piece(3, b"")]],
        [[*pieces_of(0, 1000)], pieces_of(1, 1000)],
        # beyond its end
        [[*pieces_of(0, 1000)], [piece(0, bytes(CHUNK), offset=1000)]],
        [[b"short"]],
    ],
)
def test_wrong_chunks(frames: list[list[bytes]]) -> None:
    """Unsolicited, repeated, overlong, short and disordered chunks end the transfer."""
    peer = accepted()
    for parts in frames:
        peer.say(chunk_frame(*parts))
    assert fails(peer)


def test_a_chunk_before_the_answer() -> None:
    """The sender may send no chunk before the receiver accepts."""
    peer = offered()
    peer.say(chunk_frame(piece(0, b"")))
    assert fails(peer)


def test_chunks_after_the_end_are_ignored() -> None:
    """A chunk that arrives after the end is neither stored nor an error."""
    peer = accepted()
    peer.receiver.cancel("", 0.0)
    assert peer.send(0) == []
    assert peer.receiver.phase is Phase.CANCELLED


def test_a_frame_without_chunks() -> None:
    """A chunk frame may be empty, and stores nothing."""
    peer = accepted()
    peer.say(chunk_frame())
    assert peer.to_store() == []
    assert peer.receiver.error is None


def test_a_damaged_chunk_is_wanted_again() -> None:
    """The receiver wants a damaged chunk again, but not the others of its frame."""
    peer = accepted()
    peer.heard()
    peer.store(peer.send(0, 1, 2, 3), right=RangeSet.of(0, 2, 3))
    assert the(peer.heard(), "want") == {"chunks": [[1, 2]], "digests": [], "leaves": []}
    assert peer.receiver.verified == RangeSet.of(0, 2, 3)


def test_a_chunk_that_is_always_damaged() -> None:
    """The receiver gives up after a limited number of attempts."""
    peer = accepted()
    for _ in range(SMALL.chunk_attempts):
        assert peer.receiver.error is None
        peer.store(peer.send(1), right=RangeSet())
    assert fails(peer, DigestMismatch)


def test_chunks_stored_after_the_connection_is_lost() -> None:
    """Chunks that arrived before the connection was lost count; the next one brings the others."""
    peer = accepted()
    chunks = peer.send(0, 2)
    peer.receiver.disconnected()
    peer.store(chunks)
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "progress")["verified"] == [[0, 1], [2, 3]]
    assert the(frames, "want") == {"chunks": [[1, 2], [3, 4]], "digests": [[0, 1], [2, 3]], "leaves": []}


def test_storage_that_answers_after_the_end() -> None:
    """After the end the receiver ignores its storage."""
    peer = accepted()
    chunks = peer.send(0)
    peer.receiver.cancel("", 0.0)
    peer.store(chunks)
    peer.receiver.storage_full({0: bytes(32)}, DiskFull(5))
    peer.receiver.published(0.0)
    assert peer.receiver.phase is Phase.CANCELLED
    assert peer.receiver.verified == RangeSet()
    assert not peer.receiver.paused


def test_memory_is_bounded_by_the_window() -> None:
    """However large the offer is, the window limits what is outstanding."""
    limits = Limits(chunk_size=CHUNK, window=20 * CHUNK, read_ahead=20 * CHUNK)
    peer = accepted(Manifest.of([Entry("a", 1 * GiB)], CHUNK), limits)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    assert (stop - start) * CHUNK <= peer.receiver.outstanding <= limits.window
