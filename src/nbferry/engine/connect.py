"""How two sides that share a secret get connected, again and again: a call, an answer, a race of paths.

They meet in a room of the relay whose name only they can derive. The receiver calls, the sender answers; both say,
sealed, where they listen. Then each dials the other and, a little later, the relay, and on every pipe that comes up the
receiver starts a Noise handshake. The sender answers one of them: that is the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from nbferry.crypto.keys import SessionKeys
from nbferry.crypto.noise import Initiator, Responder
from nbferry.engine.addresses import dialable, machine_id, urls_for
from nbferry.engine.backoff import Backoff
from nbferry.engine.link import AnyLink, Link
from nbferry.errors import ConnectFailed, NbferryError, RemoteProtocolError, TransportClosed, TransportError
from nbferry.ice import IceServer
from nbferry.limits import Limits
from nbferry.rendezvous import Mailbox, Message, open_channel
from nbferry.transports import websocket
from nbferry.transports.base import Transport

T = TypeVar("T")

Via = Literal["auto", "direct", "webrtc", "relay"]
Handshake = Callable[[Transport], Awaitable[Link]]
NONCE_BYTES = 16

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class RelayAddress:
    """A relay: where we reach it, where others do, and what it wants to see before it opens a room."""

    url: str  # http(s)://host:port/base/
    public_url: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    own_port: int = 0  # where it listens, if it runs in this process

    @property
    def share_url(self) -> str:
        """The address that goes into a code."""
        return self.public_url or self.url

    async def dial(self, limits: Limits, *, as_host: bool = False) -> Transport:
        """Open a socket to it; raises :class:`ConnectFailed`."""
        headers = self.headers if as_host else None
        return await websocket.connect(f"{self.url}nbferry/ws", via="relay", limits=limits, headers=headers)


@dataclass(frozen=True)
class Surroundings:
    """What a connection is made with: relay, wish for a path, where to listen (None: everywhere), ICE servers."""

    relay: RelayAddress
    via: Via
    limits: Limits
    host: str | None = None
    ice: tuple[IceServer, ...] = ()


@dataclass(frozen=True)
class Signal:
    """A call or an answer: a fresh nonce, the caller's nonce if it is an answer, where we listen, and which machine."""

    nonce: bytes
    urls: list[str]
    machine: str
    to: bytes = b""

    def encode(self) -> bytes:
        """As JSON, to be sealed."""
        fields = {"nonce": self.nonce.hex(), "to": self.to.hex(), "urls": self.urls, "machine": self.machine}
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Signal:
        """Read what the authenticated peer sent; which addresses to dial is decided later."""
        try:
            fields = json.loads(raw)
            nonce, to = bytes.fromhex(fields["nonce"]), bytes.fromhex(fields["to"])
            machine, urls = fields["machine"], fields["urls"]
        except (ValueError, KeyError, TypeError) as error:
            raise RemoteProtocolError("A call cannot be read.") from error
        if len(nonce) != NONCE_BYTES or not isinstance(machine, str) or not isinstance(urls, list):
            raise RemoteProtocolError("A call cannot be read.")
        return cls(nonce, urls, machine, to)


class Connector(ABC):
    """Makes one connection after the other for a session."""

    @abstractmethod
    async def connect(self) -> AnyLink:
        """The next connection. Raises a retryable error if it cannot be had now."""

    @abstractmethod
    async def superseded(self) -> None:
        """Return when the other side has given up the current connection and calls anew."""

    @abstractmethod
    async def aclose(self, *, over: bool) -> None:
        """Let go of everything but connections that were handed out; ``over``: for this pairing, not only here."""


