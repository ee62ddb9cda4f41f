"""The receiver asks again for chunks that its storage has lost."""

from __future__ import annotations

import pytest

from nbferry.errors import StorageError
from nbferry.limits import Limits
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Publish, Sync
from nbferry.protocol.phases import Phase
from rig import SMALL
from unit.protocol.receiver_setup import CHUNK, accepted, fails, offered, resumed, stored
from wire import the


@pytest.mark.parametrize("digests", [False, True], ids=["verifying", "writing"])
def test_lost_chunks_are_wanted_again(digests: bool) -> None:
    """The receiver wants lost chunks again, and corrects its reports."""
    peer = stored(digests=digests)
    peer.receiver.synced(1.0)
    peer.receiver.events()
    peer.receiver.lost(RangeSet.of(1, 3), 2.0)
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert peer.receiver.verified == RangeSet.of(0, 2)
    assert the(peer.heard(), "want")["chunks"] == [[1, 2], [3, 4]]
    assert not peer.receiver.paused
    peer.receiver.deadline_passed(2.0 + SMALL.report_interval)
    report = the(peer.heard(), "progress")
    assert (report["verified"], report["state"], report["all"]) == ([[0, 1], [2, 3]], "transferring", True)
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is (Phase.WRITING if digests else Phase.VERIFYING)
    assert peer.events(Publish) == digests


def test_lost_chunks_are_not_durable() -> None:
    """A lost chunk is not durable any more, and its file is compared again."""
    peer = resumed(have=(0, 1, 2))
    peer.heard()
    peer.receiver.lost(RangeSet.of(1), 0.0)
    assert peer.receiver.durable == peer.receiver.verified == RangeSet.of(0, 2)
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is Phase.VERIFYING


def test_a_flush_that_lost_something() -> None:
    """A failed flush makes nothing durable; the next one flushes what was not lost."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = accepted(limits=limits)
    peer.store(peer.send(0, 1))
    assert peer.events(Sync) == 1
    peer.receiver.lost(RangeSet.of(1), 1.0)
    assert peer.receiver.durable == RangeSet()
    assert peer.events(Sync) == 1
    peer.receiver.synced(2.0)
    assert peer.receiver.durable == RangeSet.of(0)


def test_reused_chunks_may_be_lost() -> None:
    """The receiver wants a reused chunk from the sender when it is lost."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    peer.receiver.compared([0, 1], RangeSet.of(0, 1), 0.0)
    peer.heard()
    peer.receiver.lost(RangeSet.of(0), 0.0)
    assert peer.receiver.reused == RangeSet.of(1)
    assert the(peer.heard(), "want")["chunks"] == [[0, 1]]


def test_a_chunk_that_is_always_lost() -> None:
    """A chunk that the storage keeps losing ends the transfer."""
    peer = stored()
    for _ in range(SMALL.chunk_attempts):
        assert peer.receiver.error is None
        peer.receiver.lost(RangeSet.of(2), 0.0)
        if peer.receiver.error is None:
            peer.store(peer.send(2))
    assert fails(peer, StorageError)


def test_losses_that_change_nothing() -> None:
    """A loss changes nothing before the answer, after the end, or where no chunk was stored."""
    peer = offered()
    peer.receiver.lost(RangeSet.of(0), 0.0)
    peer.receiver.accept(0.0)
    chunks = peer.send(0)
    peer.heard()
    peer.receiver.lost(RangeSet.span(0, 100), 0.0)
    peer.receiver.lost(RangeSet(), 0.0)
    assert peer.heard() == []
    peer.store(chunks)
    assert peer.receiver.verified == RangeSet.of(0)
    peer.receiver.cancel("", 0.0)
    peer.receiver.lost(RangeSet.of(0), 0.0)
    assert peer.receiver.verified == RangeSet.of(0)


def test_chunks_lost_while_publishing() -> None:
    """If chunks were lost meanwhile, the receiver is not done although the storage has published."""
    peer = stored(digests=True)
    peer.receiver.lost(RangeSet.of(0), 0.0)
    peer.receiver.published(1.0)
    assert peer.receiver.phase is Phase.TRANSFERRING
