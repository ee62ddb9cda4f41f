"""Two hosts lose each other during a transfer and reconnect."""

from __future__ import annotations

import os
import signal
from urllib.parse import urlsplit

import pytest

from network.conftest import Pair
from network.line import FAIR, Weather
from running import Command

MIB = 1 << 20
SLOW = Weather(rate=2.5e6)  # slow enough to act during a transfer
LOST = "connection lost"
SLOWLY = pytest.mark.slow  # the other parameter takes the same path


@pytest.fixture
def content() -> bytes:
    """About two seconds of a slow line."""
    return os.urandom(4 * MIB)


def under_way(
    pair: Pair, content: bytes, *, via: str = "auto", fixed: bool = True
) -> tuple[Command, Command]:
    """Sender and receiver during a transfer, with a short timeout for silent links."""
    pair.network.line.weather = SLOW
    sides = pair.start(pair.file(content), via=via, hasty=True, fixed=fixed)
    to_the_middle(sides[1])
    return sides


def to_the_middle(receiver: Command) -> None:
    """Read until some of the bytes arrived, and not all."""
    receiver.event("progress", lambda progress: MIB < progress["verified"] < progress["total"])


@pytest.mark.slow  # ten seconds of waiting
def test_a_short_blackout_goes_unnoticed(pair: Pair, content):
    """With the usual limits no side reports five seconds without a packet."""
    pair.network.line.weather = SLOW
    sender, receiver = pair.start(pair.file(content))
    to_the_middle(receiver)
    pair.network.line.black_out(5.0)
    pair.arrived(content, sender, receiver)
    assert LOST not in sender.said() + receiver.said()


@pytest.mark.parametrize("via", ["direct", "webrtc"])
def test_a_long_blackout_is_reported_and_survived(pair: Pair, content, via):
    """After a blackout longer than ``dead_after`` both sides have reported it, and continue by themselves."""
    sender, receiver = under_way(pair, content, via=via)
    pair.network.line.weather = Weather(dark=True)
    for side in (sender, receiver):
        side.state("connecting", LOST)
    pair.network.line.weather = FAIR
    pair.arrived(content, sender, receiver)


@pytest.mark.slow  # either takes seven seconds of waiting
@pytest.mark.parametrize("whose", ["sender", "receiver"])
def test_an_unplugged_cable(pair: Pair, content, whose):
    """A host whose device was down for a while continues by itself."""
    sender, receiver = under_way(pair, content)
    host = pair.network.one if whose == "sender" else pair.network.other
    host.pull_out()
    for side in (sender, receiver):
        side.state("connecting", LOST)
    host.plug_in()
    pair.arrived(content, sender, receiver)


@pytest.mark.slow  # the link is given up after some seconds
def test_a_receiver_that_changes_networks(pair: Pair, content):
    """A receiver with a new address finds the sender and continues."""
    sender, receiver = under_way(pair, content, fixed=False)
    pair.network.other.move_to("10.231.3.7")
    receiver.state("connecting", LOST)
    pair.arrived(content, sender, receiver)


@pytest.mark.parametrize("whose", [pytest.param("sender", marks=SLOWLY), "receiver"])
def test_a_closed_laptop(pair: Pair, content, whose):
    """A process that was suspended for longer than ``dead_after`` continues afterwards."""
    sender, receiver = under_way(pair, content)
    asleep, awake = (sender, receiver) if whose == "sender" else (receiver, sender)
    asleep.process.send_signal(signal.SIGSTOP)
    awake.state("connecting", LOST)
    asleep.process.send_signal(signal.SIGCONT)
    pair.arrived(content, sender, receiver)


# ------------------------------------------------------------------ the relay
@pytest.mark.parametrize("how", [pytest.param("stopped", marks=SLOWLY), "killed"])
def test_a_relay_that_stops(pair: Pair, content, how):
    """A transfer survives a relay that is suspended, or replaced by another process on the same port."""
    relay = pair.stand_alone()
    sender, receiver = under_way(pair, content, via="relay")
    relay.process.send_signal(signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
    for side in (sender, receiver):
        side.state("connecting", LOST)
    if how == "stopped":
        relay.process.send_signal(signal.SIGCONT)
    else:
        pair.stand_alone(urlsplit(pair.relay).port)
    pair.arrived(content, sender, receiver)


@pytest.mark.slow  # the sender notices its dead connection to the relay after 40 s
def test_a_sender_that_changes_networks(pair: Pair, content):
    """A sender with a new address is found through a relay on another host."""
    pair.stand_alone()
    sender, receiver = under_way(pair, content, fixed=False)
    pair.network.one.move_to("10.231.4.9")
    pair.arrived(content, sender, receiver)


# ------------------------------------------------------------------ and a process ends, too
@pytest.mark.parametrize("whose", ["sender", pytest.param("receiver", marks=SLOWLY)])
def test_a_process_that_is_killed_in_a_blackout(pair: Pair, content, whose):
    """A side that is killed and restarted during a blackout finds the other side, which waits for it."""
    sender, receiver = under_way(pair, content)
    pair.network.line.weather = Weather(dark=True)
    killed, left = (sender, receiver) if whose == "sender" else (receiver, sender)
    killed.process.kill()
    killed.process.wait()
    left.state("connecting", LOST)
    if whose == "sender":
        restarted = pair.send(pair.source, hasty=True)
    else:
        restarted = pair.receive(sender.event_of("code")["code"], hasty=True)
    pair.network.line.weather = FAIR
    pair.arrived(content, restarted, left)
