"""A relay that answers nonsense, nothing, or guesses: both sides end with an error of ours, or say why they wait."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import nbferry
from nbferry.connections import connector
from nbferry.connections.race import Race
from nbferry.crypto.pake import Joiner, Sharer
from nbferry.errors import NbferryError
from nbferry.status import Snapshot

pytestmark = pytest.mark.usefixtures("engine")

LIMITS = nbferry.Limits(backoff_first=0.01)
HASTY = replace(LIMITS, connect_timeout=0.5, dead_after=1.0)
WORDS = "amber-canyon-tulip"
GUESS = b"nbferry/v1/pw\0amber-canyon-amber"


class Line:
    """The relay's end of one socket."""

    def __init__(self, handler: WebSocketHandler) -> None:
        self._handler = handler
        self.heard: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def hear(self) -> dict[str, Any]:
        """The next message; raises when the socket is closed."""
        message = await self.heard.get()
        if message is None:
            raise WebSocketClosedError
        return message

    async def send(self, message: bytes | str) -> None:
        """Send something."""
        await self._handler.write_message(message, binary=isinstance(message, bytes))

    async def say(self, **fields: Any) -> None:
        """Send a control message."""
        await self.send(json.dumps(fields).encode())

    async def tell(self, sender: int, body: bytes | str) -> None:
        """Send what a member of the room, or its host, is to have said."""
        text = body.decode() if isinstance(body, bytes) else body
        await self.say(**{"type": "message", "from": sender, "body": text})

    def close(self) -> None:
        """Close politely."""
        self._handler.close()

    def abort(self) -> None:
        """Hang up."""
        self._handler.ws_connection.stream.close()  # type: ignore[union-attr]  # it was opened


Behaviour = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def relay(behave: Behaviour) -> AsyncIterator[str]:
    """A relay all of whose sockets behave so; its address."""
    tasks: set[asyncio.Task[None]] = set()

    class Handler(WebSocketHandler):
        def open(self, *_: str, **__: str) -> None:
            self.line = Line(self)
            tasks.add(asyncio.create_task(self._behave()))

        async def _behave(self) -> None:
            try:
                await behave(self.line)
            except WebSocketClosedError:
                return

        def on_message(self, message: str | bytes) -> None:
            self.line.heard.put_nowait(json.loads(message))

        def on_close(self) -> None:
            self.line.heard.put_nowait(None)

    server = HTTPServer(Application([("/nbferry/ws", Handler)], log_function=lambda _: None))
    (socket,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(socket)
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}/"
    finally:
        server.stop()
        await server.close_all_connections()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


async def ending(transfer: nbferry.Transfer) -> NbferryError:
    """How a victim ends."""
    try:
        await transfer
    except NbferryError as error:
        return error
    raise AssertionError("the victim is content")


def meet(behave: Behaviour, *victims: Callable[[str], nbferry.Transfer]) -> list[NbferryError]:
    """Have victims meet a relay; how they end, within a minute."""

    async def scenario() -> list[NbferryError]:
        async with relay(behave) as url:
            return list(await asyncio.gather(*(ending(victim(url)) for victim in victims)))

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def sender(path: Path, limits: nbferry.Limits = LIMITS) -> Callable[[str], nbferry.Transfer]:
    """A victim that sends."""
    path.write_bytes(b"x")
    return lambda url: nbferry.send(path, relay=url, limits=limits)


def receiver(path: Path, limits: nbferry.Limits = LIMITS) -> Callable[[str], nbferry.Transfer]:
    """A victim that receives."""
    return lambda url: nbferry.receive(f"123456-{WORDS}@{url}", to=path, accept=True, limits=limits)


