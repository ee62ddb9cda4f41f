"""The rate of a transfer and its remaining time."""

from __future__ import annotations

import pytest

from nbferry.engine.rate import SPAN, Rate, eta


def test_one_sample_gives_no_rate() -> None:
    """One sample of a counter, or two at the same instant, give no rate."""
    rate = Rate()
    assert rate.update(1000, now=5.0) == 0.0
    assert rate.update(2000, now=5.0) == 0.0


def test_an_even_rate() -> None:
    """A counter that grows evenly has that rate from the second sample on."""
    rate = Rate()
    rates = [rate.update(100 * n, now=n / 4) for n in range(100)]
    assert rates[1:] == [400.0] * 99


def test_only_the_last_seconds_count() -> None:
    """Old samples do not count."""
    rate = Rate()
    rate.update(0, now=0)
    rate.update(1_000_000, now=1)
    for n in range(20):
        last = rate.update(1_000_000, now=1 + n)
    assert last == 0.0
    assert rate.update(1_000_000 + 60, now=26) == pytest.approx(60 / (26 - 20))


def test_samples_far_apart() -> None:
    """With a long break between two samples the rate is that between them."""
    rate = Rate()
    rate.update(0, now=0)
    assert rate.update(1000, now=100 * SPAN) == 1000 / (100 * SPAN)


def test_a_counter_that_goes_back() -> None:
    """When a counter decreases because chunks were lost, the rate starts anew and is never negative."""
    rate = Rate()
    rate.update(0, now=0)
    rate.update(5000, now=1)
    assert rate.update(100, now=2) == 0.0
    assert rate.update(300, now=3) == 200.0


def test_the_remaining_time() -> None:
    """The rest takes as long as the rate predicts. Without a rate the time is unknown."""
    assert eta(500, 100.0) == 5.0
    assert eta(0, 100.0) == 0.0
    assert eta(500, 0.0) is None
