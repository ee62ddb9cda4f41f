"""Frames over a transport, sealed where others could see them: what a session sees of a connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from typing_extensions import override

from nbferry.crypto.sealed_frames import TAG, Opener, Sealer
from nbferry.errors import NbferryError, TransportError
from nbferry.limits import KiB
from nbferry.model.paths import Via
from nbferry.transports.base import Transport

# Smaller frames get memory of their own size, so that small ones cannot pin large buffers.
POOLED_FROM = 256 * KiB

FrameHandler = Callable[[memoryview, "Lease | None"], None]


class Lease:
    """A pooled buffer in use; ``release`` gives it back."""

    def __init__(self, pool: list[bytearray], buffer: bytearray) -> None:
        self._pool = pool
        self._buffer = buffer

    def release(self) -> None:
        """Give the buffer back: its frame is no longer needed. Once only."""
        self._pool.append(self._buffer)


class AnyLink(ABC):
    """One connection of a session."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def via(self) -> Via:
        """Which path it takes."""
        return self._transport.via

    @property
    @abstractmethod
    def max_frame(self) -> int:
        """Bytes of the largest frame that one message can carry."""

    @abstractmethod
    async def send(self, frame: bytes | memoryview) -> None:
        """Send a frame, which is copied before the first wait. Raises :class:`TransportError`."""

    @abstractmethod
    def deliver_to(self, received: FrameHandler, closed: Callable[[TransportError], None]) -> None:
        """Call ``received`` with each frame, and with the lease of its buffer if it has a pooled one."""

    async def aclose(self) -> None:
        """Send what is unsent, within reason, and close."""
        await self._transport.aclose()


class PlainLink(AnyLink):
    """A connection within this process, over a transport that gives each message memory of its own."""

    def __init__(self, transport: Transport, via: Via) -> None:
        super().__init__(transport)
        self._via = via

    @property
    @override
    def via(self) -> Via:
        return self._via

    @property
    @override
    def max_frame(self) -> int:
        return self._transport.max_message

    @override
    async def send(self, frame: bytes | memoryview) -> None:
        def fill(out: memoryview) -> None:
            out[:] = frame

        await self._transport.send(len(frame), fill)

    @override
    def deliver_to(self, received: FrameHandler, closed: Callable[[TransportError], None]) -> None:
        self._transport.deliver_to(lambda frame: received(frame, None), closed)


class Link(AnyLink):
    """A connection that is authenticated and encrypted."""

    def __init__(self, transport: Transport, send_key: bytes, receive_key: bytes) -> None:
        super().__init__(transport)
        self._sealer = Sealer(send_key)
        self._opener = Opener(receive_key)
        self._pool: list[bytearray] = []

    @property
    @override
    def max_frame(self) -> int:
        return self._transport.max_message - TAG

    @override
    async def send(self, frame: bytes | memoryview) -> None:
        await self._transport.send(len(frame) + TAG, lambda out: self._sealer.seal_into(frame, out))

    @override
    def deliver_to(self, received: FrameHandler, closed: Callable[[TransportError], None]) -> None:
        def deliver(sealed: memoryview) -> None:
            try:
                self._open(sealed, received)
            except NbferryError as error:
                closed(error if isinstance(error, TransportError) else TransportError(error.message))

        self._transport.deliver_to(deliver, closed)

    def _open(self, sealed: memoryview, received: FrameHandler) -> None:
        size = len(sealed) - TAG
        if size < POOLED_FROM:
            received(memoryview(self._opener.open(sealed)), None)
            return
        buffer = self._take(size)
        frame = memoryview(buffer)[:size]
        self._opener.open_into(sealed, frame)
        received(frame, Lease(self._pool, buffer))

    def _take(self, size: int) -> bytearray:
        if self._pool and len(self._pool[-1]) >= size:
            return self._pool.pop()
        self._pool.clear()
        return bytearray(size)
