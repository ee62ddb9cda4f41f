"""How a receiver gets its keys, the first time and after it was stopped in the middle; the relay is a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nbferry.connections.connector import Answerer
from nbferry.connections.pairing import CodeHost
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activities.joining import obtain_keys
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.threads import Threads
from nbferry.errors import CodeNotFound, CodeUsed, ConnectFailed, WrongCode
from nbferry.limits import Limits
from nbferry.model.codes import Code
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import ReceiveRecord
from nbferry.transports.base import Transport

LIMITS = Limits(backoff_first=0.001, backoff_most=0.001)
IMPATIENT = replace(LIMITS, connect_timeout=0.05, dead_after=0.05)
WORDS = ("amber", "canyon", "tulip")
ROOT = bytes(range(32))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / ".nbferry", key=bytes(32), sync=lambda _: None)


def keeper_in(ledger: Ledger, root: bytes = b"", *, paired: bool = False) -> RecordStore[ReceiveRecord]:
    """The keeper of a receive that is so far."""
    record = ReceiveRecord(
        id="ba9876543210",
        created=1.0,
        code="482913-amber-canyon-tulip",
        to="/home/bert/in",
        overwrite=Overwrite.RENAME,
        allow_hidden=False,
        root=root,
        paired=paired,
    )
    return RecordStore(record, ledger)


class Nowhere(RelayAddress):
    """A relay that nobody may ask."""

    async def dial(self, limits: Limits, *, as_host: bool = False) -> Transport:
        """Fail the test."""
        raise AssertionError


@dataclass
class Scene:
    """A relay, and a receiver in front of it."""

    relay: RelayAddress
    threads: Threads
    store: RecordStore[ReceiveRecord]

    async def room(self) -> Mailbox:
        """Open the room of a code."""
        dialled = await self.relay.dial(LIMITS, as_host=True)
        return await Mailbox.create(dialled, key="ab" * 16, room=None, seconds=60)

    async def obtain_keys(self, code: Code, limits: Limits = LIMITS) -> SessionKeys:
        """Come in."""
        return await obtain_keys(self.relay, code, self.store, self.threads, limits)


@asynccontextmanager
async def scene(store: RecordStore[ReceiveRecord]) -> AsyncIterator[Scene]:
    """Set it, and clear it away."""
    running = await start_relay("127.0.0.1", 0)
    with ThreadPoolExecutor(1) as executor:
        yield Scene(RelayAddress(running.url), Threads(executor), store)
    await running.aclose()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(patiently())


async def no_guess(_: int) -> None:
    """Nobody guesses wrong."""


def test_who_has_met_the_sender_needs_no_relay(ledger: Ledger) -> None:
    """The keys are those that were written down."""

    async def scenario() -> None:
        relay = Nowhere("http://relay.example/")
        with ThreadPoolExecutor(1) as executor:
            store = keeper_in(ledger, ROOT, paired=True)
            keys = await obtain_keys(relay, Code("482913", WORDS, None), store, Threads(executor), LIMITS)
        assert keys.room == SessionKeys(ROOT).room

    run(scenario)


def test_the_keys_are_written_down_before_the_code_is_used_up(ledger: Ledger) -> None:
    """When the sender takes the proof they are on the disk; that it has proved itself too is noted after it has."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger)) as set_:
            mailbox = await set_.room()
            records: list[ReceiveRecord] = []

            async def paired(keys: SessionKeys) -> None:
                (record,) = ledger.records()
                assert isinstance(record, ReceiveRecord)
                records.append(record)
                assert record.root == keys.root

            code = Code(mailbox.room, WORDS, None)
            hosting = asyncio.create_task(CodeHost(mailbox, code, guessed=no_guess, paired=paired).run())
            keys = await set_.obtain_keys(code)
            await hosting
            assert [record.paired for record in records] == [False]
            assert set_.store.record.paired
            assert ledger.records() == [set_.store.record]
            assert keys.room == SessionKeys(set_.store.record.root).room
            await mailbox.aclose()

    run(scenario)


def test_a_wrong_code_leaves_no_keys(ledger: Ledger) -> None:
    """Who guessed wrong has met nobody, and need not look for a room later."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger)) as set_:
            mailbox = await set_.room()
            right = Code(mailbox.room, WORDS, None)

            async def guessed(_: int) -> None:
                assert set_.store.record.root

            hosting = asyncio.create_task(CodeHost(mailbox, right, guessed=guessed, paired=_never).run())
            with pytest.raises(WrongCode):
                await set_.obtain_keys(Code(mailbox.room, WORDS[::-1], None))
            assert not set_.store.record.root
            hosting.cancel()
            await asyncio.gather(hosting, return_exceptions=True)
            await mailbox.aclose()

    run(scenario)


async def _never(_: SessionKeys) -> None:
    raise AssertionError


def test_a_code_that_is_used_up_is_an_error_at_once(ledger: Ledger) -> None:
    """Who was never in the middle of pairing has nothing else to try."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger)) as set_:
            mailbox = await set_.room()
            await mailbox.close_room("used")
            with pytest.raises(CodeUsed):
                await set_.obtain_keys(Code(mailbox.room, WORDS, None))
            with pytest.raises(CodeNotFound):
                await set_.obtain_keys(Code("999999", WORDS, None))
            assert ledger.records() == []
            await mailbox.aclose()

    run(scenario)


def test_who_was_stopped_in_the_middle_finds_the_room_of_the_pair(ledger: Ledger) -> None:
    """The sender had taken the proof: the code is used up, and the sender waits under the keys of both."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger, ROOT)) as set_:
            mailbox = await set_.room()
            await mailbox.close_room("used")
            answerer = Answerer(
                set_.relay,
                Settings(via=Via.RELAY, limits=LIMITS, host="127.0.0.1"),
                SessionKeys(ROOT),
                seconds=60,
            )
            await answerer.host()
            keys = await set_.obtain_keys(Code(mailbox.room, WORDS, None))
            assert keys.room == SessionKeys(ROOT).room
            assert set_.store.record.paired
            await answerer.aclose(over=True)
            await mailbox.aclose()

    run(scenario)


def test_who_was_stopped_in_the_middle_tries_for_a_while(ledger: Ledger) -> None:
    """If nobody waits under the keys either, it is an error in the end, and they are kept."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger, ROOT)) as set_:
            with pytest.raises(CodeNotFound):
                await set_.obtain_keys(Code("999999", WORDS, None), IMPATIENT)
            assert set_.store.record.root == ROOT
            assert not set_.store.record.paired

    run(scenario)


def test_a_sender_that_does_not_answer(ledger: Ledger) -> None:
    """A room in which nobody speaks is no connection, after a while."""

    async def scenario() -> None:
        async with scene(keeper_in(ledger)) as set_:
            mailbox = await set_.room()
            with pytest.raises(ConnectFailed, match="does not answer"):
                await set_.obtain_keys(Code(mailbox.room, WORDS, None), IMPATIENT)
            assert ledger.records() == []
            await mailbox.aclose()

    run(scenario)
