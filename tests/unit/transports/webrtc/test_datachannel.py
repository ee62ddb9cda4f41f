"""Data channels between two ends of this machine, and how they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from nbferry.errors import ConnectFailed, TransportBroken, TransportClosed, TransportError
from nbferry.limits import Limits
from nbferry.transports.base import Transport
from nbferry.transports.webrtc import datachannel, sctp
from nbferry.transports.webrtc.datachannel import DataChannelTransport, Description, Peer
from nbferry.transports.webrtc.description import BASE_PACKET, MAX_PACKET

MIB = 1 << 20
PATIENCE = 60  # seconds after which something hangs
LIMITS = Limits(connect_timeout=PATIENCE)
TURNS = 10  # of the loop, in which what was cancelled ends


@pytest.fixture(autouse=True)
def _goodbyes_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes for them."""
    monkeypatch.setattr(datachannel, "GOODBYE_SECONDS", 2 * PATIENCE)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience; nothing may be left running, or be complained of."""

    async def patiently() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(PATIENCE):
            await scenario()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert complaints == []

    asyncio.run(patiently())


async def peers(limits: Limits = LIMITS) -> tuple[Peer, Peer]:
    """Two that could be connected."""
    return (
        await Peer.start(controlling=True, servers=(), limits=limits),
        await Peer.start(controlling=False, servers=(), limits=limits),
    )


async def connected(
    one: Peer, other: Peer, change: Callable[[Description], Description] = lambda description: description
) -> tuple[DataChannelTransport, DataChannelTransport]:
    """Connect them; ``change`` is what the network does to the descriptions."""
    here, there = await asyncio.gather(
        one.connect(change(other.description), same_machine=True),
        other.connect(change(one.description), same_machine=True),
    )
    return here, there


@asynccontextmanager
async def pair(limits: Limits = LIMITS) -> AsyncIterator[tuple[DataChannelTransport, DataChannelTransport]]:
    """Two ends."""
    ends = await connected(*await peers(limits))
    yield ends
    for end in ends:
        await end.aclose()


class Inbox:
    """What is delivered, and the end."""

    def __init__(self, transport: Transport) -> None:
        self.messages: list[bytes] = []
        self.error: TransportError | None = None
        self.over, self.news = asyncio.Event(), asyncio.Event()
        transport.deliver_to(self._take, self._end)

    def _take(self, message: memoryview) -> None:
        self.messages.append(bytes(message))
        self.news.set()

    def _end(self, error: TransportError) -> None:
        self.error = error
        self.over.set()


def test_it_is_called_webrtc():
    """And two kernels of one version send large packets to each other, where loopback carries them."""

    async def scenario() -> None:
        async with pair() as (here, there):
            assert {here.via, there.via} == {"webrtc"}
            await here.send_bytes(b"hello")
            assert await there.receive() == b"hello"
            assert here.statistics().packet == MAX_PACKET

    run(scenario)


@pytest.mark.parametrize("which", [0, 1])
def test_aiortc_as_it_is_at_one_end(monkeypatch, which):
    """Another version of aiortc is used as it is, says so, and gets packets that it takes."""

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sctp, "KNOWN", ())
            slow = await Peer.start(controlling=not which, servers=(), limits=LIMITS)
        fast = await Peer.start(controlling=bool(which), servers=(), limits=LIMITS)
        assert slow.description.max_packet == BASE_PACKET
        ends = await connected(slow, fast)
        assert not isinstance(ends[0]._sctp, sctp.FastSctp)
        assert isinstance(ends[1]._sctp, sctp.FastSctp)
        sent = os.urandom(MIB)
        for one, other in (ends, ends[::-1]):
            inbox = Inbox(other)
            await one.send_bytes(sent)
            await inbox.news.wait()
            assert inbox.messages == [sent]
        assert ends[0].statistics().sent is None
        assert ends[1].statistics().packet == BASE_PACKET
        for end in ends:
            await end.aclose()

    run(scenario)


def test_a_close_cuts_nothing_off():
    """What was sent before arrives, and then the other side hears that it was closed, not broken."""

    async def scenario() -> None:
        async with pair() as (here, there):
            inbox = Inbox(there)
            await here.send_bytes(bytes(3 * MIB))
            await here.send_bytes(b"last")
            await here.aclose()
            await inbox.over.wait()
            assert inbox.messages[1:] == [b"last"]
            assert type(inbox.error) is TransportClosed

    run(scenario)


def test_both_may_close_at_once():
    """Neither waits for the other."""

    async def scenario() -> None:
        async with pair() as (here, there):
            await asyncio.gather(here.aclose(), there.aclose(), here.aclose())

    run(scenario)


def test_an_end_that_vanishes_is_broken():
    """No goodbye: the pipe broke, which is another thing than a close."""

    async def scenario() -> None:
        async with pair() as (here, there):
            inbox = Inbox(here)
            await there._stack.aclose()
            await inbox.over.wait()
            assert type(inbox.error) is TransportBroken
            with pytest.raises(TransportBroken):
                await here.send_bytes(b"x")

    run(scenario)


def test_a_path_that_dies_is_broken():
    """ICE gives it up (RFC 7675), and the transport with it."""

    async def scenario() -> None:
        async with pair() as (here, there):
            inbox = Inbox(here)
            await here._stack.ice.stop()
            await inbox.over.wait()
            assert type(inbox.error) is TransportBroken
            await there._stack.ice.stop()

    run(scenario)


def deaf(transport: DataChannelTransport) -> None:
    """Have an end read nothing more."""
    loop = asyncio.get_running_loop()
    for protocol in transport._stack.ice._connection._protocols:
        loop.remove_reader(protocol.transport._socket)


def test_an_end_that_takes_nothing_is_waited_for_not_for_ever(monkeypatch):
    """Beyond the high water mark ``send`` waits; after ``dead_after`` seconds the pipe is broken."""
    monkeypatch.setattr(datachannel, "GOODBYE_SECONDS", 0.1)

    async def scenario() -> None:
        limits = replace(LIMITS, dead_after=0.3)
        async with pair(limits) as (here, there):
            deaf(there)

            async def flood() -> None:
                for _ in range(100):
                    await here.send_bytes(bytes(MIB))

            with pytest.raises(TransportBroken, match="taken nothing"):
                await flood()
            told = here.statistics()
            assert told.queued <= limits.channel_high_water + MIB + (64 << 10)
            assert told.under_way is not None
            assert told.under_way <= 8 * MIB

    run(scenario)


def test_swapped_fingerprints_fail():
    """Who is at the other end must be who was described; nothing stays open on either side."""

    def swap(description: Description) -> Description:
        ((name, value),) = description.fingerprints
        return replace(description, fingerprints=((name, value[:-1] + ("0" if value[-1] != "0" else "1")),))

    async def scenario() -> None:
        one, other = await peers()
        outcomes = await asyncio.gather(
            one.connect(swap(other.description), same_machine=True),
            other.connect(swap(one.description), same_machine=True),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [ConnectFailed, ConnectFailed]

    run(scenario)


def test_nobody_there_is_said_in_words():
    """In time, with nothing left open; and again if it is asked again."""

    async def scenario() -> None:
        one, other = await peers(Limits(connect_timeout=0.2))
        await other.aclose()
        with pytest.raises(ConnectFailed, match="No direct path"):
            await one.connect(other.description, same_machine=True)

    run(scenario)


def test_no_address_that_may_be_dialled():
    """A description with nothing but loopback is no use on another machine."""

    async def scenario() -> None:
        one, other = await peers(Limits(connect_timeout=0.2))
        loopback = tuple(each for each in other.description.candidates if each.ip == "127.0.0.1")
        with pytest.raises(ConnectFailed, match="No direct path"):
            await one.connect(replace(other.description, candidates=loopback), same_machine=False)
        await other.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (datachannel, "find_path"),
        (sctp.FastDtls, "start"),
        (sctp.FastSctp, "start"),
        (DataChannelTransport, "opened"),
    ],
    ids=["ICE", "DTLS", "SCTP", "channels"],
)
def test_a_connection_that_is_cancelled_leaves_nothing_open(monkeypatch, owner, step):
    """Whichever step it is at."""
    begun = asyncio.Event()
    real = getattr(owner, step)

    async def begin(*arguments: Any, **named: Any) -> None:
        begun.set()
        await real(*arguments, **named)

    monkeypatch.setattr(owner, step, begin)

    async def scenario() -> None:
        one, other = await peers()
        connecting = [
            asyncio.create_task(peer.connect(description, same_machine=True))
            for peer, description in ((one, other.description), (other, one.description))
        ]
        await begun.wait()
        for task in connecting:
            task.cancel()
        for outcome in await asyncio.gather(*connecting, return_exceptions=True):
            if isinstance(outcome, DataChannelTransport):
                await outcome.aclose()

    run(scenario)


def test_a_peer_that_was_connected_may_be_closed():
    """Which does nothing to the transport."""

    async def scenario() -> None:
        one, other = await peers()
        here, there = await connected(one, other)
        await one.aclose()
        await here.send_bytes(b"hello")
        assert await there.receive() == b"hello"
        for end in (here, there):
            await end.aclose()

    run(scenario)


@pytest.mark.parametrize(
    "piece",
    ["text", b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\1too long"],
    ids=["text", "empty", "short", "huge", "long"],
)
def test_what_is_no_message_is_hung_up_on(piece):
    """Neither side hangs or crashes."""

    async def scenario() -> None:
        async with pair() as (here, there):
            inboxes = Inbox(here), Inbox(there)
            here._data.send(piece)
            for inbox in inboxes:
                await inbox.over.wait()
                assert type(inbox.error) is TransportBroken

    run(scenario)


def test_control_messages_that_are_none_are_passed_over():
    """So that later versions may have more of them; a goodbye that promises more than comes is none yet."""

    async def scenario() -> None:
        async with pair() as (here, there):
            for message in ("text", b"", b"\x09" + bytes(8), b"\x01", bytes(100), b"\x01" + b"\xff" * 8):
                here._control.send(message)
            await here.send_bytes(b"still here")
            assert await there.receive() == b"still here"

    run(scenario)


def test_messages_after_the_end_are_nobody_s():
    """What still comes to an end that has closed is dropped."""

    async def scenario() -> None:
        async with pair() as (here, there):
            inbox = Inbox(here)
            closing = asyncio.create_task(here.aclose())
            with suppress(TransportClosed):
                while True:
                    await there.send_bytes(b"x" * MIB)
            await closing
            assert inbox.messages == []

    run(scenario)
