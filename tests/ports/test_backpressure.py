"""WebSockets whose peer does not read or breaks the rules. Raw sockets play that peer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from nbferry.errors import ConnectFailed, TransportBroken, TransportClosed, TransportError
from nbferry.limits import Limits, MiB
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox, open_channel
from nbferry.transports import websocket
from nbferry.transports.base import Transport
from nbferry.transports.websocket import WebSocketTransport

PATIENCE = 60
LIMITS = Limits()
PATH = "/nbferry/secret"
MESSAGES = 100  # of 1 MiB: more than all buffers hold
# An upper bound of the buffers of all sockets in between.
KERNEL = 24 * MiB

BINARY, TEXT, CLOSE, PING = 0x82, 0x81, 0x88, 0x89


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, with a timeout."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


def message(number: int) -> bytes:
    """A mebibyte that differs from all others."""
    return number.to_bytes(4) * (MiB // 4)


class Raw:
    """A WebSocket whose bytes the test controls. It reads only on request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._client = client

    @classmethod
    async def dial(cls, port: int, path: str) -> Raw:
        """Open a WebSocket by hand."""
        raw = cls(*await asyncio.open_connection("127.0.0.1", port), client=True)
        key = base64.b64encode(bytes(16)).decode()
        raw._writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        assert b" 101 " in await raw._reader.readuntil(b"\r\n\r\n")
        return raw

    async def welcome(self) -> None:
        """Answer the handshake of a client."""
        request = await self._reader.readuntil(b"\r\n\r\n")
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324  # RFC 6455 wants it
        self._writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def say(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame. A client must mask; a mask of zeros is allowed."""
        mask = 0x80 if self._client else 0
        if len(payload) < 126:
            header = struct.pack("!BB", kind, mask | len(payload))
        elif len(payload) < 1 << 16:
            header = struct.pack("!BBH", kind, mask | 126, len(payload))
        else:
            header = struct.pack("!BBQ", kind, mask | 127, len(payload))
        self._writer.write(header + bytes(4 if self._client else 0) + payload)

    def say_bytes(self, raw: bytes) -> None:
        """Send bytes that may be no frame."""
        self._writer.write(raw)

    async def hear(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its unmasked payload."""
        kind, size = await self._reader.readexactly(2)
        masked, size = size & 0x80, size & 0x7F
        if size > 125:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8))
        mask = await self._reader.readexactly(4) if masked else b""
        payload = await self._reader.readexactly(size)
        if masked:
            stretched = int.from_bytes((mask * (size // 4 + 1))[:size])
            payload = (int.from_bytes(payload) ^ stretched).to_bytes(size)
        return kind, payload

    async def end(self) -> None:
        """Read until the other side hangs up."""
        with suppress(ConnectionResetError):
            while await self._reader.read(1 << 20):
                continue

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


Ends = tuple[Transport, Raw]


@asynccontextmanager
async def dialled() -> AsyncIterator[Ends]:
    """A listener's end, and a raw client."""
    listener = await websocket.Listener.start(PATH, LIMITS, host="127.0.0.1")
    raw = await Raw.dial(listener.ports[0][1], PATH)
    transport = await listener.accept()
    yield transport, raw
    raw.close()
    await transport.aclose()
    await listener.aclose()


@asynccontextmanager
async def dialling() -> AsyncIterator[Ends]:
    """The client's end, and a raw server."""
    raw: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.set_result(Raw(reader, writer, client=False))
        await raw.result().welcome()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = await websocket.connect(f"ws://127.0.0.1:{port}/", via="direct", limits=LIMITS)
    yield transport, await raw
    raw.result().close()
    await transport.aclose()
    server.close()


@asynccontextmanager
async def relayed() -> AsyncIterator[Ends]:
    """One end of a channel through a relay, and a raw client at the other end."""
    relay = await start_relay("127.0.0.1", 0)
    room, channel = "1" * 32, "2" * 32
    dial = f"{relay.url}nbferry/ws"
    host = await Mailbox.create(
        await websocket.connect(dial, via="relay", limits=LIMITS), key="3" * 32, room=room, seconds=60
    )
    raw = await Raw.dial(int(relay.url.rstrip("/").rpartition(":")[2]), "/nbferry/ws")
    raw.say(BINARY, f'{{"type": "channel", "room": "{room}", "channel": "{channel}"}}'.encode())
    transport = await websocket.connect(dial, via="relay", limits=LIMITS)
    await open_channel(transport, room=room, channel=channel)
    assert b"paired" in (await raw.hear())[1]
    yield transport, raw
    raw.close()
    await transport.aclose()
    await host.aclose()
    await relay.aclose()


WAYS = pytest.mark.parametrize("ends", [dialled, dialling, relayed])
DIRECT = pytest.mark.parametrize("ends", [dialled, dialling])


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event, set when a transport is above its high-water mark."""
    event = asyncio.Event()
    write_paused = WebSocketTransport.write_paused

    def seen(self: WebSocketTransport, paused: bool) -> None:
        write_paused(self, paused)
        if paused:
            event.set()

    monkeypatch.setattr(WebSocketTransport, "write_paused", seen)
    return event


@WAYS
def test_a_peer_that_does_not_read_blocks_the_sender(
    ends: Callable[[], Ends], blocked: asyncio.Event
) -> None:
    """A sender waits at its high-water mark. When the peer finally reads, no message is lost, doubled or damaged."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]
            sent = 0

            async def send() -> None:
                nonlocal sent
                for number in range(MESSAGES):
                    data = message(number)
                    await transport.send(len(data), lambda out, data=data: out.__setitem__(slice(None), data))
                    sent += 1

            sending = asyncio.create_task(send())
            await blocked.wait()
            assert not sending.done()
            assert sent * MiB < KERNEL + LIMITS.high_water + MiB
            for number in range(MESSAGES):
                kind, payload = await raw.hear()
                while kind == PING:
                    kind, payload = await raw.hear()
                assert kind == BINARY
                assert payload == message(number)
            await sending

    run(scenario)


@pytest.mark.parametrize(("ends", "who"), [(dialled, "we"), (dialled, "they"), (dialling, "they")])
def test_a_waiting_sender_learns_of_the_end(
    ends: Callable[[], Ends], who: str, blocked: asyncio.Event
) -> None:
    """A sender that waits for a slow peer learns when the peer leaves or its own end closes."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]

            async def send() -> None:
                while True:
                    await transport.send_bytes(bytes(MiB))

            sending = asyncio.create_task(send())
            await blocked.wait()
            if who == "we":
                await transport.aclose()
            else:
                raw.close()
            with pytest.raises(TransportError):
                await sending

    run(scenario)


@DIRECT
def test_a_peer_that_closes_is_closed(ends: Callable[[], Ends]) -> None:
    """After a close frame ``receive`` raises, and our end of the socket closes."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]
            raw.say(BINARY, b"last words")
            raw.say(CLOSE, struct.pack("!H", 1000))
            assert await transport.receive() == b"last words"
            with pytest.raises(TransportClosed):
                await transport.receive()
            with pytest.raises(TransportClosed):
                await transport.send_bytes(b"too late")
            await transport.aclose()
            await raw.end()

    run(scenario)


@DIRECT
def test_a_message_in_fragments_is_one_message(ends: Callable[[], Ends]) -> None:
    """A message that a proxy cut into frames, with a ping between them, arrives whole."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]
            for _ in range(2):
                raw.say(0x02, b"a mess")
                raw.say(PING)
                raw.say(0x00, b"age in")
                raw.say(0x80, b" pieces")
                raw.say(BINARY, b"and a whole one")
                assert await transport.receive() == b"a message in pieces"
                assert await transport.receive() == b"and a whole one"
            assert (await raw.hear())[0] == 0x8A

    run(scenario)


NONSENSE = {
    "text": bytes([TEXT, 0x02]) + b"hi",
    "an unknown kind": bytes([0x83, 0x00]),
    "a frame above the limit": bytes([BINARY, 0x7F]) + struct.pack("!Q", 1 << 40),
    "a ping in fragments": bytes([0x09, 0x00]),
    "a close frame that is cut": bytes([CLOSE, 0x01]) + b"x",
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_from_a_server_ends_the_connection(frame: bytes) -> None:
    """Invalid or unknown frames break the connection, which can still be closed."""

    async def scenario() -> None:
        async with dialling() as (transport, raw):
            raw.say_bytes(frame)
            with pytest.raises(TransportBroken):
                await transport.receive()
            await transport.aclose()

    run(scenario)


@pytest.mark.parametrize("frame", [*NONSENSE.values(), bytes([BINARY, 1]) + b"x"], ids=[*NONSENSE, "no mask"])
def test_nonsense_from_a_client_ends_the_connection(frame: bytes) -> None:
    """Invalid frames of a client, and unmasked ones, break the connection."""

    async def scenario() -> None:
        async with dialled() as (transport, raw):
            masked = frame if frame[1:2] == b"\x01" and frame[0] == BINARY else _masked(frame)
            raw.say_bytes(masked)
            with pytest.raises(TransportBroken):
                await transport.receive()
            await transport.aclose()

    run(scenario)


def _masked(frame: bytes) -> bytes:
    """The same frame as a client sends it, with a mask of zeros."""
    header = 10 if frame[1] == 127 else 2
    return bytes([frame[0], frame[1] | 0x80]) + frame[2:header] + bytes(4) + frame[header:]


@DIRECT
def test_fragments_without_end(ends: Callable[[], Ends]) -> None:
    """A message that grows beyond the limit ends the connection before it fills the memory."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]
            raw.say(0x02, bytes(MiB))
            for _ in range(5):
                raw.say(0x00, bytes(MiB))
            with pytest.raises(TransportBroken):
                await transport.receive()

    run(scenario)


@DIRECT
def test_unread_large_messages(ends: Callable[[], Ends]) -> None:
    """Unread messages are limited in bytes, not only in number."""

    async def scenario() -> None:
        async with ends() as (transport, raw):  # type: ignore[attr-defined]
            for _ in range(20):
                raw.say(BINARY, bytes(4 * MiB))
            await raw.end()
            kept: list[bytes] = []

            async def take() -> None:
                while True:
                    kept.append(await transport.receive())

            with pytest.raises(TransportError):
                await take()
            assert sum(map(len, kept)) <= 16 * MiB

    run(scenario)


# ---------------------------------------------------------------- the listener
def test_more_handshakes_than_a_listener_takes() -> None:
    """Of many clients at once a listener accepts some and refuses the others, and continues."""

    async def scenario() -> None:
        listener = await websocket.Listener.start(PATH, LIMITS, host="127.0.0.1")
        url = f"ws://127.0.0.1:{listener.ports[0][1]}{PATH}"

        async def dial() -> Transport | None:
            try:
                return await websocket.connect(url, via="direct", limits=LIMITS)
            except ConnectFailed:
                return None

        opened = [transport for transport in await asyncio.gather(*(dial() for _ in range(30))) if transport]
        assert len(opened) >= 8
        taken = [await listener.accept() for _ in range(8)]
        more = await dial()
        assert more is not None
        taken.append(await listener.accept())
        for transport in (*opened, more, *taken):
            await transport.aclose()
        await listener.aclose()

    run(scenario)


def test_a_listener_that_stops() -> None:
    """A listener that stops closes unaccepted connections and refuses open handshakes."""

    async def scenario() -> None:
        listener = await websocket.Listener.start(PATH, LIMITS, host="127.0.0.1")
        port = listener.ports[0][1]
        waiting = await Raw.dial(port, PATH)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        half = Raw(reader, writer, client=True)
        # Once this handshake is answered, the earlier one has been seen.
        later = await Raw.dial(port, PATH)
        await listener.aclose()
        await waiting.end()
        half.say_bytes(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b" 404 " in await reader.read(1000)
        for raw in (waiting, half, later):
            raw.close()

    run(scenario)