class Paired(Connector):
    """Makes connections between two that share a secret."""

    def __init__(self, surroundings: Surroundings, keys: SessionKeys) -> None:
        self._around = surroundings
        self._limits = surroundings.limits
        self._keys = keys

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[tuple[websocket.Listener | None, Signal]]:
        """Listen, if direct connections are wanted, and have a signal that says where."""
        listener, urls = None, []
        path = f"/nbferry/{secrets.token_hex(16)}"
        if self._around.via != "relay" and (listener := await self._listener(path)):
            urls = urls_for(listener.ports, path, self._around.host)
        try:
            yield listener, Signal(secrets.token_bytes(NONCE_BYTES), urls, machine_id())
        finally:
            if listener:
                await listener.aclose()

    async def _listener(self, path: str) -> websocket.Listener | None:
        """Listen if that can be had: on a machine that has changed its network it may not, and yet dial out."""
        try:
            return await websocket.Listener.start(path, self._limits, host=self._around.host)
        except NbferryError as error:
            if self._around.via == "direct":
                raise
            log.info("others cannot reach us directly: %s", error.message)
            return None

    async def _in_time(self, coming: Awaitable[T], otherwise: str) -> T:
        """Wait as long as a silent link would be waited for."""
        try:
            async with asyncio.timeout(self._limits.dead_after):
                return await coming
        except TimeoutError:
            raise ConnectFailed(otherwise, hint="It goes on by itself when the other side is back.") from None

    async def _race(
        self,
        listener: websocket.Listener | None,
        peer: Signal,
        channel: str,
        handshake: Handshake,
    ) -> Link:
        """Try every path; the first on which the handshake succeeds wins, all others are closed."""
        via, dialled = self._around.via, []
        if via != "relay":
            same_machine = peer.machine == machine_id()
            urls = dialable(peer.urls, same_machine=same_machine)
            dialled = [asyncio.create_task(self._try_direct(url, handshake)) for url in urls]
        inbound = [asyncio.create_task(self._try_inbound(listener, handshake))] if listener else []
        relayed = []
        if via != "direct":
            relayed = [asyncio.create_task(self._try_relay(dialled or inbound, channel, handshake))]
        return await _first([*inbound, *dialled, *relayed], self._limits.connect_timeout)

    async def _try_direct(self, url: str, handshake: Handshake) -> Link:
        return await _closing(await websocket.connect(url, via="direct", limits=self._limits), handshake)

    async def _try_inbound(self, listener: websocket.Listener, handshake: Handshake) -> Link:
        while True:
            transport = await listener.accept()
            try:
                return await _closing(transport, handshake)
            except NbferryError:
                continue  # somebody else's try, or one that broke: the next may be right

    async def _try_relay(
        self, direct: Sequence[asyncio.Task[Link]], channel: str, handshake: Handshake
    ) -> Link:
        """Leave the direct paths a head start."""
        if direct:
            await asyncio.wait(direct, timeout=self._limits.direct_head_start)
        transport = await self._around.relay.dial(self._limits)

        async def paired(transport: Transport) -> Link:
            return await handshake(await open_channel(transport, room=self._keys.room, channel=channel))

        return await _closing(transport, paired)


async def _closing(transport: Transport, handshake: Handshake) -> Link:
    """Do the handshake; whatever stops it closes the transport."""
    try:
        return await handshake(transport)
    except BaseException:
        await transport.aclose()
        raise


async def _first(tasks: Sequence[asyncio.Task[Link]], seconds: float) -> Link:
    """The first link of all tasks; the others are cancelled, and what they had is closed."""
    winner: Link | None = None
    try:
        async with asyncio.timeout(seconds):
            winner = await _next_link(set(tasks))
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in [task.result() for task in tasks if _succeeded(task)]:
            if link is not winner:
                await link.aclose()
    if winner is None:
        raise ConnectFailed(tried=tuple(_outcome(task) for task in tasks))
    return winner


async def _next_link(tasks: set[asyncio.Task[Link]]) -> Link | None:
    """The link of the task that succeeds first; None if all fail."""
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in filter(_succeeded, done):
            return task.result()
    return None


