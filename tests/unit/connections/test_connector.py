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
    """Run to the end, with a timeout."""

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
    """Make one connection and refuse further paths."""
    sender, receiver = await asyncio.gather(answerer.connect(), caller.connect())
    await asyncio.gather(answerer.settle(), caller.settle())
    return sender, receiver


async def heard(link: Link, other: Link) -> bytes:
    """The frame that arrives at one end when the other sends hello."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    link.deliver_to(lambda frame, lease: frames.put_nowait(bytes(frame)), lambda error: None)
    await other.send(b"hello")
    return await frames.get()


@pytest.mark.parametrize("via", ["direct", "relay", "webrtc"])
def test_a_forced_path_is_taken(via):
    """``via`` gives a link of that kind, which transports frames."""

    async def scenario() -> None:
        async with sides(via) as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == [via, via]
            assert await heard(ends[0], ends[1]) == b"hello"
            for end in ends:
                await end.aclose()

    run(scenario)


def test_direct_wins_if_possible():
    """By default two processes of one machine connect without the relay."""

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == ["direct", "direct"]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_the_relay_is_the_last_resort(monkeypatch):
    """If no address can be dialled, the relay wins the race."""
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == ["relay", "relay"]
            for end in ends:
                await end.aclose()

    run(scenario)


def swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each side read a wrong fingerprint of its peer."""
    read = Description.from_json

    def swapped(fields: object) -> Description:
        found = read(fields)
        return replace(
            found, fingerprints=tuple((name, value[3:] + ":00") for name, value in found.fingerprints)
        )

    monkeypatch.setattr(Description, "from_json", swapped)


def unbind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both sides bind their handshakes to different fingerprints, while DTLS accepts them."""
    monkeypatch.setattr(datachannel, "binding", lambda *_: secrets.token_bytes(64))


@pytest.mark.parametrize("break_it", [swap, unbind])
def test_a_swapped_fingerprint_fails(break_it, monkeypatch):
    """A man in the middle of a data channel fails, in DTLS and in the handshake."""
    break_it(monkeypatch)

    async def scenario() -> None:
        async with sides("webrtc", limits=Limits(connect_timeout=3)) as (answerer, caller, _):
            ends = await asyncio.gather(answerer.connect(), caller.connect(), return_exceptions=True)
            assert [type(end) for end in ends] == [ConnectFailed, ConnectFailed]

    run(scenario)


@pytest.mark.parametrize("via", ["direct", "relay"])
def test_one_side_without_webrtc(via):
    """A side with another path does not offer WebRTC, and the other does not wait for it."""

    async def scenario() -> None:
        async with sides("auto", via) as (answerer, caller, _):
            ends = await meet(answerer, caller)
            assert [end.via for end in ends] == [via, via]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_other_paths_follow(monkeypatch):
    """Without a direct path both relay and WebRTC open, at both ends."""
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            ends = list(await asyncio.gather(answerer.connect(), caller.connect()))
            ends += await asyncio.gather(answerer.another(), caller.another())
            assert sorted(end.via for end in ends) == ["relay", "relay", "webrtc", "webrtc"]
            for end in ends:
                await end.aclose()

    run(scenario)


def test_direct_opens_no_other_path(monkeypatch):
    """With a direct path up, the caller asks for neither relay nor WebRTC, and the answerer waits for its decision."""

    async def scenario() -> None:
        async with sides() as (answerer, caller, _):
            found = await asyncio.gather(answerer.connect(), caller.connect())
            await asyncio.wait({caller._calling}, timeout=2 * LIMITS.direct_head_start)
            assert all(end.via == "direct" for end in [*found, *caller._links._queue])
            for end in found:
                await end.aclose()

    run(scenario)


def test_a_silent_stranger_blocks_no_peer(monkeypatch):
    """A stranger that connects first and stays silent does not block the peer."""
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


def test_a_replayed_call_is_ignored():
    """A replayed call is recognised, and the sender keeps its link."""

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


def test_an_echoed_machine_mark_is_not_trusted(monkeypatch):
    """An echo of our own mark, under any nonce, does not make us dial loopback."""
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
            assert sorted(dialled) == ["False", "True"]  # the honest side's mark is recognised

    run(scenario)


def test_no_common_path_lists_the_tries(monkeypatch):
    """A receiver that insists on direct gets an error that lists each try."""
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
    """After a drop the receiver calls again. The sender notices, and no key is used twice."""
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


def test_a_stranger_in_the_room_has_no_effect():
    """A stranger who knows the room but not the keys cannot keep the receiver from its answer."""

    async def scenario() -> None:
        async with sides("direct") as (answerer, caller, relay):
            stranger = await Mailbox.join(await relay.dial(LIMITS), caller._keys.room)
            for message in ("", "00", "zz", secrets.token_hex(200)):
                await stranger.send(message)
            for end in await meet(answerer, caller):
                await end.aclose()
            await stranger.aclose()

    run(scenario)


def test_a_missing_room_is_retried():
    """A receiver that calls before the sender hosts gets an error that is retried."""

    async def scenario() -> None:
        running = await start_relay("127.0.0.1", 0)
        around = RelayAddress(running.url), Settings(via=Via.AUTO, limits=LIMITS, host="127.0.0.1")
        with pytest.raises(CodeNotFound):
            await Caller(*around, SessionKeys(bytes(32))).connect()
        await running.aclose()

    run(scenario)


def test_the_sender_hosts_again_after_a_restart():
    """After the relay's restart the room exists again, and a call succeeds."""

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


def test_losers_of_the_race_are_closed(monkeypatch):
    """After a race only the winner's pipe is open."""
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
