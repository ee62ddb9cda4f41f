"""A line for IP packets between two TUN devices, as good or bad as a test needs.

It does the work of ``tc netem`` on any kernel, and takes its random numbers from a seed.
"""

from __future__ import annotations

import heapq
import os
import random
import select
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

LARGEST = 64 << 10  # bytes of one packet
# Of a line with a rate. A packet that would wait longer is dropped, as a router does.
QUEUE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How a line treats packets, the same each way: seconds, shares from 0 to 1, and bytes per second."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    twice: float = 0.0  # share of packets that arrive twice
    early: float = 0.0  # share of packets that overtake all others
    rate: float = float("inf")
    # No packet passes, those in transit are lost, and neither host is told.
    dark: bool = False


FAIR = Weather()


class Line:
    """Transports packets until it is closed. A change of ``weather`` affects later packets."""

    def __init__(self, ends: tuple[int, int], seed: int = 1) -> None:
        self.weather = FAIR
        self.carried = 0  # bytes of all packets on the line
        self._ends = ends
        self._lots = random.Random(seed)  # noqa: S311  # repeatable, not secret
        # Time, number, direction and packet.
        self._coming: list[tuple[float, int, int, bytes]] = []
        self._numbers = count()
        self._free_at = dict.fromkeys(ends, 0.0)
        self._last_at = dict.fromkeys(ends, 0.0)
        self._light_at = 0.0
        self._bell, self._ring = os.pipe()
        self._thread = threading.Thread(target=self._run, name="line")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ring)
        self._thread.join()
        os.close(self._bell)

    def black_out(self, seconds: float) -> None:
        """Drop all packets for a while. The line ends that by itself."""
        self._light_at = time.monotonic() + seconds
        self.weather = replace(self.weather, dark=True)

    # ---------------------------------------------------------------- the line's thread
    def _run(self) -> None:
        poll = select.poll()
        for end in (*self._ends, self._bell):
            poll.register(end, select.POLLIN)
        while True:
            ready = [end for end, _ in poll.poll(self._patience())]
            if self._bell in ready:
                return
            for end in ready:
                self._take_from(end)
            self._deliver()
            self._look_up()

    def _patience(self) -> float:
        """Milliseconds until the next packet is due."""
        due = [self._coming[0][0]] if self._coming else []
        due += [self._light_at] if self._light_at else []
        return max(0.0, min(due) - time.monotonic()) * 1000 + 0.5 if due else 1000.0

    def _look_up(self) -> None:
        if self._light_at and time.monotonic() >= self._light_at:
            self._light_at = 0.0
            self.weather = replace(self.weather, dark=False)

    def _take_from(self, end: int) -> None:
        other = self._ends[1 - self._ends.index(end)]
        # All waiting packets are read.
        with suppress(BlockingIOError):
            while True:
                packet = os.read(end, LARGEST)
                self.carried += len(packet)
                self._admit(packet, other, self.weather)

    def _admit(self, packet: bytes, to: int, weather: Weather) -> None:
        if weather.dark or self._lots.random() < weather.loss:
            return
        now = time.monotonic()
        starts = max(now, self._free_at[to])
        if starts - now > QUEUE_SECONDS:
            return
        self._free_at[to] = starts + len(packet) / weather.rate
        for _ in range(2 if self._lots.random() < weather.twice else 1):
            self._post(packet, to, now, weather)

    def _post(self, packet: bytes, to: int, now: float, weather: Weather) -> None:
        if self._lots.random() < weather.early:
            due = now
        else:
            wait = weather.delay + self._lots.uniform(-weather.jitter, weather.jitter)
            due = self._last_at[to] = max(self._last_at[to], self._free_at[to] + wait)
        heapq.heappush(self._coming, (due, next(self._numbers), to, packet))

    def _deliver(self) -> None:
        while self._coming and self._coming[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(self._coming)
            if not self.weather.dark:
                # The device is down or full, so the packet is lost, as on any line.
                with suppress(OSError):
                    os.write(to, packet)
