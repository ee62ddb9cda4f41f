"""Rooms are hosted and released while their relay comes and goes. The test plays the relay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nbferry.connections.connector import Answerer
from nbferry.connections.invitation import Invitation, InvitationListener, Inviter
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.connections.signals import Signal
from nbferry.crypto.keys import SessionKeys
from nbferry.crypto.pake import Joiner
from nbferry.errors import CodeBurnt, ConnectFailed, RelayRefused, TransportClosed
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, new_ticket
from nbferry.model.paths import Via
from nbferry.transports.base import Transport
from nbferry.transports.memory import memory_pair

PATIENCE = 30
LIMITS = Limits(backoff_first=0.001, backoff_most=0.001)
KEYS = SessionKeys(bytes(range(32)))
WORDS = ("amber", "canyon", "tulip")
CREATED = {"type": "created", "room": "482913", "seconds": 60}


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, with a timeout."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


class Socket:
    """The relay's end of a socket."""

    def __init__(self, end: Transport) -> None:
        self.end = end

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message, which must have this type."""
        message = json.loads(await self.end.receive())
        assert message["type"] == kind
        return dict(message)

    async def say(self, **fields: Any) -> None:
        """Send a message to the client."""
        await self.end.send_bytes(json.dumps(fields).encode())

    async def open_room(self) -> dict[str, Any]:
        """Give the client its room."""
        asked = await self.hear("create")
        await self.say(**CREATED)
        return asked


@dataclass(frozen=True)
class ByHand(RelayAddress):
    """A relay that a test plays. ``refuses`` dials fail before one succeeds."""

    sockets: asyncio.Queue[Socket] = field(default_factory=asyncio.Queue)
    clients: list[Transport] = field(default_factory=list)
    refuses: list[ConnectFailed] = field(default_factory=list)

    async def dial(self, limits: Limits, *, as_host: bool = False) -> Transport:
        """Give the client its end."""
        assert as_host
        if self.refuses:
            raise self.refuses.pop()
        here, there = memory_pair()
        self.clients.append(here)
        self.sockets.put_nowait(Socket(there))
        return here

    async def socket(self) -> Socket:
        """The next opened socket."""
        return await self.sockets.get()

    def break_now(self) -> None:
        """Lose the latest socket in this turn of the loop."""
        self.clients[-1]._ended(TransportClosed())


@pytest.fixture
def relay() -> ByHand:
    """A relay that no client has dialled yet."""
    return ByHand("http://relay.example/")


def answerer_at(relay: ByHand) -> Answerer:
    """A sender that may host its pair's room there."""
    return Answerer(relay, Settings(via=Via.RELAY, limits=LIMITS, host="127.0.0.1"), KEYS, seconds=60)


class Desk:
    """Records the reports of an inviter."""

    def __init__(self) -> None:
        self.issued: list[str] = []
        self.guesses: list[int] = []
        self.troubles: list[str] = []
        self.news = asyncio.Event()

    def inviter(self, relay: ByHand, *, secret: Ticket | tuple[str, ...] = WORDS) -> Inviter:
        """An inviter that reports here."""
        listener = InvitationListener(self._issue, self._guess, self._trouble, _pair)
        return Inviter(Invitation(secret), relay, 60, LIMITS, listener)

    async def _issue(self, code: Code | Ticket) -> None:
        self._note(self.issued, str(code))

    async def _guess(self, times: int) -> None:
        self._note(self.guesses, times)

    def _trouble(self, why: str) -> None:
        self._note(self.troubles, why)

    def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self.news.set()

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait for a report."""
        while not happened():
            self.news.clear()
            await self.news.wait()


async def _pair(_: SessionKeys) -> None:
    """No pairing happens in these tests."""


# ---------------------------------------------------------------- the pair's own room
def test_the_pairs_room_is_hosted(relay: ByHand) -> None:
    """A sender hosts its pair's room until it releases it, and then the room is closed."""

    async def scenario() -> None:
        answerer = answerer_at(relay)
        hosting = asyncio.create_task(answerer.host())
        socket = await relay.socket()
        asked = await socket.open_room()
        assert asked["room"] == KEYS.room
        await hosting
        await answerer.aclose(over=True)
        assert (await socket.hear("close"))["reason"] == "closed"

    run(scenario)


