"""All paths to the other side, tried at once.

Both sides dial each other, and a little later the relay; and look for a way through their NATs by WebRTC. On every pipe
that comes up the receiver starts a Noise handshake, and the sender answers it: a path is a link then. What becomes of
several links is decided by whoever uses them (:mod:`nbferry.connections.bundle`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from nbferry.connections.addresses import dialable, machine_mark
from nbferry.connections.context import ConnectContext
from nbferry.connections.link import Link
from nbferry.connections.signals import Signal
from nbferry.errors import ConnectFailed, NbferryError
from nbferry.model.paths import Via
from nbferry.relay.client import open_channel
from nbferry.transports import websocket
from nbferry.transports.base import Transport

MAX_INBOUND = 16  # sockets that are opened to us in one race: twice as many as there are addresses of ours

log = logging.getLogger("nbferry")

Handshake = Callable[[Transport, bytes], Awaitable[Link]]
"""Makes a link of a transport; the bytes are what else it is bound to."""


@dataclass(frozen=True)
class AnsweredCall:
    """What is known when a call is answered.

    ``peer`` is the other side's signal, ``say`` and ``hear`` exchange descriptions with it. ``calls``: this is the side
    that called, the receiver.
    """

    peer: Signal
    room: str
    channel: str
    calls: bool
    handshake: Handshake
    say: Callable[[Mapping[str, Any]], Awaitable[None]]
    hear: Callable[[], Awaitable[Mapping[str, Any]]]

    @property
    def same_machine(self) -> bool:
        """Whether both sides share a loopback interface."""
        return self.peer.machine == machine_mark(self.peer.nonce)


class Race:
    """One try of every path; ``found`` is told each link as it comes up."""

    def __init__(
        self,
        context: ConnectContext,
        listener: websocket.Listener | None,
        meeting: AnsweredCall,
        found: Callable[[Link], None],
    ) -> None:
        self._context = context
        self._limits = context.limits
        self._listener = listener
        self._meeting = meeting
        self._found = found
        self._tries: list[asyncio.Task[None]] = []
        self._accepted: list[tuple[asyncio.Task[None], Transport]] = []
        self._won = False

    async def run(self) -> None:
        """Until it is cancelled, or each try has had its time. Raises :class:`ConnectFailed` if none had success."""
        self._begin()
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                while waiting := [each for each in self._tries if not each.done()]:
                    await asyncio.wait(waiting)
        except TimeoutError:
            pass  # what has come by now has come
        finally:
            for each in self._tries:
                each.cancel()
            await asyncio.gather(*self._tries, return_exceptions=True)
            for task, transport in self._accepted:
                if task.cancelled():  # perhaps before its first step
                    await transport.aclose()
        if not self._won:
            raise ConnectFailed(tried=tuple(filter(None, map(_outcome, self._tries))))

    def _begin(self) -> None:
        """Direct paths have a head start: where they work nothing else is needed."""
        context, meeting = self._context, self._meeting
        urls = (
            dialable(meeting.peer.urls, same_machine=meeting.same_machine)
            if context.via.allows(Via.DIRECT)
            else []
        )
        dialled = [self._start(partial(self._direct, url)) for url in urls]
        inbound = [self._start(partial(self._inbound, self._listener))] if self._listener else []
        if context.via.allows(Via.RELAY):
            self._start(self._relayed, after=dialled or inbound)
        if context.via.allows(Via.WEBRTC):
            self._start(self._webrtc, after=dialled or inbound)

    def _start(
        self, path: Callable[[], Awaitable[Link | None]], after: Sequence[asyncio.Task[None]] = ()
    ) -> asyncio.Task[None]:
        async def give() -> None:
            if after and await self._is_needless(after):
                return
            if link := await path():
                self._won = True
                self._found(link)

        task = asyncio.create_task(give())
        self._tries.append(task)
        return task

    async def _is_needless(self, direct: Sequence[asyncio.Task[None]]) -> bool:
        """Wait for direct paths, for a moment; whether one of them has worked.

        Only who calls can know that: what looks like its answer to the other side may be somebody else's noise.
        """
        until = asyncio.get_running_loop().time() + self._limits.direct_head_start
        await asyncio.wait(direct, timeout=self._limits.direct_head_start)
        if self._won and not self._meeting.calls:
            # the caller ends this race if it has won
            await asyncio.sleep(until - asyncio.get_running_loop().time())
        return self._won and self._meeting.calls

    # ---------------------------------------------------------------- the paths
    async def _direct(self, url: str) -> Link:
        return await self._link(await websocket.connect(url, via=Via.DIRECT, limits=self._limits))

    async def _inbound(self, listener: websocket.Listener) -> None:
        """Shake hands with whoever comes: it may be somebody else's try, or one that broke, and the next is right."""
        for _ in range(MAX_INBOUND):
            transport = await listener.accept()
            self._accepted.append((self._start(partial(self._link, transport)), transport))

    async def _relayed(self) -> Link:
        transport = await self._context.relay.dial(self._limits)
        async with _closed_on_failure(transport):
            await open_channel(transport, room=self._meeting.room, channel=self._meeting.channel)
        return await self._link(transport)

    async def _webrtc(self) -> Link:
        # takes 0.3 s
        webrtc = await asyncio.to_thread(import_module, "nbferry.transports.webrtc.datachannel")
        meeting, limits = self._meeting, self._limits
        peer = await webrtc.Peer.start(controlling=meeting.calls, servers=self._context.ice, limits=limits)
        async with _closed_on_failure(peer):
            ours = peer.description
            await meeting.say(ours.to_json())
            theirs = webrtc.Description.from_json(await meeting.hear())
            transport = await peer.connect(theirs, same_machine=meeting.same_machine)
        return await self._link(
            transport, webrtc.binding(*((ours, theirs) if meeting.calls else (theirs, ours)))
        )

    async def _link(self, transport: Transport, bound: bytes = b"") -> Link:
        async with _closed_on_failure(transport):
            return await self._meeting.handshake(transport, bound)


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@asynccontextmanager
async def _closed_on_failure(pipe: _Closable) -> AsyncIterator[None]:
    """Whatever stops what is done with it closes it."""
    try:
        yield
    except BaseException:
        await pipe.aclose()
        raise


def _outcome(task: asyncio.Task[None]) -> str:
    """What came of a try that had no success."""
    error = None if task.cancelled() else task.exception()
    match error:
        case NbferryError():
            return error.message.rstrip(".")
        case None:
            return "no answer in time" if task.cancelled() else ""
    log.error("a path failed unexpectedly", exc_info=error)
    return f"something unexpected went wrong ({type(error).__name__})"
