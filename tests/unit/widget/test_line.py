"""The kernel's end of a line, with lines served by Tornado alone, or with a server that a test plays itself."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketHandler,
    WebSocketProtocol13,
    websocket_connect,
)

from nbferry.errors import TransportError
from nbferry.jupyter.lines import LineHubs
from nbferry.jupyter.page_sockets import PAGE_PATH, PageSocket
from nbferry.jupyter.server import Server
from nbferry.limits import Limits
from nbferry.widget.framing import pack
from nbferry.widget.line import READY, WINDOW, Line

NAME = "0123456789abcdef" * 2
MIB = 1 << 20
PATIENCE = 10
LIMITS = Limits(backoff_first=0.01, backoff_most=0.01)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


class Kernel:
    """A line that writes down what it is told."""

    def __init__(self, url: str = "", limits: Limits = LIMITS) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.line = Line(
            NAME,
            received=lambda number, message, buffer: self.say(number, message, bytes(buffer)),
            came=lambda number: self.say("came", number),
            left=lambda number: self.say("left", number),
            find=lambda: Server(url, "", {"X-Token": "let me in"}, "") if url else None,
            limits=limits,
        )
        self.line.start()

    def say(self, *event: Any) -> None:
        """Keep an event."""
        self.events.put_nowait(event)

    async def hear(self) -> Any:
        """The next event."""
        return await self.events.get()


class Cuttable(PageSocket):
    """A socket of a server that may go away without a word."""

    open_ones: ClassVar[list[Cuttable]] = []

    def open(self, *args: str, **kwargs: str) -> None:
        """Remember it."""
        super().open(*args, **kwargs)
        self.open_ones.append(self)

    def cut(self) -> None:
        """Hang up, if it is still there."""
        if isinstance(self.ws_connection, WebSocketProtocol13):
            self.ws_connection.stream.close()


class Site:
    """A server with lines; it may be stopped and started again at the same place."""

    def __init__(self, routes: list[Any]) -> None:
        listener, self.port = bind_unused_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}/"
        self._routes = routes
        self._pages: list[WebSocketClientConnection] = []
        self._serve().add_socket(listener)

    def _serve(self) -> HTTPServer:
        self._server = HTTPServer(Application(self._routes))
        return self._server

    async def stop(self) -> None:
        """Stop listening, and cut what is open."""
        self._server.stop()
        await self._server.close_all_connections()
        for socket in Cuttable.open_ones:
            socket.cut()
        Cuttable.open_ones.clear()

    def start_again(self) -> None:
        """Listen at the same place."""
        self._serve().listen(self.port, "127.0.0.1", reuse_port=False)

    async def page(self) -> WebSocketClientConnection:
        """A page that opens the line."""
        self._pages.append(await websocket_connect(f"ws{self.url[4:]}nbferry/page/{NAME}"))
        return self._pages[-1]

    async def aclose(self) -> None:
        """Close the pages and stop."""
        for page in self._pages:
            page.close()
            while await page.read_message() is not None:
                pass
        await self.stop()


@asynccontextmanager
async def line_served() -> AsyncIterator[tuple[Site, Kernel]]:
    """A server with lines, and a kernel's end."""
    site = Site([(PAGE_PATH, Cuttable, {"lines": LineHubs()})])
    kernel = Kernel(site.url)
    yield site, kernel
    await kernel.line.aclose()
    await site.aclose()


def test_both_ways() -> None:
    """Objects and buffers go to a page and come from one, whatever their size."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            page = await site.page()
            assert await kernel.hear() == ("came", 1)
            for size in (0, 1, 65_536, MIB, 4 * MIB - 100):
                await page.write_message(pack({"size": size}) + bytes(size), binary=True)
                assert await kernel.hear() == (1, {"size": size}, bytes(size))
                await kernel.line.send(1, {"size": size}, bytes(size))
                assert await page.read_message() == pack({"size": size}) + bytes(size)
            page.close()
            assert await kernel.hear() == ("left", 1)

    run(scenario)


def test_a_page_that_comes_first() -> None:
    """What it has sent meanwhile, however large, is kept for the kernel's end until that is ready for it."""

    async def scenario() -> None:
        site = Site([(PAGE_PATH, Cuttable, {"lines": LineHubs()})])
        page = await site.page()
        await page.write_message(pack({"n": 1}) + bytes(3 * MIB), binary=True)
        kernel = Kernel(site.url)
        assert await kernel.hear() == ("came", 1)
        assert await kernel.hear() == (1, {"n": 1}, bytes(3 * MIB))
        await kernel.line.aclose()
        await site.aclose()

    run(scenario)