def test_a_room_is_hosted_again(relay: ByHand) -> None:
    """If the relay is lost, refuses or cannot be reached, the host returns with the same key."""

    async def scenario() -> None:
        answerer = answerer_at(relay)
        hosting = asyncio.create_task(answerer.host())
        first = await (await relay.socket()).open_room()
        await hosting
        relay.refuses.append(ConnectFailed())
        relay.break_now()
        refusing = await relay.socket()
        await refusing.hear("create")
        await refusing.say(type="error", code="room-taken", message="no")
        second = await (await relay.socket()).open_room()
        assert second == first
        await answerer.aclose(over=True)

    run(scenario)


def test_a_release_while_the_relay_is_lost(relay: ByHand) -> None:
    """A release in the instant in which the relay is lost succeeds."""

    async def scenario() -> None:
        answerer = answerer_at(relay)
        hosting = asyncio.create_task(answerer.host())
        await (await relay.socket()).open_room()
        await hosting
        relay.break_now()
        await answerer.aclose(over=True)
        assert relay.sockets.empty()

    run(scenario)


def test_a_cancelled_host_stops(relay: ByHand) -> None:
    """A sender that is cancelled before the relay's answer stops trying."""

    async def scenario() -> None:
        hosting = asyncio.create_task(answerer_at(relay).host())
        await (await relay.socket()).hear("create")
        hosting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hosting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario)


def test_a_release_without_a_room() -> None:
    """A sender that never hosted can release."""
    run(lambda: answerer_at(ByHand("http://relay.example/")).aclose(over=True))


def test_messages_of_strangers_are_no_call(relay: ByHand) -> None:
    """Strangers, garbage, and signals of other roles or pairs are no call. The receiver's signal is one."""

    async def scenario() -> None:
        answerer = answerer_at(relay)
        hosting = asyncio.create_task(answerer.host())
        socket = await relay.socket()
        await socket.open_room()
        await hosting
        call = Signal(bytes(16), [], "machine").encode()
        other = SessionKeys(bytes(32))
        bodies = (
            "",
            "hello",
            "zz",
            "00" * 60,
            KEYS.seal_signal("A", call).hex(),
            other.seal_signal("B", call).hex(),
        )
        await socket.say(type="joined", member=1)
        for body in (*bodies, KEYS.seal_signal("B", b"[]").hex()):
            await socket.say(type="message", **{"from": 1}, body=body)
        await socket.say(type="left", member=1)
        called = asyncio.create_task(answerer.superseded())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not called.done()
        await socket.say(type="message", **{"from": 2}, body=KEYS.seal_signal("B", call).hex())
        await called
        await answerer.aclose(over=True)

    run(scenario)


# ---------------------------------------------------------------- the room of a code
def test_a_code_keeps_its_number(relay: ByHand) -> None:
    """When the relay is lost, the code's room is hosted again with its number and key."""

    async def scenario() -> None:
        desk = Desk()
        inviting = asyncio.create_task(desk.inviter(relay).run())
        first = await (await relay.socket()).open_room()
        assert first["room"] is None
        await desk.until(lambda: desk.issued)
        assert desk.issued[0] == "482913-amber-canyon-tulip@http://relay.example/"
        relay.refuses.append(ConnectFailed("No route."))
        relay.break_now()
        second = await (await relay.socket()).open_room()
        assert second == first | {"room": "482913"}
        await desk.until(lambda: len(desk.issued) == 2)
        assert desk.issued[0] == desk.issued[1]
        assert any("No route." in why for why in desk.troubles)
        assert desk.troubles[-1] == ""
        inviting.cancel()
        await asyncio.gather(inviting, return_exceptions=True)

    run(scenario)


