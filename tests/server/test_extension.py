"""The relay in a real Jupyter server: permissions, routes and keep-alive."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from pytest_jupyter.jupyter_server import *  # noqa: F403  (fixtures; they call each other by name)
from tornado.httpclient import HTTPClientError

from nbferry.jupyter import _jupyter_server_extension_points
from nbferry.jupyter.extension import activity

ROOM, KEY, CHANNEL = "a" * 32, "1" * 32, "c" * 32
CONFIG = (resources.files("nbferry.jupyter") / "nbferry.json").read_text()
HANDSHAKE = (
    b"GET /a%%40b/nbferry/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: %s\r\n\r\n"
)
STRANGER = {"Authorization": ""}


class DenyAll(Authorizer):
    """Denies every action."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        """Answer at once."""
        return False


class Slow(Authorizer):
    """Takes until ``decided`` to answer whether an action is allowed."""

    asked: asyncio.Event
    decided: asyncio.Event

    async def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        """Answer when the test allows it."""
        self.asked.set()
        await self.decided.wait()
        return True


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
def relay(jp_serverapp: Any, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """The relay inside the server."""
    relay = jp_serverapp.web_app.settings["nbferry_relay"]
    yield relay
    jp_asyncio_loop.run_until_complete(relay.aclose())


@pytest.fixture
def ask(relay: Any, jp_ws_fetch: Any) -> Iterator[Any]:
    """Open a socket and send one message. Returns the answer. ``ask.sockets`` has the sockets."""
    sockets = []

    async def ask(headers: dict[str, str] | None = None, **fields: Any) -> Any:
        socket = await jp_ws_fetch("nbferry", "ws", headers=dict(headers or {}))
        sockets.append(socket)
        await socket.write_message(json.dumps(fields).encode(), binary=True)
        return json.loads(await socket.read_message())

    ask.sockets = sockets  # type: ignore[attr-defined]
    yield ask
    for socket in sockets:
        socket.close()


strict = pytest.mark.parametrize(
    "jp_server_config",
    [{"allow_unauthenticated_access": True}, {"allow_unauthenticated_access": False}],
    indirect=True,
)


class TestLoading:
    def test_extension_points(self) -> None:
        """The server is told to load the module that its configuration enables."""
        (point,) = _jupyter_server_extension_points()
        assert json.loads(CONFIG) == {"ServerApp": {"jpserver_extensions": {point["module"]: True}}}

    async def test_by_configuration(self, jp_serverapp: Any) -> None:
        """The file in the wheel is all that a server needs to load the extension."""
        assert jp_serverapp.extension_manager.extensions["nbferry.jupyter"].enabled
        assert "nbferry_relay" in jp_serverapp.web_app.settings

    @pytest.mark.parametrize("jp_base_url", ["/", "/user/someone@example.org/"], indirect=True)
    async def test_base_url(self, ask: Any, jp_fetch: Any) -> None:
        """Both routes are under the server's base URL."""
        assert (await ask(type="create", room=ROOM, key=KEY))["room"] == ROOM
        assert json.loads((await jp_fetch("nbferry", "version")).body)["relay"] == 1


