"""The relay's client: against a relay played by hand, and against the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nbferry.errors import (
    CodeBurnt,
    CodeExpired,
    CodeNotFound,
    CodeUsed,
    ConnectFailed,
    NbferryError,
    RemoteProtocolError,
    TransportError,
)
from nbferry.limits import Limits
from nbferry.relay.app import RunningRelay, start_relay
from nbferry.relay.client import (
    HOST,
    Mailbox,
    MailboxMessage,
    MemberJoined,
    MemberLeft,
    Refused,
    open_channel,
)
from nbferry.transports import websocket
from nbferry.transports.base import Transport
from nbferry.transports.memory import memory_pair

PATIENCE = 30
ROOM, CHANNEL, KEY = "a" * 32, "c" * 32, "1" * 32


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


async def to_the_end(receive: Callable[[], Awaitable[object]]) -> None:
    """Receive until that raises."""
    while True:
        await receive()


class ByHand:
    """A relay that says what it is told to say."""

    def __init__(self) -> None:
        self.client, self._end = memory_pair()

    async def heard(self) -> dict[str, Any]:
        """The next message of the client."""
        return dict(json.loads(await self._end.receive()))

    async def says(self, message: Any) -> None:
        """Send anything at all."""
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self._end.send_bytes(raw)

    async def client_left(self) -> bool:
        """Whether the client has closed its end."""
        with pytest.raises(TransportError):
            await to_the_end(self._end.receive)
        return True


# ---------------------------------------------------------------- by hand
def test_what_a_host_asks_for() -> None:
    """A host names its room, its key, and for how long, in whole seconds, rounded up."""

    async def scenario() -> None:
        relay = ByHand()
        await relay.says({"type": "created", "room": "482913", "seconds": 1, "new": "field"})
        mailbox = await Mailbox.create(relay.client, key=KEY, room=None, seconds=0.2)
        assert mailbox.room == "482913"
        assert await relay.heard() == {"type": "create", "room": None, "key": KEY, "seconds": 1}

    run(scenario)


def test_what_a_member_says_and_hears() -> None:
    """A member joins, hears who comes and goes, and what is written; what it does not know it skips."""

    async def scenario() -> None:
        relay = ByHand()
        for message in (
            {"type": "joined", "member": 3},
            {"type": "weather", "sunny": True},
            {"type": "message", "from": "me", "body": 5},
            {"type": "joined", "member": 0},
            {"type": "left", "member": 0},
            {"type": "message", "from": 0, "body": "hello"},
        ):
            await relay.says(message)
        mailbox = await Mailbox.join(relay.client, ROOM)
        assert mailbox.room == ROOM
        assert await relay.heard() == {"type": "join", "room": ROOM}
        assert [await mailbox.receive() for _ in range(3)] == [
            MemberJoined(HOST),
            MemberLeft(HOST),
            MailboxMessage(HOST, "hello"),
        ]
        await mailbox.send("to the host")
        await mailbox.send("to a member", to=7)
        await mailbox.close_room("used")
        assert await relay.heard() == {"type": "message", "to": HOST, "body": "to the host"}
        assert await relay.heard() == {"type": "message", "to": 7, "body": "to a member"}
        assert await relay.heard() == {"type": "close", "reason": "used"}
        await mailbox.aclose()
        assert await relay.client_left()

    run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"null",
        b"[]",
        {},
        {"type": "created", "room": 5},
        {"type": "created"},
        {"type": "joined", "member": 1},
    ],
    ids=lambda answer: repr(answer)[:30],
)
def test_nonsense_from_a_relay(answer: Any) -> None:
    """Whatever is no answer is the relay's mistake, and the socket is closed."""

    async def scenario() -> None:
        relay = ByHand()
        await relay.says(answer)
        with pytest.raises(RemoteProtocolError):
            await Mailbox.create(relay.client, key=KEY, room=ROOM, seconds=60)
        assert await relay.client_left()

    run(scenario)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("room-unknown", CodeNotFound),
        ("room-used", CodeUsed),
        ("room-burnt", CodeBurnt),
        ("room-expired", CodeExpired),
        ("room-closed", CodeNotFound),
    ],
)
def test_refusals_that_a_person_understands(code: str, error: type[NbferryError]) -> None:
    """Why a room cannot be entered, or ends, is an error of its own."""

    async def scenario() -> None:
        relay = ByHand()
        refusal = {"type": "error", "code": code, "message": "no", "retry_after": None}
        await relay.says(refusal)
        with pytest.raises(error):
            await Mailbox.join(relay.client, ROOM)
        assert await relay.client_left()
        relay = ByHand()
        await relay.says({"type": "joined", "member": 1})
        mailbox = await Mailbox.join(relay.client, ROOM)
        await relay.says(refusal)
        with pytest.raises(error):
            await mailbox.receive()

    run(scenario)


