"""A network path in virtual time: flows share one bottleneck, simulated event by event."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from nbferry.transports.webrtc.congestion import Controller
from nbferry.transports.webrtc.reassembly import Inbound
from nbferry.transports.webrtc.recovery import Packet, Recovery, Timeout

TICK = 0.001  # seconds to which asyncio rounds its timers up
ACK_DELAY = 0.02


class Clock:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, when: float, happens: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), happens))

    def run(self, until: float) -> None:
        """Run the events up to a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
        self.now = until


@dataclass
class Way:
    """A bottleneck with a queue, then a delay."""

    clock: Clock
    rate: float  # bytes per second
    rtt: float  # seconds, there and back
    queue: float = 0.5  # seconds of the rate
    loss: float = 0.0
    largest: float = float("inf")  # bytes of a packet; a larger one vanishes
    seed: int = 1
    free_at: float = 0.0
    dropped: int = 0

    def __post_init__(self) -> None:
        self._lots = random.Random(self.seed)  # noqa: S311  # repeatable, not secret

    def carry(self, size: int, arrives: Callable[[], None]) -> None:
        """Transport a packet, or drop it."""
        now = self.clock.now
        if size > self.largest or self._lots.random() < self.loss or self.free_at - now > self.queue:
            self.dropped += 1
            return
        self.free_at = max(self.free_at, now) + size / self.rate
        self.clock.at(self.free_at + self.rtt / 2, arrives)


class Flow:
    """A sender that always has something to send (up to ``total`` bytes), and its receiver."""

    def __init__(
        self, way: Way, *, packet: int = 1160, start: float = 0.0, total: float = float("inf")
    ) -> None:
        self.way, self.clock = way, way.clock
        self.packet = packet
        self.recovery = Recovery(0)
        self.controller = Controller(packet, start)
        self.inbound = Inbound(0)
        self.total = total
        self.number = 0
        self.received = 0  # bytes in order
        self.timeouts = self.longest_queue = 0.0
        self.on_timeout: Callable[[int], None] = lambda _: None
        self._unacked = 0
        self._wakes_at = float("inf")
        self.clock.at(start, self.pump)

    @property
    def done(self) -> bool:
        """Whether all is acknowledged."""
        return self.number * self.packet >= self.total and not len(self.recovery)

    # ---------------------------------------------------------------- sender
    def pump(self, *, force: bool = False) -> None:
        """Send what the window allows."""
        now, recovery, controller = self.clock.now, self.recovery, self.controller
        window = 1 if recovery.timeouts else controller.window
        controller.begin(now)
        sending = not recovery.flight
        while force or controller.next_at <= now - (0 if sending else controller.pause):
            sending = True
            packet = self._next(window, force=force)
            if packet is None:
                break
            force = False
            controller.sent(packet, recovery.flight, now)
            recovery.sent(packet, now)
            self.way.carry(packet.size, lambda number=packet.number: self._arrived(number))  # type: ignore[misc]
        self._arm(window)

    def _next(self, window: int, *, force: bool) -> Packet | None:
        fits = force or self.recovery.flight + self.packet <= window or not self.recovery.flight
        if self.recovery.lost:
            return self.recovery.lost.popitem(last=False)[1] if fits or not self.recovery.timeouts else None
        if self.number * self.packet >= self.total:
            self.controller.nothing_to_send(self.recovery.flight)
            return None
        if not fits:
            return None
        self.number += 1
        return Packet(self.number - 1, self.packet, b"")

    def _arm(self, window: int) -> None:
        dues = [due for due in [self.recovery.deadline()] if due is not None]
        if window > self.recovery.flight and not self.done:
            dues.append(self.controller.next_at + self.controller.pause)
        if dues:
            due = TICK * (int(max(min(dues), self.clock.now) / TICK + 1e-6) + 1)
            if due < self._wakes_at or self._wakes_at <= self.clock.now:
                self._wakes_at = due
                self.clock.at(due, self._wake)

    def _wake(self) -> None:
        if self.clock.now < self._wakes_at:
            return
        self._wakes_at = float("inf")
        expired = self.recovery.expired(self.clock.now)
        if expired is Timeout.TIMEOUT:
            self.timeouts += 1
            self.controller.timed_out()
            self.on_timeout(self.recovery.timeouts)
        self.pump(force=expired is Timeout.PROBE)

    # ---------------------------------------------------------------- receiver
    def _arrived(self, number: int) -> None:
        for _ in self.inbound.add(number & 0xFFFF_FFFF, 3, 0, 53, b"x"):
            self.received += self.packet
        self._unacked += 1
        if self._unacked > 1 or self.inbound.disturbed:
            self._acknowledge()
        else:
            self.clock.at(self.clock.now + ACK_DELAY, lambda: self._acknowledge() if self._unacked else None)

    def _acknowledge(self) -> None:
        self._unacked = 0
        up_to = self.inbound.up_to
        blocks = [(up_to + first, up_to + last) for first, last in self.inbound.gaps(260)]
        self.inbound.take_twice()
        self.clock.at(self.clock.now + self.way.rtt / 2, lambda: self._acknowledged(up_to, blocks))

    def _acknowledged(self, up_to: int, blocks: list[tuple[int, int]]) -> None:
        news = self.recovery.acknowledged(up_to, blocks, self.clock.now)
        self.controller.acknowledged(news, self.recovery.flight, self.clock.now)
        self.pump()
