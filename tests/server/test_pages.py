"""Lines in a real Jupyter server: permissions, messages, and ends of sockets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from pytest_jupyter.jupyter_server import *  # noqa: F403  (fixtures; they call each other by name)
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection

from nbferry.jupyter.lines import NO_KERNEL, REPLACED, TOO_MANY, UNSUPPORTED
from nbferry.jupyter.server import Server, has_pages
from nbferry.widget.line import Line

NAME = "0123456789abcdef" * 2
DASHED = "01234567-89AB-cdef-0123-456789abcdef"
READY = b'\0\0\0\0{"ready":true}'
CONFIG = (resources.files("nbferry.jupyter") / "nbferry.json").read_text()
HANDSHAKE = (
    b"GET /a%%40b/nbferry/page/%s?end=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Authorization: %s\r\n\r\n"
)
STRANGER = {"Authorization": ""}
MIB = 1 << 20


class DenyAll(Authorizer):
    """Denies every action."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        """Answer at once."""
        return False


class ReadOnly(Authorizer):
    """Allows reading only."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        """Answer at once."""
        assert (action, resource) == ("write", "nbferry")
        return action == "read"


@pytest.fixture
def jp_base_url(request: pytest.FixtureRequest) -> str:
    """The server's base URL; a test may choose another one."""
    return getattr(request, "param", "/a%40b/")


@pytest.fixture
def jp_server_config(request: pytest.FixtureRequest, jp_env_config_path: Path) -> dict[str, Any]:
    """The extension is enabled by its file only; a test may add server settings."""
    folder = jp_env_config_path / "jupyter_server_config.d"
    folder.mkdir()
    (folder / "nbferry.json").write_text(CONFIG)
    return {"ServerApp": getattr(request, "param", {})}


@pytest.fixture
def lines(jp_serverapp: Any) -> Any:
    """The lines of the server."""
    return jp_serverapp.web_app.settings["nbferry_lines"]


