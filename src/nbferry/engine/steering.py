"""Which of several paths carries a transfer: each does for a while, and the quickest stays.

    the path that comes up first is used, and measured
    while there is another one that was not tried, and enough is left to be worth it:
        turn to it, and measure it
    keep the quickest, close the others

Nothing but the transfer's own data is sent to find out. Time comes in as ``now``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbferry.engine.bundle import Strand
from nbferry.limits import Limits

RELAYED = 0.8  # a relay carries at somebody else's cost: another path may be that much slower
WORTH = 4  # trials that must be left of a transfer: one to find out, the others to gain by it


class Steering:
    """Sans-I/O. Told what arrives; says which strand is to be used."""

    def __init__(self, strands: Sequence[Strand], limits: Limits) -> None:
        """``strands`` are those that there are, at any time."""
        self._trial = limits.trial
        self._strands = strands
        self._rates: dict[Strand, float] = {}  # bytes per second, of those that were tried
        self._current: Strand | None = None
        self._turned_at = 0.0
        self._first_at: float | None = None  # something has arrived since then
        self._half: tuple[float, int] | None = None  # when half of the trial was over, and what had arrived
        self._arrived = 0

    def turned(self, strand: Strand, now: float) -> None:
        """This one is in use from now on."""
        self._current = strand
        self.rested(now)

    def rested(self, now: float) -> None:
        """Nothing was to arrive until now: what was measured so far says nothing of the path."""
        self._turned_at, self._first_at, self._half, self._arrived = now, None, None, 0

    def arrived(self, size: int, now: float) -> None:
        """So many bytes came in on the strand in use."""
        self._arrived += size
        if self._first_at is None:
            self._first_at = now
        if self._half is None and now >= self._first_at + self._trial / 2:
            self._half = now, self._arrived

    def best(self) -> Strand:
        """The quickest that is known; if none was tried, the one that is there for longest."""
        return max(self._tried(), key=self._worth, default=self._strands[0])

    def wanted(self, now: float, left: Callable[[], int]) -> Strand:
        """Which is to be used from now on; ``left`` are the bytes of the transfer that are still to come."""
        assert self._current  # the one that was turned to
        if not self._measured(now):
            return self._current
        tried = self._tried()
        untried = next((strand for strand in self._strands if strand not in tried), None)
        if untried and left() > WORTH * self._trial * max(map(self._rates.__getitem__, tried)):
            return untried
        return self.best()

    def outdone(self) -> list[Strand]:
        """Those that were tried, and are slower than the one in use."""
        best = self.best()
        return [strand for strand in self._tried() if strand is not best] if best is self._current else []

    def next_deadline(self) -> float | None:
        """When ``wanted`` may change although nothing arrives."""
        if self._current is None or self._current in self._rates or len(self._strands) < 2:
            return None
        return self._verdict_at()

    def _tried(self) -> list[Strand]:
        return [strand for strand in self._strands if strand in self._rates]

    def _verdict_at(self) -> float:
        """A path on which nothing comes has had its time, too."""
        return self._turned_at + 2 * self._trial if self._first_at is None else self._first_at + self._trial

    def _measured(self, now: float) -> bool:
        """Whether the strand in use was tried; the first half of a trial is for the path to get up to speed."""
        assert self._current  # the caller has looked
        if self._current not in self._rates and now >= self._verdict_at():
            then, before = self._half or (self._turned_at, 0)
            self._rates[self._current] = (self._arrived - before) / max(now - then, self._trial / 100)
        return self._current in self._rates

    def _worth(self, strand: Strand) -> float:
        return self._rates[strand] * (RELAYED if strand.via == "relay" else 1)