# ------------------------------------------------------------------ nonsense
NONSENSE: dict[str, bytes | str] = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "no type": b"{}",
    "a type that is none": b'{"type": 7}',
    "another type": b'{"type": "paired"}',
    "nested": b"[" * 100_000,
    "long": b"x" * 1_000_000,
    "text": '{"type": "created", "room": "123456", "seconds": 60}',
    "no room": b'{"type": "created"}',
    "a room that is none": b'{"type": "created", "room": 123456}',
    "a room elsewhere": b'{"type": "created", "room": "../../x"}',
    "an error without a code": b'{"type": "error"}',
    "an error with a list": b'{"type": "error", "code": ["room-used"], "message": {}}',
    "an error with a message": b'{"type": "error", "code": "no", "message": "\\u001b[31m'
    + b"x" * 9999
    + b'"}',
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense(tmp_path: Path, answer: bytes | str) -> None:
    """Whatever a relay answers first, both sides end with an error that fits on a screen."""

    async def behave(line: Line) -> None:
        await line.hear()
        await line.send(answer)
        await line.hear()

    for error in meet(behave, sender(tmp_path / "x", HASTY), receiver(tmp_path / "to", HASTY)):
        assert error.code in (
            "remote-protocol",
            "relay-refused",
            "transport-closed",
            "transport-broken",
            "code-invalid",
            "connect-failed",
        )
        assert len(str(error)) < 500
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("how", ["closes", "hangs up", "says nothing"])
def test_silence(tmp_path: Path, how: str) -> None:
    """A relay that closes, hangs up or never answers is given up."""

    async def behave(line: Line) -> None:
        await line.hear()
        if how == "closes":
            line.close()
        elif how == "hangs up":
            line.abort()
        else:
            await line.hear()

    for error in meet(behave, sender(tmp_path / "x", HASTY), receiver(tmp_path / "to", HASTY)):
        assert error.code in ("transport-closed", "transport-broken", "connect-failed")
        assert error.hint


# ------------------------------------------------------------------ in the place of the other side
@pytest.mark.parametrize(
    "answer", ["not JSON", "{}", '{"suites": [], "nonce": "zz"}', "\x00" * 4097, "[" * 4000]
)
def test_nonsense_instead_of_a_key(tmp_path: Path, answer: str) -> None:
    """A key exchange that is answered with nonsense ends in an error on the joiner's side."""

    async def behave(line: Line) -> None:
        await line.hear()
        await line.say(type="joined", member=1)
        await line.hear()
        await line.tell(0, answer)
        await line.hear()

    (error,) = meet(behave, receiver(tmp_path / "to"))
    assert error.code == "remote-protocol"


def test_a_sender_that_never_answers(tmp_path: Path) -> None:
    """A room in which nobody answers is left."""

    async def behave(line: Line) -> None:
        await line.hear()
        await line.say(type="joined", member=1)
        while True:
            await line.hear()

    (error,) = meet(behave, receiver(tmp_path / "to", replace(LIMITS, dead_after=1.0)))
    assert "The sender does not answer." in error.message


def test_a_relay_that_plays_the_sender(tmp_path: Path) -> None:
    """A relay that does not know the code cannot pass for the sender: the receiver says that the code is wrong."""

    async def behave(line: Line) -> None:
        await line.hear()
        await line.say(type="joined", member=1)
        guess = Sharer(GUESS, "123456")
        await line.tell(0, guess.respond((await line.hear())["body"].encode()))
        await line.hear()
        await line.tell(0, json.dumps({"confirm": "00" * 32}))
        await line.hear()

    (error,) = meet(behave, receiver(tmp_path / "to"))
    assert error.code == "code-wrong"


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "hangs up after each guess"])
def test_a_relay_that_guesses(tmp_path: Path, stays: bool) -> None:
    """A relay has three guesses like anybody else, even if it hangs up before it could be told that one was wrong."""
    guesses = 0

    async def behave(line: Line) -> None:
        nonlocal guesses
        await line.hear()
        await line.say(type="created", room="123456", seconds=60)
        for member in range(1, 100 if stays else 2):
            guess = Joiner(GUESS, "123456")
            await line.say(type="joined", member=member)
            await line.tell(member, guess.start())
            proof = guess.confirm((await line.hear())["body"].encode())
            guesses += 1
            await line.tell(member, proof)
            if stays:
                await line.hear()
        line.abort()

    (error,) = meet(behave, sender(tmp_path / "x"))
    assert error.code == "code-burnt"
    assert guesses == 3


def test_members_that_there_are_not(tmp_path: Path) -> None:
    """Messages from nobody, many members and fields of the wrong kind do no harm; nonsense from one is a guess."""

    async def behave(line: Line) -> None:
        await line.hear()
        await line.say(type="created", room="123456", seconds=60)
        await line.tell(77, "from nobody")
        for member in range(900):
            await line.say(type="joined", member=member)
        for wrong in ("1", None, [1], 1.5):
            await line.say(type="joined", member=wrong)
            await line.say(**{"type": "message", "from": wrong, "body": "x"})
            await line.say(**{"type": "message", "from": 1, "body": wrong})
        for member in (1, 2, 3):
            await line.tell(member, "nonsense")
        while True:
            await line.hear()

    (error,) = meet(behave, sender(tmp_path / "x"))
    assert error.code == "code-burnt"