@pytest.fixture
def connect(
    lines: Any, jp_ws_fetch: Any, http_server: Any, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    """Open a socket of a line. After the test all are closed, and the server has forgotten them."""
    sockets: list[WebSocketClientConnection] = []

    async def connect(
        end: str = "", name: str = NAME, headers: dict[str, str] | None = None, **params: str
    ) -> WebSocketClientConnection:
        query = params | ({"end": end} if end else {})
        socket = await jp_ws_fetch("nbferry", "page", name, headers=dict(headers or {}), params=query)
        sockets.append(socket)
        if end == "kernel":
            await socket.write_message(READY, binary=True)
        return socket

    async def close() -> None:
        for socket in sockets:
            socket.close()
        while len(lines):  # noqa: ASYNC110  (the server has no event for it)
            await asyncio.sleep(0)

    yield connect
    jp_asyncio_loop.run_until_complete(close())


@pytest.fixture
def raw(
    lines: Any, http_server: Any, jp_http_port: int, jp_auth_header: Any, jp_asyncio_loop: Any
) -> Iterator[Any]:
    """Open a raw socket of a line, which only the test reads."""
    writers: list[asyncio.StreamWriter] = []

    async def raw(end: str) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        writers.append(writer)
        writer.write(HANDSHAKE % (NAME.encode(), end.encode(), jp_auth_header["Authorization"].encode()))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        if end == "kernel":
            writer.write(bytes((0x82, 0x80 | len(READY))) + bytes(4) + READY)  # masked with zeros
        return reader

    async def close() -> None:
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    yield raw
    jp_asyncio_loop.run_until_complete(close())


async def flood(socket: WebSocketClientConnection, size: int) -> None:
    """Send this many bytes."""
    for _ in range(size // MIB):
        await socket.write_message(bytes(MIB), binary=True)


async def settle(progress: Callable[[], object]) -> None:
    """Let the loop turn until a value stays the same for many turns. Both ends are in this loop."""
    seen, quiet = progress(), 0
    while quiet < 500:
        await asyncio.sleep(0)
        now = progress()
        quiet = quiet + 1 if now == seen else 0
        seen = now


async def said(kernel: WebSocketClientConnection) -> Any:
    """The server's next message to a kernel."""
    message = await kernel.read_message()
    assert isinstance(message, bytes)
    assert message[:4] == bytes(4)
    return json.loads(message[4:])


async def end_of(socket: WebSocketClientConnection) -> int | None:
    """Wait until a socket closes. Returns the code."""
    while await socket.read_message() is not None:
        pass
    return socket.close_code


strict = pytest.mark.parametrize(
    "jp_server_config",
    [{"allow_unauthenticated_access": True}, {"allow_unauthenticated_access": False}],
    indirect=True,
)
ends = pytest.mark.parametrize("end", ["kernel", "page", ""])


class TestAccess:
    @ends
    @strict
    async def test_header(self, connect: Any, end: str) -> None:
        """The server's token allows either end."""
        await connect(end)

    @ends
    @strict
    async def test_stranger(self, connect: Any, lines: Any, end: str) -> None:
        """Without the token both ends are refused, even if the server is open otherwise."""
        for headers in (STRANGER, {"Authorization": "token wrong"}):
            with pytest.raises(HTTPClientError, match="403"):
                await connect(end, headers=headers)
        with pytest.raises(HTTPClientError, match="403"):
            await connect(end, headers=STRANGER, token="wrong")
        assert len(lines) == 0

    @strict
    async def test_token_in_the_address(self, connect: Any, jp_serverapp: Any) -> None:
        """A page that has the token only in its address may open its end."""
        await connect(headers=STRANGER, token=jp_serverapp.identity_provider.token)

    @strict
    async def test_cookie(self, connect: Any, jp_fetch: Any, jp_serverapp: Any, jp_http_port: int) -> None:
        """A login cookie is enough, but only on the server's own page."""
        token, host = jp_serverapp.identity_provider.token, {"Host": f"localhost:{jp_http_port}"}
        answer = await jp_fetch("api", "me", headers=STRANGER | host, params={"token": token})
        cookies = "; ".join(value.split(";")[0] for value in answer.headers.get_list("Set-Cookie"))
        assert cookies
        headers = STRANGER | {"Cookie": cookies}
        await connect(headers=headers | {"Origin": f"http://localhost:{jp_http_port}"})
        for origin in ("http://evil.example", "null", f"http://localhost.evil.example:{jp_http_port}"):
            with pytest.raises(HTTPClientError, match="403"):
                await connect(headers=headers | {"Origin": origin})

    @ends
    async def test_foreign_origin(self, connect: Any, end: str) -> None:
        """A page of another site needs the token, as for the server's own sockets."""
        foreign = {"Origin": "http://evil.example"}
        with pytest.raises(HTTPClientError, match="403"):
            await connect(end, headers=STRANGER | foreign)
        await connect(end, headers=foreign)

    @ends
    @pytest.mark.parametrize(
        "jp_server_config", [{"authorizer_class": DenyAll}, {"authorizer_class": ReadOnly}], indirect=True
    )
    async def test_authorizer(self, connect: Any, end: str) -> None:
        """A user whom the server's authorizer denies writing can open neither end."""
        with pytest.raises(HTTPClientError, match="403"):
            await connect(end)

    async def test_no_websocket(self, jp_fetch: Any, lines: Any) -> None:
        """A request that is no WebSocket gets an HTTP error, and so do other methods."""
        with pytest.raises(HTTPClientError, match="400"):
            await jp_fetch("nbferry", "page", NAME)
        with pytest.raises(HTTPClientError, match="405"):
            await jp_fetch("nbferry", "page", NAME, method="DELETE")
        assert len(lines) == 0

    @pytest.mark.parametrize(
        ("name", "end", "status"),
        [(NAME[1:], "", 404), ("x" * 32, "", 404), (f"{NAME}0", "", 404), (NAME, "server", 400)],
    )
    async def test_wrong_names(self, connect: Any, name: str, end: str, status: int) -> None:
        """A name must be that of a widget model, and an end one of two."""
        with pytest.raises(HTTPClientError, match=str(status)):
            await connect(end, name=name)

    @pytest.mark.parametrize("jp_base_url", ["/", "/user/someone@example.org/"], indirect=True)
    async def test_base_url(self, connect: Any, jp_fetch: Any) -> None:
        """Lines are below the server's base URL, and the version announces them."""
        await connect("kernel")
        assert json.loads((await jp_fetch("nbferry", "version")).body)["pages"] == 1

    async def test_no_secret_in_the_log(self, connect: Any, caplog: Any, jp_serverapp: Any) -> None:
        """Neither names nor tokens are logged when a socket is refused, used or closed."""
        caplog.set_level(logging.DEBUG)
        kernel, page = await connect("kernel"), await connect()
        await page.write_message(b"message", binary=True)
        assert await said(kernel) == {"came": 1}
        assert await kernel.read_message() == b"\0\0\0\1message"
        with pytest.raises(HTTPClientError, match="403"):
            await connect(headers=STRANGER, token="wrong-one")
        kernel.close()
        assert await end_of(page) == NO_KERNEL
        assert NAME not in caplog.text
        assert "wrong-one" not in caplog.text
        assert jp_serverapp.identity_provider.token not in caplog.text


class TestMessages:
    async def test_both_ways(self, connect: Any) -> None:
        """Messages of any size pass both ways, even if the two ends spell the name differently."""
        kernel, page = await connect("kernel"), await connect(name=DASHED)
        assert await said(kernel) == {"came": 1}
        for size in (0, 1, 125, 126, 16_379, 16_380, 16_384, 65_535, 65_536, MIB, 4 * MIB):
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await page.write_message(message, binary=True)
            assert await kernel.read_message() == b"\0\0\0\1" + message
            await kernel.write_message(b"\0\0\0\1" + message, binary=True)
            assert await page.read_message() == message
            assert await said(kernel) == {"took": 1, "bytes": size}

    async def test_a_page_that_connects_first(self, connect: Any) -> None:
        """A kernel that connects later gets the page's earlier messages in order."""
        page = await connect()
        for message in (b"one", b"two"):
            await page.write_message(message, binary=True)
        kernel = await connect("kernel")
        assert await said(kernel) == {"came": 1}
        assert [await kernel.read_message() for _ in range(2)] == [b"\0\0\0\1one", b"\0\0\0\1two"]

    async def test_several_pages(self, connect: Any) -> None:
        """Each page has a number and gets only its own messages; other lines get none."""
        kernel, stranger = await connect("kernel"), await connect("kernel", name="f" * 32)
        pages = [await connect() for _ in range(3)]
        assert [await said(kernel) for _ in pages] == [{"came": 1}, {"came": 2}, {"came": 3}]
        for number in (2, 3, 1):
            await kernel.write_message(bytes((0, 0, 0, number)) + b"for %d" % number, binary=True)
        assert [await page.read_message() for page in pages] == [b"for 1", b"for 2", b"for 3"]
        pages[1].close()
        heard = [await said(kernel) for _ in range(4)]
        assert heard[-1] == {"left": 2}
        stranger.close()
        assert await stranger.read_message() is None

    async def test_activity(self, connect: Any, jp_serverapp: Any) -> None:
        """A message counts as activity of the server; an open line does not."""
        settings = jp_serverapp.web_app.settings
        await connect()
        assert "nbferry_last_activity" not in settings
        kernel, page = await connect("kernel"), await connect()
        await page.write_message(b"x", binary=True)
        while await kernel.read_message() != b"\0\0\0\2x":
            pass
        assert jp_serverapp.web_app.last_activity() == settings["nbferry_last_activity"]

    async def test_a_kernel_that_does_not_read(self, connect: Any, lines: Any, raw: Any) -> None:
        """While the kernel does not read, the server reads no page, and its memory is bounded."""
        reader = await raw("kernel")
        pages = [await connect(), await connect()]
        (line,) = lines._lines.values()
        sending = [asyncio.ensure_future(flood(page, 48 * MIB)) for page in pages]
        await settle(lambda: line.kernel.unsent)
        assert 0 < line.kernel.unsent <= lines.limits.max_unsent + len(pages) * (MIB + 8)
        assert not any(task.done() for task in sending)
        received = 0
        while received < 96 * MIB:
            received += len(await reader.read(MIB))
        await asyncio.gather(*sending)


class TestEnds:
    async def test_no_kernel(self, connect: Any, lines: Any) -> None:
        """A page is closed if no kernel connects in time."""
        lines.limits = replace(lines.limits, kernel_wait=0.05)
        page = await connect()
        await page.write_message(b"hello?", binary=True)
        assert await end_of(page) == NO_KERNEL

    async def test_a_kernel_that_is_not_ready(self, connect: Any, jp_ws_fetch: Any) -> None:
        """A kernel's end serves pages only after its ready message."""
        older, page = await connect("kernel"), await connect()
        newer = await jp_ws_fetch("nbferry", "page", NAME, params={"end": "kernel"})
        await page.write_message(b"x", binary=True)
        assert [await older.read_message() for _ in range(2)][1] == b"\0\0\0\1x"
        newer.close()
        assert await newer.read_message() is None

    async def test_a_newer_kernel(self, connect: Any) -> None:
        """A newer kernel's end replaces the older one, whose pages must reconnect."""
        older, page = await connect("kernel"), await connect()
        assert await said(older) == {"came": 1}
        newer = await connect("kernel")
        assert await said(older) == {"replaced": True}
        assert await end_of(older) == REPLACED
        assert await end_of(page) == NO_KERNEL
        page = await connect()
        assert await said(newer) == {"came": 2}

    async def test_too_many_pages(self, connect: Any, lines: Any) -> None:
        """The page above the limit is closed."""
        lines.limits = replace(lines.limits, max_pages=1)
        await connect()
        assert await end_of(await connect()) == TOO_MANY

    async def test_text(self, connect: Any) -> None:
        """A page or kernel that sends text is closed, and the other end notices nothing."""
        kernel, good, bad = await connect("kernel"), await connect(), await connect()
        await bad.write_message("text")
        assert await end_of(bad) == UNSUPPORTED
        await good.write_message(b"x", binary=True)
        heard = [await kernel.read_message() for _ in range(4)]
        assert {b'\0\0\0\0{"left": 2}', b"\0\0\0\1x"} <= set(heard)

    async def test_too_large(self, connect: Any) -> None:
        """A message above the limit closes the socket that sent it."""
        kernel, page = await connect("kernel"), await connect()
        sending = asyncio.ensure_future(page.write_message(bytes(5 * MIB), binary=True))
        await end_of(page)
        await asyncio.wait([sending])
        sending.exception()
        assert [await said(kernel), await said(kernel)] == [{"came": 1}, {"left": 1}]

    async def test_silence(self, raw: Any, lines: Any) -> None:
        """A socket that answers no ping is closed."""
        lines.limits = replace(lines.limits, ping_interval=0.01, silent_pings=2)
        reader = await raw("page")
        assert (await reader.read()).count(b"\x89\0") == 2

    async def test_answered_pings(self, connect: Any, lines: Any) -> None:
        """A socket that answers pings stays open."""
        lines.limits = replace(lines.limits, ping_interval=0.01, silent_pings=1)
        kernel = await connect("kernel")
        pings = asyncio.Semaphore(0)
        kernel.on_ping = lambda _: pings.release()
        for _ in range(5):
            await pings.acquire()
        await connect()
        assert await said(kernel) == {"came": 1}

    async def test_no_second_keep_alive(self, connect: Any, lines: Any) -> None:
        """Lines send the pings, and the server's mixin, whose interval has another unit, sends none."""
        await connect("kernel")
        (line,) = lines._lines.values()
        while line.kernel is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        connection = line.kernel._outlet._connection
        assert connection.ping_interval == 0
        assert connection.handler.ping_callback is None


async def test_the_kernels_end(
    connect: Any, jp_serverapp: Any, jp_http_port: int, jp_auth_header: Any
) -> None:
    """A kernel finds the server's lines, opens its end, and exchanges messages with a page."""
    url = f"http://localhost:{jp_http_port}/a%40b/"
    server = Server(url, "", dict(jp_auth_header), "")
    heard: asyncio.Queue[Any] = asyncio.Queue()
    line = Line(
        NAME,
        received=lambda number, message, buffer: heard.put_nowait((number, message, bytes(buffer))),
        find=lambda: server if has_pages(url) else None,
    )
    line.start()
    page = await connect()
    await page.write_message(b'\0\0\0\x08{"id":1}' + b"buffer", binary=True)
    assert await heard.get() == (1, {"id": 1}, b"buffer")
    await line.send(1, {"re": 1}, [b"two ", memoryview(b"parts")])
    assert await page.read_message() == b'\0\0\0\x08{"re":1}two parts'
    await line.aclose()
    assert await end_of(page) == NO_KERNEL


async def test_a_server_without_lines(jp_http_port: int, http_server: Any) -> None:
    """A server without lines, or no server at all, is no error."""
    url = f"http://localhost:{jp_http_port}/elsewhere/"
    assert not await asyncio.to_thread(has_pages, url)
