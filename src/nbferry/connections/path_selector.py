"""Which of several paths carries a transfer: each carries it for a while, and the quickest stays.

    use the path that comes up first, and measure it
    while a path is untried, and enough of the transfer is left to make a trial worth it:
        switch to it, and measure it
    keep the quickest, close the others

Only the transfer's own chunks measure a path; nothing extra is sent. A path on which no chunk comes may be dead, or the
sender may have none to send. So the paths are tried one after the other, and none is judged before one of them has
carried a chunk. Time comes in as ``now``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbferry.connections.bundle import BundledLink
from nbferry.limits import Limits

WORTH = 4  # a transfer must last so many trials more: one to measure, the others to gain by it
FRAMES = 4  # with chunks: fewer say little of a rate
PATIENCE = 3  # trials for a path on which chunks come slowly; a silent one gets two


class PathSelector:
    """Sans-I/O. Is told what arrives, and chooses the link to use."""

    def __init__(self, links: Sequence[BundledLink], limits: Limits) -> None:
        """``links`` is the bundle's own list: it holds the links that are up at any time."""
        self._trial = limits.path_trial
        self._links = links
        self._rates: dict[BundledLink, float] = {}  # bytes per second, of links that were tried
        self._silent: set[BundledLink] = set()  # tried, while no link has carried anything
        self._current: BundledLink | None = None
        self._since = self._now = 0.0
        self._total = 0
        self._arrivals: list[tuple[float, int]] = []  # when, and how much had come by then

    def begin(self, link: BundledLink, now: float) -> None:
        """Start to measure this link: it is in use from now on."""
        self._current = link
        self.reset(now)

    def reset(self, now: float) -> None:
        """Start to measure anew: nothing was asked for until now, so the silence says nothing of the path."""
        self._since = self._now = now
        self._total = 0
        self._arrivals.clear()

    def arrived(self, size: int, now: float) -> None:
        """Count a frame with chunks that arrived on the link in use."""
        self._silent.clear()
        self._total += size
        if self._current not in self._rates:
            self._arrivals.append((now, self._total))

    @property
    def carries(self) -> bool:
        """Whether anything has arrived on the link in use."""
        return self._total > 0

    def best(self) -> BundledLink:
        """The quickest link; while no rate is known, the oldest link that was not silent."""
        heard = [link for link in self._links if link not in self._silent]
        return max(self._tried(), key=self._worth, default=(heard or self._links)[0])

    def choose(self, now: float, *, left: Callable[[], int], awaits: bool) -> BundledLink:
        """Choose the link to use from now on.

        ``left`` returns the bytes of the transfer that are still to come; ``awaits`` says that some were asked for.
        """
        assert self._current  # set by begin
        self._now = now
        if not (awaits or self._arrivals):
            self._since = now
        if self._current not in self._rates:
            if (rate := self._rate(now)) is None:
                return self._another_if_silent(now)
            self._rates[self._current] = rate
            self._arrivals.clear()
        tried = self._tried()
        untried = next((link for link in self._links if link not in tried), None)
        if untried and left() > WORTH * self._trial * max(map(self._rates.__getitem__, tried)):
            return untried
        return self.best()

    def slower(self) -> list[BundledLink]:
        """Links that were tried and are slower than the one in use."""
        tried = self._tried()
        if not tried or self.best() is not self._current:
            return []
        return [link for link in tried if link is not self._current]

    def next_deadline(self) -> float | None:
        """When ``choose`` may change although nothing arrives."""
        if self._current is None or self._current in self._rates or len(self._links) < 2:
            return None
        if self._arrivals:
            began = self._arrivals[0][0]
            marks = [began + self._trial, began + PATIENCE * self._trial]
        else:
            marks = [self._since + 2 * self._trial]
        return next((mark for mark in marks if mark > self._now), None)

    def _rate(self, now: float) -> float | None:
        """Bytes per second on the link in use; None while unknown."""
        if not self._arrivals:
            # Silence counts as a rate only after another link has shown that the sender has something to send.
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
        """While no link has ever carried a chunk, try the next one."""
        assert self._current  # checked by the caller
        if self._arrivals or self._rates or now < self._since + 2 * self._trial:
            return self._current
        self._silent.add(self._current)
        return next((link for link in self._links if link not in self._silent), self._current)

    def _tried(self) -> list[BundledLink]:
        return [link for link in self._links if link in self._rates]

    def _worth(self, link: BundledLink) -> float:
        return self._rates[link] * link.via.weight
