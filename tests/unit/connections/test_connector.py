"""Calls, answers and races, over a real relay on the loopback interface."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nbferry.connections.addresses import machine_mark
from nbferry.connections.connector import Answerer, Caller
from nbferry.connections.link import Link
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.crypto.keys import SessionKeys
from nbferry.errors import CodeNotFound, ConnectFailed, NbferryError
from nbferry.limits import Limits
from nbferry.model.paths import Via
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox
from nbferry.transports import websocket
from nbferry.transports.webrtc import datachannel
from nbferry.transports.webrtc.datachannel import Description

PATIENCE = 30
LIMITS = Limits(backoff_first=0.01)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


@asynccontextmanager
async def sides(
    via: Via = "auto", other: Via | None = None, limits: Limits = LIMITS
) -> AsyncIterator[tuple[Answerer, Caller, RelayAddress]]:
    """A sender that hosts and a receiver that can call."""
    running = await start_relay("127.0.0.1", 0)
    relay, keys = RelayAddress(running.url), SessionKeys(secrets.token_bytes(32))
    answerer = Answerer(relay, Settings(via=Via(via), limits=limits, host="127.0.0.1"), keys, seconds=60)
    caller = Caller(relay, Settings(via=Via(other or via), limits=limits, host="127.0.0.1"), keys)
    await answerer.host()
    try:
        yield answerer, caller, relay
    finally:
        await answerer.aclose(over=True)
        await caller.aclose(over=True)
        await running.aclose()


async def meet(answerer: Answerer, caller: Caller) -> tuple[Link, Link]:
    """One connection; no other path is wanted."""
    sender, receiver = await asyncio.gather(answerer.connect(), caller.connect())
    await asyncio.gather(answerer.settle(), caller.settle())
    return sender, receiver


async def heard(link: Link, other: Link) -> bytes:
    """What arrives at one end when the other says hello."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    link.deliver_to(lambda frame, lease: frames.put_nowait(bytes(frame)), lambda error: None)
    await other.send(b"hello")
    return await frames.get()


@pytest.mark.parametrize("via", ["direct", "relay", "webrtc"])
def test_a_forced_path_is_taken(via):
    """``via`` gives a link of just that kind, on which frames go."""

    async def scenario() -> None:
        async with sides(via) as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == [via, via]
            assert await heard(ends[0], ends[1]) == b"hello"
            for end in ends:
                await end.aclose()

    run(scenario)


def test_direct_wins_where_it_is_possible():
    """Left alone, two processes of one machine need no relay for their bytes."""

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == ["direct", "direct"]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_the_relay_carries_where_nothing_else_does(monkeypatch):
    """If no address can be dialled, the race goes to the relay."""
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == ["relay", "relay"]
            for end in ends:
                await end.aclose()

    run(scenario)


def swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each side read another fingerprint than the other side's."""
    read = Description.from_json

    def swapped(fields: object) -> Description:
        found = read(fields)
        return replace(
            found, fingerprints=tuple((name, value[3:] + ":00") for name, value in found.fingerprints)
        )

    monkeypatch.setattr(Description, "from_json", swapped)


