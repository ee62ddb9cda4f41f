"""The receiver has the storage flushed in time, and copes with a flush that fails."""

from __future__ import annotations

from nbferry.errors import DiskFull
from nbferry.limits import Limits
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Publish, Sync
from nbferry.protocol.phases import Phase
from rig import SMALL
from unit.protocol.receiver_setup import CHUNK, accepted, stored
from wire import names, the


def test_stored_chunks_are_flushed_in_time() -> None:
    """The receiver flushes stored chunks after some seconds, then reports that they are durable."""
    peer = accepted()
    peer.store(peer.send(2), now=1.0)
    assert peer.events(Sync) == 0
    peer.receiver.deadline_passed(1.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1
    peer.store(peer.send(3), now=9.0)
    assert peer.events(Sync) == 0
    peer.receiver.synced(9.0)
    assert peer.receiver.durable == RangeSet.of(2)
    peer.heard()
    peer.receiver.deadline_passed(9.0 + SMALL.report_interval)
    assert the(peer.heard(), "progress")["durable"] == [[2, 3]]
    peer.receiver.deadline_passed(9.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1


def test_many_bytes_are_flushed_at_once() -> None:
    """A limit of unflushed bytes bounds what a crash may cost: beyond it the receiver flushes at once."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=2 * CHUNK)
    peer = accepted(limits=limits)
    peer.store(peer.send(0))
    assert peer.events(Sync) == 0
    peer.store(peer.send(1))
    assert peer.events(Sync) == 1


def test_a_flush_that_lost_chunks_for_lack_of_room() -> None:
    """When there is room, the receiver wants the chunks again that a failed flush lost."""
    peer = stored(digests=True)
    assert peer.receiver.phase is Phase.WRITING
    peer.receiver.flush_failed(RangeSet.of(1, 3), DiskFull(5))
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert peer.receiver.verified == RangeSet.of(0, 2)
    assert peer.receiver.paused
    assert names(peer.heard()) == ["pause"]
    peer.receiver.storage_ready()
    assert the(peer.heard(), "want") == {"chunks": [[1, 2], [3, 4]], "digests": [], "leaves": []}
    peer.receiver.events()
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is Phase.WRITING
    assert peer.events(Publish) == 1


def test_a_flush_that_lost_nothing() -> None:
    """If a failed flush lost nothing, the receiver publishes when there is room."""
    peer = stored(digests=True)
    peer.receiver.events()
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    assert peer.events(Publish) == 0
    peer.receiver.storage_ready()
    assert peer.receiver.phase is Phase.WRITING
    assert peer.events(Publish) == 1


def test_a_flush_that_fails_while_more_comes() -> None:
    """A failed flush makes nothing durable; the next one does."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = accepted(limits=limits)
    peer.store(peer.send(0))
    assert peer.events(Sync) == 1
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    peer.receiver.storage_ready()
    peer.store(peer.send(1))
    assert peer.events(Sync) == 1
    peer.receiver.synced(1.0)
    assert peer.receiver.durable == RangeSet.of(0, 1)


def test_a_flush_that_fails_after_the_end() -> None:
    """A flush that fails after the end changes nothing."""
    peer = accepted()
    peer.receiver.cancel("", 0.0)
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    assert not peer.receiver.paused
