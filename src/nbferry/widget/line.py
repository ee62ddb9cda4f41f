"""The kernel's end of a line: a WebSocket to the extension of the Jupyter server that started this kernel.

It runs on the engine's loop, so it works while the kernel is busy. Without a server, or without its extension, it does
nothing, and pages use only the comm. :mod:`nbferry.jupyter.lines` specifies what the server sends on a line.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from nbferry.connections.backoff import Backoff
from nbferry.errors import ConnectFailed, RemoteProtocolError, TransportClosed, TransportError
from nbferry.jupyter.lines import NUMBER_BYTES
from nbferry.jupyter.server import Server, has_pages, own_server
from nbferry.limits import MAX_MESSAGE, Limits, MiB
from nbferry.model.paths import Via
from nbferry.transports import websocket
from nbferry.transports.base import Fill, Transport
from nbferry.widget.framing import pack, unpack, unpack_fields

Buffer = bytes | memoryview
LineHandler = Callable[[int, dict[str, Any], memoryview], None]
Number = Callable[[int], None]

WINDOW = 4 * MiB
"""Bytes sent to a page and not yet taken by its socket, so that a slow page cannot block the others."""

READY = bytes(NUMBER_BYTES) + b'{"ready":true}'

log = logging.getLogger("nbferry")


def server_with_pages() -> Server | None:
    """Return the Jupyter server that started this kernel, if it offers lines. Asks the server; blocks."""
    server = own_server()
    return server if server and has_pages(server.url) else None


class Line:
    """A line, kept connected from ``start`` to ``aclose``. Runs on the engine's loop.

    Calls ``received`` with a page's number, its message and the buffer. The buffer is a view that is valid only during
    the call, so copy what you keep. Calls ``came`` and ``left`` as pages come and leave. When the line is lost, all
    pages leave, and return with other numbers. After ``aclose`` it calls none of these.
    """

    def __init__(
        self,
        name: str,
        *,
        received: LineHandler,
        came: Number = lambda _: None,
        left: Number = lambda _: None,
        find: Callable[[], Server | None] = server_with_pages,
        limits: Limits | None = None,
    ) -> None:
        self._name = name
        self._received, self._came, self._left = received, came, left
        self._find = find
        self._limits = limits or Limits()
        self._pages: dict[int, _Page] = {}
        self._task: asyncio.Task[None] | None = None
        self._replaced = self._closing = False

    def start(self) -> None:
        """Connect in the background; retry after failures."""
        self._task = asyncio.create_task(self._keep_up())
        self._task.add_done_callback(_complain)

    async def aclose(self) -> None:
        """Close the line for good; sends that still wait raise :class:`TransportClosed`. May be called twice."""
        self._closing = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def send(
        self, number: int, message: Mapping[str, Any], buffer: Buffer | Sequence[Buffer] = b""
    ) -> None:
        """Send to a page; messages to one page arrive in order.

        Waits until the page's socket has taken enough of earlier messages. Raises :class:`TransportError` when the
        page or the line is gone; the message may have arrived or not.
        """
        page = self._pages.get(number)
        if page is None:
            raise _gone()
        buffers = [buffer] if isinstance(buffer, bytes | memoryview) else buffer
        await page.send([number.to_bytes(NUMBER_BYTES), pack(message), *buffers])

    # ---------------------------------------------------------------- the socket
    async def _keep_up(self) -> None:
        server = await asyncio.to_thread(self._find)
        if server is None:
            return
        backoff = Backoff(self._limits)
        while not self._replaced:
            try:
                transport = await self._dial(server)
            except ConnectFailed as error:
                log.debug("a card's line could not connect: %s", error.message)
            else:
                backoff.reset()
                await self._serve(transport)
            await backoff.wait()

    async def _dial(self, server: Server) -> Transport:
        url = f"{server.url}nbferry/page/{self._name}?end=kernel"
        return await websocket.connect(url, via=Via.RELAY, limits=self._limits, headers=server.headers)

    async def _serve(self, transport: Transport) -> None:
        """Use a socket until it is lost."""
        lost, pipe = asyncio.Event(), _Pipe(transport)
        transport.deliver_to(lambda message: self._arrived(message, pipe), lambda _: lost.set())
        try:
            # It may be lost already.
            with suppress(TransportError):
                await transport.send_bytes(READY)
            await lost.wait()
        finally:
            for number in list(self._pages):
                self._page_left(number)
            await transport.aclose()

    # ---------------------------------------------------------------- what comes
    def _arrived(self, data: memoryview, pipe: _Pipe) -> None:
        number = int.from_bytes(data[:NUMBER_BYTES])
        try:
            if number == 0:
                self._server_says(unpack_fields(data[NUMBER_BYTES:]), pipe)
            elif number in self._pages:
                message, buffer = unpack(data[NUMBER_BYTES:])
                if not self._closing:
                    self._received(number, message, buffer)
        except RemoteProtocolError as error:
            log.debug("dropped a message on a card's line: %s", error.message)

    def _server_says(self, fields: dict[str, Any], pipe: _Pipe) -> None:
        match fields:
            case {"came": int(number)} if number not in self._pages:
                self._pages[number] = _Page(pipe)
                if not self._closing:
                    self._came(number)
            case {"left": int(number)}:
                self._page_left(number)
            case {"took": int(number), "bytes": int(size)} if number in self._pages:
                self._pages[number].took(size)
            case {"replaced": True}:
                self._replaced = True

    def _page_left(self, number: int) -> None:
        if page := self._pages.pop(number, None):
            page.leave()
            if not self._closing:
                self._left(number)


class _Pipe:
    """A transport on which several tasks send."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.turn = asyncio.Lock()


class _Page:
    """The messages on their way to one page."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._turn = asyncio.Lock()
        self._unsent = 0
        self._news = asyncio.Event()
        self._here = True

    def leave(self) -> None:
        """Note that the page is gone."""
        self._here = False
        self._news.set()

    def took(self, size: int) -> None:
        """Note that the page's socket has taken ``size`` bytes."""
        self._unsent -= size
        self._news.set()

    async def send(self, parts: Sequence[Buffer]) -> None:
        """Send one message as soon as there is room for it."""
        size = sum(map(len, parts))
        if size > MAX_MESSAGE:
            raise ValueError(f"a message on a line has at most {MAX_MESSAGE} bytes, not {size}")
        async with self._turn:
            await self._room(size)
            async with self._pipe.turn:
                self._check()
                self._unsent += size - NUMBER_BYTES
                await self._pipe.transport.send(size, _fill_with(parts))

    async def _room(self, size: int) -> None:
        while self._here and self._unsent and self._unsent + size > WINDOW:
            self._news.clear()
            await self._news.wait()
        self._check()

    def _check(self) -> None:
        if not self._here:
            raise _gone()


def _complain(task: asyncio.Task[None]) -> None:
    """Log an unexpected failure; pages still have the comm."""
    if not task.cancelled() and (error := task.exception()):
        log.error("a card's line failed", exc_info=error)


def _fill_with(parts: Sequence[Buffer]) -> Fill:
    def fill(out: memoryview) -> None:
        start = 0
        for part in parts:
            out[start : start + len(part)] = part
            start += len(part)

    return fill


def _gone() -> TransportClosed:
    return TransportClosed("The page has left the line.")
