"""The sockets of lines, for any Tornado application: the ends of pages and of the kernel.

Messages pass without a copy. A socket that takes nothing stops its senders: the server stops reading from pages, and
the kernel learns what each page has taken. A slow page stops no other page.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tornado.web import HTTPError
from tornado.websocket import WebSocketProtocol13
from typing_extensions import override

from nbferry.jupyter.lines import UNSUPPORTED, LineHub, LineHubs, LineLimits
from nbferry.relay.sockets import QuietSocket, Writer

PAGE_PATH = r"/nbferry/page/([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"

KERNEL, PAGE = "kernel", "page"


class Outlet(Writer):
    """Writes to a socket, and tells what it has taken and when it has room."""

    def __init__(self, connection: WebSocketProtocol13, limits: LineLimits) -> None:
        super().__init__(connection)
        self._limits = limits
        self._room = asyncio.Event()
        self._room.set()
        connection.stream.read_chunk_size = limits.read_size

    def write(self, head: bytes, body: bytes | memoryview, taken: Callable[[int], None]) -> None:
        """Send one message of two parts; ``taken`` is called with its size when TCP has all of it."""
        written = self._put(head, body)
        if written:
            self._count(written, len(head) + len(body), taken)

    def _count(self, written: asyncio.Future[None], size: int, taken: Callable[[int], None]) -> None:
        def sent(_: asyncio.Future[None]) -> None:
            self.unsent -= size
            if self.unsent <= self._limits.max_unsent:
                self._room.set()
            taken(size)

        self.unsent += size
        if self.unsent > self._limits.max_unsent:
            self._room.clear()
        written.add_done_callback(sent)

    def room(self) -> Awaitable[object] | None:
        """An awaitable that ends when there is room again; None if there is room now. A lost socket has room."""
        return None if self._room.is_set() else self._room.wait()


class LineEnd(ABC):
    """One socket of a line, as an :class:`nbferry.jupyter.lines.End`. It is pinged, and cut when it stays silent."""

    def __init__(self, line: LineHub, outlet: Outlet, limits: LineLimits) -> None:
        self._line = line
        self._outlet = outlet
        self._limits = limits
        self._silent = 0  # pings since the last sign of life
        self._pulse = self._later(limits.ping_interval, self._beat)

    @abstractmethod
    def received(self, message: bytes) -> Awaitable[object] | None:
        """Handle a message. The next one is read only when the returned awaitable is done."""

    @property
    def unsent(self) -> int:
        """Bytes that were sent to the socket and are still in our memory."""
        return self._outlet.unsent

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """Send one message of two parts."""
        self._outlet.write(head, body, self.took)

    def room(self) -> Awaitable[object] | None:
        """An awaitable that ends when the socket has room for more; None if it has room now."""
        return self._outlet.room()

    def finish(self, code: int, reason: str) -> None:
        """Close the socket when it has taken what was sent to it."""
        self._outlet.finish(code, reason)

    def took(self, size: int) -> None:
        """The socket has taken a message of this size."""
        self.heard()

    def heard(self) -> None:
        """Count a sign of life: something arrived, or was taken."""
        self._silent = 0

    def closed(self) -> None:
        """Clean up: the socket is closed."""
        self._pulse.cancel()

    def _beat(self) -> None:
        if self._silent >= self._limits.silent_pings:
            self._outlet.abort()
            return
        self._silent += 1
        self._outlet.ping()
        self._pulse = self._later(self._limits.ping_interval, self._beat)

    @staticmethod
    def _later(seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, action)


class KernelEnd(LineEnd):
    """The kernel's socket. It is always read: the kernel sends only as much as the pages have taken."""

    def __init__(self, line: LineHub, outlet: Outlet, limits: LineLimits) -> None:
        super().__init__(line, outlet, limits)
        self._ready = False

    @override
    def received(self, message: bytes) -> Awaitable[object] | None:
        if self._ready:
            self._line.from_kernel(self, message)
        else:
            self._ready = True
            self._line.kernel_came(self)
        return None

    @override
    def closed(self) -> None:
        super().closed()
        self._line.kernel_left(self)


