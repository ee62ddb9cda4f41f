"""How two sides that share a secret connect, as often as needed: a call, an answer, a race of paths.

They meet in a room of the relay whose name only they can derive. The receiver calls, the sender answers; both say,
sealed, where they listen. Then they try every path (:mod:`nbferry.connections.race`). The first link that comes up is
the connection; others may follow until ``settle`` ends the race.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

from typing_extensions import override

from nbferry.connections.addresses import machine_mark, urls_for
from nbferry.connections.backoff import Backoff
from nbferry.connections.link import AnyLink, Link
from nbferry.connections.race import AnsweredCall, Handshake, Race
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.connections.signals import NONCE_BYTES, Described, Descriptions, Signal, decode, unhex
from nbferry.connections.waiting import either
from nbferry.crypto.keys import SessionKeys, Side
from nbferry.crypto.noise import Initiator, Responder
from nbferry.errors import ConnectFailed, NbferryError, RemoteProtocolError, TransportError
from nbferry.model.paths import Via
from nbferry.relay.client import Mailbox, MailboxMessage
from nbferry.transports import websocket
from nbferry.transports.base import Transport

T = TypeVar("T")

MAX_UNREAD = 4  # unread descriptions; a well-behaved peer never queues more
MAX_KNOWN_CALLS = 1_000  # remembered, so that a relay cannot replay a call

log = logging.getLogger("nbferry")


class Connector(ABC):
    """Makes one connection after the other for a session."""

    @abstractmethod
    async def connect(self) -> AnyLink:
        """Make the next connection. Raises a retryable error if that fails now."""

    async def another(self) -> AnyLink:
        """Return one more link of the current call, by another path, as soon as one comes up."""
        return await asyncio.Future()

    async def settle(self) -> None:  # noqa: B027  # a connector with one path has nothing to end
        """End the search for other paths."""

    async def superseded(self) -> None:
        """Return when the other side has given up the current connection and calls anew."""
        await asyncio.Future()

    @abstractmethod
    async def aclose(self, *, over: bool) -> None:
        """Release everything but links that were handed out; ``over`` ends the pairing for both sides."""


class PairedConnector(Connector):
    """Makes connections between two sides that share a secret."""

    role: ClassVar[Side]
    other: ClassVar[Side]

    def __init__(self, relay: RelayAddress, settings: Settings, keys: SessionKeys) -> None:
        self._relay = relay
        self._settings = settings
        self._limits = settings.limits
        self._keys = keys
        self._links: asyncio.Queue[Link] = asyncio.Queue()
        self._linked = asyncio.Event()
        self._calling: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------- the links of a call
    async def _first_link(
        self, call: Coroutine[Any, Any, None], *newer: Coroutine[Any, Any, object]
    ) -> Link | None:
        """The first link of a call, which continues in the background; None if one of ``newer`` returns first."""
        self._linked.clear()
        self._calling = calling = asyncio.create_task(call)
        try:
            await either(asyncio.wait({calling}), self._linked.wait(), *newer)
            if self._links.empty() and calling.done():
                # Raises: a call that ends without an error has found a link.
                calling.result()
        except BaseException:
            await self.settle()
            raise
        return None if self._links.empty() else self._links.get_nowait()

    def _found(self, link: Link) -> None:
        self._links.put_nowait(link)
        self._linked.set()

    @override
    async def another(self) -> Link:
        return await self._links.get()

    @override
    async def settle(self) -> None:
        # A second call may come while this one waits, and either may be cancelled: nothing stays open.
        if calling := self._calling:
            if not calling.cancelling():
                calling.cancel()
            await asyncio.wait({calling})
            if not calling.cancelled() and (error := calling.exception()):
                expected = isinstance(error, NbferryError)
                log.log(logging.DEBUG if expected else logging.ERROR, "a call ended: %s", error)
        while not self._links.empty():
            await self._links.get_nowait().aclose()

    @override
    async def aclose(self, *, over: bool) -> None:
        await self.settle()

    # ---------------------------------------------------------------- a call
    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[tuple[websocket.Listener | None, Signal]]:
        """Listen, if direct connections are wanted, and make a signal that says where."""
        listener, urls = None, []
        path = f"/nbferry/{secrets.token_hex(16)}"
        if self._settings.via.allows(Via.DIRECT) and (listener := await self._listener(path)):
            urls = urls_for(listener.ports, path, self._settings.host)
        try:
            nonce = secrets.token_bytes(NONCE_BYTES)
            yield listener, Signal(nonce, urls, machine_mark(nonce))
        finally:
            if listener:
                await listener.aclose()

    async def _listener(self, path: str) -> websocket.Listener | None:
        """Listen if the machine lets us. After a change of network it may refuse, and can still dial out."""
        try:
            return await websocket.Listener.start(path, self._limits, host=self._settings.host)
        except NbferryError as error:
            if self._settings.via is Via.DIRECT:
                raise
            log.info("others cannot reach us directly: %s", error.message)
            return None

    async def _race(
        self,
        listener: websocket.Listener | None,
        ours: Signal,
        theirs: Signal,
        handshake: Handshake,
        *,
        send: Callable[[str], Awaitable[None]],
        next_description: Callable[[], Awaitable[Described]],
    ) -> None:
        """Try every path to the sender of ``theirs``; ``send`` and ``next_description`` use the mailbox."""
        if theirs.nonce == ours.nonce:
            raise RemoteProtocolError("The other side sent our own call back.")

        descriptions = Descriptions(next_description, theirs.nonce, ours.nonce)

        async def say(via: Via, description: Mapping[str, Any]) -> None:
            await send(self._sealed(Described(ours.nonce, theirs.nonce, via, description)))

        calls = self.role == "B"
        nonces = (theirs.nonce, ours.nonce) if calls else (ours.nonce, theirs.nonce)
        channel = self._keys.channel(*nonces)
        answered = AnsweredCall(theirs, self._keys.room, channel, calls, handshake, say, descriptions.of)
        await Race(self._relay, self._settings, listener, answered, self._found).run()

    async def _in_time(self, coming: Awaitable[T], otherwise: str) -> T:
        """Wait as long as a silent link is kept."""
        try:
            async with asyncio.timeout(self._limits.dead_after):
                return await coming
        except TimeoutError:
            raise ConnectFailed(otherwise, hint="It resumes by itself when the other side is back.") from None

    def _sealed(self, signal: Signal | Described) -> str:
        return self._keys.seal_signal(self.role, signal.encode()).hex()

    def _opened(self, body: str) -> Signal | Described:
        """Open a signal; raises :class:`RemoteProtocolError` if a stranger who knows the room wrote it."""
        return decode(self._keys.open_signal(self.other, unhex(body)))


def _prologue(caller: bytes, answerer: bytes, via: Via, bound: bytes) -> bytes:
    return b"nbferry/v1\0" + via.encode() + b"\0" + caller + answerer + bound


class Caller(PairedConnector):
    """The receiver's side."""

    role, other = "B", "A"

    @override
    async def connect(self) -> Link:
        """Call the sender, give it ``dead_after`` seconds to answer, then race."""
        await self.settle()
        link = await self._first_link(self._call())
        assert link  # only an answerer is interrupted by a newer call
        return link

    async def _call(self) -> None:
        transport = await self._relay.dial(self._limits)
        mailbox = await Mailbox.join(transport, self._keys.room, within=self._limits.connect_timeout)
        try:
            async with self._listening() as (listener, call):
                await mailbox.send(self._sealed(call))
                answer = await self._in_time(self._answer_to(call, mailbox), "The sender does not answer.")

                async def handshake(transport: Transport, bound: bytes) -> Link:
                    noise = Initiator(
                        self._keys.psk, _prologue(call.nonce, answer.nonce, transport.via, bound)
                    )
                    await transport.send_bytes(noise.write_message())
                    noise.read_message(await transport.receive())
                    return Link(transport, *noise.split())

                async def next_description() -> Described:
                    while not isinstance(signal := await self._next_signal(mailbox), Described):
                        pass
                    return signal

                await self._race(
                    listener, call, answer, handshake, send=mailbox.send, next_description=next_description
                )
        finally:
            await mailbox.aclose()

    async def _answer_to(self, call: Signal, mailbox: Mailbox) -> Signal:
        while True:
            match await self._next_signal(mailbox):
                case Signal(to=call.nonce) as answer:
                    return answer

    async def _next_signal(self, mailbox: Mailbox) -> Signal | Described:
        while True:
            match await mailbox.receive():
                case MailboxMessage(body=body):
                    return self._opened(body)


