"""How fast to send: a model of the path, as in BBR (draft-cardwell-ccwg-bbr), not a reaction to losses.

The path is a rate (the highest at which bytes were lately delivered) and a delay (the shortest round trip). Packets
leave at that rate, and at most twice what the path holds is under way, so that random losses cost only themselves. From
time to time the controller sends a little more, to see whether the path has more room; a queue that this makes drains
at once. Two signs tell that others share the path, and then the controller sends less: round trips that stay long, and
losses of more than a few percent.

Sans-I/O: the time comes in as an argument, in seconds; sizes are bytes, rates bytes per second.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from nbferry.transports.webrtc.recovery import AckOutcome, Packet

STARTUP_GAIN = 2.885  # 2 / ln 2: doubles the rate in each round trip
CRUISE_GAINS = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
WINDOW_GAIN, CROWDED_GAIN = 2.0, 1.25  # of what the path holds
FASTER = 1.3  # times the rate at most in a round of cruising: the largest gain, and a little
RATE_ROUNDS = 10  # for which a delivery rate counts
DELAY_SECONDS = 10.0  # for which a shortest round trip counts
DRAINED_SECONDS = 0.2  # with little under way, to see the path's own delay
FULL_ROUNDS, FULL_GROWTH = 3, 1.25  # the path is full when the rate did not grow by so much in so many rounds
LOSS_TOLERATED = 0.06  # of a round: more is congestion, not chance
LOSS_CUT = 0.85  # what is left of the window then
# A round whose shortest round trip is above this has a standing queue.
QUEUE_TOLERATED, QUEUE_SECONDS = 1.25, 0.010
BURST_SECONDS = 0.002  # of sending at once: a timer of asyncio is late by 1 ms
CREDIT_SECONDS = 0.010  # of sending that may be made up for after a timer that was later still, in one burst
PAUSE_SECONDS = 0.001  # between two bursts, at most
FIRST_WINDOW = 16  # packets
LEAST_WINDOW = 4


class Phase(enum.Enum):
    """What the controller does at the moment."""

    STARTUP = enum.auto()  # find the rate of the path
    DRAIN = enum.auto()  # let the queue of the startup drain
    CRUISE = enum.auto()
    LOOK = enum.auto()  # for the delay of the empty path


class Controller:
    """One direction of one connection."""

    def __init__(self, packet: int, now: float) -> None:
        self.packet = packet  # bytes of the packets in use
        self.phase = Phase.STARTUP
        self.rate = 0.0  # of the path; 0: not known yet
        self.delay = math.inf
        self.crowded = False
        self.rounds = 0
        self._rates: deque[tuple[int, float]] = deque()  # falling
        self._delay_at = now
        self._delivered, self._delivered_at, self._first_sent_at = 0, now, now
        self._limited_until = 0  # bytes delivered; until then there was less to send than could be
        self._round_ends = 0
        self._round_lost = self._round_acked = 0
        self._round_delay = math.inf
        self._round_rate = 0.0  # when the round began
        self._full_rate, self._full_rounds = 0.0, 0
        self._cycle, self._cycle_at = 0, now
        self._look_until = 0.0
        self._ceiling = math.inf
        self._extra = 0  # bytes acknowledged at once beyond the rate: receivers bundle
        self._epoch_at, self._epoch_acked = now, 0
        self.next_at = now  # when the next packet may leave
        self._per_byte = 0.0  # seconds

    # ---------------------------------------------------------------- what may be sent
    @property
    def pacing_rate(self) -> float:
        """Bytes per second; infinite until the rate is known."""
        return self._gain() * self.rate if self.rate else math.inf

    @property
    def pause(self) -> float:
        """Seconds by which sending may be late, so that a few packets leave together."""
        return min(PAUSE_SECONDS, self.delay / 8) if self.rate else 0.0

    @property
    def burst(self) -> int:
        """Bytes that may leave at once."""
        return max(2 * self.packet, int(min(self.rate * BURST_SECONDS, 256 << 10)))

    @property
    def window(self) -> int:
        """Bytes that may be under way."""
        if not self.rate or math.isinf(self.delay):
            return FIRST_WINDOW * self.packet
        least = LEAST_WINDOW * self.packet
        if self.phase is Phase.LOOK:
            return max(least, int(self._held() / 2))
        gain = CROWDED_GAIN if self.crowded and self.phase is Phase.CRUISE else WINDOW_GAIN
        wanted = gain * self._held() + max(self._extra, 2 * self.burst)
        return int(max(least, min(wanted, self._ceiling)))

    def _gain(self) -> float:
        match self.phase:
            case Phase.STARTUP:
                return STARTUP_GAIN
            case Phase.DRAIN:
                return 1 / STARTUP_GAIN
            case Phase.LOOK:
                return 1.0
            case Phase.CRUISE:
                gain = CRUISE_GAINS[self._cycle]
                return 1 + (gain - 1) / 2 if self.crowded else gain

    def _held(self) -> float:
        """Bytes that the path holds."""
        return self.rate * self.delay

    # ---------------------------------------------------------------- what happens
    def sent(self, packet: Packet, flight: int, now: float) -> None:
        """A packet goes out; ``flight`` bytes were under way before it."""
        if not flight:
            self._first_sent_at = self._delivered_at = now
        packet.delivered, packet.delivered_at = self._delivered, self._delivered_at
        packet.first_sent_at = self._first_sent_at
        self.next_at += packet.size * self._per_byte

    def begin(self, now: float) -> None:
        """Prepare to send packets. Unused time is saved up for one burst at most."""
        if self.rate:
            self._per_byte = 1 / self.pacing_rate
            self.next_at = max(self.next_at, now - max(CREDIT_SECONDS, 2 * self.packet * self._per_byte))

    def nothing_to_send(self, flight: int) -> None:
        """Note that the window has room and the queue is empty: measurements now say little of the path."""
        self._limited_until = self._delivered + max(flight, 1)

    def acknowledged(self, news: AckOutcome, flight: int, now: float) -> None:
        """Learn from packets that arrived or are lost; ``flight`` bytes are under way now."""
        self._round_lost += news.lost
        if not news.acked:
            return
        acked = sum(packet.size for packet in news.acked)
        self._delivered += acked
        self._delivered_at = now
        self._round_acked += acked
        newest = max(news.acked, key=lambda packet: (packet.delivered, packet.sent_at))
        self._first_sent_at = newest.sent_at
        self._look_at_delay(news.rtt, now)
        limited = self._limited_until > newest.delivered  # at any time while it was under way
        if newest.delivered >= self._round_ends:
            self._round(limited)
        self._sample(newest, limited, now)
        self._bundled(acked, now)
        self._move_on(flight, now)

    def timed_out(self) -> None:
        """Halve the rate: all that was under way is lost. It grows again when something arrives."""
        self._rates.clear()
        self._rates.append((self.rounds, self.rate / 2))
        self.rate /= 2

    def _sample(self, packet: Packet, limited: bool, now: float) -> None:
        """Take the delivery rate over the life of a packet. With too little to send, the true rate may be higher."""
        took = max(now - packet.delivered_at, packet.sent_at - packet.first_sent_at)
        if took <= 0 or took < self.delay:
            return  # this answers an earlier copy of the packet
        rate = (self._delivered - packet.delivered) / took
        # Data cannot arrive faster than they were sent, but acknowledgements can.
        if self._round_rate:
            rate = min(rate, self._round_rate * (STARTUP_GAIN if self.phase is Phase.STARTUP else FASTER))
        if limited and (not self.rate or rate <= self.rate):
            return
        while self._rates and (self._rates[-1][1] <= rate):
            self._rates.pop()
        self._rates.append((self.rounds, rate))
        while self._rates[0][0] <= self.rounds - RATE_ROUNDS:
            self._rates.popleft()
        self.rate = self._rates[0][1]

    def _look_at_delay(self, rtt: float | None, now: float) -> None:
        if rtt is None:
            return
        self._round_delay = min(self._round_delay, rtt)
        if rtt <= self.delay:
            self.delay, self._delay_at = rtt, now

    def _bundled(self, acked: int, now: float) -> None:
        """Measure how much more is acknowledged at once than the rate explains."""
        expected = self.rate * (now - self._epoch_at)
        if self._epoch_acked <= expected:
            self._epoch_at, self._epoch_acked, expected = now, 0, 0.0
        self._epoch_acked += acked
        self._extra = max(int(self._epoch_acked - expected), self._extra - self._extra // 16)
        self._extra = min(self._extra, int(max(self._held(), self.burst)))

    def _round(self, limited: bool) -> None:
        """End a round: all that was under way when it began has arrived."""
        self.rounds += 1
        self._round_ends, self._round_rate = self._delivered, self.rate
        longest = QUEUE_TOLERATED * self.delay + QUEUE_SECONDS
        self.crowded = math.inf > self._round_delay > longest
        self._look_at_losses()
        if self.phase is Phase.STARTUP and not limited:
            self._look_at_growth()
        self._round_lost = self._round_acked = 0
        self._round_delay = math.inf

    def _look_at_losses(self) -> None:
        total = self._round_lost + self._round_acked
        if total > 8 * self.packet and self._round_lost > LOSS_TOLERATED * total:
            held = self._held() if self.rate and self.delay < math.inf else 0.0
            self._ceiling = max(LOSS_CUT * min(self.window, self._ceiling), held, LEAST_WINDOW * self.packet)
            self._full_rounds += 1
        else:
            self._ceiling *= 1.05

    def _look_at_growth(self) -> None:
        if self.rate >= FULL_GROWTH * self._full_rate:
            self._full_rate, self._full_rounds = self.rate, 0
            return
        self._full_rounds += 1
        if self._full_rounds >= FULL_ROUNDS or self.crowded:
            self.phase = Phase.DRAIN

    def _move_on(self, flight: int, now: float) -> None:
        match self.phase:
            case Phase.DRAIN if flight <= self._held() + self.burst:
                self._cruise(now)
            case Phase.CRUISE:
                self._next_gain(flight, now)
            case Phase.LOOK if now >= self._look_until:
                self.delay, self._delay_at = min(self._round_delay, self.delay * 2), now
                self._cruise(now)
        if self.phase is Phase.CRUISE and now - self._delay_at > DELAY_SECONDS:
            self.phase, self._look_until = Phase.LOOK, now + DRAINED_SECONDS
            self._round_delay = math.inf

    def _cruise(self, now: float) -> None:
        self.phase, self._cycle, self._cycle_at = Phase.CRUISE, 2, now

    def _next_gain(self, flight: int, now: float) -> None:
        """Move to the next gain after about a round trip."""
        long = now - self._cycle_at > self.delay
        match self._cycle:
            case 0:
                done = long and (flight >= CRUISE_GAINS[0] * self._held() or self._round_lost > 0)
            case 1:
                done = long or flight <= self._held()
            case _:
                done = long
        if done:
            self._cycle, self._cycle_at = (self._cycle + 1) % len(CRUISE_GAINS), now
