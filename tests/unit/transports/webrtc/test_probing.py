"""How large packets may be."""

from __future__ import annotations

from nbferry.transports.webrtc.description import BASE_PACKET
from nbferry.transports.webrtc.probing import BLACK_HOLE, MAX_PROBES, SIZES, PathSize


def test_only_sizes_that_the_other_side_takes_are_tried():
    """And its own limit, of course; who takes no more than everybody is not asked."""
    assert PathSize(16_384).probes() == list(SIZES)
    assert PathSize(3_000).probes() == [1_400, 3_000]
    assert PathSize(BASE_PACKET).probes() == []


def test_the_largest_that_came_through_is_used():
    """In whatever order the answers come; larger ones are tried again a few times."""
    size = PathSize(16_384)
    size.probes()
    size.arrived(4_000)
    size.arrived(1_400)
    assert size.size == 4_000
    assert size.probes() == [8_900, 16_384]
    size.arrived(16_384)
    assert size.probes() == []


def test_it_is_given_up_after_some_attempts():
    """A path that does not carry them stays as it is."""
    size = PathSize(16_384)
    assert [bool(size.probes()) for _ in range(MAX_PROBES + 1)] == [True] * MAX_PROBES + [False]
    assert size.size == BASE_PACKET


def test_an_answer_to_nothing_changes_nothing():
    """A size beyond what was agreed is not believed."""
    size = PathSize(2_000)
    size.arrived(9_000)
    assert size.size == BASE_PACKET


def test_a_black_hole():
    """Timeouts in a row with large packets mean the smallest for good; with the smallest they mean nothing."""
    size = PathSize(16_384)
    size.arrived(8_900)
    assert not size.timed_out(BLACK_HOLE - 1)
    assert size.timed_out(BLACK_HOLE)
    assert size.size == BASE_PACKET
    assert not size.timed_out(BLACK_HOLE + 1)
    size.arrived(8_900)
    assert size.size == BASE_PACKET
    assert size.probes() == []