Reply = Callable[[str], Awaitable[None]]
Call = tuple[Signal, Reply]


class Answerer(PairedConnector):
    """The sender's side: hosts the room while the session lasts, and answers calls."""

    role, other = "A", "B"

    def __init__(self, relay: RelayAddress, settings: Settings, keys: SessionKeys, *, seconds: float) -> None:
        super().__init__(relay, settings, keys)
        self._seconds = seconds
        self._newest: Call | None = None  # earlier callers no longer wait
        self._seen: deque[bytes] = deque(maxlen=MAX_KNOWN_CALLS)
        self._descriptions: asyncio.Queue[Described] = asyncio.Queue(MAX_UNREAD)
        self._hosted = asyncio.Event()
        self._called = asyncio.Event()
        self._hosting: asyncio.Task[None] | None = None
        self._over = False

    async def host(self) -> None:
        """Start to host the room; return when the relay has opened it, or has not in time."""
        self._hosting = asyncio.create_task(self._host())
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                await self._hosted.wait()
        except TimeoutError:
            return  # the receiver retries until the room is open
        except asyncio.CancelledError:
            await self._stop_hosting()
            raise

    @override
    async def connect(self) -> Link:
        """Wait ``dead_after`` seconds for a call; answer it and race. A newer call ends the race of an older one."""
        while True:
            await self.settle()
            call, reply = await self._in_time(self._next_call(), "The receiver does not call.")
            if link := await self._first_link(self._answer(call, reply), self._called.wait()):
                return link

    async def _next_call(self) -> Call:
        """Wait for a call. If none comes, the socket of the room may have died unnoticed, so host the room anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.connect_timeout):
                await self._called.wait()
        if self._hosting and not self._called.is_set():
            await self._stop_hosting()
            self._hosting = asyncio.create_task(self._host())
        await self._called.wait()
        self._called.clear()
        assert self._newest  # set with the event
        return self._newest

    async def _answer(self, call: Signal, reply: Reply) -> None:
        self._descriptions = asyncio.Queue(MAX_UNREAD)
        async with self._listening() as (listener, signal):
            answer = Signal(signal.nonce, signal.urls, signal.machine, to=call.nonce)

            async def handshake(transport: Transport, bound: bytes) -> Link:
                noise = Responder(self._keys.psk, _prologue(call.nonce, answer.nonce, transport.via, bound))
                noise.read_message(await transport.receive())
                await transport.send_bytes(noise.write_message())
                return Link(transport, *noise.split())

            await reply(self._sealed(answer))
            await self._race(
                listener, answer, call, handshake, send=reply, next_description=self._descriptions.get
            )

    @override
    async def superseded(self) -> None:
        """Return when the receiver calls anew."""
        await self._called.wait()

    @override
    async def aclose(self, *, over: bool) -> None:
        """Stop hosting; close the room of a pairing that is over, if the relay can be reached."""
        self._over = over
        await super().aclose(over=over)
        await self._stop_hosting()

    async def _stop_hosting(self) -> None:
        if self._hosting:
            self._hosting.cancel()
            await asyncio.gather(self._hosting, return_exceptions=True)

    async def _host(self) -> None:
        """Host the room; when the relay is lost, reconnect until it is back."""
        backoff = Backoff(self._limits)
        while True:
            try:
                mailbox = await Mailbox.create(
                    await self._relay.dial(self._limits, as_host=True),
                    key=self._keys.host_key,
                    room=self._keys.room,
                    seconds=self._seconds,
                    within=self._limits.connect_timeout,
                )
                backoff.reset()
                self._hosted.set()
                await self._take_signals(mailbox)
            except NbferryError:
                await backoff.wait()

    async def _take_signals(self, mailbox: Mailbox) -> None:
        try:
            while True:
                match await mailbox.receive():
                    case MailboxMessage(member, body):
                        self._take_signal(mailbox, member, body)
        except asyncio.CancelledError:
            if self._over:
                # A lost relay must not replace the cancellation.
                with contextlib.suppress(TransportError):
                    await mailbox.close_room("closed")
            raise
        finally:
            await mailbox.aclose()

    def _take_signal(self, mailbox: Mailbox, member: int, body: str) -> None:
        try:
            signal = self._opened(body)
        except RemoteProtocolError:
            return  # only the receiver can seal a signal; others who know the room get no answer

        async def reply(answer: str) -> None:
            await mailbox.send(answer, to=member)

        match signal:
            case Described() if not self._descriptions.full():
                self._descriptions.put_nowait(signal)
            case Signal(nonce) if nonce not in self._seen:
                self._seen.append(nonce)
                self._newest = signal, reply
                self._called.set()