@pytest.mark.parametrize(
    ("fields", "reason", "message", "retry"),
    [
        (
            {"code": "rate-limited", "message": "Slow down.", "retry_after": 7},
            "rate-limited",
            "Slow down.",
            7,
        ),
        ({"code": "new", "message": "x" * 1000, "retry_after": 0.5}, "new", "x" * 200, 0.5),
        ({"code": ["room-used"], "retry_after": "soon"}, "['room-used']", "None", None),
        ({}, "None", "None", None),
    ],
)
def test_other_refusals(fields: dict[str, Any], reason: str, message: str, retry: float | None) -> None:
    """Any other refusal says the relay's reason, cut to a length, and when to try again if that is known."""

    async def scenario() -> None:
        relay = ByHand()
        await relay.says({"type": "error", **fields})
        with pytest.raises(Refused) as caught:
            await open_channel(relay.client, room=ROOM, channel=CHANNEL)
        assert (caught.value.reason, caught.value.retry_after) == (reason, retry)
        assert caught.value.message == f"The relay refused: {message}"

    run(scenario)


def test_a_relay_that_does_not_answer() -> None:
    """A relay that says nothing is given up, and the socket is closed."""

    async def scenario() -> None:
        relay = ByHand()
        with pytest.raises(ConnectFailed, match="does not answer"):
            await Mailbox.join(relay.client, ROOM, within=0.01)
        assert await relay.client_left()

    run(scenario)


def test_a_wait_that_is_cancelled() -> None:
    """Whoever stops waiting for the relay leaves no socket open."""

    async def scenario() -> None:
        relay = ByHand()
        joining = asyncio.create_task(Mailbox.join(relay.client, ROOM))
        await relay.heard()
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert await relay.client_left()

    run(scenario)


def test_a_channel_waits_for_the_other_side() -> None:
    """A channel is asked for by room and name; when both are there its messages are the other side's."""

    async def scenario() -> None:
        relay = ByHand()
        opening = asyncio.create_task(open_channel(relay.client, room=ROOM, channel=CHANNEL))
        assert await relay.heard() == {"type": "channel", "room": ROOM, "channel": CHANNEL}
        await relay.says({"type": "paired"})
        transport = await opening
        await relay.says(b"\x00data")
        assert transport is relay.client
        assert await transport.receive() == b"\x00data"

    run(scenario)


# ---------------------------------------------------------------- the real one
def with_relay(
    scenario: Callable[[RunningRelay, Callable[[], Awaitable[Transport]]], Awaitable[None]],
) -> None:
    """Run with a relay on the loopback, and a function that dials it."""

    async def started() -> None:
        relay = await start_relay("127.0.0.1", 0)
        opened: list[Transport] = []

        async def dial() -> Transport:
            opened.append(await websocket.connect(f"{relay.url}nbferry/ws", via="relay", limits=Limits()))
            return opened[-1]

        try:
            await scenario(relay, dial)
        finally:
            for transport in opened:
                await transport.aclose()
            await relay.aclose()

    run(started)


