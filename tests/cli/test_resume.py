"""Transfers that outlive their processes, on the command line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from running import MIB, Command, Commands

# Holes instead of data; large enough that the kill comes during the transfer.
SIZE = 500 * MIB


def under_way(nbferry: Commands, *options: str, **env: str | None) -> tuple[Command, Command]:
    """A sender and a receiver during a transfer."""
    nbferry.file("a/data.bin", SIZE)
    sender = nbferry("send", "data.bin", "--json", *options, folder="a", **env)
    receiver = nbferry("receive", sender.code(), "--yes", "--json", folder="b", **env)
    receiver.event("progress", lambda event: event["durable"])
    return sender, receiver


def kill(command: Command) -> None:
    """Kill a command."""
    command.process.kill()
    command.process.wait()


def listed(nbferry: Commands, folder: str) -> list[dict[str, object]]:
    """The output of ``nbferry list`` in a folder."""
    command = nbferry("list", "--json", folder=folder)
    assert command.end() == 0
    return [json.loads(line) for line in command.lines]


def is_whole(nbferry: Commands) -> bool:
    """Whether the file arrived unchanged."""
    return (nbferry.root / "b/data.bin").read_bytes() == (nbferry.root / "a/data.bin").read_bytes()


@pytest.mark.parametrize("command", ["resume", "receive"])
def test_a_killed_receiver_resumes(nbferry: Commands, command: str) -> None:
    """``resume`` or the same command continue without a new code, and no durable byte is sent twice."""
    sender, receiver = under_way(nbferry)
    code = sender.event_of("code")["code"]
    kill(receiver)
    (there,) = listed(nbferry, "b")
    assert (there["role"], there["total"]) == ("receive", SIZE)
    assert 0 < int(str(there["durable"])) < SIZE
    arguments = ["resume"] if command == "resume" else ["receive", code, "--yes"]
    second = nbferry(*arguments, "--json", folder="b")
    assert (second.end(), sender.end()) == (0, 0)
    first = next(event for event in second.events() if event["event"] == "progress")
    assert first["durable"] >= there["durable"]
    assert is_whole(nbferry)
    assert listed(nbferry, "a") == listed(nbferry, "b") == []


@pytest.mark.parametrize("command", ["resume", "send"])
def test_a_killed_sender_resumes(nbferry: Commands, command: str) -> None:
    """A sender with its own relay resumes at the same port, where the receiver finds it."""
    sender, receiver = under_way(nbferry)
    kill(sender)
    (there,) = listed(nbferry, "a")
    assert (there["role"], there["names"]) == ("send", ["data.bin"])
    arguments = ["resume"] if command == "resume" else ["send", "data.bin"]
    second = nbferry(*arguments, "--json", folder="a")
    assert (receiver.end(), second.end()) == (0, 0)
    assert is_whole(nbferry)


def test_both_sides_are_killed_and_resume(nbferry: Commands) -> None:
    """Both sides resume with ``resume`` alone."""
    for command in under_way(nbferry):
        kill(command)
    receiver = nbferry("resume", "--json", folder="b")
    receiver.state("paused", "cannot connect")
    sender = nbferry("resume", "--json", folder="a")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert is_whole(nbferry)


def test_an_interrupted_receiver_resumes(nbferry: Commands) -> None:
    """Ctrl-C keeps the data, the other side waits, and ``resume`` continues."""
    sender, receiver = under_way(nbferry)
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.end() == 130
    (there,) = listed(nbferry, "b")
    sender.state("connecting", "Waiting for the other side.")
    assert nbferry("resume", str(there["id"])[:4], "-q", folder="b").end() == 0
    assert sender.end() == 0
    assert is_whole(nbferry)


def test_an_interrupt_prints_how_to_resume(nbferry: Commands) -> None:
    """Without --json the hint names both commands that resume."""
    nbferry.file("a/data.bin", 20_000 * MIB)
    sender = nbferry("send", "data.bin", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", folder="b")
    sender.event("progress", lambda event: event["durable"])
    receiver.process.send_signal(signal.SIGINT)
    assert receiver.end() == 130
    (there,) = listed(nbferry, "b")
    assert f"nbferry resume {there['id']}" in "\n".join(receiver.errors)
    assert f"nbferry discard {there['id']}" in "\n".join(receiver.errors)


def test_discard_removes_everything(nbferry: Commands) -> None:
    """``discard`` removes data and secrets. A later ``resume`` says how the transfer ended."""
    sender, receiver = under_way(nbferry)
    kill(receiver)
    (there,) = listed(nbferry, "b")
    discarding = nbferry("discard", str(there["id"]), folder="b")
    assert discarding.end() == 0
    assert not [path for path in (nbferry.root / "b").rglob("*") if "data" in path.name]
    asked = nbferry("resume", str(there["id"]), folder="b")
    assert asked.end() == 1
    assert "discarded" in "\n".join(asked.errors)
    kill(sender)


@pytest.mark.slow  # the first process checks its claim every ten seconds
def test_a_process_takes_a_transfer_over(nbferry: Commands) -> None:
    """A process takes over a running transfer: every byte is right, no file is doubled, and both processes end."""
    # The system closes a socket that is accepted in the instant in which its process ends.
    sender, first = under_way(nbferry, PYTHONWARNINGS="error,ignore::ResourceWarning")
    (there,) = listed(nbferry, "b")
    second = nbferry("resume", str(there["id"]), "--take-over", "--json", folder="b")
    ends = [command.end() for command in (second, first)]
    assert 0 in ends
    assert sender.end() == 0
    assert is_whole(nbferry)
    assert [path.name for path in nbferry.received()] == ["data.bin"]


def test_an_unfinished_transfer_expires(nbferry: Commands) -> None:
    """``--keep`` limits how long a transfer can be resumed. Later ``resume`` reports that it expired."""
    sender, receiver = under_way(nbferry, "--keep", "1h")
    receiver.interrupt()
    assert receiver.end() == 130
    (record,) = (nbferry.root / "b/.nbferry").glob("*/record.json")
    assert '"ttl": 604800.0' in record.read_text()
    (sent,) = (nbferry.root / "a/.nbferry").glob("*/record.json")
    assert '"ttl": 3600.0' in sent.read_text()
    for path in (nbferry.root / "b/.nbferry").rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    asked = nbferry("resume", record.parent.name, folder="b")
    assert asked.end() == 1
    assert "expired" in "\n".join(asked.errors)
    assert not list((nbferry.root / "b").rglob("data"))
    kill(sender)


def test_a_running_transfer_is_not_resumed(nbferry: Commands) -> None:
    """A second process names the owner of the transfer and does nothing."""
    sender, receiver = under_way(nbferry, "--via", "relay")
    (there,) = listed(nbferry, "b")
    refused = nbferry("resume", str(there["id"]), folder="b")
    assert refused.end() == 1
    assert f"Process {receiver.pid} is running this transfer." in "\n".join(refused.errors)
    kill(sender)
    kill(receiver)


def test_a_dataset_that_changed_in_part(nbferry: Commands) -> None:
    """Onto an older copy only changed chunks are sent, and the result says how much was already here."""
    nbferry.file("a/data.bin", b"".join(bytes([number]) * MIB for number in range(32)))
    first = nbferry("send", "data.bin", "--json", folder="a")
    assert nbferry("receive", first.code(), "--yes", folder="b").end() == 0
    assert first.end() == 0
    with (nbferry.root / "a/data.bin").open("r+b") as file:
        file.seek(7 * MIB + 5)
        file.write(b"changed")
    second = nbferry("send", "data.bin", "--json", folder="a")
    code = second.code()
    receiver = nbferry("receive", code, "--yes", "--json", "--overwrite", "replace", folder="b")
    assert (receiver.end(), second.end()) == (0, 0)
    assert receiver.event_of("done")["reused"] == 31 * MIB
    assert is_whole(nbferry)


def test_received_files_can_be_verified(nbferry: Commands) -> None:
    """``verify`` tells right, changed and missing files apart, and reports a missing receipt."""
    nbferry.file("a/set/one", b"1" * 100)
    nbferry.file("a/set/two", b"2" * 100)
    sender = nbferry("send", "set", "--json", folder="a")
    assert nbferry("receive", sender.code(), "--yes", folder="b").end() == 0
    assert sender.end() == 0
    right = nbferry("verify", "set", folder="b")
    assert right.end() == 0
    assert right.lines == ["2 files compared: every byte is right."]
    (nbferry.root / "b/set/one").write_bytes(b"1" * 99 + b"x")
    (nbferry.root / "b/set/two").unlink()
    wrong = nbferry("verify", "set", folder="b")
    assert wrong.end() == 1
    assert [line.partition(":")[0] for line in wrong.lines[:2]] == ["changed", "missing"]
    assert nbferry("verify", "set", folder="a").end() == 1


def test_an_expired_offer_cannot_be_resumed(nbferry: Commands) -> None:
    """An offer without a receiver expires, and ``resume`` says so."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", "--expires", "1", folder="a")
    sender.code()
    (record,) = (nbferry.root / "a/.nbferry").glob("*/record.json")
    assert sender.end() == 4
    asked = nbferry("resume", record.parent.name, folder="a")
    assert asked.end() == 1
    assert "expired" in "\n".join(asked.errors)


