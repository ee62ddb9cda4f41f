"""A sender and a receiver together, when one of their processes ends and another one resumes."""

from __future__ import annotations

import pytest

from nbferry.model.ranges import RangeSet
from nbferry.protocol.phases import Phase
from rig import SMALL, Rig, manifest_of
from unit.protocol.both_sides_setup import CHUNK, DATA, FILES, arrived, started, until


def test_a_new_sender() -> None:
    """A new sender makes the same offer, need not list it, and sends only what is missing."""
    rig = started()
    before = rig.receiver.verified
    rig.crash_sender()
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert before
    assert rig.said["list"] == 0
    assert not rig.sender.error


def test_a_new_receiver() -> None:
    """A new receiver resumes with the durable chunks, without the list, and compares the others."""
    rig = started()
    rig.receiver.deadline_passed(rig.now + SMALL.sync_interval)
    rig.handle_events()
    until(rig, lambda: rig.receiver.durable)
    until(rig, lambda: rig.receiver.verified - rig.receiver.durable)
    durable = rig.receiver.durable
    rig.crash_receiver()
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["list"] == 0
    assert not rig.again
    assert not rig.receiver.reused & durable


def test_a_crash_between_writing_and_syncing() -> None:
    """Chunks that a crash left unrecorded and damaged are found and sent again."""
    rig = started()
    written = RangeSet.of(*rig.disk.written) - rig.disk.have
    rig.crash_receiver()
    for chunk in written:
        rig.disk.put(chunk, bytes(rig.manifest.place(chunk).length))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert not rig.receiver.reused & written


@pytest.mark.parametrize("bye", [False, True])
def test_a_new_receiver_when_it_is_done(bye: bool) -> None:
    """A receiver that had published says so again; then the sender is done too."""
    rig = Rig(FILES)
    rig.connect()
    until(rig, lambda: rig.sender.phase.final if bye else rig.published)
    rig.crash_receiver()
    assert rig.receiver.phase is Phase.DONE
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] == rig.said["want"] == 0


def test_a_new_sender_and_a_new_receiver() -> None:
    """Two new processes resume the transfer of two earlier ones."""
    rig = started()
    rig.crash_sender()
    rig.crash_receiver()
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_files_that_have_changed() -> None:
    """A changed file makes another offer; the chunks that stayed the same are not sent again."""
    rig = Rig(FILES)
    rig.connect()
    until(rig, lambda: len(rig.receiver.verified) > 8)
    files = FILES | {"a": FILES["a"][: 4 * CHUNK] + DATA(3 * CHUNK)}
    rig.change_source(files, manifest_of(files))
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["list"] == 1
    assert not RangeSet.span(0, 4) - rig.receiver.reused