def test_a_relay_that_refuses_for_a_while(relay: ByHand) -> None:
    """An issued code's relay that is busy is asked again, and the sender reports why."""

    async def scenario() -> None:
        desk = Desk()
        inviting = asyncio.create_task(desk.inviter(relay).run())
        await (await relay.socket()).open_room()
        await desk.until(lambda: desk.issued)
        relay.break_now()
        refusing = await relay.socket()
        await refusing.hear("create")
        await refusing.say(type="error", code="too-many-rooms", message="Too many rooms.")
        await (await relay.socket()).open_room()
        await desk.until(lambda: len(desk.issued) == 2)
        assert any("Too many rooms." in why for why in desk.troubles)
        inviting.cancel()
        await asyncio.gather(inviting, return_exceptions=True)

    run(scenario)


def test_a_ticket_needs_a_relay_at_the_start(relay: ByHand) -> None:
    """A ticket has its own room name, but an unreachable relay still fails at once."""

    async def scenario() -> None:
        desk = Desk()
        relay.refuses.append(ConnectFailed())
        with pytest.raises(ConnectFailed):
            await desk.inviter(relay, secret=new_ticket()).run()

    run(scenario)


def test_an_inviter_stops_while_the_relay_is_lost(relay: ByHand) -> None:
    """An inviter stops even in the instant in which the relay is lost."""

    async def scenario() -> None:
        desk = Desk()
        inviting = asyncio.create_task(desk.inviter(relay).run())
        await (await relay.socket()).open_room()
        await desk.until(lambda: desk.issued)
        for _ in range(10):
            await asyncio.sleep(0)
        relay.break_now()
        inviting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inviting
        assert relay.sockets.empty()

    run(scenario)


@pytest.mark.parametrize("ending", ["closed", "used", "expired"])
def test_late_receivers_are_told_why(relay: ByHand, ending: str) -> None:
    """A stopped inviter gives the relay the reason for late receivers."""

    async def scenario() -> None:
        desk = Desk()
        inviter = desk.inviter(relay)
        inviting = asyncio.create_task(inviter.run())
        socket = await relay.socket()
        await socket.open_room()
        await desk.until(lambda: desk.issued)
        for _ in range(10):
            await asyncio.sleep(0)
        inviter.ending = ending
        inviting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await inviting
        assert (await socket.hear("close"))["reason"] == ending

    run(scenario)


@pytest.mark.parametrize("first", [True, False], ids=["no relay", "a relay that refuses"])
def test_without_a_first_number_there_is_no_code(relay: ByHand, first: bool) -> None:
    """If no relay gives a number, the inviter fails at once."""

    async def scenario() -> None:
        desk = Desk()
        if first:
            relay.refuses.append(ConnectFailed())
            with pytest.raises(ConnectFailed):
                await desk.inviter(relay).run()
            return
        inviting = asyncio.create_task(desk.inviter(relay).run())
        socket = await relay.socket()
        await socket.hear("create")
        await socket.say(type="error", code="not-authorized", message="no")
        with pytest.raises(RelayRefused):
            await inviting

    run(scenario)


def test_guesses_count_however_often_the_relay_is_lost(relay: ByHand) -> None:
    """A relay that disconnects after each wrong guess gets three guesses in all, and learns nothing from it."""

    async def scenario() -> None:
        desk = Desk()
        inviting = asyncio.create_task(desk.inviter(relay).run())
        for guesses in range(3):
            socket = await relay.socket()
            await socket.open_room()
            await guess(socket, ("tulip", "canyon", "amber"))
            relay.break_now()
            await desk.until(lambda expected=guesses + 1: desk.guesses[-1:] == [expected])
        with pytest.raises(CodeBurnt):
            await inviting
        assert desk.guesses == [1, 2, 3]

    run(scenario)


async def guess(socket: Socket, words: tuple[str, ...]) -> None:
    """Play a joiner with these words, up to its proof."""
    joiner = Joiner(b"nbferry/v1/pw\0" + "-".join(words).encode(), "482913")
    await socket.say(type="joined", member=1)
    await socket.say(type="message", **{"from": 1}, body=joiner.start().decode())
    reply = await socket.hear("message")
    await socket.end.send_bytes(
        json.dumps(
            {"type": "message", "from": 1, "body": joiner.confirm(reply["body"].encode()).decode()}
        ).encode()
    )
    # The proof has arrived.
    await asyncio.sleep(0)
