"""What has arrived of an association."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import TransportBroken
from nbferry.transports.webrtc.reassembly import (
    FIRST,
    FURTHEST,
    LARGEST_MESSAGE,
    LAST,
    RECEIVE_WINDOW,
    TWICE,
    Inbound,
)

WHOLE = FIRST | LAST


def take(inbound: Inbound, tsn: int, payload: bytes = b"x") -> list[bytes]:
    """Payloads that are in order after a chunk."""
    return [chunk[3] for chunk in inbound.add(tsn, WHOLE, 0, 53, payload)]


def test_chunks_in_order_are_passed_on():
    """One by one, and nothing is kept."""
    inbound = Inbound(7)
    assert [take(inbound, tsn, bytes([tsn])) for tsn in (7, 8)] == [[b"\7"], [b"\x08"]]
    assert (inbound.up_to, inbound.held, inbound.gaps(9), inbound.disturbed) == (8, 0, [], False)


def test_a_gap_holds_back_what_follows():
    """What is beyond is told in blocks, and comes when the gap is filled."""
    inbound = Inbound(1)
    for tsn in (2, 3, 6, 5, 9):
        assert take(inbound, tsn, bytes([tsn])) == []
        assert inbound.disturbed
    assert inbound.gaps(9) == [(2, 3), (5, 6), (9, 9)]
    assert inbound.gaps(1) == [(2, 3)]
    assert inbound.held == 5
    assert take(inbound, 1, b"\1") == [b"\1", b"\2", b"\3"]
    assert inbound.gaps(9) == [(2, 3), (6, 6)]
    assert take(inbound, 4, b"\4") == [b"\4", b"\5", b"\6"]
    assert inbound.held == 1


def test_numbers_wrap():
    """After 2^32 - 1 comes 0."""
    inbound = Inbound(0xFFFF_FFFF)
    assert take(inbound, 0) == []
    assert len(take(inbound, 0xFFFF_FFFF)) == 2
    assert inbound.up_to & 0xFFFF_FFFF == 0


def test_what_comes_twice_is_told_once():
    """A few of them at most."""
    inbound = Inbound(1)
    take(inbound, 1)
    take(inbound, 3)
    for tsn in [1, 3] * TWICE:
        assert take(inbound, tsn) == []
    assert inbound.take_twice() == [1, 3] * (TWICE // 2)
    assert inbound.take_twice() == []


@given(st.permutations(range(20)), st.integers(min_value=0, max_value=0xFFFF_FFFF))
def test_any_order_comes_out_in_order(order, initial):
    """Whatever the network does to it."""
    inbound = Inbound(initial)
    out: list[bytes] = []
    for number in order:
        out += take(inbound, (initial + number) & 0xFFFF_FFFF, bytes([number]))
    assert out == [bytes([number]) for number in range(20)]
    assert (inbound.held, inbound.gaps(9)) == (0, [])


def test_a_flood_beyond_a_gap_is_not_kept():
    """No more than the window, and nothing that a SACK could not name."""
    inbound = Inbound(1)
    payload = bytes(1 << 16)
    for tsn in range(2, 500):
        take(inbound, tsn, payload)
    assert inbound.held <= RECEIVE_WINDOW
    inbound = Inbound(1)
    take(inbound, FURTHEST + 1)
    assert inbound.held == 0 or inbound.gaps(1)[0][0] <= FURTHEST


def test_a_message_is_joined():
    """Of one part or of several."""
    inbound = Inbound(1)
    assert inbound.join(WHOLE, 0, 53, b"one") == b"one"
    assert inbound.join(FIRST, 0, 53, b"a") is None
    assert inbound.join(0, 0, 53, b"b") is None
    assert inbound.join(LAST, 0, 53, b"c") == b"abc"


@pytest.mark.parametrize(
    "chunks",
    [
        [(WHOLE, 0, 53, b"")],
        [(LAST, 0, 53, b"a")],
        [(0, 0, 53, b"a")],
        [(FIRST, 0, 53, b"a"), (FIRST, 0, 53, b"b")],
        [(FIRST, 0, 53, b"a"), (LAST, 1, 53, b"b")],
        [(FIRST, 0, 53, b"a"), (LAST, 0, 51, b"b")],
        [(FIRST, 0, 53, b"a"), (0, 0, 53, bytes(LARGEST_MESSAGE))],
    ],
)
def test_what_is_no_message_is_refused(chunks):
    """Parts that do not belong together, nothing, and too much."""
    inbound = Inbound(1)
    *good, bad = chunks
    for chunk in good:
        assert inbound.join(*chunk) is None
    with pytest.raises(TransportBroken):
        inbound.join(*bad)


def test_blocks_stay_right_under_disorder():
    """Blocks always are what has come beyond the first gap."""
    lots = random.Random(5)  # noqa: S311  # repeatable, not secret
    inbound, here = Inbound(0), set()
    for _ in range(2000):
        number = inbound.up_to + lots.randint(1, 60)
        here.add(number)
        take(inbound, number & 0xFFFF_FFFF)
        told = {
            inbound.up_to + offset for first, last in inbound.gaps(99) for offset in range(first, last + 1)
        }
        assert told == {number for number in here if number > inbound.up_to}
