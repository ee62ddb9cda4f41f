"""Fixtures for the tests of the relay's servers: a client, and a relay on a free port of the loopback interface.

pytest-jupyter's hooks run coroutines in the loop of ``jp_asyncio_loop``. The hooks must be imported here.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pytest_jupyter.jupyter_core import jp_asyncio_loop as loop_fixture
from pytest_jupyter.jupyter_core import pytest_pycollect_makeitem, pytest_pyfunc_call
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from nbferry.relay.app import RunningRelay, start_relay
from nbferry.relay.effects import RelayStatistics
from nbferry.relay.limits import RelayLimits

__all__ = ["jp_asyncio_loop", "pytest_pycollect_makeitem", "pytest_pyfunc_call"]  # pytest finds them by name

jp_asyncio_loop = loop_fixture

ROOM, KEY, CHANNEL = "a" * 32, "1" * 32, "c" * 32


class Client:
    """One WebSocket to a relay."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.ended = False

    async def say(self, **fields: Any) -> None:
        """Send a control message."""
        await self.send(json.dumps(fields).encode())

    async def send(self, data: bytes) -> None:
        """Send a binary message."""
        await self.socket.write_message(data, binary=True)

    async def hear(self) -> Any:
        """The next control message, which must be binary; None after the socket closed."""
        message = await self.receive()
        return None if message is None else json.loads(message)

    async def receive(self) -> bytes | None:
        """The next binary message; None after the socket closed."""
        message = await self.socket.read_message()
        assert not isinstance(message, str)
        self.ended = message is None
        return message

    async def ask(self, **fields: Any) -> Any:
        """Send a control message. Returns the answer."""
        await self.say(**fields)
        return await self.hear()

    async def end(self) -> tuple[int | None, str | None]:
        """Wait until the socket closes. Returns code and reason. No message may come before that."""
        assert await self.receive() is None
        return self.socket.close_code, self.socket.close_reason

    async def refusal(self) -> str:
        """Wait until this socket is refused and closed. Returns the code."""
        error = await self.hear()
        assert await self.end() == (1008, error["code"])
        return str(error["code"])


class World:
    """A relay and its clients. It starts with the first client, unless the test starts it with its own limits."""

    def __init__(self) -> None:
        self.relay: RunningRelay | None = None
        self.clients: list[Client] = []

    async def start(
        self, *, authorize: Any = None, behind_proxy: bool = False, **limits: Any
    ) -> RunningRelay:
        """Start the relay."""
        assert self.relay is None
        self.relay = await start_relay(
            limits=RelayLimits(**limits), authorize=authorize, behind_proxy=behind_proxy
        )
        return self.relay

    async def url(self, path: str = "nbferry/ws", scheme: str = "ws") -> str:
        """An address of the relay."""
        relay = self.relay or await self.start()
        return f"{scheme}{relay.url.removeprefix('http')}{path}"

    async def open(self, **headers: str) -> Client:
        """A socket that has sent nothing yet."""
        request = HTTPRequest(await self.url(), headers={k.replace("_", "-"): v for k, v in headers.items()})
        client = Client(await websocket_connect(request, max_message_size=64 << 20))
        self.clients.append(client)
        return client

    async def host(self, room: str | None = ROOM) -> Client:
        """A socket that hosts a room."""
        client = await self.open()
        assert (await client.ask(type="create", room=room, key=KEY))["type"] == "created"
        return client

    async def pair(self, channel: str = CHANNEL) -> tuple[Client, Client]:
        """Two spliced sockets, in a room with a host."""
        await self.host()
        first, second = await self.open(), await self.open()
        for client in (first, second):
            await client.say(type="channel", room=ROOM, channel=channel)
        for client in (first, second):
            assert await client.hear() == {"type": "paired"}
        return first, second

    def statistics(self) -> RelayStatistics:
        """The relay's statistics."""
        assert self.relay
        return self.relay.statistics()

    async def until(self, condition: Callable[[RelayStatistics], bool]) -> None:
        """Let the loop turn until the statistics fulfil a condition."""
        while not condition(self.statistics()):  # noqa: ASYNC110  (a relay has no event for it)
            await asyncio.sleep(0)

    async def settle(self, progress: Callable[[], object]) -> None:
        """Let the loop turn until a value stays the same for so long that no byte can be in transit.

        Both ends are in this loop: each turn receives what the turn before it sent over the loopback interface.
        """
        seen, quiet = progress(), 0
        while quiet < 500:
            await asyncio.sleep(0)
            now = progress()
            quiet = quiet + 1 if now == seen else 0
            seen = now

    async def aclose(self) -> None:
        """Close the relay and its clients."""
        if self.relay:
            await self.relay.aclose()
        for client in self.clients:
            while not client.ended:
                await client.receive()
            client.socket.close()


@pytest.fixture
def world(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[World]:
    """A relay and its clients."""
    world = World()
    yield world
    jp_asyncio_loop.run_until_complete(world.aclose())


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may be logged at the level of a warning or above."""
    yield
    # When a task is collected, asyncio logs its unread error.
    gc.collect(1)
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


@pytest.fixture
def connected(world: World) -> Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Open a raw TCP connection to the relay."""

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = int((await world.url(scheme="http")).split(":")[2].split("/")[0])
        return await asyncio.open_connection("127.0.0.1", port)

    return connect
