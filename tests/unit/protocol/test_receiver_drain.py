"""The receiver drains a connection before another one takes over."""

from __future__ import annotations

from nbferry.limits import Limits
from nbferry.model.ranges import RangeSet
from unit.protocol.receiver_setup import CHUNK, MANIFEST, Peer, accepted
from wire import names, the

NARROW = Limits(chunk_size=CHUNK, window=2 * CHUNK, read_ahead=2 * CHUNK)


def test_a_connection_is_drained() -> None:
    """What was asked for comes, nothing more is asked for, and it is known what is left."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    assert not peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes
    peer.store(peer.send(*range(start, stop)))
    assert "want" not in names(peer.heard())
    assert peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes - MANIFEST.bytes_in(RangeSet.span(start, stop)) > 0


def test_draining_can_be_given_up() -> None:
    """Nothing takes over after all: it asks for the rest at once."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    peer.store(peer.send(*range(start, stop)))
    peer.heard()
    peer.receiver.drain(False)
    assert the(peer.heard(), "want")["chunks"][0][0] == stop


def test_draining_ends_with_the_connection() -> None:
    """The next one is asked for everything that is needed."""
    peer = accepted(limits=NARROW)
    peer.receiver.drain()
    peer.receiver.disconnected()
    peer.connect()
    peer.offer()
    assert peer.receiver.left == MANIFEST.total_bytes
    assert not peer.receiver.drained  # it has asked


def test_there_is_nothing_to_drain_before_an_offer() -> None:
    """Neither is anything awaited then, nor left."""
    peer = Peer()
    assert peer.receiver.drained
    assert peer.receiver.left == 0
