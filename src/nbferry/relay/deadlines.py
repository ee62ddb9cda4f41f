"""Actions with deadlines, for a core without a clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from itertools import count
from typing import TypeAlias

Action: TypeAlias = Callable[[float], None]
"""What to do when a deadline has passed; the argument is the time."""


class Deadlines:
    """Actions to take at times that can be changed and cancelled, each under a key."""

    def __init__(self) -> None:
        self._serial = count()
        self._live: dict[Hashable, tuple[int, Action]] = {}
        self._heap: list[tuple[float, int, Hashable]] = []  # stale entries stay until they are on top

    def __len__(self) -> int:
        """Count the entries in memory, stale ones included."""
        return len(self._heap)

    def set(self, key: Hashable, when: float, action: Action) -> None:
        """Call ``action`` at ``when``, instead of what was set under this key before."""
        serial = next(self._serial)
        self._live[key] = (serial, action)
        heapq.heappush(self._heap, (when, serial, key))
        # Drop stale entries now and then, so that many changes do not fill the memory.
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [entry for entry in self._heap if self._stands(entry)]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        """Forget the action under this key, if one is set."""
        self._live.pop(key, None)

    def next(self) -> float | None:
        """The time of the next deadline, if any is set."""
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def passed(self, now: float) -> None:
        """Call all actions that are due, in order; an action may set and cancel others."""
        while (when := self.next()) is not None and when <= now:
            _, _, key = heapq.heappop(self._heap)
            _, action = self._live.pop(key)
            action(now)

    def _stands(self, entry: tuple[float, int, Hashable]) -> bool:
        _, serial, key = entry
        return key in self._live and self._live[key][0] == serial
