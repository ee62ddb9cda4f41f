"""The sockets of lines, for any Tornado application: the page's ends and the kernel's.

What passes is not copied here. A socket that takes nothing stops who sends to it: pages because no more is read
from them, the kernel because it hears what each page has taken. A page that is slow stops no other.
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
    """Writes to a socket, and says what it has taken and when there is room."""

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
        """What to wait for until there is room again; None if there is. A socket that is gone has room."""
        return None if self._room.is_set() else self._room.wait()


class LineEnd(ABC):
    """One socket of a line, as an :class:`nbferry.jupyter.lines.End`; it is pinged, and cut when it is silent."""

    def __init__(self, line: LineHub, outlet: Outlet, limits: LineLimits) -> None:
        self._line = line
        self._outlet = outlet
        self._limits = limits
        self._silent = 0  # pings since the last sign of life
        self._pulse = self._later(limits.ping_interval, self._beat)

    @abstractmethod
    def received(self, message: bytes) -> Awaitable[object] | None:
        """Handle a message. Until what is returned is done, no other is to be read."""

    @property
    def unsent(self) -> int:
        """See :class:`End`."""
        return self._outlet.unsent

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """See :class:`End`."""
        self._outlet.write(head, body, self.took)

    def room(self) -> Awaitable[object] | None:
        """See :class:`End`."""
        return self._outlet.room()

    def finish(self, code: int, reason: str) -> None:
        """See :class:`End`."""
        self._outlet.finish(code, reason)

    def took(self, size: int) -> None:
        """The socket has taken a message of this size."""
        self.heard()

    def heard(self) -> None:
        """Something came, or went: somebody is there."""
        self._silent = 0

    def closed(self) -> None:
        """The socket is gone."""
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
    """The kernel's socket. It is always read: what it may send is bounded by what the pages have taken."""

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
    """A page's socket. It is read when the kernel is there, and has room."""

    def __init__(self, line: LineHub, outlet: Outlet, limits: LineLimits) -> None:
        super().__init__(line, outlet, limits)
        self._settled = asyncio.Event()  # a kernel is there, or none will be
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
        """See :class:`nbferry.jupyter.lines.PageEnd`."""
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
        """Wait, and do not hold against the page that it is not heard meanwhile: nothing is read from it."""
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
    """One WebSocket: what Tornado tells it goes to its :class:`LineEnd`. Who may open it, a subclass decides."""

    _end: LineEnd | None = None  # there from the handshake to the close

    @override
    def initialize(self, lines: LineHubs, traffic: Callable[[], None] = lambda: None) -> None:
        """Take what the route names; ``traffic`` is called for each message."""
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
        """Come to the line, now that the handshake is done."""
        self.set_nodelay(True)
        connection = cast("WebSocketProtocol13", self.ws_connection)  # there is no other protocol
        limits = self._lines.limits
        self._end = self._kind(self._lines.enter(self._name), Outlet(connection, limits), limits)
        if connection.stream.closed():  # since before the handshake: on_close was called, and is not again
            self.on_close()

    @override
    def on_message(self, message: str | bytes) -> Any:
        """Pass a message on; Tornado reads no further until what is returned is done."""
        if self._end is None:
            return None
        self._end.heard()
        if not isinstance(message, bytes):
            self._end.finish(UNSUPPORTED, "only binary messages are spoken here")
            return None
        self._traffic()
        return self._end.received(message)

    @override
    def on_pong(self, data: bytes) -> None:
        """Take note that a ping was answered."""
        if self._end:
            self._end.heard()

    @override
    def on_close(self) -> None:
        """Leave the line, whatever the cause; not there yet if the socket went while it was being authorized."""
        end, self._end = self._end, None
        if end:
            end.closed()
            self._lines.leave(self._name)

    @override
    def _log(self) -> None:
        """Nothing: the server would log the address, and with it the name."""
