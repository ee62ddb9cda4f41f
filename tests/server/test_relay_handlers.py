"""A relay in its own server, over real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.iostream import StreamClosedError

from nbferry.errors import RendezvousError
from nbferry.limits import MiB
from nbferry.relay.app import RunningRelay, raise_mmap_threshold, serve, start_relay
from nbferry.relay.driver import DrivenSocket, RelayDriver

ROOM, KEY, CHANNEL = "a" * 32, "1" * 32, "c" * 32
HANDSHAKE = (
    b"GET /nbferry/ws HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
World = Any  # the class in conftest.py cannot be imported


class FakeStream:
    """A stream that closes after its first write."""

    writes = 0

    def write(self, data: bytes) -> None:
        """Fail from the second write on."""
        self.writes += 1
        if self.writes > 1:
            raise StreamClosedError


class FakeConnection:
    """A WebSocket over that stream."""

    def __init__(self) -> None:
        self.stream = FakeStream()

    def is_closing(self) -> bool:
        """Look open."""
        return False


pytestmark = pytest.mark.usefixtures("quiet")


def masked(data: bytes, first: int = 0x82) -> bytes:
    """A small frame of a client, with a mask of zeros."""
    return bytes((first, 0x80 | len(data))) + bytes(4) + data


async def raw_socket(connected: Connect, **fields: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A raw WebSocket for rude clients, after its first message."""
    reader, writer = await connected()
    writer.write(HANDSHAKE + masked(json.dumps(fields).encode()))
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


class TestRooms:
    async def test_meeting(self, world: World) -> None:
        """Host and member meet under a nameplate, exchange messages, and leave once the code is used."""
        host, member = await world.open(), await world.open()
        created = await host.ask(type="create", room=None, key=KEY, seconds=60)
        room = created["room"]
        assert created == {"type": "created", "room": room, "seconds": 60}
        assert await member.ask(type="join", room=room) == {"type": "joined", "member": 1}
        assert await host.hear() == {"type": "joined", "member": 1}
        await member.say(type="message", body="hello")
        assert await host.hear() == {"type": "message", "from": 1, "body": "hello"}
        await host.say(type="message", to=1, body="welcome")
        assert await member.hear() == {"type": "message", "from": 0, "body": "welcome"}
        await host.say(type="close", reason="used")
        assert await member.refusal() == "room-used"
        assert await host.end() == (1000, None)

    async def test_text(self, world: World) -> None:
        """Control messages may be text. The relay answers in binary."""
        client = await world.open()
        await client.socket.write_message(json.dumps({"type": "create", "room": ROOM, "key": KEY}))
        assert (await client.hear())["room"] == ROOM

    async def test_tombstone(self, world: World) -> None:
        """A late client is told why the room is gone."""
        host = await world.host()
        await host.say(type="close", reason="burnt")
        await host.end()
        late = await world.open()
        await late.say(type="join", room=ROOM)
        assert await late.refusal() == "room-burnt"

    async def test_left(self, world: World) -> None:
        """When a socket closes, the other side of its room is told."""
        host, member = await world.host(), await world.open()
        await member.ask(type="join", room=ROOM)
        await host.hear()
        host.socket.close()
        assert await member.hear() == {"type": "left", "member": 0}
        await member.say(type="message", body="are you there?")
        host = await world.host()
        assert await member.hear() == {"type": "joined", "member": 0}
        assert await host.hear() == {"type": "joined", "member": 1}
        assert await host.hear() == {"type": "message", "from": 1, "body": "are you there?"}
        member.socket.close()
        assert await host.hear() == {"type": "left", "member": 1}

    async def test_rate(self, world: World) -> None:
        """An address that guesses too often is told when to retry."""
        await world.start(joins_per_minute=1)
        first, second = await world.open(), await world.open()
        assert (await first.ask(type="join", room="482913"))["code"] == "room-unknown"
        answer = await second.ask(type="join", room="482913")
        assert (answer["code"], answer["retry_after"]) == ("rate-limited", 60)

    @pytest.mark.parametrize(("behind_proxy", "code"), [(True, "room-unknown"), (False, "rate-limited")])
    async def test_rate_behind_a_proxy(self, world: World, behind_proxy: bool, code: str) -> None:
        """Behind a proxy, rates count for the address that it reports. Without one, a client's header is ignored."""
        await world.start(joins_per_minute=1, behind_proxy=behind_proxy)
        first, second = await world.open(X_Real_IP="192.0.2.1"), await world.open(X_Real_IP="192.0.2.2")
        await first.ask(type="join", room="482913")
        assert (await second.ask(type="join", room="482913"))["code"] == code

    async def test_first_message(self, world: World) -> None:
        """A socket without a first message is refused."""
        await world.start(first_message=0.01)
        client = await world.open()
        assert await client.refusal() == "too-slow"

    async def test_authorize(self, world: World) -> None:
        """A relay in a sender's process creates rooms for that sender only. Any client may join."""
        await world.start(authorize=lambda request: request.headers.get("X-Mine") == "yes")
        mine, other, member = await world.open(X_Mine="yes"), await world.open(), await world.open()
        assert (await mine.ask(type="create", room=ROOM, key=KEY))["type"] == "created"
        assert (await member.ask(type="join", room=ROOM))["type"] == "joined"
        await other.say(type="create", room=None, key=KEY)
        assert await other.refusal() == "not-authorized"

    async def test_pings(self, world: World, connected: Connect) -> None:
        """A client that answers pings stays. One that does not is refused and frees its seat."""
        await world.start(ping_interval=0.05)
        host = await world.host()
        reader, writer = await raw_socket(connected, type="join", room=ROOM)
        assert await host.hear() == {"type": "joined", "member": 1}
        assert await host.hear() == {"type": "left", "member": 1}
        writer.close()
        assert b"too-slow" in await reader.read()
        assert world.statistics().rooms == 1


