"""Connections between two simulated processes: slow, cut, silent or damaged. Also how both find each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from typing_extensions import override

from nbferry.connections.connector import Connector
from nbferry.connections.link import Link
from nbferry.crypto.sealed_frames import Opener, Sealer
from nbferry.errors import ConnectFailed, TransportBroken, TransportClosed, TransportError
from nbferry.limits import Limits, MiB
from nbferry.model.paths import Via
from nbferry.transports.base import Fill, Transport, closed_here

# Seconds for which a closed connection tries to send the rest.
PATIENCE = 1.0
# In sealed frames. Small, so that a short run replaces keys.
REKEY_EVERY = 64


@dataclass
class Trouble:
    """A fault of a connection when its ``after``-th message is sent in a direction (0 or 1)."""

    kind: str  # cut, silent, deaf (both directions silent), flip, shorten, stall
    direction: int
    after: int
    seconds: float = 0.0


KINDS = ("cut", "silent", "deaf", "flip", "shorten", "stall")


class SimTransport(Transport):
    """One end of a line."""

    def __init__(self, line: Line, direction: int, *, via: str, max_message: int, high_water: int) -> None:
        super().__init__(via, max_message)
        self._line = line
        self._direction = direction
        self._high_water = high_water
        self._drained = asyncio.Event()
        self.unsent = 0

    @override
    async def send(self, size: int, fill: Fill) -> None:
        self._check_open()
        message = bytearray(size)
        fill(memoryview(message))
        self.unsent += size
        self._line.carry(self._direction, message)
        await self._until(self._high_water)
        self._check_open()

    async def _until(self, most: int) -> None:
        while self.unsent > most and self._end is None:
            self._drained.clear()
            await self._drained.wait()

    def has_left(self, size: int) -> None:
        """Count bytes that have left the buffer."""
        self.unsent -= size
        self._drained.set()

    def arrive(self, message: bytearray) -> None:
        """Deliver a message."""
        if self._end is None:
            try:
                self._message_arrived(memoryview(message))
            except TransportBroken as error:
                self.end(error)

    def end(self, error: TransportError) -> None:
        """End this side of the connection."""
        self._ended(error)
        self._drained.set()

    @override
    async def aclose(self) -> None:
        if self._end is None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._until(0)
            except TimeoutError:
                pass  # the rest is lost
            self._line.close(self._direction)
        self.end(closed_here())


class Line:
    """Two ends, each sending to the other in order.

    ``latency`` in seconds, ``rate`` in bytes per second. ``troubles`` happen until ``calm`` is true.
    """

    def __init__(
        self,
        *,
        latency: float,
        rate: float,
        troubles: list[Trouble],
        calm: Callable[[], bool],
        random: Random,
        via: str,
        max_message: int,
        high_water: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._latency, self._rate = latency, rate
        self._troubles, self._calm, self._random = troubles, calm, random
        self._free_at = [0.0, 0.0]
        self._arrives_at = [0.0, 0.0]
        self._sent = [0, 0]
        self._silent = [False, False]
        self._cut = False
        make = [
            SimTransport(self, n, via=via, max_message=max_message, high_water=high_water) for n in (0, 1)
        ]
        self.ends = (make[0], make[1])

    # ---------------------------------------------------------------- carrying
    def carry(self, direction: int, message: bytearray) -> None:
        """Transport a message, as the state of the line allows."""
        self._sent[direction] += 1
        for trouble in self._troubles:
            if (trouble.direction, trouble.after) == (direction, self._sent[direction]) and not self._calm():
                self._befall(trouble, message)
        now = self._loop.time()
        leaves = max(now, self._free_at[direction]) + len(message) / self._rate
        self._free_at[direction] = leaves
        size = len(message)
        self._loop.call_at(leaves, self._leave, direction, size)
        self._at(direction, leaves, lambda: self.ends[1 - direction].arrive(message))

    def _leave(self, direction: int, size: int) -> None:
        if not self._silent[direction]:  # a lost message is never acknowledged
            self.ends[direction].has_left(size)

    def _at(self, direction: int, leaves: float, then: Callable[[], None]) -> None:
        """Do something at the other end, after all earlier events."""
        when = max(leaves + self._latency, self._arrives_at[direction])
        self._arrives_at[direction] = when
        self._loop.call_at(when, self._pass, direction, then)

    def _pass(self, direction: int, then: Callable[[], None]) -> None:
        if not self._cut and not self._silent[direction]:
            then()

    def close(self, direction: int) -> None:
        """Close one end. The other one hears of it after all earlier messages."""
        self._at(direction, self._loop.time(), lambda: self.ends[1 - direction].end(TransportClosed()))

    # ---------------------------------------------------------------- troubles
    def _befall(self, trouble: Trouble, message: bytearray) -> None:
        match trouble.kind:
            case "cut":
                self.cut()
            case "silent":
                self._silent[trouble.direction] = True
            case "deaf":
                self._silent = [True, True]
            case "flip":
                message[self._random.randrange(len(message))] ^= 1 << self._random.randrange(8)
            case "shorten":
                del message[self._random.randrange(len(message)) :]
            case "stall":
                self._free_at[trouble.direction] = max(
                    self._free_at[trouble.direction], self._loop.time() + trouble.seconds
                )

    def cut(self) -> None:
        """Both ends lose the connection and the messages in transit."""
        self._cut = True
        for end in self.ends:
            self._loop.call_soon(end.end, TransportBroken())

    def abandon(self, direction: int, *, noticed: bool) -> None:
        """The process at one end dies. Its system tells the other end, unless it dies as well."""
        self._silent = [True, True]
        self.ends[direction].end(TransportBroken())
        if noticed:
            self._loop.call_later(self._latency, self.ends[1 - direction].end, TransportBroken())


Expect = Callable[[bool, str], None]
"""Told whether a fact holds, and what it means if it does not."""


class Seals:
    """All numbers that were ever used to seal, under every key."""

    def __init__(self, expect: Expect) -> None:
        self._expect = expect
        self._used: set[tuple[bytes, int, bytes]] = set()

    def note(self, key: bytes, generation: int, nonce: bytes) -> None:
        """Record a number."""
        seal = (key, generation, nonce)
        self._expect(seal not in self._used, "I6: a number is used twice under one key")
        self._used.add(seal)

    def __len__(self) -> int:
        return len(self._used)


class NotedSealer(Sealer):
    """A sealer that records its numbers."""

    def __init__(self, key: bytes, seals: Seals) -> None:
        super().__init__(key, rekey_every=REKEY_EVERY)
        self._key, self._seals = key, seals

    def _take_nonce(self) -> bytes:
        taken = super()._take_nonce()
        self._seals.note(self._key, (self._next - 1) // REKEY_EVERY, taken)
        return taken


@dataclass
class Network:
    """The network in which both processes find each other. Makes a line for each connection."""

    random: Random
    limits: Limits
    calm: Callable[[], bool]
    seals: Seals
    latency: float
    rate: float
    troubled: float  # probability of a fault of each connection
    max_message: int
    high_water: int = 2 * MiB
    # Links that follow the first one of a call some seconds later.
    others: int = 0
    down_until: float = 0.0
    answering: Answering | None = None
    lines: list[Line] = field(default_factory=list)
    made: int = 0

    @property
    def is_down(self) -> bool:
        """Whether the network is down."""
        return asyncio.get_running_loop().time() < self.down_until

    def connect(self) -> tuple[Link, Link]:
        """Join the sender (first) and the receiver by a new line, under new keys."""
        self.made += 1
        line = Line(
            latency=self.latency * self.random.uniform(0.5, 2),
            rate=self.rate * self.random.uniform(0.3, 2),
            troubles=self._troubles(),
            calm=self.calm,
            random=self.random,
            via=self.random.choice([Via.DIRECT, Via.RELAY, Via.WEBRTC]),
            max_message=self.max_message,
            high_water=self.high_water,
        )
        self.lines.append(line)
        down, up = self.random.randbytes(32), self.random.randbytes(32)
        return self._link(line.ends[0], down, up), self._link(line.ends[1], up, down)

    def cut(self, *, all_of_them: bool) -> None:
        """Both ends lose one line, or all lines."""
        for line in self.lines if all_of_them else self.random.sample(self.lines, min(1, len(self.lines))):
            line.cut()

    def abandon(self, direction: int, *, noticed: bool) -> None:
        """The process at one end of all lines dies."""
        for line in self.lines:
            line.abandon(direction, noticed=noticed)

    def follow(self, answering: Answering, calling: Calling) -> None:
        """Open the other paths of a call while both sides still want them."""
        self.lines = self.lines[-1:]
        call = answering.call = calling.call = object()

        def come_up() -> None:
            if answering.call is calling.call is call and not self.is_down:
                for side, link in zip((answering, calling), self.connect(), strict=True):
                    side.others.put_nowait(link)

        for _ in range(self.others):
            asyncio.get_running_loop().call_later(self.random.uniform(0, 5), come_up)

    def _link(self, transport: Transport, send_key: bytes, receive_key: bytes) -> Link:
        link = Link(transport, send_key, receive_key)
        link._sealer = NotedSealer(send_key, self.seals)
        link._opener = Opener(receive_key, rekey_every=REKEY_EVERY)
        return link

    def _troubles(self) -> list[Trouble]:
        if self.random.random() >= self.troubled:
            return []
        after = round(2 ** self.random.uniform(0, 6))  # half of them among the first frames
        return [
            Trouble(self.random.choice(KINDS), self.random.randrange(2), after, self.random.uniform(1, 60))
        ]


class Simulated(Connector):
    """Common parts of both sides: the links that follow the first of a call."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.others: asyncio.Queue[Link] = asyncio.Queue()
        self.call: object = None

    @override
    async def another(self) -> Link:
        return await self.others.get()

    @override
    async def settle(self) -> None:
        self.call = None
        while not self.others.empty():
            await self.others.get_nowait().aclose()

    @override
    async def aclose(self, *, over: bool) -> None:
        await self.settle()


