"""A sender and a receiver together, when chunks, disks and connections fail."""

from __future__ import annotations

import pytest

from nbferry.errors import DigestMismatch
from nbferry.model.ranges import RangeSet
from nbferry.protocol.phases import Phase
from rig import SMALL, TO_RECEIVER, TO_SENDER, Rig
from unit.protocol.both_sides_setup import FILES, arrived, at, started, until


def test_chunks_that_the_disk_loses_are_sent_again() -> None:
    """Chunks that are found damaged just before publishing are sent again and then published."""
    rig = at("writing")
    rig.lose(RangeSet.of(1, 9))
    assert rig.receiver.phase is Phase.TRANSFERRING
    rig.stalled = False
    rig.run()
    assert arrived(rig)


def test_a_damaged_chunk_is_sent_again() -> None:
    """The receiver asks again for a chunk that arrived damaged."""
    rig = Rig(FILES)
    rig.damage.update({0: 2, 5: 1, 9: 1})
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_a_chunk_that_is_always_damaged() -> None:
    """A chunk that is always damaged ends the transfer, and the sender hears why."""
    rig = Rig(FILES)
    rig.damage[5] = SMALL.chunk_attempts
    rig.connect()
    rig.run()
    assert isinstance(rig.receiver.error, DigestMismatch)
    assert isinstance(rig.sender.error, DigestMismatch)
    assert rig.receiver.finished
    assert rig.sender.finished
    assert not rig.published


def test_a_full_disk() -> None:
    """A full disk pauses both sides and says how much room is needed; with room both resume."""
    rig = started()
    rig.full = True
    rig.run()
    for side in (rig.sender, rig.receiver):
        assert side.paused
        assert "needed" in side.pause_reason
    rig.make_room()
    rig.run()
    assert arrived(rig)


@pytest.mark.parametrize("frames", range(12))
def test_a_connection_that_is_lost_many_times(frames: int) -> None:
    """Wherever a connection breaks, the transfer resumes on the next one."""
    rig = Rig(FILES, frame_size=1000)
    for _ in range(30):
        rig.connect()
        for _ in range(frames):
            rig.step()
        rig.disconnect()
        while rig.work():
            continue
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_stored_chunks_are_not_sent_again() -> None:
    """The sender does not repeat chunks that were stored when the connection broke."""
    rig = started()
    rig.run()
    whole = rig.said["chunks"]
    rig = started()
    rig.disconnect()
    while rig.work():
        continue
    before = rig.receiver.verified
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert before
    assert rig.said["chunks"] <= whole


def test_the_first_report_after_a_reconnection() -> None:
    """The first report on a new connection has everything that is verified, and replaces earlier reports."""
    rig = started()
    rig.disconnect()
    rig.sender.verified = RangeSet.span(0, rig.manifest.chunk_count)
    rig.stalled = True
    rig.connect()
    until(rig, lambda: rig.sender.verified == rig.receiver.verified)


def test_a_connection_whose_other_end_is_gone() -> None:
    """Both sides see that a connection is dead when no frame arrives any more, although they ping."""
    rig = started()
    while rig.now < SMALL.dead_after:
        rig.pass_time(5)
        rig.collect(rig.sender, TO_RECEIVER)
        rig.collect(rig.receiver, TO_SENDER)
    assert rig.sender.is_dead(rig.now)
    assert rig.receiver.is_dead(rig.now)
    rig.disconnect()
    rig.connect()
    rig.run()
    assert arrived(rig)
