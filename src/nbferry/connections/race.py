"""All paths to the other side, tried at once.

Both sides dial each other. A little later they dial the relay, and look for a way through their NATs by WebRTC. On
every pipe that comes up the receiver starts a Noise handshake, and the sender answers: then the path is a link.
The session decides which of several links it uses (:mod:`nbferry.connections.bundle`).
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
from nbferry.connections.link import Link
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.connections.signals import Signal
from nbferry.errors import ConnectFailed, NbferryError
from nbferry.model.paths import Via
from nbferry.relay.client import open_channel
from nbferry.transports import websocket
from nbferry.transports.base import Transport

MAX_INBOUND = 16  # sockets that we accept in one race: twice MAX_ADDRESSES

log = logging.getLogger("nbferry")

Handshake = Callable[[Transport, bytes], Awaitable[Link]]
"""Makes a link of a transport. The bytes are mixed into the handshake, which binds the link to them."""


@dataclass(frozen=True)
class AnsweredCall:
    """A call and its answer.

    ``peer`` is the other side's signal, ``say`` and ``hear`` exchange descriptions with it. ``calls`` is true on the
    side that called, the receiver.
    """

    peer: Signal
    room: str
    channel: str
    calls: bool
    handshake: Handshake
    say: Callable[[Via, Mapping[str, Any]], Awaitable[None]]
    hear: Callable[[Via], Awaitable[Mapping[str, Any]]]

    @property
    def same_machine(self) -> bool:
        """Whether both sides share a loopback interface."""
        return self.peer.machine == machine_mark(self.peer.nonce)


class Race:
    """One try of every path; ``found`` is called with each link that comes up."""

    def __init__(
        self,
        relay: RelayAddress,
        settings: Settings,
        listener: websocket.Listener | None,
        call: AnsweredCall,
        found: Callable[[Link], None],
    ) -> None:
        self._relay = relay
        self._settings = settings
        self._limits = settings.limits
        self._listener = listener
        self._call = call
        self._found = found
        self._tries: list[asyncio.Task[None]] = []
        self._accepted: list[tuple[asyncio.Task[None], Transport]] = []
        self._won = False

    async def run(self) -> None:
        """Run until every try has ended or timed out. Raises :class:`ConnectFailed` if none found a link."""
        self._begin()
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                while waiting := [each for each in self._tries if not each.done()]:
                    await asyncio.wait(waiting)
        except TimeoutError:
            pass  # links that came up before the timeout count
        finally:
            for each in self._tries:
                each.cancel()
            await asyncio.gather(*self._tries, return_exceptions=True)
            for task, transport in self._accepted:
                if task.cancelled():  # perhaps before its first step, so the task itself closed nothing
                    await transport.aclose()
        if not self._won:
            raise ConnectFailed(tried=tuple(filter(None, map(_outcome, self._tries))))

    def _begin(self) -> None:
        """Start all tries. Direct paths get a head start: where they work no other path is needed."""
        via, call = self._settings.via, self._call
        urls = dialable(call.peer.urls, same_machine=call.same_machine) if via.allows(Via.DIRECT) else []
        dialled = [self._start(partial(self._direct, url)) for url in urls]
        inbound = [self._start(partial(self._inbound, self._listener))] if self._listener else []
        if via.allows(Via.RELAY):
            self._start(self._relayed, after=dialled or inbound)
        if via.allows(Via.WEBRTC):
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
        """Wait a moment for direct paths; return whether one of them has worked.

        Only the caller can know that: the answerer cannot tell a stranger's connection from the caller's.
        """
        until = asyncio.get_running_loop().time() + self._limits.direct_head_start
        await asyncio.wait(direct, timeout=self._limits.direct_head_start)
        if self._won and not self._call.calls:
            # The caller ends this race if a direct path has won.
            await asyncio.sleep(until - asyncio.get_running_loop().time())
        return self._won and self._call.calls

    # ---------------------------------------------------------------- the paths
    async def _direct(self, url: str) -> Link:
        return await self._link(await websocket.connect(url, via=Via.DIRECT, limits=self._limits))

    async def _inbound(self, listener: websocket.Listener) -> None:
        """Try a handshake with each socket that comes: one may be a stranger's, or broken, and the next the peer's."""
        for _ in range(MAX_INBOUND):
            transport = await listener.accept()
            self._accepted.append((self._start(partial(self._link, transport)), transport))

    async def _relayed(self) -> Link:
        transport = await self._relay.dial(self._limits)
        async with _closed_on_failure(transport):
            await open_channel(transport, room=self._call.room, channel=self._call.channel)
        return await self._link(transport)

    async def _webrtc(self) -> Link:
        # The import takes 0.3 s.
        webrtc = await asyncio.to_thread(import_module, "nbferry.transports.webrtc.datachannel")
        call, limits = self._call, self._limits
        peer = await webrtc.Peer.start(controlling=call.calls, servers=self._settings.ice, limits=limits)
        async with _closed_on_failure(peer):
            ours = peer.description
            await call.say(Via.WEBRTC, ours.to_json())
            theirs = webrtc.Description.from_json(await call.hear(Via.WEBRTC))
            transport = await peer.connect(theirs, same_machine=call.same_machine)
        return await self._link(
            transport, webrtc.binding(*((ours, theirs) if call.calls else (theirs, ours)))
        )

    async def _link(self, transport: Transport, bound: bytes = b"") -> Link:
        async with _closed_on_failure(transport):
            return await self._call.handshake(transport, bound)


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@asynccontextmanager
async def _closed_on_failure(pipe: _Closable) -> AsyncIterator[None]:
    """Close a pipe if its use fails or is cancelled."""
    try:
        yield
    except BaseException:
        await pipe.aclose()
        raise


def _outcome(task: asyncio.Task[None]) -> str:
    """Why a try found no link; empty if there is nothing to say."""
    error = None if task.cancelled() else task.exception()
    match error:
        case NbferryError():
            return error.message.rstrip(".")
        case None:
            return "no answer in time" if task.cancelled() else ""
    log.error("a path failed unexpectedly", exc_info=error)
    return f"something unexpected went wrong ({type(error).__name__})"
