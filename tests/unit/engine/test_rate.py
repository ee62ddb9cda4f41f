"""How fast it goes, and how long it will take."""

from __future__ import annotations

import pytest

from nbferry.engine.rate import SPAN, Rate, eta


def test_a_first_look_knows_no_rate() -> None:
    """One look at a counter, or two at the same instant, give no rate."""
    rate = Rate()
    assert rate.update(1000, now=5.0) == 0.0
    assert rate.update(2000, now=5.0) == 0.0


def test_an_even_rate() -> None:
    """A counter that grows evenly has that rate, from the second look on."""
    rate = Rate()
    rates = [rate.update(100 * n, now=n / 4) for n in range(100)]
    assert rates[1:] == [400.0] * 99


def test_only_the_last_seconds_count() -> None:
    """What was long ago does not count any more."""
    rate = Rate()
    rate.update(0, now=0)
    rate.update(1_000_000, now=1)
    for n in range(20):
        last = rate.update(1_000_000, now=1 + n)
    assert last == 0.0
    assert rate.update(1_000_000 + 60, now=26) == pytest.approx(60 / (26 - 20))


def test_looks_that_are_far_apart() -> None:
    """With long breaks between two looks the rate is that between these two."""
    rate = Rate()
    rate.update(0, now=0)
    assert rate.update(1000, now=100 * SPAN) == 1000 / (100 * SPAN)


def test_a_counter_that_goes_back() -> None:
    """After a counter went back, chunks having been lost, the rate begins anew and is never negative."""
    rate = Rate()
    rate.update(0, now=0)
    rate.update(5000, now=1)
    assert rate.update(100, now=2) == 0.0
    assert rate.update(300, now=3) == 200.0


def test_the_time_that_is_left() -> None:
    """What is left takes as long as the rate says; without a rate nobody knows."""
    assert eta(500, 100.0) == 5.0
    assert eta(0, 100.0) == 0.0
    assert eta(500, 0.0) is None
