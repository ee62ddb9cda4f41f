"""Waits between two attempts."""

from __future__ import annotations

import asyncio

from nbferry.connections.backoff import Backoff
from nbferry.limits import Limits

LIMITS = Limits(backoff_first=0.25, backoff_most=15)


def highest(low: float, high: float) -> float:
    """A random source that always draws the maximum."""
    assert low == high / 2
    return high


def test_each_wait_is_twice_as_long() -> None:
    """Waits double up to the longest one, and never overflow."""
    backoff = Backoff(LIMITS, highest)
    assert [backoff.next_delay() for _ in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    assert {backoff.next_delay() for _ in range(2000)} == {15}


def test_success_resets_the_wait() -> None:
    """After a success the first wait is short again."""
    backoff = Backoff(LIMITS, highest)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() == 0.25


def test_waits_are_random() -> None:
    """Waits are drawn from the upper half, so that clients do not return at the same time."""
    backoff = Backoff(LIMITS)
    drawn = [backoff.next_delay() for _ in range(200)][10:]
    assert len(set(drawn)) > 100
    assert all(7.5 <= delay <= 15 for delay in drawn)


def test_waiting() -> None:
    """Waiting sleeps for the drawn time."""
    drawn = []

    def none(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    asyncio.run(Backoff(LIMITS, none).wait())
    assert drawn == [(0.125, 0.25)]
