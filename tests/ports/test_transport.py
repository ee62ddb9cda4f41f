"""The obligations of every transport."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nbferry.errors import ConnectFailed, TransportError
from nbferry.limits import Limits
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox, open_channel
from nbferry.transports import websocket
from nbferry.transports.base import WAITING_MESSAGES, Transport
from nbferry.transports.memory import memory_pair
from nbferry.transports.webrtc import sctp
from nbferry.transports.webrtc.datachannel import Peer

PATIENCE = 60
MIB = 1 << 20
LIMITS = Limits()
SIZES = (1, 125, 126, 65_535, 65_536, MIB, 4 * MIB)

Pair = tuple[Transport, Transport]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, with a timeout."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


class Inbox:
    """Copies of a transport's messages, and how it ended."""

    def __init__(self, transport: Transport) -> None:
        self.messages: list[bytes] = []
        self.error: TransportError | None = None
        self._news = asyncio.Event()
        transport.deliver_to(self._take, self._end)

    def _take(self, message: memoryview) -> None:
        self.messages.append(bytes(message))
        self._news.set()

    def _end(self, error: TransportError) -> None:
        self.error = error
        self._news.set()

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait for a condition on the messages."""
        while not wanted():
            self._news.clear()
            await self._news.wait()


class TransportConformance:
    """The obligations; a subclass makes a connected pair."""

    def pair(self):
        """An asynchronous context manager that yields both ends."""
        raise NotImplementedError

    @pytest.mark.parametrize("direction", [0, 1])
    def test_messages_of_any_size_arrive_whole_and_in_order(self, direction):
        """Messages of every size up to the largest arrive byte for byte, both ways."""

        async def scenario() -> None:
            async with self.pair() as ends:
                here, there = ends[direction], ends[1 - direction]
                inbox = Inbox(there)
                sent = [os.urandom(size) for size in SIZES]
                for message in sent:
                    await here.send_bytes(message)
                await inbox.until(lambda: len(inbox.messages) == len(sent))
                assert inbox.messages == sent

        run(scenario)

    @pytest.mark.parametrize("direction", [0, 1])
    def test_a_reused_buffer_corrupts_nothing(self, direction):
        """Messages of one size, sent at full speed to a slow receiver, keep their own bytes."""

        async def scenario() -> None:
            async with self.pair() as ends:
                here, there = ends[direction], ends[1 - direction]
                inbox = Inbox(there)

                async def send() -> None:
                    for number in range(48):
                        await here.send(
                            MIB, lambda out, n=number: out.__setitem__(slice(None), bytes([n]) * MIB)
                        )

                sending = asyncio.create_task(send())
                await inbox.until(lambda: len(inbox.messages) == 48)
                await sending
                assert [message[0] for message in inbox.messages] == list(range(48))
                assert all(message == message[:1] * MIB for message in inbox.messages)

        run(scenario)

    def test_earlier_messages_are_delivered_first(self):
        """Messages that arrived before ``deliver_to`` are delivered in order when it is called."""

        async def scenario() -> None:
            async with self.pair() as (here, there):
                for number in range(4):
                    await here.send_bytes(bytes([number]))
                assert await there.receive() == b"\0"
                inbox = Inbox(there)
                await here.send_bytes(b"\x04")
                await inbox.until(lambda: len(inbox.messages) == 4)
                assert inbox.messages == [b"\1", b"\2", b"\3", b"\4"]

        run(scenario)

    def test_both_kinds_of_listeners_learn_of_the_end(self):
        """After the other end closed, ``receive`` raises and ``closed`` is called."""

        async def scenario() -> None:
            async with self.pair() as (here, there):
                inbox = Inbox(there)
                await here.aclose()
                await inbox.until(lambda: inbox.error is not None)
            async with self.pair() as (here, there):
                await here.send_bytes(b"last")
                await here.aclose()
                assert await there.receive() == b"last"
                with pytest.raises(TransportError):
                    await there.receive()

        run(scenario)

    def test_a_closed_transport_sends_no_more(self):
        """``send`` after ``aclose`` raises, and closing twice is allowed."""

        async def scenario() -> None:
            async with self.pair() as (here, _):
                await here.aclose()
                await here.aclose()
                with pytest.raises(TransportError):
                    await here.send_bytes(b"x")

        run(scenario)

    def test_a_flood_of_unread_messages_ends_the_connection(self):
        """A few unread messages are kept. More of them end the connection before they fill the memory."""

        async def scenario() -> None:
            async with self.pair() as (here, there):

                async def flood() -> None:
                    while True:
                        await here.send_bytes(b"x")
                        await asyncio.sleep(0)

                with pytest.raises(TransportError):
                    await flood()
                for _ in range(WAITING_MESSAGES):
                    await there.receive()
                with pytest.raises(TransportError):
                    await there.receive()

        run(scenario)


class TestMemory(TransportConformance):
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """Two ends in one process."""
        ends = memory_pair()
        yield ends
        for end in ends:
            await end.aclose()


class TestDirect(TransportConformance):
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """A listener and a client that dialled it."""
        listener = await websocket.Listener.start("/nbferry/secret", LIMITS, host="127.0.0.1")
        ((_, port),) = listener.ports
        here = await websocket.connect(f"ws://127.0.0.1:{port}/nbferry/secret", via="direct", limits=LIMITS)
        there = await listener.accept()
        yield here, there
        for end in (here, there):
            await end.aclose()
        await listener.aclose()


class TestRelayed(TransportConformance):
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """Two sockets that a relay has joined."""
        relay = await start_relay("127.0.0.1", 0)
        room, channel = "1" * 32, "2" * 32

        async def dial() -> Transport:
            return await websocket.connect(f"{relay.url}nbferry/ws", via="relay", limits=LIMITS)

        host = await Mailbox.create(await dial(), key="3" * 32, room=room, seconds=60)

        async def join() -> Transport:
            return await open_channel(await dial(), room=room, channel=channel)

        here, there = await asyncio.gather(join(), join())
        yield here, there
        for end in (here, there):
            await end.aclose()
        await host.aclose()
        await relay.aclose()


class TestDataChannel(TransportConformance):
    @asynccontextmanager
    async def pair(self) -> AsyncIterator[Pair]:
        """Two ends on the loopback interface."""
        peers = [
            await Peer.start(controlling=controlling, servers=(), limits=LIMITS)
            for controlling in (True, False)
        ]
        here, there = [peer.description for peer in peers]
        ends = await asyncio.gather(
            peers[0].connect(there, same_machine=True), peers[1].connect(here, same_machine=True)
        )
        yield ends[0], ends[1]
        for end in ends:
            await end.aclose()


class TestDataChannelOfPlainAiortc(TestDataChannel):
    @pytest.fixture(autouse=True)
    def _unknown_version(self, monkeypatch):
        """An unknown version of aiortc."""
        monkeypatch.setattr(sctp, "KNOWN", ())


def test_a_wrong_path_is_refused():
    """A client with a wrong path gets an HTTP error, and the listener accepts no connection."""

    async def scenario() -> None:
        listener = await websocket.Listener.start("/nbferry/secret", LIMITS, host="127.0.0.1")
        ((_, port),) = listener.ports
        with pytest.raises(ConnectFailed):
            await websocket.connect(f"ws://127.0.0.1:{port}/nbferry/other", via="direct", limits=LIMITS)
        await listener.aclose()

    run(scenario)


def test_garbage_does_not_disturb_a_listener():
    """Bytes that are no WebSocket end only their own connection."""

    async def scenario() -> None:
        listener = await websocket.Listener.start("/nbferry/secret", LIMITS, host="127.0.0.1")
        ((_, port),) = listener.ports
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        await reader.read()
        writer.close()
        here = await websocket.connect(f"ws://127.0.0.1:{port}/nbferry/secret", via="direct", limits=LIMITS)
        there = await listener.accept()
        await here.send_bytes(b"hello")
        assert await there.receive() == b"hello"
        await here.aclose()
        await there.aclose()
        await listener.aclose()

    run(scenario)


def test_a_refused_connection_is_explained():
    """The error of a refused connection names the address and the reason, not the path."""

    async def scenario() -> None:
        listener = await websocket.Listener.start("/nbferry/secret", LIMITS, host="127.0.0.1")
        ((_, port),) = listener.ports
        await listener.aclose()
        with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port} cannot be reached") as failure:
            await websocket.connect(f"ws://127.0.0.1:{port}/nbferry/secret", via="direct", limits=LIMITS)
        assert "secret" not in str(failure.value)

    run(scenario)
