"""Sides that stop during a transfer: by Ctrl-C, by a signal, or killed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from running import MIB, Command, Commands

# Holes instead of data, and more than a test can transfer.
LARGE = 20_000 * MIB


def under_way(nbferry: Commands) -> tuple[Command, Command]:
    """A sender and a receiver during the transfer of a large file."""
    nbferry.file("a/large", LARGE)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", "--json", folder="b")
    for command in (sender, receiver):
        command.event("progress", lambda event: event["verified"])
    return sender, receiver


def published(nbferry: Commands) -> list[Path]:
    """The visible files in the receiver's folder."""
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
    """An interrupted side ends with exit code 130 and keeps its data, and the other side waits for it."""
    sender, receiver = under_way(nbferry)
    interrupted, other = (sender, receiver) if who == "sender" else (receiver, sender)
    interrupted.process.send_signal(number)
    assert interrupted.end() == 130
    other.state("connecting", "Waiting for the other side.")
    other.interrupt()
    assert other.end() == 130
    assert published(nbferry) == []
    assert interrupted.errors == other.errors == []


def test_interrupted_twice(nbferry: Commands) -> None:
    """A second Ctrl-C ends at once, even if the other side hangs."""
    sender, receiver = under_way(nbferry)
    receiver.process.send_signal(signal.SIGSTOP)
    while sender.process.poll() is None:
        sender.interrupt()
    assert sender.end() in (130, -signal.SIGINT)  # shells report both as 130
    assert sender.errors == []


def test_a_sender_interrupted_while_it_waits(nbferry: Commands) -> None:
    """Ctrl-C before a receiver came ends with exit code 130 and invalidates the code."""
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


def test_a_relay_that_restarts(nbferry: Commands) -> None:
    """A transfer continues by itself when its relay was killed and restarted."""
    nbferry.file("a/large", 700 * MIB)
    relay, url = nbferry.relay()
    port = url.rstrip("/").rpartition(":")[2]
    sender = nbferry("send", "large", "--json", "--relay", url, "--via", "relay", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", "--json", "--via", "relay", folder="b")
    receiver.event("progress", lambda event: event["verified"])
    relay.process.kill()
    for command in (sender, receiver):
        command.state("connecting")
    restarted = nbferry("relay", "--port", port)
    assert restarted.line() == f"The relay is at {url}"
    assert (receiver.end(), sender.end()) == (0, 0)
    assert sender.events()[-1]["digest"] == receiver.events()[-1]["digest"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_relay_that_is_interrupted(nbferry: Commands, number: signal.Signals) -> None:
    """A relay ends quietly: with exit code 130 after Ctrl-C, with 0 after SIGTERM."""
    relay, _ = nbferry.relay()
    relay.process.send_signal(number)
    assert relay.end() == (130 if number == signal.SIGINT else 0)
    assert "".join(relay.errors) == ""