class PageEnd(LineEnd):
    """A page's socket. It is read while the kernel is connected and has room."""

    def __init__(self, line: LineHub, outlet: Outlet, limits: LineLimits) -> None:
        super().__init__(line, outlet, limits)
        self._settled = asyncio.Event()  # set when a kernel has connected, or none will
        self._waiting = 0
        self._number = line.page_came(self)
        self._patience = self._later(limits.kernel_wait, self._give_up)

    @override
    def received(self, message: bytes) -> Awaitable[object] | None:
        if not self._settled.is_set():
            return self._held(self._pass_on_later(message))
        wait = self._line.from_page(self._number, message)
        return self._held(wait) if wait else None

    def introduced(self) -> None:
        """The kernel has connected: messages of this page can be passed on."""
        self._settled.set()

    @override
    def finish(self, code: int, reason: str) -> None:
        super().finish(code, reason)
        self._settled.set()

    @override
    def took(self, size: int) -> None:
        super().took(size)
        self._line.taken(self._number, size)

    @override
    def closed(self) -> None:
        super().closed()
        self._patience.cancel()
        self._settled.set()
        self._line.page_left(self._number)

    def _give_up(self) -> None:
        self._line.give_up(self._number)

    async def _pass_on_later(self, message: bytes) -> None:
        await self._settled.wait()
        if wait := self._line.from_page(self._number, message):
            await wait

    async def _held(self, wait: Awaitable[object]) -> None:
        """Wait. The page does not count as silent meanwhile: nothing is read from it."""
        self._waiting += 1
        try:
            await wait
        finally:
            self._waiting -= 1

    @override
    def _beat(self) -> None:
        if self._waiting:
            self.heard()
        super()._beat()


class PageSocket(QuietSocket):
    """One WebSocket: passes Tornado's callbacks to its :class:`LineEnd`. A subclass decides who may open it."""

    _end: LineEnd | None = None  # from the handshake to the close

    @override
    def initialize(self, lines: LineHubs, traffic: Callable[[], None] = lambda: None) -> None:
        """Take the route's arguments; ``traffic`` is called for each message."""
        self._lines = lines
        self._traffic = traffic

    @property
    @override
    def max_message_size(self) -> int:
        """Bytes of one message."""
        return self._lines.limits.max_message

    @override
    async def get(self, name: str) -> None:
        """Open the socket, as the end that the query names."""
        end = self.get_query_argument("end", PAGE)
        if end not in (KERNEL, PAGE):
            raise HTTPError(400)
        self._name = name.replace("-", "").lower()
        self._kind = KernelEnd if end == KERNEL else PageEnd
        await super().get()

    @override
    def open(self, *args: str, **kwargs: str) -> None:
        """Open the line, now that the handshake is done."""
        self.set_nodelay(True)
        connection = cast("WebSocketProtocol13", self.ws_connection)  # Tornado knows no other
        limits = self._lines.limits
        self._end = self._kind(self._lines.enter(self._name), Outlet(connection, limits), limits)
        # A socket that closed before the handshake has already had its on_close.
        if connection.stream.closed():
            self.on_close()

    @override
    def on_message(self, message: str | bytes) -> Any:
        """Pass a message on; Tornado reads the next one only when the returned awaitable is done."""
        if self._end is None:
            return None
        self._end.heard()
        if not isinstance(message, bytes):
            self._end.finish(UNSUPPORTED, "only binary messages are understood here")
            return None
        self._traffic()
        return self._end.received(message)

    @override
    def on_pong(self, data: bytes) -> None:
        """Count an answered ping as a sign of life."""
        if self._end:
            self._end.heard()

    @override
    def on_close(self) -> None:
        """Leave the line."""
        # No end exists yet if the socket closed while it was being authorized.
        end, self._end = self._end, None
        if end:
            end.closed()
            self._lines.leave(self._name)

    @override
    def _log(self) -> None:
        """Log nothing: the server would log the address, and with it the name of the line."""
