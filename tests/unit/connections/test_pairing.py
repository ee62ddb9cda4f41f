"""From a code to keys, through a mailbox of a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nbferry.connections.invitation import Invitation, InvitationListener, Inviter
from nbferry.connections.pairing import MAX_GUESSES, join
from nbferry.connections.relay_address import RelayAddress
from nbferry.crypto.keys import SessionKeys
from nbferry.errors import CodeBurnt, CodeUsed, ConnectFailed, NbferryError, WrongCode
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, new_ticket, parse
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox

PATIENCE = 30
LIMITS = Limits(backoff_first=0.01)
WORDS = ("amber", "canyon", "tulip")


class Desk:
    """Records an inviter's reports."""

    def __init__(self) -> None:
        self.code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.guesses: list[int] = []
        self.troubles: list[str] = []
        self.paired: list[SessionKeys] = []

    def listener(self) -> InvitationListener:
        """The listener for the inviter."""
        return InvitationListener(self._issued, self._guessed, self.troubles.append, self._pair)

    async def _issued(self, code: Code | Ticket) -> None:
        if not self.code.done():
            self.code.set_result(str(code))

    async def _guessed(self, times: int) -> None:
        self.guesses.append(times)

    async def _pair(self, keys: SessionKeys) -> None:
        self.paired.append(keys)


class Stage:
    """A relay, and an inviter that runs beside the test."""

    def __init__(self, relay: RelayAddress, desk: Desk, inviting: asyncio.Task[None]) -> None:
        self.relay = relay
        self.desk = desk
        self.inviting = inviting
        self.kept: list[SessionKeys] = []

    async def keep(self, keys: SessionKeys) -> None:
        """Store the keys of a joiner."""
        self.kept.append(keys)

    async def enter(self, ticket: Code | Ticket) -> SessionKeys:
        """Join with a code."""
        mailbox = await Mailbox.join(await self.relay.dial(LIMITS), ticket.room)
        try:
            return await join(mailbox, ticket, self.keep)
        finally:
            await mailbox.aclose()

    async def code(self) -> Code | Ticket:
        """The issued code."""
        return parse(await self.desk.code)


@asynccontextmanager
async def inviting(invitation: Ticket | tuple[str, ...] = WORDS) -> AsyncIterator[Stage]:
    """Run an inviter."""
    running = await start_relay("127.0.0.1", 0)
    relay, desk = RelayAddress(running.url), Desk()
    task = asyncio.create_task(Inviter(Invitation(invitation), relay, 60, LIMITS, desk.listener()).run())
    try:
        yield Stage(relay, desk, task)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await running.aclose()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, with a timeout."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


def wrong(code: Code | Ticket) -> Code:
    """The same number with other words."""
    return Code(code.room, ("tulip", "canyon", "amber"), code.url)


def test_the_right_code_gives_the_same_keys():
    """Both sides derive the same room, psk and channels. Then the code is used up and the inviter ends."""

    async def scenario() -> None:
        async with inviting() as stage:
            keys = await stage.enter(await stage.code())
            assert stage.desk.paired[0].room == keys.room
            assert stage.desk.paired[0].psk == keys.psk
            await stage.inviting
            with pytest.raises(CodeUsed):
                await stage.enter(await stage.code())

    run(scenario)


def test_a_wrong_code_is_reported_to_both_sides():
    """The guesser gets WrongCode, the sender counts it, and the right code still works."""

    async def scenario() -> None:
        async with inviting() as stage:
            with pytest.raises(WrongCode):
                await stage.enter(wrong(await stage.code()))
            assert stage.desk.guesses == [1]
            await stage.enter(await stage.code())
            assert len(stage.desk.paired) == 1

    run(scenario)


def test_the_third_wrong_guess_burns_the_code():
    """The inviter raises CodeBurnt, and even the right code no longer works."""

    async def scenario() -> None:
        async with inviting() as stage:
            for _ in range(MAX_GUESSES):
                with pytest.raises(WrongCode):
                    await stage.enter(wrong(await stage.code()))
            with pytest.raises(CodeBurnt):
                await stage.inviting
            with pytest.raises(CodeBurnt):
                await stage.enter(await stage.code())
            assert stage.desk.guesses == [1, 2, 3]

    run(scenario)


def test_a_guesser_beside_an_honest_receiver():
    """A guesser at the same time does not stop the honest receiver."""

    async def scenario() -> None:
        async with inviting() as stage:
            code = await stage.code()
            ends = await asyncio.gather(stage.enter(wrong(code)), stage.enter(code), return_exceptions=True)
            assert isinstance(ends[0], NbferryError)
            assert isinstance(ends[1], SessionKeys)

    run(scenario)


def test_garbage_counts_as_a_guess():
    """A message that is no PAKE message is refused as a wrong guess."""

    async def scenario() -> None:
        async with inviting() as stage:
            code = await stage.code()
            mailbox = await Mailbox.join(await stage.relay.dial(LIMITS), code.room)
            await mailbox.send("this is no message of a key exchange")
            await mailbox.receive()
            assert stage.desk.guesses == [1]
            await mailbox.aclose()

    run(scenario)


def test_a_ticket_lets_many_in_and_cannot_be_burnt():
    """Each receiver gets different keys, and wrong secrets do not affect the others."""

    async def scenario() -> None:
        ticket = new_ticket()
        async with inviting(ticket) as stage:
            await stage.code()
            stranger = Ticket(ticket.room, bytes(16))
            for _ in range(MAX_GUESSES + 1):
                with pytest.raises(WrongCode):
                    await stage.enter(stranger)
            keys = [await stage.enter(ticket) for _ in range(3)]
            assert len({key.room for key in keys}) == 3
            assert not stage.inviting.done()

    run(scenario)


def test_an_unreachable_relay_fails_at_once():
    """Without a number from a relay no code can be issued."""

    async def scenario() -> None:
        running = await start_relay("127.0.0.1", 0)
        await running.aclose()
        desk = Desk()
        with pytest.raises(ConnectFailed):
            await Inviter(Invitation(WORDS), RelayAddress(running.url), 60, LIMITS, desk.listener()).run()

    run(scenario)


def test_the_number_outlives_the_relay():
    """A relay restarted on its port gets the room back under the same number. The sender reports the outage."""

    async def scenario() -> None:
        first = await start_relay("127.0.0.1", 0)
        relay, desk = RelayAddress(first.url), Desk()
        task = asyncio.create_task(Inviter(Invitation(WORDS), relay, 60, LIMITS, desk.listener()).run())
        code = parse(await desk.code)
        await first.aclose()
        second = await start_relay("127.0.0.1", int(first.url.rpartition(":")[2].strip("/")))
        stage = Stage(relay, desk, task)
        while True:
            try:
                await stage.enter(code)
                break
            except NbferryError:
                await asyncio.sleep(0)
        assert any("relay" in trouble for trouble in desk.troubles)
        await asyncio.gather(task)
        await second.aclose()

    run(scenario)
