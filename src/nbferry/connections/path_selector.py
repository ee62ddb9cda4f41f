"""Which of several paths carries a transfer: each does for a while, and the quickest stays.

    the path that comes up first is used, and measured
    while there is another one that was not tried, and enough is left to be worth it:
        turn to it, and measure it
    keep the quickest, close the others

Nothing but the transfer's own chunks is sent to find out, and nothing else counts. A path on which none come may be
dead, or the sender may have none to send: so the others are looked at in turn, and none is judged before one has
carried something. Time comes in as ``now``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbferry.connections.bundle import BundledLink
from nbferry.limits import Limits

WORTH = 4  # trials that must be left of a transfer: one to find out, the others to gain by it
FRAMES = 4  # of chunks: fewer say little of a rate
PATIENCE = 3  # trials that a path gets on which they come slowly; one that is silent gets two


class PathSelector:
    """Sans-I/O. Told what arrives; says which strand is to be used."""

    def __init__(self, links: Sequence[BundledLink], limits: Limits) -> None:
        """``links`` are those that there are, at any time."""
        self._trial = limits.path_trial
        self._strands = links
        self._rates: dict[BundledLink, float] = {}  # bytes per second, of those that were tried
        self._silent: set[BundledLink] = set()  # while nothing has come on any
        self._current: BundledLink | None = None
        self._since = self._now = 0.0
        self._total = 0
        self._arrivals: list[tuple[float, int]] = []  # when, and how much had come by then

    def begin(self, strand: BundledLink, now: float) -> None:
        """This one is in use from now on."""
        self._current = strand
        self.reset(now)

    def reset(self, now: float) -> None:
        """Nothing was to arrive until now: what was measured so far says nothing of the path."""
        self._since = self._now = now
        self._total = 0
        self._arrivals.clear()

    def arrived(self, size: int, now: float) -> None:
        """A frame of chunks came in on the strand in use, of so many bytes."""
        self._silent.clear()
        self._total += size
        if self._current not in self._rates:
            self._arrivals.append((now, self._total))

    @property
    def carries(self) -> bool:
        """Whether anything has come on the strand in use."""
        return self._total > 0

    def best(self) -> BundledLink:
        """The quickest that is known; if none is, the one that is there for longest and was not silent."""
        spoken = [strand for strand in self._strands if strand not in self._silent]
        return max(self._tried(), key=self._worth, default=(spoken or self._strands)[0])

    def choose(self, now: float, *, left: Callable[[], int], awaits: bool) -> BundledLink:
        """Which is to be used from now on.

        ``left`` are the bytes of the transfer that are still to come; ``awaits``: some of them have been asked for.
        """
        assert self._current  # the one that was turned to
        self._now = now
        if not (awaits or self._arrivals):
            self._since = now
        if self._current not in self._rates:
            if (rate := self._rate(now)) is None:
                return self._another_if_silent(now)
            self._rates[self._current] = rate
            self._arrivals.clear()
        tried = self._tried()
        untried = next((strand for strand in self._strands if strand not in tried), None)
        if untried and left() > WORTH * self._trial * max(map(self._rates.__getitem__, tried)):
            return untried
        return self.best()

    def slower(self) -> list[BundledLink]:
        """Those that were tried, and are slower than the one in use."""
        tried = self._tried()
        if not tried or self.best() is not self._current:
            return []
        return [strand for strand in tried if strand is not self._current]

    def next_deadline(self) -> float | None:
        """When ``choose`` may change although nothing arrives."""
        if self._current is None or self._current in self._rates or len(self._strands) < 2:
            return None
        if self._arrivals:
            began = self._arrivals[0][0]
            marks = [began + self._trial, began + PATIENCE * self._trial]
        else:
            marks = [self._since + 2 * self._trial]
        return next((mark for mark in marks if mark > self._now), None)

    def _rate(self, now: float) -> float | None:
        """Bytes per second on the strand in use; None while that cannot be said."""
        if not self._arrivals:  # to judge it by that, one must know that there is something to send
            return 0.0 if self._rates and now >= self._since + 2 * self._trial else None
        began = self._arrivals[0][0]
        if now < began + self._trial:
            return None
        later = [each for each in self._arrivals if each[0] >= began + self._trial / 2]  # up to speed by then
        for part in (later, self._arrivals):
            if len(part) >= FRAMES:
                return (self._total - part[0][1]) / max(now - part[0][0], self._trial / 100)
        return self._total / (now - self._since) if now >= began + PATIENCE * self._trial else None

    def _another_if_silent(self, now: float) -> BundledLink:
        """Nothing was ever carried, on any path: look at the next one."""
        assert self._current  # the caller has looked
        if self._arrivals or self._rates or now < self._since + 2 * self._trial:
            return self._current
        self._silent.add(self._current)
        return next((strand for strand in self._strands if strand not in self._silent), self._current)

    def _tried(self) -> list[BundledLink]:
        return [strand for strand in self._strands if strand in self._rates]

    def _worth(self, strand: BundledLink) -> float:
        return self._rates[strand] * strand.via.weight
