"""The receiver tells the sender how the transfer ended until it hears bye."""

from __future__ import annotations

from nbferry.errors import SourceChanged
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Publish
from nbferry.protocol.machine import LINGER
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from rig import SMALL
from unit.protocol.receiver_setup import EVERYTHING, Peer, accepted, finished, stored
from wire import control, names, the


def test_done() -> None:
    """When everything is published the receiver says done, with the digest of the whole, and waits for bye."""
    peer = finished()
    receiver = peer.receiver
    assert receiver.phase is Phase.DONE
    assert receiver.durable == EVERYTHING
    assert the(peer.heard(5.0), "done") == {"digest": peer.leaves().content().hex()}
    peer.say(control("bye"))
    assert receiver.finished


def test_done_is_said_again() -> None:
    """If bye did not come, the receiver says on the next connection that it accepted and is done."""
    peer = finished()
    peer.heard()
    peer.receiver.disconnected()
    assert names(peer.connect(6.0)) == ["hello", "answer", "done"]
    assert peer.offer() == []


def test_a_reconnection_while_it_is_written() -> None:
    """A lost connection does not make the receiver publish twice."""
    peer = stored(digests=True)
    assert peer.events(Publish) == 1
    peer.receiver.disconnected()
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress"]
    assert the(frames, "progress")["state"] == "writing"
    assert peer.events(Publish) == 0


def test_published_while_there_is_no_connection() -> None:
    """If publishing ends without a connection, the receiver says done on the next one."""
    peer = stored(digests=True)
    peer.receiver.disconnected()
    peer.receiver.published(5.0)
    assert names(peer.connect(6.0)) == ["hello", "answer", "done"]


def test_already_done() -> None:
    """A receiver that was done in an earlier run says so, and nothing else, until it hears bye."""
    digest = Peer().leaves().content()
    peer = Peer()
    peer.receiver = Receiver.already_done(SMALL, digest, 100.0, agent="us")
    assert peer.receiver.phase is Phase.DONE
    assert not peer.receiver.finished
    assert names(peer.connect(101.0)) == ["hello", "answer", "done"]
    assert peer.offer() == []
    assert peer.receiver.digest == digest
    assert peer.receiver.verified == peer.receiver.durable == RangeSet()
    peer.receiver.accept(101.0)
    peer.say(control("bye"))
    assert peer.receiver.finished


def test_already_done_without_a_sender() -> None:
    """A receiver that was done in an earlier run waits for the sender only for the usual time."""
    receiver = Receiver.already_done(SMALL, bytes(32), 100.0)
    assert receiver.next_deadline() == 100.0 + LINGER
    receiver.deadline_passed(100.0 + LINGER - 1)
    assert not receiver.finished
    receiver.deadline_passed(100.0 + LINGER)
    assert receiver.finished


def test_the_source_changed() -> None:
    """When the sender's files have changed, the receiver's error says that what arrived is kept."""
    peer = accepted()
    peer.say(control("error", code="source-changed", message="a changed while it was being sent."))
    assert isinstance(peer.receiver.error, SourceChanged)
    assert peer.receiver.error.message == "The other side failed: a changed while it was being sent."
    assert "kept" in peer.receiver.error.hint