def test_order() -> None:
    """What several tasks send to a page arrives in the order in which they asked."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            page = await site.page()
            await kernel.hear()
            sending = [kernel.line.send(1, {"n": n}, bytes(MIB if n % 3 else 0)) for n in range(40)]
            tasks = [asyncio.ensure_future(each) for each in sending]
            heard = [await page.read_message() for _ in range(40)]
            await asyncio.gather(*tasks)
            assert [json.loads(data[4 : 4 + data[3]])["n"] for data in heard if data] == list(range(40))

    run(scenario)


def test_a_slow_page_stops_no_other() -> None:
    """To a page that takes nothing only so much is sent; others have everything meanwhile."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            request = (
                f"GET /nbferry/page/{NAME} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nUpgrade: websocket\r\n"
            )
            request += "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(request.encode())
            await reader.readuntil(b"\r\n\r\n")
            assert await kernel.hear() == ("came", 1)
            page = await site.page()
            assert await kernel.hear() == ("came", 2)
            stuck = [asyncio.ensure_future(kernel.line.send(1, {}, bytes(2 * MIB))) for _ in range(40)]
            for number in range(40):
                await kernel.line.send(2, {"n": number}, bytes(2 * MIB))
                assert await page.read_message() == pack({"n": number}) + bytes(2 * MIB)
            assert not stuck[-1].done()
            received = 0
            while received < 80 * MIB:
                received += len(await reader.read(MIB))
            await asyncio.gather(*stuck)
            writer.close()
            await writer.wait_closed()
            assert await kernel.hear() == ("left", 1)

    run(scenario)


def test_a_page_that_leaves() -> None:
    """Who sends to a page that is not there, or not any more, is told so, and so is who waits for it."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            with pytest.raises(TransportError):
                await kernel.line.send(1, {})
            page = await site.page()
            await kernel.hear()
            page.close()
            assert await kernel.hear() == ("left", 1)
            with pytest.raises(TransportError):
                await kernel.line.send(1, {})

    run(scenario)


def test_a_server_that_restarts() -> None:
    """All pages have left when the line is lost; it is there again when the server is, and so are they."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            for number in (1, 2):
                await site.page()
                assert await kernel.hear() == ("came", number)
            await site.stop()
            assert {await kernel.hear(), await kernel.hear()} == {("left", 1), ("left", 2)}
            with pytest.raises(TransportError):
                await kernel.line.send(1, {})
            site.start_again()
            page = await site.page()
            event, number = await kernel.hear()
            assert event == "came"
            await kernel.line.send(number, {"n": 1})
            assert await page.read_message() == pack({"n": 1})

    run(scenario)


def test_bad_input() -> None:
    """What a page sends in another form is dropped, and nothing else happens."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            page = await site.page()
            await kernel.hear()
            for message in (b"", b"\0", b"\0\0\0\2[]", b"\xff\xff\xff\xff{}", b"\0\0\0\2{", b"\0\0\0\1\xff"):
                await page.write_message(message, binary=True)
            await page.write_message(pack({"fine": True}), binary=True)
            assert await kernel.hear() == (1, {"fine": True}, b"")

    run(scenario)


def test_no_server() -> None:
    """Where there is no server with lines nothing happens, and it can be closed."""

    async def scenario() -> None:
        kernel = Kernel()
        with pytest.raises(TransportError):
            await kernel.line.send(1, {})
        await kernel.line.aclose()
        await kernel.line.aclose()

    run(scenario)


def test_closed() -> None:
    """After it is closed nobody is called, and who waits to send is told."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            await site.page()
            await kernel.hear()
            sending = asyncio.ensure_future(kernel.line.send(1, {}, bytes(WINDOW - 100)))
            await sending
            await kernel.line.aclose()
            with pytest.raises(TransportError):
                await kernel.line.send(1, {})
            assert kernel.events.empty()

    run(scenario)


def test_too_large() -> None:
    """A message that no server would pass on is a mistake of ours."""

    async def scenario() -> None:
        async with line_served() as (site, kernel):
            await site.page()
            await kernel.hear()
            with pytest.raises(ValueError, match="at most"):
                await kernel.line.send(1, {}, bytes(4 * MIB))

    run(scenario)


class Played(WebSocketHandler):
    """A server that a test plays: it has its sockets in a queue, and says what it likes."""

    def initialize(self, sockets: asyncio.Queue[Played]) -> None:
        """Take the queue, and have one for what comes."""
        self.sockets, self.heard = sockets, asyncio.Queue[Any]()

    def open(self, *args: str, **kwargs: str) -> None:
        """Be there."""
        self.sockets.put_nowait(self)

    def on_message(self, message: str | bytes) -> None:
        """Keep it."""
        self.heard.put_nowait(message)

    def on_close(self) -> None:
        """Keep that, too."""
        self.heard.put_nowait(None)

    async def tell(self, number: int, data: bytes) -> None:
        """Say something with a number in front."""
        await self.write_message(number.to_bytes(4) + data, binary=True)


