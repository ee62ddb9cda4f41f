"""Between two hosts with a bad line: real sockets, real packets, some of which never arrive."""

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


LONG = {"30 % lost"}  # up to a minute
TOO_BAD = {("30 % lost", "webrtc")}  # of the handshakes of ICE, DTLS and SCTP one fails too often: minutes
CASES = [
    pytest.param(weather, via, marks=[pytest.mark.slow] if via == "relay" or weather in LONG else [])
    for via in ("direct", "webrtc", "relay")
    for weather in WEATHER
    if (weather, via) not in TOO_BAD
]


@pytest.mark.parametrize(("weather", "via"), CASES)
def test_a_file_arrives_in_any_weather(pair: Pair, weather, via):
    """Over a line that delays, loses, repeats, mixes up or throttles packets a file arrives as it was."""
    size, pair.network.line.weather = WEATHER[weather]
    content = os.urandom(size)
    sender, receiver = pair.start(pair.file(content), via=via)
    pair.arrived(content, sender, receiver)
    assert receiver.event_of("done")["via"] == via


def test_small_packets_do(pair: Pair):
    """With packets of at most 576 bytes on both hosts a file arrives."""
    for host in (pair.network.one, pair.network.other):
        host.plug_in(mtu=576)
    content = os.urandom(2 * MIB)
    pair.arrived(content, *pair.start(pair.file(content)))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_line_on_which_a_chunk_takes_longer_than_a_dead_link_is_waited_for(pair: Pair):
    """At 160 kbit/s a chunk takes 52 s: it arrives, and no side takes the link for dead."""
    pair.network.line.weather = Weather(rate=20e3)
    content = os.urandom(3 * MIB // 2)
    sender, receiver = pair.start(pair.file(content))
    sender.patience = receiver.patience = 200.0
    end = receiver.event("state", lambda event: event["state"] == "done" or "lost" in event["reason"])
    assert end["state"] == "done"
    pair.arrived(content, sender, receiver)
