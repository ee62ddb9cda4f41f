"""A sender and a receiver together: both learn how the transfer ended."""

from __future__ import annotations

import pytest

from nbferry.errors import Cancelled, Expired, Rejected, StorageError
from nbferry.model.manifest import Entry, Manifest
from nbferry.protocol.machine import LINGER
from nbferry.protocol.phases import Phase
from rig import TO_SENDER, Rig
from unit.protocol.both_sides_setup import CHUNK, FILES, at, started, until


def stop(rig: Rig, side: str, how: str) -> None:
    """End the transfer from one side."""
    machine = rig.sender if side == "sender" else rig.receiver
    if how == "cancel":
        machine.cancel("enough", rig.now)
    else:
        machine.fail(StorageError("The disk is gone."), rig.now)


@pytest.mark.parametrize("how", ["cancel", "error"])
@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.parametrize("state", ["connecting", "offered", "transferring", "verifying", "writing"])
@pytest.mark.parametrize("lost", [False, True], ids=["at once", "after a reconnection"])
def test_ends_in_every_state(how: str, side: str, state: str, lost: bool) -> None:
    """A cancel or an error ends both sides alike in each state, at once or on the next connection."""
    rig = at(state)
    if lost:
        rig.disconnect()
    stop(rig, side, how)
    if lost:
        rig.connect()
    rig.run()
    expected = Phase.CANCELLED if how == "cancel" else Phase.FAILED
    assert (rig.sender.phase, rig.receiver.phase) == (expected, expected)
    assert (
        type(rig.sender.error) is type(rig.receiver.error) is (Cancelled if how == "cancel" else StorageError)
    )
    assert rig.sender.finished
    assert rig.receiver.finished
    assert not rig.published


def test_an_end_that_the_other_side_did_not_hear() -> None:
    """The side that ended tells it on each connection until it hears bye."""
    rig = started()
    rig.receiver.cancel("enough", rig.now)
    for _ in range(3):
        rig.collect(rig.receiver, TO_SENDER)
        rig.disconnect()
        rig.connect()
    assert rig.sender.phase is Phase.TRANSFERRING
    rig.run()
    assert rig.sender.phase is Phase.CANCELLED
    assert rig.receiver.finished


@pytest.mark.parametrize("end", ["cancel", "reject", "done"])
def test_a_bye_that_is_lost(end: str) -> None:
    """A receiver that did not hear bye repeats how the transfer ended, and hears bye then."""
    rig = Rig(FILES, accept=end != "reject")
    rig.connect()
    if end == "cancel":
        until(rig, lambda: rig.receiver.verified)
        rig.receiver.cancel("enough", rig.now)
    until(rig, lambda: rig.sender.phase.final)
    rig.disconnect()
    assert not rig.receiver.finished
    rig.connect()
    rig.run()
    assert rig.receiver.finished
    assert rig.sender.phase is rig.receiver.phase


def test_a_side_that_hears_nothing_gives_up() -> None:
    """A side that has ended stops waiting for bye after some seconds, though the other side is still running."""
    rig = started()
    rig.disconnect()
    rig.sender.cancel("", rig.now)
    rig.pass_time(LINGER)
    assert rig.sender.finished
    assert not rig.receiver.phase.final


def test_rejecting() -> None:
    """A rejected offer ends both sides, with the reason."""
    rig = Rig(FILES, accept=False)
    rig.connect()
    rig.run()
    assert isinstance(rig.sender.error, Rejected)
    assert isinstance(rig.receiver.error, Rejected)
    assert rig.sender.error.message.endswith("no.")
    assert rig.sender.finished
    assert rig.receiver.finished


def test_an_offer_expires() -> None:
    """An offer without a decision in time expires on both sides."""
    rig = Rig(FILES, accept=None, expires_at=60)
    rig.connect()
    rig.run()
    rig.pass_time(60)
    rig.run()
    assert (rig.sender.phase, rig.receiver.phase) == (Phase.EXPIRED, Phase.FAILED)
    assert isinstance(rig.receiver.error, Expired)
    assert rig.sender.finished
    assert rig.receiver.finished


def test_done_reaches_a_sender_that_never_heard_the_answer() -> None:
    """An empty offer may be done before the answer arrives; the sender hears of both later."""
    rig = Rig({}, manifest=Manifest.of([Entry("d", folder=True)], CHUNK))
    rig.connect()
    until(rig, lambda: rig.offered)
    rig.disconnect()
    while rig.work():
        continue
    assert rig.receiver.phase is Phase.DONE
    rig.connect()
    rig.run()
    assert rig.sender.phase is Phase.DONE
