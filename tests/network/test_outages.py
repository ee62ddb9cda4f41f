"""Between two hosts that lose each other in the middle of a transfer, and find each other again."""

from __future__ import annotations

import os
import signal
from urllib.parse import urlsplit

import pytest

from network.conftest import Pair
from network.line import FAIR, Weather
from running import Command

MIB = 1 << 20
SLOW = Weather(rate=2.5e6)  # so that there is a middle
LOST = "connection lost"
SLOWLY = pytest.mark.slow  # the other one of two takes the same way


@pytest.fixture
def content() -> bytes:
    """Some two seconds of a slow line."""
    return os.urandom(4 * MIB)


def under_way(
    pair: Pair, content: bytes, *, via: str = "auto", settled: bool = True
) -> tuple[Command, Command]:
    """Sender and receiver in the middle of a transfer, quick to give up a silent link."""
    pair.network.line.weather = SLOW
    sides = pair.start(pair.file(content), via=via, hasty=True, settled=settled)
    to_the_middle(sides[1])
    return sides


def to_the_middle(receiver: Command) -> None:
    """Read until some of the bytes are there, and not all."""
    receiver.event("progress", lambda progress: MIB < progress["verified"] < progress["total"])


@pytest.mark.slow  # ten seconds of waiting
def test_a_short_blackout_goes_unnoticed(pair: Pair, content):
    """Five seconds without a packet: with the usual limits no side even says that something was wrong."""
    pair.network.line.weather = SLOW
    sender, receiver = pair.start(pair.file(content))
    to_the_middle(receiver)
    pair.network.line.black_out(5.0)
    pair.arrived(content, sender, receiver)
    assert LOST not in sender.said() + receiver.said()


@pytest.mark.parametrize("via", ["direct", "webrtc"])
def test_a_long_blackout_is_reported_and_over_some_time(pair: Pair, content, via):
    """Longer than ``dead_after`` without a packet: both sides say so, and go on by themselves."""
    sender, receiver = under_way(pair, content, via=via)
    pair.network.line.weather = Weather(dark=True)
    for side in (sender, receiver):
        side.state("connecting", LOST)
    pair.network.line.weather = FAIR
    pair.arrived(content, sender, receiver)


@pytest.mark.slow  # either takes seven seconds of waiting
@pytest.mark.parametrize("whose", ["sender", "receiver"])
def test_a_cable_that_was_pulled_out(pair: Pair, content, whose):
    """A host whose device goes down and comes up again takes the transfer up by itself."""
    sender, receiver = under_way(pair, content)
    host = pair.network.one if whose == "sender" else pair.network.other
    host.pull_out()
    for side in (sender, receiver):
        side.state("connecting", LOST)
    host.plug_in()
    pair.arrived(content, sender, receiver)


@pytest.mark.slow  # the link is given up after some seconds
def test_a_receiver_that_moves_to_another_network(pair: Pair, content):
    """A receiver whose address is another one from now on finds the sender again and goes on."""
    sender, receiver = under_way(pair, content, settled=False)
    pair.network.other.move_to("10.231.3.7")
    receiver.state("connecting", LOST)
    pair.arrived(content, sender, receiver)


@pytest.mark.parametrize("whose", [pytest.param("sender", marks=SLOWLY), "receiver"])
def test_a_laptop_whose_lid_is_closed(pair: Pair, content, whose):
    """A process that stands still for longer than ``dead_after`` goes on when it wakes up."""
    sender, receiver = under_way(pair, content)
    asleep, awake = (sender, receiver) if whose == "sender" else (receiver, sender)
    asleep.process.send_signal(signal.SIGSTOP)
    awake.state("connecting", LOST)
    asleep.process.send_signal(signal.SIGCONT)
    pair.arrived(content, sender, receiver)


# ------------------------------------------------------------------ the relay
@pytest.mark.parametrize("how", [pytest.param("stopped", marks=SLOWLY), "killed"])
def test_a_relay_that_is_away(pair: Pair, content, how):
    """A relay through which everything goes may stand still, or be another process on the same port afterwards."""
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


@pytest.mark.slow  # the sender finds out after 40 s that its old way to the relay leads nowhere
def test_a_sender_that_moves_to_another_network(pair: Pair, content):
    """A sender whose address is another one from now on is found again through a relay that stands elsewhere."""
    pair.stand_alone()
    sender, receiver = under_way(pair, content, settled=False)
    pair.network.one.move_to("10.231.4.9")
    pair.arrived(content, sender, receiver)


# ------------------------------------------------------------------ and a process ends, too
@pytest.mark.parametrize("whose", ["sender", pytest.param("receiver", marks=SLOWLY)])
def test_a_process_that_is_killed_in_a_blackout(pair: Pair, content, whose):
    """A side that is killed and started again while nothing passes finds the other one that waits for it."""
    sender, receiver = under_way(pair, content)
    pair.network.line.weather = Weather(dark=True)
    killed, left = (sender, receiver) if whose == "sender" else (receiver, sender)
    killed.process.kill()
    killed.process.wait()
    left.state("connecting", LOST)
    if whose == "sender":
        again = pair.send(pair.source, hasty=True)
    else:
        again = pair.receive(sender.event_of("code")["code"], hasty=True)
    pair.network.line.weather = FAIR
    pair.arrived(content, again, left)