class TestChannels:
    async def test_both_ways(self, world: World) -> None:
        """All bytes pass in both directions at once, unchanged."""
        first, second = await world.pair()
        there, back = ([secrets.token_bytes(MiB) for _ in range(3)] for _ in range(2))

        async def send(client: Any, messages: list[bytes]) -> None:
            for message in messages:
                await client.send(message)

        sending = asyncio.gather(send(first, there), send(second, back))
        assert [await second.receive() for _ in there] == there
        assert [await first.receive() for _ in back] == back
        await sending
        assert world.statistics().bytes == 6 * MiB

    async def test_sizes(self, world: World) -> None:
        """Messages of any size pass unchanged, from empty to the largest."""
        first, second = await world.pair()
        for size in (0, 1, 125, 126, 16_384, 16_385, 65_535, 65_536, 4 * MiB + 65_536):
            message = secrets.token_bytes(size)
            await asyncio.gather(first.send(message), receives := asyncio.ensure_future(second.receive()))
            assert receives.result() == message

    async def test_back_pressure(self, world: World) -> None:
        """A receiver that does not read stops the sender. The relay holds two messages and loses none."""
        first, second = await world.pair()
        messages = [secrets.token_bytes(MiB) for _ in range(64)]
        sent = 0

        async def send() -> None:
            nonlocal sent
            for message in messages:
                await first.send(message)
                sent += 1

        sending = asyncio.ensure_future(send())
        await world.settle(lambda: (sent, world.statistics()))
        assert sent < 64
        assert 0 < world.statistics().unsent <= 2 * MiB
        assert [await second.receive() for _ in messages] == messages
        await sending
        assert world.statistics().unsent == 0

    async def test_close_after_data(self, world: World) -> None:
        """All bytes of an end that sends and closes arrive, even if the other end reads late."""
        first, second = await world.pair()
        messages = [secrets.token_bytes(MiB) for _ in range(64)]
        received, sending = [], asyncio.gather(*(first.send(message) for message in messages))
        await world.settle(world.statistics)
        # The receiver takes only what it must, and stays far behind.
        while not sending.done():
            received.append(await second.receive())
            await world.settle(world.statistics)
        first.socket.close()
        await world.settle(world.statistics)
        assert len(received) < 64
        while (data := await second.receive()) is not None:
            received.append(data)
        assert (received, second.socket.close_code) == (messages, 1000)

    async def test_quota(self, world: World) -> None:
        """A channel above its room's quota is closed, and the message that exceeds it does not pass."""
        await world.start(channel_bytes=10)
        first, second = await world.pair()
        await first.send(b"1234567890")
        assert await second.receive() == b"1234567890"
        await second.send(b"1")
        assert await first.end() == await second.end() == (1008, "quota")

    async def test_text(self, world: World) -> None:
        """Text does not pass a channel."""
        first, second = await world.pair()
        await first.socket.write_message("hello")
        assert await first.end() == await second.end() == (1008, "bad-message")

    async def test_too_large(self, world: World) -> None:
        """A message above the limit closes the channel."""
        first, second = await world.pair()
        writing = asyncio.ensure_future(first.send(bytes(4 * MiB + 65_537)))
        assert await second.end() == (1000, None)
        await asyncio.wait([writing])
        # The socket closes during the write, or just after it.
        writing.exception()

    async def test_receiver_vanishes(self, world: World, connected: Connect) -> None:
        """A receiver that is cut off closes its sender, and no warning is logged."""
        await world.host()
        _, writer = await raw_socket(connected, type="channel", room=ROOM, channel=CHANNEL)
        first = await world.open()
        await first.ask(type="channel", room=ROOM, channel=CHANNEL)
        sending = [asyncio.ensure_future(first.send(bytes(MiB))) for _ in range(64)]
        await world.settle(world.statistics)
        assert world.statistics().unsent > 0
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()  # a reset amid a message
        assert await first.receive() is None
        await asyncio.wait(sending)
        for each in sending:
            each.exception()
        await world.until(lambda statistics: statistics.channels == 0 and statistics.unsent == 0)

    async def test_receiver_does_not_take_the_close(self, world: World, connected: Connect) -> None:
        """A receiver that does not even take its close is finally cut off, and its sender too."""
        await world.start(channel_idle=0.05, closing=0.05)
        await world.host()
        _, writer = await raw_socket(connected, type="channel", room=ROOM, channel=CHANNEL)
        writer.transport.pause_reading()
        first = await world.open()
        await first.ask(type="channel", room=ROOM, channel=CHANNEL)
        sending = [asyncio.ensure_future(first.send(bytes(MiB))) for _ in range(64)]
        await world.until(lambda statistics: statistics.sockets == 1 and statistics.unsent == 0)
        assert await first.end() == (1008, "too-slow")
        await asyncio.wait(sending)
        for each in sending:
            each.exception()
        writer.close()


