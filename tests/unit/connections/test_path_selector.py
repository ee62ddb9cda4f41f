"""The choice of a path by the bytes that each has carried, with time as a number."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from nbferry.connections.bundle import BundledLink
from nbferry.connections.path_selector import WORTH, PathSelector
from nbferry.limits import KiB, Limits, MiB
from nbferry.model.paths import Via

LIMITS = Limits()
STEP = 0.01  # seconds between two looks
FRAME = 64 * KiB


def link(via: str = "webrtc") -> BundledLink:
    """A link that only has a kind."""
    return BundledLink(SimpleNamespace(via=Via(via)))  # type: ignore[arg-type]


class Trip:
    """A transfer of ``left`` bytes over links with the given rates (bytes per second), in whole frames."""

    def __init__(self, rates: dict[BundledLink, float], left: float = 1e12) -> None:
        self.rates = rates
        self.links = list(rates)
        self.selector = PathSelector(self.links, LIMITS)
        self.left = left
        self.awaits = True
        self.now = 0.0
        self.switches: list[BundledLink] = []
        self._under_way = 0.0
        self.switch_to(self.links[0])

    def switch_to(self, to: BundledLink) -> None:
        """Switch to another link, as a session does."""
        self.switches.append(to)
        self._under_way = 0.0
        self.selector.begin(to, self.now)

    def proceed(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Let data arrive as fast as the link in use carries them."""
        end = self.now + seconds
        while self.now < end and not until():
            self.now += STEP
            self._under_way += self.rates[self.switches[-1]] * STEP if self.awaits else 0
            while self._under_way >= FRAME:
                self._under_way -= FRAME
                self.left -= FRAME
                self.selector.arrived(FRAME, self.now)
            choose = self.selector.choose(self.now, left=lambda: int(self.left), awaits=self.awaits)
            if choose is not self.switches[-1]:
                self.switch_to(choose)
            for slower in self.selector.slower():
                self.links.remove(slower)
            deadline = self.selector.next_deadline()
            assert deadline is None or deadline > self.now  # an old deadline would make a timer loop


@pytest.mark.parametrize(
    ("first", "other", "stays"),
    [
        (("relay", 10 * MiB), ("webrtc", 30 * MiB), "webrtc"),
        (("relay", 10 * MiB), ("webrtc", 9 * MiB), "webrtc"),  # a relay costs its owner
        (("relay", 10 * MiB), ("webrtc", 3 * MiB), "relay"),
        (("webrtc", 10 * MiB), ("relay", 11 * MiB), "webrtc"),
        (("webrtc", 3 * MiB), ("relay", 10 * MiB), "relay"),
        (("relay", 10 * MiB), ("webrtc", 0), "relay"),  # no byte arrives
        (("webrtc", 0), ("relay", 10 * MiB), "relay"),
        (("webrtc", 60 * KiB), ("relay", 20 * KiB), "webrtc"),  # fewer frames than seconds
        (("webrtc", 20 * KiB), ("relay", 60 * KiB), "relay"),
        (("relay", 62 * KiB), ("webrtc", 15 * KiB), "relay"),
    ],
)
def test_the_quicker_one_stays(first: tuple[str, float], other: tuple[str, float], stays: str) -> None:
    """Each path is tried for a while. Then the better one is used, and the other one is closed."""
    trip = Trip({link(via): rate for via, rate in (first, other)})
    trip.proceed(60)
    assert trip.switches[-1].via == stays
    assert len(trip.switches) <= 4
    # A dead path cannot be told from a sender without data.
    if min(first[1], other[1]):
        assert [each.via for each in trip.links] == [stays]


def test_a_single_path_is_not_measured() -> None:
    """With a single path no decision is due, and no deadline is set."""
    trip = Trip({link(): MiB})
    assert trip.selector.next_deadline() is None
    trip.proceed(10)
    assert len(trip.switches) == 1