def _succeeded(task: asyncio.Task[Link]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _outcome(task: asyncio.Task[Link]) -> str:
    error = None if task.cancelled() else task.exception()
    return error.message.rstrip(".") if isinstance(error, NbferryError) else "no answer in time"


def _prologue(caller: bytes, answerer: bytes, via: str) -> bytes:
    return b"nbferry/v1\0" + via.encode() + b"\0" + caller + answerer


Reply = Callable[[str], Awaitable[None]]
Call = tuple[Signal, Reply]


class Caller(Paired):
    """The receiver's side."""

    async def connect(self) -> Link:
        """Call the sender, give it ``dead_after`` seconds to answer, then race."""
        transport = await self._around.relay.dial(self._limits)
        mailbox = await Mailbox.join(transport, self._keys.room, within=self._limits.connect_timeout)
        try:
            async with self._listening() as (listener, call):
                await mailbox.send(self._keys.seal_signal("B", call.encode()).hex())
                answer = await self._in_time(self._answer_to(call, mailbox), "The sender does not answer.")
                channel = self._keys.channel(answer.nonce, call.nonce)

                async def handshake(transport: Transport) -> Link:
                    noise = Initiator(self._keys.psk, _prologue(call.nonce, answer.nonce, transport.via))
                    await transport.send_bytes(noise.write_message())
                    noise.read_message(await transport.receive())
                    return Link(transport, *noise.split())

                return await self._race(listener, answer, channel, handshake)
        finally:
            await mailbox.aclose()

    async def _answer_to(self, call: Signal, mailbox: Mailbox) -> Signal:
        while True:
            match await mailbox.receive():
                case Message(body=body):
                    answer = Signal.decode(self._keys.open_signal("A", _unhex(body)))
                    if answer.to == call.nonce:
                        return answer

    async def superseded(self) -> None:
        """Never: the receiver is the one who calls."""
        await asyncio.Event().wait()

    async def aclose(self, *, over: bool) -> None:
        """Nothing is kept between two connections."""


class Answerer(Paired):
    """The sender's side: hosts the room for as long as the session lasts, and answers calls."""

    def __init__(self, surroundings: Surroundings, keys: SessionKeys, *, seconds: float) -> None:
        super().__init__(surroundings, keys)
        self._seconds = seconds
        self._calls: asyncio.Queue[Call] = asyncio.Queue(4)
        self._hosted = asyncio.Event()
        self._called = asyncio.Event()
        self._hosting: asyncio.Task[None] | None = None
        self._over = False

    async def host(self) -> None:
        """Start to host the room; return when it is there, or could not be had at once."""
        self._hosting = asyncio.create_task(self._host())
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                await self._hosted.wait()
        except TimeoutError:
            return  # the receiver will look for the room again and again
        except asyncio.CancelledError:
            await self._stop_hosting()
            raise

    async def connect(self) -> Link:
        """Wait ``dead_after`` seconds for a call; answer it and race. A newer call ends the race of an older one."""
        while True:
            self._called.clear()
            call, reply = await self._in_time(self._newest_call(), "The receiver does not call.")
            race = asyncio.create_task(self._answer(call, reply))
            newer = asyncio.create_task(self._called.wait())
            try:
                await asyncio.wait({race, newer}, return_when=asyncio.FIRST_COMPLETED)
                if race.done():
                    return race.result()
            finally:
                race.cancel()
                newer.cancel()
                await asyncio.gather(race, newer, return_exceptions=True)

    async def _newest_call(self) -> Call:
        """Only the newest call still has somebody waiting."""
        newest = await self._next_call()
        while not self._calls.empty():
            newest = self._calls.get_nowait()
        self._called.clear()
        return newest

    async def _next_call(self) -> Call:
        """If none comes, the room may be hosted by a socket that died unnoticed: host it anew, and wait on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.connect_timeout):
                return await self._calls.get()
        if self._hosting:
            await self._stop_hosting()
            self._hosting = asyncio.create_task(self._host())
        return await self._calls.get()

    async def _answer(self, call: Signal, reply: Reply) -> Link:
        async with self._listening() as (listener, signal):
            answer = Signal(signal.nonce, signal.urls, signal.machine, to=call.nonce)
            channel = self._keys.channel(answer.nonce, call.nonce)
            answered = False

            async def handshake(transport: Transport) -> Link:
                noise = Responder(self._keys.psk, _prologue(call.nonce, answer.nonce, transport.via))
                noise.read_message(await transport.receive())
                nonlocal answered
                if answered:
                    raise TransportClosed("Another path was quicker.")
                answered = True
                await transport.send_bytes(noise.write_message())
                return Link(transport, *noise.split())

            await reply(self._keys.seal_signal("A", answer.encode()).hex())
            return await self._race(listener, call, channel, handshake)

    async def superseded(self) -> None:
        """Return when the receiver calls anew."""
        await self._called.wait()

    async def aclose(self, *, over: bool) -> None:
        """Stop hosting; the room of a pairing that is over is closed if the relay can be told."""
        self._over = over
        await self._stop_hosting()

    async def _stop_hosting(self) -> None:
        if self._hosting:
            self._hosting.cancel()
            await asyncio.gather(self._hosting, return_exceptions=True)

    async def _host(self) -> None:
        """Host the room; when the relay is lost, come back to it for as long as it takes."""
        backoff = Backoff(self._limits)
        while True:
            try:
                mailbox = await Mailbox.create(
                    await self._around.relay.dial(self._limits, as_host=True),
                    key=self._keys.host_key,
                    room=self._keys.room,
                    seconds=self._seconds,
                    within=self._limits.connect_timeout,
                )
                backoff.reset()
                self._hosted.set()
                await self._take_calls(mailbox)
            except NbferryError:
                await backoff.wait()

    async def _take_calls(self, mailbox: Mailbox) -> None:
        try:
            while True:
                match await mailbox.receive():
                    case Message(member, body):
                        self._take_call(mailbox, member, body)
        except asyncio.CancelledError:
            if self._over:
                with contextlib.suppress(
                    TransportError
                ):  # it must not be taken for the end of this wait only
                    await mailbox.close_room("closed")
            raise
        finally:
            await mailbox.aclose()

    def _take_call(self, mailbox: Mailbox, member: int, body: str) -> None:
        try:
            call = Signal.decode(self._keys.open_signal("B", _unhex(body)))
        except RemoteProtocolError:
            return  # only the receiver can seal a call; whoever else knows the room is nobody to talk to

        async def reply(answer: str) -> None:
            await mailbox.send(answer, to=member)

        if not self._calls.full():
            self._calls.put_nowait((call, reply))
            self._called.set()


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise RemoteProtocolError("A call cannot be read.") from error
