"""The receiver drains a connection before another one takes over."""

from __future__ import annotations

from nbferry.limits import Limits
from nbferry.model.ranges import RangeSet
from unit.protocol.receiver_setup import CHUNK, MANIFEST, Peer, accepted
from wire import names, the

NARROW = Limits(chunk_size=CHUNK, window=2 * CHUNK, read_ahead=2 * CHUNK)


def test_a_connection_is_drained() -> None:
    """While it drains, the receiver takes what it asked for, asks for nothing more, and knows what is left."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    assert not peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes
    peer.store(peer.send(*range(start, stop)))
    assert "want" not in names(peer.heard())
    assert peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes - MANIFEST.bytes_in(RangeSet.span(start, stop)) > 0


def test_draining_can_be_stopped() -> None:
    """A receiver that stops draining asks for the remaining chunks at once."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    peer.store(peer.send(*range(start, stop)))
    peer.heard()
    peer.receiver.drain(False)
    assert the(peer.heard(), "want")["chunks"][0][0] == stop


def test_draining_ends_with_the_connection() -> None:
    """The receiver does not drain the next connection: it asks for everything that it needs."""
    peer = accepted(limits=NARROW)
    peer.receiver.drain()
    peer.receiver.disconnected()
    peer.connect()
    peer.offer()
    assert peer.receiver.left == MANIFEST.total_bytes
    # It asked for chunks when the offer was repeated.
    assert not peer.receiver.drained


def test_draining_before_an_offer() -> None:
    """Before an offer nothing is outstanding and nothing is left."""
    peer = Peer()
    assert peer.receiver.drained
    assert peer.receiver.left == 0