def test_a_host_and_a_member_write_to_each_other() -> None:
    """In a room under a number both sides hear each other, and the host hears who comes and goes."""

    async def scenario(_: RunningRelay, dial: Callable[[], Awaitable[Transport]]) -> None:
        host = await Mailbox.create(await dial(), key=KEY, room=None, seconds=60)
        assert len(host.room) == 6
        member = await Mailbox.join(await dial(), host.room)
        assert await host.receive() == MemberJoined(1)
        await member.send("from the member: ä🚢")
        assert await host.receive() == MailboxMessage(1, "from the member: ä🚢")
        await host.send("from the host", to=1)
        assert await member.receive() == MailboxMessage(HOST, "from the host")
        await member.aclose()
        assert await host.receive() == MemberLeft(1)

    with_relay(scenario)


def test_a_host_comes_back() -> None:
    """With its key a host takes its room over: it hears who is there, and gets what was written meanwhile."""

    async def scenario(_: RunningRelay, dial: Callable[[], Awaitable[Transport]]) -> None:
        host = await Mailbox.create(await dial(), key=KEY, room=ROOM, seconds=60)
        member = await Mailbox.join(await dial(), ROOM)
        assert await host.receive() == MemberJoined(1)
        await host.aclose()
        assert await member.receive() == MemberLeft(HOST)
        await member.send("are you there?")
        with pytest.raises(Refused, match="refused") as caught:
            await Mailbox.create(await dial(), key="2" * 32, room=ROOM, seconds=60)
        assert caught.value.reason == "room-taken"
        host = await Mailbox.create(await dial(), key=KEY, room=ROOM, seconds=60)
        assert await member.receive() == MemberJoined(HOST)
        assert {await host.receive(), await host.receive()} == {
            MemberJoined(1),
            MailboxMessage(1, "are you there?"),
        }

    with_relay(scenario)


@pytest.mark.parametrize(
    ("reason", "error"),
    [("used", CodeUsed), ("burnt", CodeBurnt), ("expired", CodeExpired), ("closed", CodeNotFound)],
)
def test_a_room_that_ends(reason: str, error: type[NbferryError]) -> None:
    """When the host ends the room, whoever is in it, and whoever comes later, hears why."""

    async def scenario(_: RunningRelay, dial: Callable[[], Awaitable[Transport]]) -> None:
        host = await Mailbox.create(await dial(), key=KEY, room=None, seconds=60)
        member = await Mailbox.join(await dial(), host.room)
        await host.close_room(reason)
        with pytest.raises(error):
            await member.receive()
        with pytest.raises(error):
            await Mailbox.join(await dial(), host.room)
        with pytest.raises(TransportError):
            await to_the_end(host.receive)

    with_relay(scenario)


def test_two_ends_of_a_channel() -> None:
    """Two sockets that name the same channel of a room are joined; a third one is refused."""

    async def scenario(_: RunningRelay, dial: Callable[[], Awaitable[Transport]]) -> None:
        await Mailbox.create(await dial(), key=KEY, room=ROOM, seconds=60)
        sockets = await asyncio.gather(dial(), dial())
        first, second = await asyncio.gather(
            *(open_channel(socket, room=ROOM, channel=CHANNEL) for socket in sockets)
        )
        await first.send_bytes(b"\x02 one way")
        await second.send_bytes(b"\x02 the other")
        assert await second.receive() == b"\x02 one way"
        assert await first.receive() == b"\x02 the other"
        with pytest.raises(Refused) as caught:
            await open_channel(await dial(), room=ROOM, channel=CHANNEL)
        assert caught.value.reason == "channel-taken"

    with_relay(scenario)


def test_a_room_that_there_is_not() -> None:
    """Nobody can enter a room, or open a channel of it, that does not exist."""

    async def scenario(_: RunningRelay, dial: Callable[[], Awaitable[Transport]]) -> None:
        with pytest.raises(CodeNotFound):
            await Mailbox.join(await dial(), "000000")
        with pytest.raises(CodeNotFound):
            await open_channel(await dial(), room=ROOM, channel=CHANNEL)

    with_relay(scenario)