@pytest.mark.parametrize("name", ["", "zz", "../..", "0" * 400])
def test_an_invalid_id_cannot_be_resumed(nbferry: Commands, name: str) -> None:
    """An id that is none is an error, and nothing is written."""
    (nbferry.root / "b").mkdir(exist_ok=True)
    assert nbferry("resume", name, folder="b").end() in (1, 2)
    assert list(Path(nbferry.root / "b").iterdir()) == []


@pytest.mark.parametrize(("option", "lines"), [((), 1), (("-q",), 0), (("--json",), 0)])
def test_nothing_to_resume(nbferry: Commands, option: tuple[str, ...], lines: int) -> None:
    """Nothing to resume is a message and no failure."""
    (nbferry.root / "b").mkdir()
    asked = nbferry("resume", *option, folder="b")
    assert asked.end() == 0
    assert len(asked.lines) == lines


def test_a_list_in_a_wrong_environment(nbferry: Commands) -> None:
    """An invalid variable is wrong usage of ``nbferry list`` too, if it lists unfinished transfers."""
    nbferry.file("a/x", b"x")
    nbferry("send", "x", "--json", folder="a").code()
    code, text = nbferry("list", folder="a", NBFERRY_ICE_SERVERS="garbage").failure()
    assert code == 2
    assert text.startswith("Error: NBFERRY_ICE_SERVERS: an ICE server is written")
