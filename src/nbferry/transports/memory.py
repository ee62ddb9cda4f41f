"""Two ends of a pipe in one process."""

from __future__ import annotations

import asyncio

from typing_extensions import override

from nbferry.errors import TransportBroken, TransportClosed
from nbferry.limits import MAX_MESSAGE, MiB
from nbferry.model.paths import Via
from nbferry.transports.base import Fill, Transport, closed_here


class MemoryTransport(Transport):
    """One end. Messages reach the other end in a later cycle of the loop, never within ``send``."""

    def __init__(self, *, max_message: int = MAX_MESSAGE, high_water: int = 2 * MiB) -> None:
        super().__init__(Via.BROWSER, max_message)
        self._high_water = high_water
        self._unsent = 0
        self._drained = asyncio.Event()
        self._peer: MemoryTransport

    @override
    async def send(self, size: int, fill: Fill) -> None:
        self._check_open()
        message = bytearray(size)
        fill(memoryview(message))
        self._unsent += size
        asyncio.get_running_loop().call_soon(self._pass_on, message)
        while self._unsent > self._high_water:
            self._drained.clear()
            await self._drained.wait()
            self._check_open()

    def _pass_on(self, message: bytearray) -> None:
        self._unsent -= len(message)
        self._drained.set()
        if self._peer._end is None:  # both ends are one class
            try:
                self._peer._message_arrived(memoryview(message))
            except TransportBroken as error:
                self._peer._ended(error)
                self._ended(TransportBroken())

    @override
    async def aclose(self) -> None:
        asyncio.get_running_loop().call_soon(self._peer._ended, TransportClosed())
        self._ended(closed_here())
        self._drained.set()


def memory_pair(*, max_message: int = MAX_MESSAGE, high_water: int = 2 * MiB) -> tuple[Transport, Transport]:
    """Two connected ends."""
    a = MemoryTransport(max_message=max_message, high_water=high_water)
    b = MemoryTransport(max_message=max_message, high_water=high_water)
    a._peer, b._peer = b, a
    return a, b
