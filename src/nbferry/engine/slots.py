"""The queue: how many transfers move bytes at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """Lets so many through at a time; each says itself how many may be."""

    def __init__(self) -> None:
        self._active = 0
        self._free = asyncio.Condition()

    def is_full(self, most: int) -> bool:
        """Whether a turn would have to be waited for."""
        return self._active >= most

    @asynccontextmanager
    async def turn(self, most: int) -> AsyncIterator[None]:
        """Wait until fewer than ``most`` are active, then be one of them."""
        async with self._free:
            await self._free.wait_for(lambda: not self.is_full(most))
            self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            async with self._free:
                self._free.notify_all()


class Slots:
    """One lane for each direction.

    With a common one, transfers between two kernels could wait for each other for ever: a receiver takes its turn
    only when a sender has offered, and a sender only when a receiver has accepted, so that whoever holds one of each
    kind can go on.
    """

    def __init__(self) -> None:
        self.sending = Lane()
        self.receiving = Lane()
