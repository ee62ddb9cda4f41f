"""Sides that stop in the middle: with Ctrl-C, by a signal, or killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from running import MIB, Command, Commands

LARGE = 20_000 * MIB  # with holes; more than goes through while a test looks on


def under_way(nbferry: Commands) -> tuple[Command, Command]:
    """A sender and a receiver in the middle of a large file."""
    nbferry.file("a/large", LARGE)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", "--json", folder="b")
    for command in (sender, receiver):
        command.event("progress", lambda event: event["verified"])
    return sender, receiver


def published(nbferry: Commands) -> list[Path]:
    """What a person sees in the receiver's folder."""
    return [path for path in (nbferry.root / "b").iterdir() if path.name != ".nbferry"]


@pytest.mark.parametrize(
    ("who", "number"),
    [
        ("sender", signal.SIGINT),
        ("receiver", signal.SIGINT),
        ("sender", signal.SIGHUP),
        ("receiver", signal.SIGTERM),
    ],
)
def test_a_side_that_is_interrupted(nbferry: Commands, who: str, number: signal.Signals) -> None:
    """Interrupted, a side ends with exit code 130 and keeps what is there; the other side waits for it."""
    sender, receiver = under_way(nbferry)
    interrupted, other = (sender, receiver) if who == "sender" else (receiver, sender)
    interrupted.process.send_signal(number)
    assert interrupted.end() == 130
    other.state("connecting", "Waiting for the other side.")
    other.interrupt()
    assert other.end() == 130
    assert published(nbferry) == []
    assert interrupted.errors == other.errors == []


def test_interrupted_again_and_again(nbferry: Commands) -> None:
    """Who presses Ctrl-C once more does not have to wait until an other side that hangs was told."""
    sender, receiver = under_way(nbferry)
    receiver.process.send_signal(signal.SIGSTOP)
    while sender.process.poll() is None:
        sender.interrupt()
    assert sender.end() in (130, -signal.SIGINT)  # which shells call 130, too
    assert sender.errors == []


def test_a_sender_interrupted_before_anybody_came(nbferry: Commands) -> None:
    """Ctrl-C while nobody has come yet ends with exit code 130, and its code is over."""
    nbferry.file("a/x", b"x")
    _, url = nbferry.relay()
    sender = nbferry("send", "x", "--json", "--relay", url, folder="a")
    code = sender.code()
    sender.interrupt()
    assert sender.end() == 130
    assert nbferry("receive", code, "--json", folder="b").end() == 4


def test_a_receiver_that_is_killed(nbferry: Commands) -> None:
    """When the receiver is killed, the sender says so, waits, and can still be interrupted."""
    sender, receiver = under_way(nbferry)
    receiver.process.kill()
    sender.state("connecting", "Waiting for the other side.")
    assert sender.process.poll() is None
    sender.interrupt()
    assert sender.end() == 130


def test_a_sender_that_is_killed(nbferry: Commands) -> None:
    """When the sender is killed, the receiver says so, waits, and can still be interrupted."""
    sender, receiver = under_way(nbferry)
    sender.process.kill()
    receiver.state("connecting", "Waiting for the other side.")
    assert receiver.process.poll() is None
    receiver.interrupt()
    assert receiver.end() == 130
    assert published(nbferry) == []


def test_a_relay_that_comes_back(nbferry: Commands) -> None:
    """When the relay that carries the bytes is killed and started again, the transfer goes on by itself."""
    nbferry.file("a/large", 700 * MIB)
    relay, url = nbferry.relay()
    port = url.rstrip("/").rpartition(":")[2]
    sender = nbferry("send", "large", "--json", "--relay", url, "--via", "relay", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", "--json", "--via", "relay", folder="b")
    receiver.event("progress", lambda event: event["verified"])
    relay.process.kill()
    for command in (sender, receiver):
        command.state("connecting")
    again = nbferry("relay", "--port", port)
    assert again.line() == f"The relay is at {url}"
    assert (receiver.end(), sender.end()) == (0, 0)
    assert sender.events()[-1]["digest"] == receiver.events()[-1]["digest"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_relay_that_is_interrupted(nbferry: Commands, number: signal.Signals) -> None:
    """A relay ends quietly: with exit code 130 after Ctrl-C, with 0 when it is told to terminate."""
    relay, _ = nbferry.relay()
    relay.process.send_signal(number)
    assert relay.end() == (130 if number == signal.SIGINT else 0)
    assert "".join(relay.errors) == ""
