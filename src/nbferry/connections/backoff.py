"""Waiting between two tries: longer each time, and at random, so that clients do not all return at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from nbferry.limits import Limits


class Backoff:
    """Exponential, with full jitter in the upper half."""

    def __init__(self, limits: Limits, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._limits = limits
        self._uniform = uniform
        self._tries = 0

    def reset(self) -> None:
        """A try succeeded: start over with the shortest wait."""
        self._tries = 0

    def next_delay(self) -> float:
        """Seconds until the next try."""
        ceiling = min(self._limits.backoff_most, self._limits.backoff_first * 2**self._tries)
        self._tries = min(self._tries + 1, 30)
        return self._uniform(ceiling / 2, ceiling)

    async def wait(self) -> None:
        """Wait that long."""
        await asyncio.sleep(self.next_delay())