def test_one_that_comes_late_is_tried_at_once() -> None:
    """A late path is tried at once, as the first one was measured meanwhile."""
    relay, webrtc = link("relay"), link()
    trip = Trip({relay: MiB})
    trip.proceed(10)
    trip.rates[webrtc] = 5 * MiB
    trip.links.append(webrtc)
    trip.proceed(2 * STEP)
    assert trip.switches == [relay, webrtc]


def test_many_are_tried_one_after_the_other() -> None:
    """The fastest path stays."""
    trip = Trip({link(): rate * MiB for rate in (2, 1, 7, 3)})
    trip.proceed(60)
    assert trip.rates[trip.switches[-1]] == 7 * MiB
    assert len(trip.links) == 1
    assert trip.now == pytest.approx(60, abs=STEP)


def test_nothing_is_tried_for_the_last_bytes() -> None:
    """No path is tried when the rest arrives within seconds."""
    trip = Trip({link("relay"): MiB, link(): 100 * MiB}, left=WORTH * LIMITS.path_trial * MiB)
    trip.proceed(WORTH * LIMITS.path_trial)
    assert len(trip.switches) == 1


def test_the_first_half_of_a_trial_does_not_count() -> None:
    """A path that starts slowly is judged by the second half of its trial."""
    relay, webrtc = link("relay"), link()
    trip = Trip({relay: 2 * MiB, webrtc: 0.1 * MiB})
    trip.proceed(60, until=lambda: trip.switches[-1] is webrtc)
    trip.proceed(LIMITS.path_trial / 2 - 10 * STEP)
    trip.rates[webrtc] = 10 * MiB
    trip.proceed(60)
    assert trip.switches == [relay, webrtc]


def test_a_pause_does_not_count() -> None:
    """After a pause a path is measured anew."""
    relay, webrtc = link("relay"), link()
    trip = Trip({relay: MiB, webrtc: MiB})
    trip.proceed(LIMITS.path_trial * 0.8)
    trip.now += 100
    trip.selector.reset(trip.now)
    trip.proceed(LIMITS.path_trial * 0.8)
    assert trip.switches == [relay]
    trip.proceed(LIMITS.path_trial)
    assert trip.switches == [relay, webrtc]


def test_the_deadline_of_a_silent_path() -> None:
    """A silent path gets twice as much time as an active one."""
    trip = Trip({link(): 0.0, link(): 0.0})
    assert trip.selector.next_deadline() == 2 * LIMITS.path_trial
    trip.selector.arrived(1, 1.0)
    assert trip.selector.next_deadline() == 1.0 + LIMITS.path_trial


@pytest.mark.parametrize("asked", [True, False])
def test_a_sender_that_has_nothing_to_send_yet(asked: bool) -> None:
    """No path is judged while the sender queues or reads. Afterwards the faster one is found as usual."""
    relay, webrtc = link("relay"), link()
    trip = Trip({webrtc: 0, relay: 0})
    trip.awaits = asked
    trip.proceed(120)
    assert trip.links == [webrtc, relay]
    assert len(trip.switches) == (2 if asked else 1)
    trip.awaits = True
    trip.rates |= {webrtc: 10 * MiB, relay: MiB}
    trip.proceed(60)
    assert trip.links == [webrtc]
    assert trip.switches[-1] is webrtc


def test_control_frames_are_no_sign_of_a_path() -> None:
    """A path that brings no chunk after a switch is left and closed, if the other one brought some."""
    relay, webrtc = link("relay"), link()
    trip = Trip({relay: MiB, webrtc: 0})
    trip.proceed(60)
    assert trip.switches == [relay, webrtc, relay]
    assert trip.links == [relay]


def test_the_choice_after_a_loss() -> None:
    """After a loss the fastest known path is used, or the oldest unknown one."""
    slow, quick, unknown = link(), link(), link()
    trip = Trip({slow: MiB, quick: 2 * MiB, unknown: 3 * MiB})
    assert trip.selector.best() is slow
    trip.proceed(60, until=lambda: trip.switches[-1] is unknown)
    trip.links.remove(unknown)
    assert trip.selector.best() is quick
    trip.links.remove(quick)
    assert trip.selector.best() is slow
