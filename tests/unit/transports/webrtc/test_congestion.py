"""How fast is sent, on paths without time; no clock is looked at."""

from __future__ import annotations

import pytest

from nbferry.transports.webrtc.congestion import Controller, Phase
from nbferry.transports.webrtc.description import BASE_PACKET
from nbferry.transports.webrtc.probing import PathSize
from virtual_path import Clock, Flow, Way

MBIT_100 = 12.5e6  # bytes per second


def share(flow: Flow, since: float, until: float) -> float:
    """How much of the rate a flow gets between two times."""
    flow.clock.run(since)
    before = flow.received
    flow.clock.run(until)
    return (flow.received - before) / (until - since) / flow.way.rate


def longest_queue(way: Way, since: float, until: float) -> float:
    """Seconds of waiting in a path at worst."""
    worst = 0.0
    while since < until:
        way.clock.run(since)
        worst = max(worst, way.free_at - way.clock.now)
        since += 0.01
    return worst


@pytest.mark.parametrize(
    ("rtt", "loss", "least"),
    [(0.05, 0.0, 0.95), (0.05, 0.01, 0.92), (0.05, 0.05, 0.85), (0.001, 0.0, 0.95)],
)
def test_the_rate_is_reached(rtt, loss, least):
    """Whatever the delay, and though packets get lost; and every byte is repeated about once for each loss."""
    flow = Flow(Way(Clock(), MBIT_100, rtt, loss=loss))
    assert share(flow, 1.0, 3.0) > least
    assert flow.recovery.again < (loss + 0.01) * flow.recovery.sent_bytes
    assert flow.timeouts == 0


def test_a_long_path_is_filled():
    """300 ms at 100 Mbit/s: found within some seconds, then kept."""
    assert share(Flow(Way(Clock(), MBIT_100, 0.3)), 5.0, 8.0) > 0.9


def test_a_slow_path_is_not_flooded():
    """1 Mbit/s: the queue stays short, and nothing is dropped."""
    way = Way(Clock(), 1.25e5, 0.05)
    flow = Flow(way)
    assert longest_queue(way, 2.0, 10.0) < 0.1
    assert way.dropped == 0
    assert flow.received > 0.95 * 10 * way.rate


def test_the_queue_is_kept_short():
    """One flow alone makes others wait for a fraction of a round trip."""
    way = Way(Clock(), MBIT_100, 0.05)
    Flow(way)
    assert longest_queue(way, 2.0, 5.0) < 0.03


@pytest.mark.parametrize("queue", [0.02, 0.05])
def test_a_queue_that_overflows_does_not_stop_it(queue):
    """The first look for the rate may overfill a short queue; what that costs is made good."""
    flow = Flow(Way(Clock(), MBIT_100, 0.05, queue=queue, loss=0.01))
    assert share(flow, 1.5, 4.0) > 0.85
    assert flow.recovery.again < 0.05 * flow.recovery.sent_bytes


def test_who_comes_later_gets_a_share():
    """And who was there first keeps one; the queue between them stays short."""
    way = Way(Clock(), MBIT_100, 0.05)
    first, second = Flow(way), Flow(way, start=3.0)
    way.clock.run(8.0)
    before = first.received, second.received
    assert longest_queue(way, 8.0, 16.0) < 0.1
    shares = [(flow.received - was) / 8 / way.rate for flow, was in zip((first, second), before, strict=True)]
    assert min(shares) > 0.2
    assert sum(shares) > 0.9


def test_a_path_that_becomes_slow_is_noticed():
    """A tenth of the rate: within some seconds the queue is short again."""
    way = Way(Clock(), MBIT_100, 0.05)
    flow = Flow(way)
    way.clock.run(3.0)
    way.rate /= 10
    assert share(flow, 3.0, 8.0) > 0.8
    assert longest_queue(way, 8.0, 10.0) < 0.25


def test_a_path_that_becomes_fast_is_noticed():
    """Four times the rate is found within some seconds."""
    way = Way(Clock(), MBIT_100 / 4, 0.02)
    flow = Flow(way)
    way.clock.run(3.0)
    way.rate *= 4
    assert share(flow, 6.0, 8.0) > 0.8


def test_a_lost_tail_needs_no_timeout():
    """The last packets are lost: asked for after two round trips, and repeated."""
    way = Way(Clock(), MBIT_100, 0.05)
    flow = Flow(way, total=100 * BASE_PACKET)
    while flow.number < 100:
        way.clock.run(way.clock.now + 0.001)
    way.free_at = 0.0
    lost = [number for number in flow.recovery._under_way if number > 95]
    way.clock._events = [
        event for event in way.clock._events if not any(_carries(event[2], number) for number in lost)
    ]
    way.clock.run(way.clock.now + 1.0)
    assert flow.done
    assert flow.received == 100 * BASE_PACKET
    assert flow.timeouts == 0


def _carries(happens: object, number: int) -> bool:
    return getattr(happens, "__defaults__", None) == (number,)


def test_large_packets_that_vanish_give_way_to_small_ones():
    """A path that carried them and does no more: two timeouts, then the smallest, for good."""
    way = Way(Clock(), MBIT_100, 0.05)
    flow = Flow(way, packet=8_900)
    size = PathSize(16_384)
    size.arrived(8_900)

    def timed_out(in_a_row: int) -> None:
        if size.timed_out(in_a_row):
            flow.packet = flow.controller.packet = size.size
            way.largest = float("inf")  # old chunks keep their size, and may be cut to pieces

    flow.on_timeout = timed_out
    way.clock.run(2.0)
    way.largest = 1_500
    assert share(flow, 6.0, 8.0) > 0.8
    assert flow.packet == BASE_PACKET


def test_a_silent_path_is_asked_carefully():
    """While nothing is heard one packet goes at a time; then the rate comes back."""
    way = Way(Clock(), MBIT_100, 0.05)
    flow = Flow(way)
    way.clock.run(2.0)
    way.loss, carried = 1.0, way.dropped
    way.clock.run(3.0)
    after_a_second = way.dropped - carried
    way.clock.run(5.0)
    assert way.dropped - carried - after_a_second < 10
    way.loss = 0.0
    assert share(flow, 7.0, 9.0) > 0.8


def test_what_little_there_was_to_send_says_nothing_of_the_path():
    """A trickle does not make the path look slow."""
    way = Way(Clock(), MBIT_100, 0.05)
    flow = Flow(way)
    way.clock.run(2.0)
    rate = flow.controller.rate
    flow.total = 0
    for tick in range(100):
        flow.total = (flow.number + 1) * flow.packet
        way.clock.at(2.0 + tick * 0.05, flow.pump)
        way.clock.run(2.0 + tick * 0.05)
    assert flow.controller.rate > 0.7 * rate


def test_before_anything_is_known():
    """A few packets, without a pace."""
    controller = Controller(BASE_PACKET, 0.0)
    assert controller.window == 16 * BASE_PACKET
    assert controller.next_at == 0.0
    assert controller.phase is Phase.STARTUP
