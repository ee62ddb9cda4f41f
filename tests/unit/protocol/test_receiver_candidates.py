"""The receiver compares chunks that it may have already with the sender's digests."""

from __future__ import annotations

import pytest

from nbferry.errors import DiskFull
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import AT_ONCE, COMPARE_CHUNKS, MAX_ASKED
from nbferry.protocol.events import Sync
from nbferry.protocol.frames import encode_leaves
from nbferry.protocol.phases import Phase
from rig import SMALL, manifest_of
from unit.protocol.receiver_setup import CHUNK, EVERYTHING, Peer, fails, offered, resumed
from wire import control, names, the


def test_the_receiver_asks_for_digests_of_candidates() -> None:
    """The receiver asks for the digests of candidates, and for the chunks that it does not have."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    assert the(peer.heard(), "want") == {"chunks": [[2, 4]], "digests": [[1, 3]], "leaves": [[0, 2]]}
    assert peer.receiver.candidates == RangeSet.of(0, 1)
    assert peer.to_compare() == []


def test_right_candidates_are_kept() -> None:
    """A candidate with the sender's digest counts like a chunk that arrived; the receiver wants the others."""
    peer = resumed(candidates=RangeSet.of(0, 1, 2))
    peer.heard()
    peer.tell(0, 3)
    assert peer.to_compare() == [0, 1, 2]
    peer.receiver.compared([0, 1, 2], RangeSet.of(0, 2), 1.0)
    assert peer.receiver.verified == peer.receiver.reused == RangeSet.of(0, 2)
    assert peer.receiver.durable == RangeSet()
    assert not peer.receiver.candidates
    assert the(peer.heard(), "want") == {"chunks": [[1, 2]], "digests": [[0, 1]], "leaves": []}
    peer.receiver.deadline_passed(1.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1
    peer.receiver.synced(4.0)
    assert peer.receiver.durable == RangeSet.of(0, 2)


def test_every_chunk_is_here_already() -> None:
    """If all candidates are right no chunk is sent; files are compared and published as usual."""
    peer = resumed(candidates=EVERYTHING)
    assert the(peer.heard(), "want") == {"chunks": [], "digests": [], "leaves": [[0, 4]]}
    peer.tell(0, 4)
    peer.to_compare()
    peer.receiver.compared(range(4), EVERYTHING, 0.0)
    assert the(peer.heard(), "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}
    peer.digests(0, 1, 2)
    assert peer.receiver.phase is Phase.WRITING
    assert peer.receiver.file_digests() == [peer.leaves().file(n) for n in range(3)]


def test_digests_in_any_order() -> None:
    """The sender may tell digests in any order; the receiver compares each chunk when its digest arrives."""
    peer = resumed(candidates=EVERYTHING)
    peer.tell(3)
    peer.tell(1, 3)
    assert peer.to_compare() == [3, 1, 2]
    peer.receiver.compared([3], RangeSet.of(3), 0.0)
    assert peer.receiver.phase is Phase.TRANSFERRING
    peer.tell(0)
    assert peer.to_compare() == [0]


@pytest.mark.parametrize("first", [1, 3, 2**64 - 1])
def test_unsolicited_digests_of_chunks(first: int) -> None:
    """Digests of chunks that are not candidates, or whose digest came already, end the transfer."""
    peer = resumed(candidates=RangeSet.of(1, 2))
    peer.tell(1)
    peer.say(memoryview(encode_leaves(first, bytes(32))))
    assert fails(peer)


def test_digests_of_chunks_before_the_answer() -> None:
    """Digests before the answer are an error; after the end the receiver ignores them."""
    peer = offered()
    peer.tell(0)
    assert fails(peer)
    error = peer.receiver.error
    peer.tell(0)
    assert peer.receiver.error is error


def big_copy() -> Peer:
    """A receiver that has an older copy of a file of very many chunks."""
    manifest = manifest_of({"a": bytes(3 * MAX_ASKED * CHUNK)})
    peer = Peer(manifest, known=(manifest.id, manifest))
    peer.connect()
    peer.offer()
    peer.receiver.accept(0.0, candidates=RangeSet.span(0, manifest.chunk_count))
    return peer


def told(peer: Peer, first: int, stop: int) -> None:
    """Tell digests of some chunks."""
    peer.say(memoryview(encode_leaves(first, bytes(32) * (stop - first))))


def test_the_number_of_open_questions_is_limited() -> None:
    """The receiver asks for a limited number of digests, and for more when half of them are compared."""
    peer = big_copy()
    assert the(peer.heard(), "want")["leaves"] == [[0, MAX_ASKED]]
    told(peer, 0, MAX_ASKED)
    assert peer.heard() == []
    compared = 0
    while compared < MAX_ASKED // 2:
        chunks = peer.to_compare()
        assert 0 < len(chunks) <= AT_ONCE * COMPARE_CHUNKS
        compared += len(chunks)
        peer.receiver.compared(chunks, RangeSet.of(*chunks), 0.0)
    (start, stop) = the(peer.heard(), "want")["leaves"][0]
    assert start == MAX_ASKED
    assert MAX_ASKED // 2 <= stop - start <= MAX_ASKED


def test_a_paused_receiver_asks_and_compares_nothing() -> None:
    """A paused receiver asks for no digests and starts no comparison; comparisons under way count."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.receiver.pause()
    peer.heard()
    peer.tell(0, 2)
    assert peer.to_compare() == []
    peer.receiver.resume()
    assert peer.to_compare() == [0, 1]
    peer.receiver.pause()
    peer.receiver.compared([0, 1], RangeSet.of(0), 0.0)
    assert peer.receiver.verified == RangeSet.of(0)
    assert names(peer.heard()) == ["resume", "pause"]


def test_questions_of_a_lost_connection() -> None:
    """The receiver repeats unanswered questions; it compares answered ones without a connection."""
    peer = resumed(candidates=EVERYTHING)
    peer.tell(0, 2)
    peer.receiver.disconnected()
    assert peer.to_compare() == [0, 1]
    peer.receiver.compared([0, 1], RangeSet.of(1), 0.0)
    peer.connect()
    frames = peer.offer()
    assert the(frames, "want") == {"chunks": [[0, 1]], "digests": [[0, 1]], "leaves": [[2, 4]]}
    assert the(frames, "progress")["verified"] == [[1, 2]]


def test_a_disk_without_room_for_a_candidate() -> None:
    """A candidate that did not fit on the disk is compared again when the disk has room."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    assert peer.to_compare() == [0, 1]
    peer.receiver.storage_full([0, 1], DiskFull(5))
    assert peer.receiver.candidates == RangeSet.of(0, 1)
    assert peer.to_compare() == []
    peer.receiver.storage_ready()
    assert peer.to_compare() == [0, 1]


def test_comparisons_that_end_after_the_end() -> None:
    """A comparison that ends after the transfer changes nothing."""
    peer = resumed(candidates=RangeSet.of(0))
    peer.tell(0)
    peer.receiver.cancel("", 0.0)
    peer.receiver.compared([0], RangeSet.of(0), 0.0)
    assert peer.receiver.reused == peer.receiver.verified == RangeSet()


def test_reused_chunks_are_verified_with_their_file() -> None:
    """If a file of reused chunks has a wrong digest, the sender sends all of it."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    peer.receiver.compared([0, 1], RangeSet.of(0, 1), 0.0)
    peer.store(peer.send(2, 3))
    peer.heard()
    peer.say(control("digests", digests=[[1, peer.digest_of(1)], [2, peer.digest_of(2)]]))
    peer.say(control("digests", digests=[[0, "00" * 32]]))
    assert peer.receiver.reused == RangeSet()
    assert the(peer.heard(), "want")["chunks"] == [[0, 2]]
