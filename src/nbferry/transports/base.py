"""The port of a live message pipe.

A transport moves whole messages in order and knows nothing of their meaning. During a handshake the caller takes
messages one by one with ``receive``. ``deliver_to`` switches to pushing: a message is then a view of the transport's
own buffer. Pushing needs no copy, and no queue can grow, because every consumer of a message is synchronous.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from nbferry.errors import TransportBroken, TransportClosed, TransportError
from nbferry.limits import MAX_MESSAGE, MiB
from nbferry.model.paths import Via

Fill = Callable[[memoryview], object]
Deliver = Callable[[memoryview], None]
Closed = Callable[[TransportError], None]

# Kept for ``receive``: a handshake needs two, but a host that returns to its room gets 256 members at once.
WAITING_MESSAGES, WAITING_BYTES = 1_000, 1 * MiB


class Transport(ABC):
    """A connected pipe of messages. All methods belong to the event loop's thread."""

    def __init__(self, via: Via, max_message: int = MAX_MESSAGE) -> None:
        self.via = via
        self.max_message = max_message
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrival = asyncio.Event()
        self._deliver: Deliver | None = None
        self._closed: Closed | None = None
        self._end: TransportError | None = None

    @abstractmethod
    async def send(self, size: int, fill: Fill) -> None:
        """Send one message of ``size`` bytes. ``fill`` is called once, at once, to write it into a buffer.

        Waits while more than the high water mark is unsent. One task at a time. Raises :class:`TransportClosed`
        or :class:`TransportBroken`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Send what is unsent, within reason, and close. May be called twice."""

    async def send_bytes(self, message: bytes) -> None:
        """Send one message from memory of its own."""

        def fill(out: memoryview) -> None:
            out[:] = message

        await self.send(len(message), fill)

    async def receive(self) -> bytes:
        """The next message. Raises :class:`TransportClosed` or :class:`TransportBroken` after the last."""
        while not self._waiting:
            if self._end:
                raise self._end
            self._arrival.clear()
            await self._arrival.wait()
        return self._take_waiting()

    def _take_waiting(self) -> bytes:
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        return message

    def deliver_to(self, deliver: Deliver, closed: Closed) -> None:
        """From now on call ``deliver`` with each message (a view, valid during the call) and ``closed`` at the end."""
        self._deliver, self._closed = deliver, closed
        while self._waiting:
            deliver(memoryview(self._take_waiting()))
        if self._end:
            closed(self._end)

    # ---------------------------------------------------------------- for implementations
    def _message_arrived(self, message: memoryview) -> None:
        """Pass a message on. Raises :class:`TransportBroken` on a flood; the pipe must be cut then."""
        if self._deliver:
            self._deliver(message)
            return
        self._waiting_bytes += len(message)
        if len(self._waiting) >= WAITING_MESSAGES or self._waiting_bytes > WAITING_BYTES:
            raise TransportBroken("The other side sends more than it was asked for.")
        self._waiting.append(bytes(message))
        self._arrival.set()

    def _ended(self, error: TransportError) -> None:
        """Note that the pipe is closed or broken; only the first call counts."""
        if self._end is None:
            self._end = error
            self._arrival.set()
            if self._closed:
                self._closed(error)

    def _check_open(self) -> None:
        if self._end:
            raise self._end


def closed_here() -> TransportClosed:
    """The error of a pipe that our own side closed."""
    return TransportClosed("The connection was closed on this side.")