class Answering(Simulated):
    """The sender's side, which waits for calls. A newer call ends the older connection."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self._calls: list[tuple[asyncio.Future[Link], Calling]] = []
        self._called = asyncio.Event()
        network.answering = self

    def take(self, call: asyncio.Future[Link], by: Calling) -> None:
        """A receiver calls."""
        self._calls.append((call, by))
        self._called.set()

    @override
    async def connect(self) -> Link:
        await self.settle()
        try:
            async with asyncio.timeout(self._network.limits.dead_after):
                while not any(not call.done() for call, _ in self._calls):
                    self._called.clear()
                    await self._called.wait()
        except TimeoutError:
            raise ConnectFailed("The receiver does not call.") from None
        call, caller = next((call, by) for call, by in reversed(self._calls) if not call.done())
        self._calls.clear()
        self._called.clear()
        ours, theirs = self._network.connect()
        if not self._network.calm() and self._network.random.random() < 0.05:
            return ours  # the last message of the handshake is lost, so the receiver has no link
        call.set_result(theirs)
        self._network.follow(self, caller)
        return ours

    @override
    async def superseded(self) -> None:
        await self._called.wait()

    @override
    async def aclose(self, *, over: bool) -> None:
        await super().aclose(over=over)
        if self._network.answering is self:
            self._network.answering = None


class Calling(Simulated):
    """The receiver's side, which calls."""

    @override
    async def connect(self) -> Link:
        await self.settle()
        await asyncio.sleep(self._network.latency)
        if self._network.is_down:
            await asyncio.sleep(self._network.random.uniform(0, self._network.limits.connect_timeout))
            raise ConnectFailed("No way there.")
        if self._network.answering is None:
            raise ConnectFailed("No sender hosts the room.")
        call: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._network.answering.take(call, self)
        try:
            async with asyncio.timeout(self._network.limits.dead_after):
                return await call
        except TimeoutError:
            raise ConnectFailed("The sender does not answer.") from None
