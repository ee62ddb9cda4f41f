"""Two hosts with a bad line: real sockets, and real packets that may get lost."""

from __future__ import annotations

import os

import pytest

from network.conftest import Pair
from network.line import Weather

KIB = 1 << 10
MIB = 1 << 20

WEATHER = {
    "good": (8 * MIB, Weather()),
    "delay 50 ms +- 10": (MIB, Weather(delay=0.05, jitter=0.01)),
    "1 % lost": (MIB, Weather(delay=0.005, loss=0.01)),
    "5 % lost": (256 * KIB, Weather(delay=0.005, loss=0.05)),
    "30 % lost": (8 * KIB, Weather(delay=0.001, loss=0.3)),
    "out of order": (MIB, Weather(delay=0.01, early=0.25)),
    "some twice": (2 * MIB, Weather(twice=0.2)),
    "1 Mbit/s": (256 * KIB, Weather(delay=0.01, rate=125_000)),
}


LONG = {"30 % lost"}  # takes up to a minute
# One of the handshakes of ICE, DTLS and SCTP fails too often, which costs minutes.
TOO_BAD = {("30 % lost", "webrtc")}
CASES = [
    pytest.param(weather, via, marks=[pytest.mark.slow] if via == "relay" or weather in LONG else [])
    for via in ("direct", "webrtc", "relay")
    for weather in WEATHER
    if (weather, via) not in TOO_BAD
]


@pytest.mark.parametrize(("weather", "via"), CASES)
def test_a_file_arrives_in_any_weather(pair: Pair, weather, via):
    """A file arrives over a line that delays, loses, repeats, reorders or throttles packets."""
    size, pair.network.line.weather = WEATHER[weather]
    content = os.urandom(size)
    sender, receiver = pair.start(pair.file(content), via=via)
    pair.arrived(content, sender, receiver)
    assert receiver.event_of("done")["via"] == via


def test_small_packets(pair: Pair):
    """A file arrives with packets of at most 576 bytes on both hosts."""
    for host in (pair.network.one, pair.network.other):
        host.plug_in(mtu=576)
    content = os.urandom(2 * MIB)
    pair.arrived(content, *pair.start(pair.file(content)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_chunk_slower_than_the_timeout(pair: Pair):
    """At 160 kbit/s a chunk takes 52 s. It arrives, and no side takes the link for dead."""
    pair.network.line.weather = Weather(rate=20e3)
    content = os.urandom(3 * MIB // 2)
    sender, receiver = pair.start(pair.file(content))
    sender.patience = receiver.patience = 200.0
    end = receiver.event("state", lambda event: event["state"] == "done" or "lost" in event["reason"])
    assert end["state"] == "done"
    pair.arrived(content, sender, receiver)
