"""How fast a transfer is, and how long it will take."""

from __future__ import annotations

from collections import deque

SPAN = 5.0  # seconds over which the rate is averaged: long enough to be calm, short enough to be true


class Rate:
    """Average over the last seconds of a counter that grows."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def update(self, count: int, now: float) -> float:
        """Note that the counter stands at ``count``; return its growth per second over the last seconds."""
        if self._marks and count < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, count))
        while len(self._marks) > 2 and self._marks[1][0] <= now - SPAN:
            self._marks.popleft()
        (then, before) = self._marks[0]
        return (count - before) / (now - then) if now > then else 0.0


def eta(left: int, rate: float) -> float | None:
    """Seconds until ``left`` more bytes have come at this rate; None if it is 0."""
    return left / rate if rate > 0 else None