def unbind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the two sides bind their handshake to different fingerprints, though DTLS takes them."""
    monkeypatch.setattr(datachannel, "binding", lambda *_: secrets.token_bytes(64))


@pytest.mark.parametrize("break_it", [swap, unbind])
def test_a_swapped_fingerprint_fails(break_it, monkeypatch):
    """Nobody can stand between the two ends of a data channel: neither DTLS nor the handshake in it takes place."""
    break_it(monkeypatch)

    async def scenario() -> None:
        async with sides("webrtc", limits=Limits(connect_timeout=3)) as (answerer, caller, _):
            ends = await asyncio.gather(answerer.connect(), caller.connect(), return_exceptions=True)
            assert [type(end) for end in ends] == [ConnectFailed, ConnectFailed]

    run(scenario)


@pytest.mark.parametrize("via", ["direct", "relay"])
def test_one_side_without_webrtc(via):
    """Who wants another path says nothing of WebRTC, and nobody waits for it."""

    async def scenario() -> None:
        async with sides("auto", via) as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == [via, via]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_other_paths_follow(monkeypatch):
    """Where no direct path is there, relay and WebRTC both come up, at both ends; it is settled later."""
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = list(await asyncio.gather(answerer.connect(), caller.connect()))
            ends += await asyncio.gather(answerer.another(), caller.another())
            assert sorted(end.via for end in ends) == ["relay", "relay", "webrtc", "webrtc"]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_nothing_else_is_opened_where_direct_works(monkeypatch):
    """The calling side asks neither relay nor WebRTC when a direct path is up; the other one waits for its word."""

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            found = await asyncio.gather(answerer.connect(), caller.connect())
            await asyncio.wait({caller._calling}, timeout=2 * LIMITS.direct_head_start)
            assert all(end.via == "direct" for end in [*found, *caller._links._queue])
            for end in found:
                await end.aclose()

    run(scenario)


def test_silence_at_the_door_keeps_nobody_out(monkeypatch):
    """Who knows where we listen, connects first and says nothing does not stand in the way of the other side."""
    knocked: list[websocket.Transport] = []
    start = websocket.Listener.start.__func__

    async def watched(cls, path, limits, *, host=None):
        listener = await start(cls, path, limits, host=host)
        knocked.append(
            await websocket.connect(
                f"ws://127.0.0.1:{listener.ports[0][1]}{path}", via="direct", limits=limits
            )
        )
        return listener

    monkeypatch.setattr(websocket.Listener, "start", classmethod(watched))

    async def scenario() -> None:
        async with sides("direct") as (answerer, caller, _):
            for end in await meet(answerer, caller):
                await end.aclose()
            for pipe in knocked:
                await pipe.aclose()

    run(scenario)


def test_a_call_that_a_relay_shows_again_calls_nobody():
    """An old call is known again: the sender keeps the link that it has."""

    async def scenario() -> None:
        async with sides("relay") as (answerer, caller, _):
            said: asyncio.Queue[str] = asyncio.Queue()
            take = answerer._take_signal
            answerer._take_signal = lambda box, who, body: (take(box, who, body), said.put_nowait(body))
            ends = await meet(answerer, caller)
            mailbox = await Mailbox.join(await answerer._relay.dial(LIMITS), caller._keys.room)
            called = asyncio.create_task(answerer.superseded())
            for _ in range(3):
                body = await said.get()
                await mailbox.send(body)
            assert body == await said.get()
            assert not called.done()
            called.cancel()
            for end in ends:
                await end.aclose()
            await mailbox.aclose()

    run(scenario)


def test_who_says_what_we_said_is_not_on_our_machine(monkeypatch):
    """An echo of our own mark, under another nonce or our own, leads to no loopback address."""
    dialled: list[str] = []
    monkeypatch.setattr(
        "nbferry.connections.race.dialable",
        lambda urls, same_machine: dialled.append(str(same_machine)) or [],
    )
    listening = Caller._listening

    @asynccontextmanager
    async def echoing(self):
        async with listening(self) as (listener, signal):
            yield listener, replace(signal, machine=machine_mark(bytes(16)))

    monkeypatch.setattr(Answerer, "_listening", echoing)

    async def scenario() -> None:
        async with sides("auto") as (answerer, caller, _):
            for end in await meet(answerer, caller):
                await end.aclose()
            assert sorted(dialled) == ["False", "True"]  # the honest side's mark is known again

    run(scenario)


def test_no_common_path_is_an_error_that_says_what_was_tried(monkeypatch):
    """A receiver that insists on direct where nothing can be dialled hears of each try."""
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])

    async def scenario() -> None:
        limits = Limits(connect_timeout=0.2)
        running = await start_relay("127.0.0.1", 0)
        relay, keys = RelayAddress(running.url), SessionKeys(secrets.token_bytes(32))
        around = relay, Settings(via=Via.DIRECT, limits=limits, host="127.0.0.1")
        answerer, caller = Answerer(*around, keys, seconds=60), Caller(*around, keys)
        await answerer.host()
        ends = await asyncio.gather(answerer.connect(), caller.connect(), return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectFailed, ConnectFailed]
        assert "no answer in time" in str(ends[1])
        await answerer.aclose(over=True)
        await running.aclose()

    run(scenario)


def test_a_new_call_makes_a_new_link_with_new_keys(monkeypatch):
    """After a drop the receiver calls again; the sender notices, and no key is used twice."""
    seen: list[bytes] = []
    made = Link.__init__

    def remember(self, transport, send_key, receive_key):
        seen.append(send_key)
        made(self, transport, send_key, receive_key)

    monkeypatch.setattr(Link, "__init__", remember)

    async def scenario() -> None:
        async with sides("direct") as (answerer, caller, _):
            first = await meet(answerer, caller)
            superseded = asyncio.create_task(answerer.superseded())
            calling = asyncio.create_task(caller.connect())
            await superseded
            second = (await answerer.connect(), await calling)
            await asyncio.gather(answerer.settle(), caller.settle())
            assert len(seen) == len(set(seen)) >= 4
            for end in (*first, *second):
                await end.aclose()

    run(scenario)


def test_a_stranger_in_the_room_changes_nothing():
    """Who knows the room but not the keys can send what it likes; the receiver is still answered."""

    async def scenario() -> None:
        async with sides("direct") as (answerer, caller, relay):
            stranger = await Mailbox.join(await relay.dial(LIMITS), caller._keys.room)
            for message in ("", "00", "zz", secrets.token_hex(200)):
                await stranger.send(message)
            for end in await meet(answerer, caller):
                await end.aclose()
            await stranger.aclose()

    run(scenario)


def test_a_room_that_is_not_there_is_a_code_not_found():
    """A receiver that calls before the sender hosts gets an error to try again on."""

    async def scenario() -> None:
        running = await start_relay("127.0.0.1", 0)
        around = RelayAddress(running.url), Settings(via=Via.AUTO, limits=LIMITS, host="127.0.0.1")
        with pytest.raises(CodeNotFound):
            await Caller(*around, SessionKeys(bytes(32))).connect()
        await running.aclose()

    run(scenario)


def test_the_sender_hosts_again_when_the_relay_is_back():
    """A relay that restarts finds the room again, and a call goes through."""

    async def scenario() -> None:
        first = await start_relay("127.0.0.1", 0)
        relay, keys = RelayAddress(first.url), SessionKeys(secrets.token_bytes(32))
        around = relay, Settings(via=Via.RELAY, limits=LIMITS, host="127.0.0.1")
        answerer, caller = Answerer(*around, keys, seconds=60), Caller(*around, keys)
        await answerer.host()
        await first.aclose()
        second = await start_relay("127.0.0.1", int(first.url.rpartition(":")[2].strip("/")))
        answering = asyncio.create_task(answerer.connect())
        while True:
            try:
                link = await caller.connect()
                break
            except NbferryError:
                await asyncio.sleep(0)
        for end in (link, await answering):
            await end.aclose()
        await answerer.aclose(over=True)
        await second.aclose()

    run(scenario)


def test_nothing_is_left_open(monkeypatch):
    """Of all the pipes of a race one lives when it is settled; the others are closed."""
    opened: list[websocket.WebSocketTransport] = []
    made = websocket.WebSocketTransport.__init__

    def remember(self, via, limits):
        made(self, via, limits)
        opened.append(self)

    monkeypatch.setattr(websocket.WebSocketTransport, "__init__", remember)

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = await meet(answerer, caller)
            alive = [pipe for pipe in opened if pipe.is_open]
            assert len(alive) == 3  # both ends of the link, and the host's socket in the room
            for end in ends:
                await end.aclose()

    run(scenario)


def test_a_relay_address_hides_its_token():
    """The token opens rooms, so it is in no repr."""
    address = RelayAddress("http://127.0.0.1:1/", headers={"Authorization": "token secret"})
    assert "secret" not in repr(address)
    assert address.share_url == "http://127.0.0.1:1/"
