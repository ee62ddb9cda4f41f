"""The queue: how many transfers move bytes at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """Lets a limited number of transfers through at a time; each caller brings its own limit."""

    def __init__(self) -> None:
        self._active = 0
        self._free = asyncio.Condition()

    def is_full(self, limit: int) -> bool:
        """Whether a transfer with this limit would have to wait."""
        return self._active >= limit

    @asynccontextmanager
    async def turn(self, limit: int) -> AsyncIterator[None]:
        """Wait until fewer than ``limit`` are active, then be one of them."""
        async with self._free:
            await self._free.wait_for(lambda: not self.is_full(limit))
            self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            async with self._free:
                self._free.notify_all()


class Slots:
    """One lane for each direction.

    With a common lane, transfers between two kernels could wait for each other forever. A receiver takes its turn only
    when a sender has offered, and a sender only when a receiver has accepted. So with two lanes a transfer that holds
    both turns can always continue.
    """

    def __init__(self) -> None:
        self.sending = Lane()
        self.receiving = Lane()
