"""Packets that are sent and not yet acknowledged, and which of them are lost: RACK-TLP (RFC 8985).

Sans-I/O: the time comes in as an argument, in seconds. The cost of a step grows with what it changes, not with what is
under way: packets are kept in the order in which they were last sent, and of an acknowledgement only the new part is
looked at.

    sent(packet)              acknowledged(up_to, blocks) -> News        lost: packets to send again, first ones first
    deadline() -> when        expired() -> Expired
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

RTO_INITIAL, RTO_LEAST, RTO_MOST = 1.0, 0.2, 8.0  # RFC 6298 says 1 s at least; Linux takes 0.2
ACK_DELAY = 0.025  # seconds for which a receiver may delay an acknowledgement
REORDERING_LEAST = 0.001  # seconds that a packet may be late without being lost
MANY_BLOCKS = 16  # an acknowledgement with so many may have had no room for more

Blocks = Sequence[tuple[int, int]]


@dataclass(slots=True)
class Packet:
    """A packet that was sent. ``payload`` is the caller's; the last three fields belong to the rate sampler."""

    number: int
    size: int
    payload: bytes
    sent_at: float = 0.0
    before_at: float = 0.0  # when its earlier copy was sent
    times: int = 0  # how often it was sent
    delivered: int = 0
    delivered_at: float = 0.0
    first_sent_at: float = 0.0


class Timeout(enum.Enum):
    """What a deadline means."""

    NOTHING = enum.auto()
    REORDERING = enum.auto()  # packets that were late count as lost
    PROBE = enum.auto()  # the end of what was sent may be lost: send the last packet again
    TIMEOUT = enum.auto()  # all of it counts as lost


@dataclass(slots=True)
class AckOutcome:
    """What an acknowledgement brought."""

    acked: list[Packet] = field(default_factory=list)
    lost: int = 0  # bytes
    rtt: float | None = None  # seconds, of the packet sent last


