"""Runs a relay's core on an asyncio loop, over WebSockets that Tornado has accepted.

The hot path is :meth:`DrivenSocket.received` of a paired socket: no JSON, no task, no copy but Tornado's own, and no
wait while the other socket takes what it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tornado.websocket import WebSocketProtocol13
from typing_extensions import override

from nbferry.relay.core import Relay
from nbferry.relay.effects import Abort, Close, Effect, Ping, RelayStatistics, Send, Splice
from nbferry.relay.limits import DEFAULT_RELAY_LIMITS, RelayLimits
from nbferry.relay.rooms import Meter
from nbferry.relay.sockets import Writer
from nbferry.relay.wire import encode

GOING_AWAY = 1001  # RFC 6455, section 7.4.1


class DrivenSocket(Writer):
    """One WebSocket as the core sees it."""

    def __init__(self, driver: RelayDriver, connection: WebSocketProtocol13) -> None:
        super().__init__(connection)
        self._driver = driver
        self._peer: DrivenSocket | None = None
        self._meter: Meter | None = None

    # -------------------------------------------------------------- from the socket
    def received(self, message: str | bytes) -> Awaitable[None] | None:
        """Handle a message. The next one is read only when the returned awaitable is done: this is back-pressure."""
        peer, meter = self._peer, self._meter
        if peer is None or meter is None:
            self._driver.received(self, message)
            return None
        if not isinstance(message, bytes) or not meter.add(len(message)):
            self._driver.cut(self, "quota" if isinstance(message, bytes) else "bad-message")
            return None
        self._driver.traffic()
        before = peer._written
        peer.write(message)
        # Two messages at most are under way: while one is taken by the socket, the next is read.
        return None if before is None or before.done() else _settled(before)

    def heard(self) -> None:
        """Take note of a pong."""
        self._driver.heard(self)

    def closed(self) -> None:
        """Take note that the socket is gone."""
        self._driver.closed(self)

    # -------------------------------------------------------------- to the socket
    def write(self, data: bytes) -> None:
        """Send one binary message; it is dropped if the socket is closing."""
        written = self._put(b"", data)
        if written and not written.done():
            self._count(written, len(data))

    def send(self, fields: Mapping[str, Any]) -> None:
        """Send a control message."""
        self.write(encode(fields))

    def pair(self, peer: DrivenSocket, meter: Meter, limits: RelayLimits) -> None:
        """Pass every message to ``peer`` from now on."""
        self._peer, self._meter = peer, meter
        self._connection.params.max_message_size = limits.max_message
        self._connection.stream.read_chunk_size = limits.read_size

    @override
    def finish(self, code: int, reason: str) -> None:
        # Messages that still arrive are dropped.
        self._peer = None
        super().finish(code, reason)

    def _count(self, written: asyncio.Future[None], size: int) -> None:
        def sent(_: asyncio.Future[None]) -> None:
            self.unsent -= size

        self.unsent += size
        written.add_done_callback(sent)


async def _settled(written: asyncio.Future[None]) -> None:
    # Does not raise if the write failed: the reader of that socket notices.
    await asyncio.wait([written])


class RelayDriver:
    """One relay: gives its core the sockets and the time, performs its effects, wakes it at its deadlines.

    All of it happens in the loop in which the sockets are opened. ``traffic`` is called for each message that passes
    through a channel.
    """

    def __init__(
        self, limits: RelayLimits = DEFAULT_RELAY_LIMITS, *, traffic: Callable[[], None] = lambda: None
    ) -> None:
        self.traffic = traffic
        self._limits = limits
        self._relay = Relay(limits)
        self._sockets: set[DrivenSocket] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    @property
    def limits(self) -> RelayLimits:
        """The bounds of this relay."""
        return self._limits

    def statistics(self) -> RelayStatistics:
        """Describe the relay at this instant."""
        return self._relay.statistics()

    # -------------------------------------------------------------- what sockets report
    def opened(self, connection: WebSocketProtocol13, address: str, *, may_create: bool) -> DrivenSocket:
        """Register a WebSocket; its handler passes messages, pongs and its end to the result."""
        socket = DrivenSocket(self, connection)
        self._sockets.add(socket)
        self._relay.connected(socket, address, self._now(), may_create=may_create)
        self._perform()
        return socket

    def received(self, socket: DrivenSocket, message: str | bytes) -> None:
        """Pass a message of an unpaired socket to the core."""
        self._relay.receive(socket, message, self._now())
        self._perform()

    def heard(self, socket: DrivenSocket) -> None:
        """Pass a pong to the core."""
        self._relay.heard(socket)

    def cut(self, socket: DrivenSocket, code: str) -> None:
        """End the channel of a socket, with a refusal's code as reason."""
        self._relay.cut(socket, code, self._now())
        self._perform()

    def closed(self, socket: DrivenSocket) -> None:
        """Forget a socket. May be called twice."""
        self._relay.disconnected(socket, self._now())
        self._perform()
        self._sockets.discard(socket)
        if not self._sockets:
            self._emptied.set()

    async def aclose(self) -> None:
        """Close every socket at once, and wait until their handlers are done."""
        self._emptied.clear()
        for socket in list(self._sockets):
            socket.finish(GOING_AWAY, "")
            socket.abort()
        if self._sockets:
            await self._emptied.wait()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # -------------------------------------------------------------- what the core wants
    def _perform(self) -> None:
        for effect in self._relay.effects():
            self._perform_one(effect)
        self._wake_at(self._relay.next_deadline())

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Send(DrivenSocket() as socket, fields):
                socket.send(fields)
            case Ping(DrivenSocket() as socket):
                socket.ping()
            case Splice(DrivenSocket() as first, DrivenSocket() as second, meter):
                first.pair(second, meter, self._limits)
                second.pair(first, meter, self._limits)
            case Close(DrivenSocket() as socket, code, reason):
                socket.finish(code, reason)
            case Abort(DrivenSocket() as socket):
                socket.abort()

    def _wake_at(self, when: float | None) -> None:
        if self._timer and (when is None or when < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        # An earlier timer stays: to wake too early does no harm.
        if when is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(when, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._relay.deadline_passed(self._now())
        self._perform()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