class TestLine:
    async def test_socket_closes_behind_the_header(self) -> None:
        """A socket that closes between header and body of a message causes no error."""
        connection = FakeConnection()
        line = DrivenSocket(RelayDriver(), connection)  # type: ignore[arg-type]
        line.write(bytes(100_000))
        assert (connection.stream.writes, line.unsent) == (2, 0)


class TestGarbage:
    @pytest.mark.parametrize(
        "data",
        [
            b"\x00\xff\x16\x03\x01 this is not HTTP\r\n\r\n",
            b"GET /nbferry/ws HTTP/1.1\r\nHost: relay\r\n" + b"X: " + b"y" * 70_000,
            HANDSHAKE.replace(b"13\r", b"12\r"),
            HANDSHAKE.replace(b"GET", b"POST"),
            HANDSHAKE.replace(b"Key", b"Kex"),
            HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
            HANDSHAKE + b"\x82\x05hello",
            HANDSHAKE + b"\xf2\x80\x00\x00\x00\x00",
            HANDSHAKE + b"\x83\x80\x00\x00\x00\x00",
            HANDSHAKE + b"\x80\x80\x00\x00\x00\x00",
            HANDSHAKE + b"\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(64),
            HANDSHAKE + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + bytes(64),
            HANDSHAKE + masked(b"\xff\xfe", 0x81),
            HANDSHAKE + masked(b"\x03", 0x88),
            HANDSHAKE + masked(b"{}") + masked(b"{}"),
            HANDSHAKE[:60],
        ],
    )
    async def test_bytes(self, world: World, connected: Connect, data: bytes) -> None:
        """Random bytes close the socket. The relay forgets it, logs no warning and continues."""
        reader, writer = await connected()
        writer.write(data)
        writer.write_eof()
        # The relay may close before it has read everything.
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        await world.until(lambda statistics: statistics.sockets == 0)
        assert (await (await world.open()).ask(type="join", room="482913"))["code"] == "room-unknown"

    async def test_reset(self, world: World, connected: Connect) -> None:
        """A socket that is reset just after its handshake is forgotten."""
        reader, writer = await connected()
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await world.until(lambda statistics: statistics.sockets == 0)

    async def test_large_control_message(self, world: World) -> None:
        """A control message slightly too long is refused; one far too long closes the socket."""
        little, far = await world.open(), await world.open()
        await little.say(type="join", room="x" * 65_536)
        assert await little.refusal() == "bad-message"
        writing = asyncio.ensure_future(far.send(bytes(MiB)))
        assert await far.receive() is None
        await asyncio.wait([writing])
        writing.exception()
        await world.until(lambda statistics: statistics.sockets == 0)

    async def test_message_after_close(self, world: World, connected: Connect) -> None:
        """Messages after a refusal are not read."""
        reader, writer = await raw_socket(connected, type="nonsense")
        writer.write(masked(json.dumps({"type": "create", "room": ROOM, "key": KEY}).encode()))
        writer.write(masked(struct.pack("!H", 1000), 0x88))
        assert b"bad-message" in await reader.read()
        writer.close()
        assert world.statistics().rooms == 0

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example"])
    async def test_foreign_origin(self, world: World, origin: str) -> None:
        """A page of another site cannot open a socket."""
        with pytest.raises(HTTPClientError, match="403"):
            await world.open(Origin=origin)