def test_messages_that_are_swapped(tmp_path: Path) -> None:
    """A relay that swaps the proofs of two receivers gets neither of them in."""
    code: asyncio.Queue[Line] = asyncio.Queue()
    members: dict[int, Line] = {}
    proofs: dict[int, str] = {}

    async def behave(line: Line) -> None:
        if (await line.hear())["type"] == "create":
            await line.say(type="created", room="123456", seconds=60)
            await code.put(line)
            while True:
                said = await line.hear()
                if said["type"] == "message":
                    await members[said["to"]].tell(0, said["body"])
        host = await code.get()
        await code.put(host)
        number = len(members) + 1
        members[number] = line
        await line.say(type="joined", member=number)
        await host.say(type="joined", member=number)
        await host.tell(number, (await line.hear())["body"])
        proofs[number] = (await line.hear())["body"]
        if len(proofs) == 2:
            await host.tell(1, proofs[2])
            await host.tell(2, proofs[1])
        await line.hear()

    async def scenario() -> None:
        async with relay(behave) as url:
            path = tmp_path / "x"
            path.write_bytes(b"x")
            sending = nbferry.send(path, relay=url, limits=LIMITS)
            given = await asyncio.to_thread(lambda: sending.code)
            both = [nbferry.receive(given, to=tmp_path / "to", limits=LIMITS) for _ in range(2)]
            for transfer in both:
                assert (await ending(transfer)).code == "code-wrong"
            assert sending.snapshot.wrong_guesses == 2
            sending.cancel()
            assert (await ending(sending)).code == "cancelled"

    asyncio.run(asyncio.wait_for(scenario(), 60))


# ------------------------------------------------------------------ after the code
class Mailboxes:
    """A relay that carries messages, and no more: nobody is ever paired."""

    def __init__(self) -> None:
        self._hosts: dict[str, Line] = {}
        self._members: dict[str, list[Line]] = {}

    async def behave(self, line: Line) -> None:
        """Do what the first message asks for."""
        match await line.hear():
            case {"type": "create", "room": room}:
                await self._host(line, room or "123456")
            case {"type": "join", "room": room}:
                await self._join(line, room)
            case _:
                await line.hear()

    async def _host(self, line: Line, room: str) -> None:
        self._hosts[room] = line
        await line.say(type="created", room=room, seconds=60)
        while True:
            said = await line.hear()
            if said["type"] == "message":
                await self._members[room][said["to"] - 1].tell(0, said["body"])

    async def _join(self, line: Line, room: str) -> None:
        members = self._members.setdefault(room, [])
        members.append(line)
        number = len(members)
        await line.say(type="joined", member=number)
        await self._hosts[room].say(type="joined", member=number)
        while True:
            await self._hosts[room].tell(number, (await line.hear())["body"])


def trouble(transfer: nbferry.Transfer) -> str:
    """Wait for the first reason that a transfer gives."""
    news: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    transfer.subscribe(news.put)
    while not (reason := news.get(timeout=60).reason):
        continue
    return reason


class HastyRace(Race):
    """Each try has half a second."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._limits = HASTY


def test_a_relay_that_never_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no connection comes about, both sides say what they tried, go on trying, and can be cancelled."""
    monkeypatch.setattr(connector, "Race", HastyRace)

    async def scenario() -> None:
        async with relay(Mailboxes().behave) as url:
            path = tmp_path / "x"
            path.write_bytes(b"x")
            sending = nbferry.send(path, relay=url, via="relay", limits=LIMITS)
            given = await asyncio.to_thread(lambda: sending.code)
            receiving = nbferry.receive(given, to=tmp_path / "to", via="relay", limits=LIMITS)
            for transfer in (sending, receiving):
                assert (await asyncio.to_thread(trouble, transfer)).startswith(
                    "cannot connect: No connection could be made (no answer in time)"
                )
            for transfer in (sending, receiving):
                transfer.cancel()
                assert (await ending(transfer)).code == "cancelled"

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_relay_that_floods(tmp_path: Path) -> None:
    """More than can be meant ends the connection, not our memory; the sender says why and comes back."""
    came = 0

    async def behave(line: Line) -> None:
        nonlocal came
        came += 1
        await line.hear()
        await line.say(type="created", room="123456", seconds=60)
        while True:
            await line.tell(1, "x" * 60_000)

    async def scenario() -> None:
        async with relay(behave) as url:
            path = tmp_path / "x"
            path.write_bytes(b"x")
            sending = nbferry.send(path, relay=url, limits=LIMITS)
            assert "when the relay is back" in await asyncio.to_thread(trouble, sending)
            sending.cancel()
            assert (await ending(sending)).code == "cancelled"

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert came >= 1