@asynccontextmanager
async def line_played() -> AsyncIterator[tuple[asyncio.Queue[Played], Kernel]]:
    """A kernel's end, and the server's sockets."""
    sockets: asyncio.Queue[Played] = asyncio.Queue()
    site = Site([(PAGE_PATH, Played, {"sockets": sockets})])
    kernel = Kernel(site.url)
    yield sockets, kernel
    await kernel.line.aclose()
    await site.aclose()


def test_how_it_knocks() -> None:
    """It names its end, shows what lets it in, and says when it is ready."""

    async def scenario() -> None:
        async with line_played() as (sockets, _):
            server = await sockets.get()
            assert server.request.uri == f"/nbferry/page/{NAME}?end=kernel"
            assert server.request.headers["X-Token"] == "let me in"
            assert await server.heard.get() == READY

    run(scenario)


def test_a_strange_server() -> None:
    """Nothing that a server says does any harm; what is not known is ignored."""

    async def scenario() -> None:
        async with line_played() as (sockets, kernel):
            server = await sockets.get()
            strange = (
                '{"came": "x"}',
                '{"left": 9}',
                '{"took": 9, "bytes": 1}',
                '{"took": 1}',
                '{"new": 1}',
                "[]",
                "",
            )
            for said in strange:
                await server.tell(0, said.encode())
            for data in (b"", b"\0", b"\0\0\0"):
                await server.write_message(data, binary=True)
            await server.tell(7, pack({"page": "unknown"}))
            await server.tell(0, b'{"came": 7}')
            await server.tell(0, b'{"came": 7}')
            await server.tell(7, pack({"page": "known"}))
            assert await kernel.hear() == ("came", 7)
            assert await kernel.hear() == (7, {"page": "known"}, b"")

    run(scenario)


def test_it_waits_for_a_page() -> None:
    """No more than a window is sent to a page before its socket has taken it; a page that leaves ends the wait."""

    async def scenario() -> None:
        async with line_played() as (sockets, kernel):
            server = await sockets.get()
            await server.heard.get()
            await server.tell(0, b'{"came": 1}')
            await kernel.hear()
            sending = [asyncio.ensure_future(kernel.line.send(1, {}, bytes(2 * MIB - 10))) for _ in range(4)]
            sizes = [len(await server.heard.get()) for _ in range(2)]
            await asyncio.wait(sending[:2])
            assert not any(task.done() for task in sending[2:])
            await server.tell(0, b'{"took": 1, "bytes": %d}' % (sizes[0] - 4))
            await sending[2]
            await server.tell(0, b'{"left": 1}')
            with pytest.raises(TransportError):
                await sending[3]

    run(scenario)


def test_a_lost_line_ends_the_wait() -> None:
    """Who waits for a page's socket is told when the line is lost."""

    async def scenario() -> None:
        async with line_played() as (sockets, kernel):
            server = await sockets.get()
            await server.tell(0, b'{"came": 1}')
            await kernel.hear()
            sending = [asyncio.ensure_future(kernel.line.send(1, {}, bytes(3 * MIB))) for _ in range(2)]
            await sending[0]
            server.close()
            with pytest.raises(TransportError):
                await sending[1]
            assert await kernel.hear() == ("left", 1)

    run(scenario)


def test_replaced() -> None:
    """An end that was replaced by a newer one does not come back."""

    async def scenario() -> None:
        async with line_played() as (sockets, kernel):
            server = await sockets.get()
            assert await server.heard.get() == READY
            server.close()
            server = await sockets.get()  # that it was only lost does not keep it away
            assert await server.heard.get() == READY
            await server.tell(0, b'{"replaced": true}')
            server.close()
            assert kernel.line._task
            await kernel.line._task
            assert sockets.empty()

    run(scenario)


def test_it_comes_again_at_once() -> None:
    """A server that hangs up before it has said anything is tried again, and no socket stays open."""

    async def scenario() -> None:
        async with line_played() as (sockets, kernel):
            for _ in range(3):
                server = await sockets.get()
                server.close()
                while await server.heard.get() is not None:
                    pass
            server = await sockets.get()
            await server.tell(0, b'{"came": 1}')
            assert await kernel.hear() == ("came", 1)

    run(scenario)


def test_a_bug_is_not_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """What should not happen while looking for a server is in the log; there is still the comm."""

    def find() -> Server | None:
        raise AssertionError("a bug")

    async def scenario() -> None:
        line = Line(NAME, received=lambda *_: None, find=find)
        line.start()
        assert line._task
        await asyncio.wait([line._task])
        await asyncio.sleep(0)
        await line.aclose()

    run(scenario)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "nbferry"