class Recovery:
    """Packets of one direction of a connection; ``first`` is the number of the first that will be sent."""

    def __init__(self, first: int) -> None:
        self.flight = 0  # bytes that are neither acknowledged nor lost
        self.lost: OrderedDict[int, Packet] = OrderedDict()
        self.up_to = first - 1  # everything to this number is acknowledged
        self.highest = first - 1  # that was sent
        self.timeouts = 0  # in a row
        self.srtt = self.rttvar = 0.0
        self.min_rtt = math.inf
        self.sent_bytes = self.again = self.acknowledged_bytes = 0  # again: those sent more than once
        self._under_way: OrderedDict[int, Packet] = OrderedDict()  # in the order in which they were sent last
        self._known: dict[int, int] = {}  # blocks acknowledged before: first number, last number
        self._rack_at, self._rack_number, self._rack_rtt = -math.inf, -1, 0.0
        self._furthest = first - 1  # highest number that was ever acknowledged
        self._patience = 0.0  # the longest delay in seconds of a packet that counted as lost, and arrived
        self._late_at: float | None = None
        self._told_up_to: int | None = None  # packets above may have arrived; the acknowledgement had no room
        self._probed = False
        self._progress_at = -math.inf
        self._last_sent_at = -math.inf

    def __len__(self) -> int:
        """Packets that are not acknowledged."""
        return len(self._under_way) + len(self.lost)

    @property
    def rto(self) -> float:
        """Seconds without any acknowledgement after which all is lost."""
        base = self.srtt + 4 * self.rttvar if self.srtt else RTO_INITIAL
        return min(max(base, RTO_LEAST) * (1 << min(self.timeouts, 8)), RTO_MOST)

    def sent(self, packet: Packet, now: float) -> None:
        """Note that a packet goes out, for the first time or not."""
        if packet.times:
            self.again += packet.size
        else:
            self.sent_bytes += packet.size
        packet.times += 1
        packet.before_at = packet.sent_at
        packet.sent_at = self._last_sent_at = now
        self._under_way[packet.number] = packet
        self.flight += packet.size
        self.highest = max(self.highest, packet.number)

    def acknowledged(self, up_to: int, blocks: Blocks, now: float) -> AckOutcome:
        """Note that everything up to ``up_to`` and the blocks have arrived; unsent numbers are ignored."""
        news = AckOutcome()
        up_to = min(up_to, self.highest)
        for number in range(self.up_to + 1, up_to + 1):
            self._take(number, news, now)
        self.up_to = max(self.up_to, up_to)
        self._take_blocks(blocks, news, now)
        if news.acked:
            self._measure(news, now)
            self._probed = False
            self.timeouts = 0
            self._progress_at = now
        news.lost = self._detect(now)
        return news

    def _take_blocks(self, blocks: Blocks, news: AckOutcome, now: float) -> None:
        known: dict[int, int] = {}
        for first, last in blocks:
            if not self.up_to < first <= last <= self.highest:
                continue
            for number in range(self._known.get(first, first - 1) + 1, last + 1):
                self._take(number, news, now)
            known[first] = last
        self._known = known
        self._told_up_to = max(known.values(), default=0) if len(blocks) >= MANY_BLOCKS else None

    def _take(self, number: int, news: AckOutcome, now: float) -> None:
        packet = self._under_way.pop(number, None)
        if packet:
            self.flight -= packet.size
            if packet.times > 1 and now - packet.sent_at < self.min_rtt:  # it answers an earlier copy
                self._be_patient(now - packet.before_at)
        elif packet := self.lost.pop(number, None):
            self._be_patient(now - packet.sent_at)
        if packet:
            news.acked.append(packet)
            self.acknowledged_bytes += packet.size

    def _be_patient(self, took: float) -> None:
        """Wait longer from now on: a packet that counted as lost arrived after so many seconds."""
        self._patience = max(self._patience, took - self._rack_rtt)

    def _measure(self, news: AckOutcome, now: float) -> None:
        """Take the round trip of the packet sent last, but not of packets sent twice (Karn's algorithm)."""
        for packet in news.acked:
            rtt = now - packet.sent_at
            if packet.times > 1 and rtt < self.min_rtt:
                continue  # this answers an earlier copy
            if (packet.sent_at, packet.number) > (self._rack_at, self._rack_number):
                self._rack_at, self._rack_number, self._rack_rtt = packet.sent_at, packet.number, rtt
                if packet.times == 1:
                    news.rtt = rtt
        if news.rtt is not None:
            self._smooth(news.rtt)

    def _smooth(self, rtt: float) -> None:
        """Smooth the round trip as RFC 6298 does."""
        self.min_rtt = min(self.min_rtt, rtt)
        if not self.srtt:
            self.srtt, self.rttvar = rtt, rtt / 2
            return
        self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
        self.srtt += (rtt - self.srtt) / 8

    def _detect(self, now: float) -> int:
        """Move packets to ``lost`` if later ones have arrived long enough ago; return their bytes."""
        lost, self._late_at = 0, None
        patience = max(REORDERING_LEAST, min(max(self._patience, self.min_rtt / 4), self.srtt))
        rack = (self._rack_at, self._rack_number)
        while self._under_way:
            packet = next(iter(self._under_way.values()))
            if (packet.sent_at, packet.number) >= rack:
                break
            if self._told_up_to is not None and packet.number > self._told_up_to:
                break
            due = packet.sent_at + self._rack_rtt + patience
            if due > now:
                self._late_at = due
                break
            lost += packet.size
            self._lose(packet)
        return lost

    def _lose(self, packet: Packet) -> None:
        del self._under_way[packet.number]
        self.flight -= packet.size
        self.lost[packet.number] = packet

    # ---------------------------------------------------------------- deadlines
    def deadline(self) -> float | None:
        """When to call :meth:`expired`."""
        if not self._under_way:
            return None
        if self._late_at is not None:
            return self._late_at
        return (
            self._timeout_at() if self._probed or self.timeouts else min(self._probe_at(), self._timeout_at())
        )

    def _probe_at(self) -> float:
        return self._last_sent_at + (2 * self.srtt + ACK_DELAY if self.srtt else RTO_INITIAL)

    def _timeout_at(self) -> float:
        oldest = next(iter(self._under_way.values()))
        return max(self._progress_at, oldest.sent_at) + self.rto

    def expired(self, now: float) -> Timeout:
        """Do what is due, and return what it was."""
        due = self.deadline()
        if due is None or due > now:
            return Timeout.NOTHING
        if self._late_at is not None:
            self._detect(now)
            return Timeout.REORDERING
        if not self._probed and not self.timeouts and self._timeout_at() > now:
            return self._probe()
        self.timeouts += 1
        for packet in list(self._under_way.values()):
            self._lose(packet)
        self.lost = OrderedDict(sorted(self.lost.items()))
        return Timeout.TIMEOUT

    def _probe(self) -> Timeout:
        """Send the last packet again: its acknowledgement will show what is missing before it."""
        self._probed = True
        number = next(reversed(self._under_way))
        self._lose(self._under_way[number])
        self.lost.move_to_end(number, last=False)
        return Timeout.PROBE