class TestRoutes:
    async def test_version(self, world: World) -> None:
        """The version route tells the protocol's version."""
        answer = await AsyncHTTPClient().fetch(await world.url("nbferry/version", "http"))
        fields = json.loads(answer.body)
        assert (fields["relay"], type(fields["nbferry"])) == (1, str)

    @pytest.mark.parametrize(
        ("path", "method", "status"),
        [
            ("", "GET", 404),
            ("nbferry", "GET", 404),
            ("nbferry/ws", "GET", 400),
            ("nbferry/ws", "DELETE", 405),
            ("nbferry/version", "DELETE", 405),
        ],
    )
    async def test_nothing_else(self, world: World, path: str, method: str, status: int) -> None:
        """Only the two routes exist, and only for GET."""
        with pytest.raises(HTTPClientError, match=str(status)):
            await AsyncHTTPClient().fetch(await world.url(path, "http"), method=method)

    async def test_log_holds_no_url(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """A requested URL does not appear in the log."""
        caplog.set_level("DEBUG", logger="nbferry.relay")
        with pytest.raises(HTTPClientError):
            await AsyncHTTPClient().fetch(await world.url("wp-login.php", "http"))
        assert "answers 404" in caplog.text
        assert "wp-login" not in caplog.text


class TestRunning:
    async def test_close_twice(self, world: World) -> None:
        """Closing a relay closes its sockets and frees its port, and may be repeated."""
        relay = await world.start()
        first, second = await world.pair()
        await relay.aclose()
        assert await first.end() == await second.end() == (1001, None)
        assert relay.statistics().sockets == 0
        with pytest.raises(OSError, match="refused"):
            await world.open()
        await relay.aclose()

    async def test_close_while_sending(self, world: World, connected: Connect) -> None:
        """A relay can be closed while half a message waits."""
        await world.host()
        _, writer = await raw_socket(connected, type="channel", room=ROOM, channel=CHANNEL)
        writer.transport.pause_reading()
        first = await world.open()
        await first.ask(type="channel", room=ROOM, channel=CHANNEL)
        sending = [asyncio.ensure_future(first.send(bytes(MiB))) for _ in range(64)]
        await world.settle(world.statistics)
        await world.relay.aclose()
        assert world.statistics().unsent == 0
        await asyncio.wait(sending)
        for each in sending:
            each.exception()
        writer.close()

    async def test_port_is_taken(self, world: World) -> None:
        """A port in use is an error with a clear message."""
        port = int((await world.start()).url.split(":")[2].strip("/"))
        with pytest.raises(RendezvousError, match=f"127.0.0.1:{port}"):
            await start_relay(port=port)
        with pytest.raises(RendezvousError):
            await start_relay("relay.invalid")

    @pytest.mark.parametrize(
        ("host", "url"),
        [("", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")],
    )
    async def test_url(self, host: str, url: str) -> None:
        """A relay's URL can be opened on this machine for every listening address."""
        relay = await start_relay(host)
        assert relay.url.startswith(url)
        await relay.aclose()

    async def test_serve_until_terminated(self) -> None:
        """A relay ends with SIGTERM and restores the signal handler."""
        before = signal.getsignal(signal.SIGTERM)
        await serve(started=lambda _: os.kill(os.getpid(), signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) == before

    async def test_serve_until_cancelled(self) -> None:
        """A relay ends when its task is cancelled."""
        running: asyncio.Future[RunningRelay] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(started=running.set_result))
        relay = await running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(OSError, match="refused"):
            await AsyncHTTPClient().fetch(relay.url)

    def test_serve_in_a_thread(self) -> None:
        """In another thread, which handles no signals, a relay runs until it is cancelled."""
        urls = []

        async def main() -> None:
            task = asyncio.create_task(serve(started=lambda relay: (urls.append(relay.url), task.cancel())))  # type: ignore[func-returns-value]
            await asyncio.wait([task])

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
        assert len(urls) == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="other platforms have no such threshold")
    def test_mmap_threshold(self) -> None:
        """The allocator accepts the thresholds."""
        assert raise_mmap_threshold()

    def test_imports(self) -> None:
        """Importing the package loads neither Tornado nor jupyter_server."""
        code = (
            "import sys, nbferry.jupyter; print('tornado' in sys.modules or 'jupyter_server' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"