class TestAccess:
    @strict
    async def test_a_user_creates_a_room(self, ask: Any) -> None:
        """The server's token allows to create a room."""
        assert (await ask(type="create", room=ROOM, key=KEY))["type"] == "created"

    @strict
    async def test_a_stranger_creates_no_room(self, ask: Any, relay: Any) -> None:
        """Without the token no room is created, even if the server is open otherwise."""
        for headers in (STRANGER, {"Authorization": "token wrong"}):
            assert (await ask(headers, type="create", room=None, key=KEY))["code"] == "not-authorized"
        assert relay.statistics().rooms == 0

    @pytest.mark.parametrize("jp_server_config", [{"authorizer_class": DenyAll}], indirect=True)
    async def test_authorizer(self, ask: Any) -> None:
        """A user whom the server's authorizer denies writing creates no room."""
        assert (await ask(type="create", room=None, key=KEY))["code"] == "not-authorized"

    @strict
    async def test_a_stranger_joins_a_room(self, ask: Any) -> None:
        """A stranger who knows a room may join it and open channels in it without a token."""
        await ask(type="create", room=ROOM, key=KEY)
        assert (await ask(STRANGER, type="join", room=ROOM)) == {"type": "joined", "member": 1}
        assert (await ask(STRANGER, type="join", room="b" * 32))["code"] == "room-unknown"

    @strict
    async def test_a_stranger_reads_the_version_only(self, jp_fetch: Any, relay: Any) -> None:
        """Without the token only the version is readable, and only with GET."""
        fields = json.loads((await jp_fetch("nbferry", "version", headers=dict(STRANGER))).body)
        assert fields["relay"] == 1
        for path in ("api/contents", "api/kernels", "api/sessions"):
            with pytest.raises(HTTPClientError, match="403"):
                await jp_fetch(*path.split("/"), headers=dict(STRANGER))
        for route in ("ws", "version"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                with pytest.raises(HTTPClientError, match=r"403|405"):
                    await jp_fetch(
                        "nbferry",
                        route,
                        headers=dict(STRANGER),
                        method=method,
                        allow_nonstandard_methods=True,
                    )

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "http://localhost.evil.example", "http://localhost:1"]
    )
    async def test_foreign_origin(self, ask: Any, origin: str) -> None:
        """A page of another site cannot open a socket, not even to join."""
        with pytest.raises(HTTPClientError, match="403"):
            await ask(STRANGER | {"Origin": origin}, type="join", room=ROOM)

    async def test_own_origin(self, ask: Any, jp_http_port: int) -> None:
        """The server's own page can open a socket."""
        origin = f"http://localhost:{jp_http_port}"
        answer = await ask(STRANGER | {"Origin": origin}, type="join", room=ROOM)
        assert answer["code"] == "room-unknown"

    async def test_no_websocket(self, jp_fetch: Any, relay: Any) -> None:
        """A request that is no WebSocket gets an HTTP error."""
        with pytest.raises(HTTPClientError, match="400"):
            await jp_fetch("nbferry", "ws")

    @pytest.mark.parametrize("jp_server_config", [{"authorizer_class": Slow}], indirect=True)
    async def test_a_socket_that_closes_during_authorization(
        self, relay: Any, http_server: Any, jp_http_port: int, jp_auth_header: Any, caplog: Any
    ) -> None:
        """A socket that closes while its request is authorized is forgotten, and no warning is logged."""
        Slow.asked, Slow.decided = asyncio.Event(), asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        writer.write(HANDSHAKE % jp_auth_header["Authorization"].encode())
        await Slow.asked.wait()
        writer.close()
        await writer.wait_closed()
        # Let the server notice.
        for _ in range(100):
            await asyncio.sleep(0)
        Slow.decided.set()
        # Let a faulty server open it.
        for _ in range(100):
            await asyncio.sleep(0)
        assert relay.statistics().sockets == 0
        assert [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


class TestActivity:
    async def test_traffic(self, ask: Any, jp_serverapp: Any) -> None:
        """Bytes in a channel count as activity of the server; an open room does not."""
        settings, before = jp_serverapp.web_app.settings, jp_serverapp.web_app.last_activity()
        await ask(type="create", room=ROOM, key=KEY)
        first = asyncio.ensure_future(ask(STRANGER, type="channel", room=ROOM, channel=CHANNEL))
        second = asyncio.ensure_future(ask(STRANGER, type="channel", room=ROOM, channel=CHANNEL))
        assert await first == await second == {"type": "paired"}
        assert "nbferry_last_activity" not in settings
        _, sender, receiver = ask.sockets
        await sender.write_message(b"sealed", binary=True)
        assert await receiver.read_message() == b"sealed"
        assert jp_serverapp.web_app.last_activity() == settings["nbferry_last_activity"] > before

    def test_once_a_second(self) -> None:
        """Activity is recorded at most once a second."""
        settings: dict[str, Any] = {}
        times = iter([5.0, 5.9, 6.0])
        note = activity(settings, lambda: next(times))
        seen = []
        for _ in range(3):
            note()
            seen.append(settings["nbferry_last_activity"])
        assert seen[0] is seen[1]
        assert seen[1] is not seen[2]

    async def test_no_second_keep_alive(self, ask: Any, jp_serverapp: Any) -> None:
        """The relay sends the pings, and the server's mixin, whose interval has another unit, sends none."""
        await ask(type="create", room=ROOM, key=KEY)
        (socket,) = jp_serverapp.web_app.settings["nbferry_relay"]._sockets
        assert socket._connection.ping_interval == 0
        assert socket._connection.handler.ping_callback is None
