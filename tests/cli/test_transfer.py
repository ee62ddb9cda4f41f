"""Transfers by command, as scripts see them: events, files, streams and exit codes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from running import COMMAND, MEASURED, MIB, Commands

TABLE = os.urandom(3 * MIB + 1)


def folder_of_all_kinds(nbferry: Commands) -> Path:
    """A folder with details that are easily lost: empty files and folders, odd names, times, modes."""
    nbferry.file("a/trips/2013/june.csv", b"day,delay\n1,13\n")
    nbferry.file("a/trips/empty", b"")
    nbferry.file("a/trips/\u0434\u0430\u043d\u043d\u044b\u0435 \u6570\u636e.bin", TABLE)
    nbferry.file("a/trips/run.sh", b"#!/bin/sh\n").chmod(0o755)
    (nbferry.root / "a/trips/nothing in it").mkdir()
    for size in (1, MIB - 1, MIB, MIB + 1):
        nbferry.file(f"a/trips/sizes/{size}", os.urandom(size))
    os.utime(nbferry.root / "a/trips/run.sh", ns=(10**18 + 1, 10**18 + 123_456_789))
    return nbferry.root / "a/trips"


def same(sent: Path, received: Path) -> None:
    """Assert that two trees have the same names, contents, times and executable bits."""
    names = {path.relative_to(sent) for path in sent.rglob("*")}
    assert names == {path.relative_to(received) for path in received.rglob("*")}
    for path in (sent / name for name in names):
        other = received / path.relative_to(sent)
        assert path.is_dir() == other.is_dir()
        if path.is_file():
            assert path.read_bytes() == other.read_bytes()
            assert path.stat().st_mtime_ns == other.stat().st_mtime_ns
            assert (path.stat().st_mode ^ other.stat().st_mode) & 0o111 == 0


def digest(path: Path) -> str:
    """A digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_file_and_its_events(nbferry: Commands) -> None:
    """Both sides print the events of a file in order, with all fields, and nothing else."""
    nbferry.file("a/trips.parquet", TABLE)
    sender = nbferry("send", "trips.parquet", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--to", "data", "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert (receiver.errors, sender.errors) == ([], [])
    assert (nbferry.root / "b/data/trips.parquet").read_bytes() == TABLE
    for command in (sender, receiver):
        kinds = [event["event"] for event in command.events()]
        assert kinds[-1] == "done"
        assert kinds.count("offer") == kinds.count("done") == 1
        assert kinds.index("offer") < kinds.index("progress")
        offer = next(event for event in command.events() if event["event"] == "offer")
        assert (offer["files"], offer["bytes"]) == (1, len(TABLE))
        *_, last = (event for event in command.events() if event["event"] == "progress")
        assert [last[name] for name in ("sent", "verified", "durable", "total")] == [len(TABLE)] * 4
        states = [event["state"] for event in command.events() if event["event"] == "state"]
        assert [state for state in states if state in ("offered", "transferring", "done")] == [
            "offered",
            "transferring",
            "done",
        ]
    sent, received = sender.events()[-1], receiver.events()[-1]
    assert received["files"] == [str(nbferry.root / "b/data/trips.parquet")]
    assert sent["digest"] == received["digest"]
    assert sent["bytes"] == received["bytes"] == len(TABLE)
    assert sent["via"] == received["via"] == "direct"
    assert [event["event"] for event in sender.events()].count("code") == 1


def test_a_folder_by_both_paths(nbferry: Commands) -> None:
    """A folder arrives as ``DIR/folder`` with all details, directly and by the relay."""
    sent = folder_of_all_kinds(nbferry)
    for via in ("direct", "relay"):
        sender = nbferry("send", "trips", "--json", "--via", via, folder="a")
        receiver = nbferry("receive", sender.code(), "--to", via, "--json", folder="b")
        assert (receiver.end(), sender.end()) == (0, 0)
        assert receiver.events()[-1]["via"] == sender.events()[-1]["via"] == via
        same(sent, nbferry.root / "b" / via / "trips")


def test_several_paths_at_once(nbferry: Commands) -> None:
    """Files and folders from different places arrive side by side."""
    nbferry.file("a/one.csv", b"1")
    nbferry.file("elsewhere/two/2.csv", b"2")
    sender = nbferry("send", "one.csv", nbferry.root / "elsewhere/two", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert (nbferry.root / "b/one.csv").read_bytes() == b"1"
    assert (nbferry.root / "b/two/2.csv").read_bytes() == b"2"


def test_links(nbferry: Commands) -> None:
    """Links in a folder are skipped; with --follow-symlinks their targets are sent."""
    nbferry.file("elsewhere", b"1")
    nbferry.file("a/folder/file", b"2")
    (nbferry.root / "a/folder/link").symlink_to(nbferry.root / "elsewhere")
    for number, (options, names) in enumerate([((), {"file"}), (("--follow-symlinks",), {"file", "link"})]):
        sender = nbferry("send", "folder", "--json", *options, folder="a")
        receiver = nbferry("receive", sender.code(), "--json", folder=f"b{number}")
        assert (receiver.end(), sender.end()) == (0, 0)
        received = nbferry.root / f"b{number}/folder"
        assert {path.name for path in received.iterdir()} == names
        assert not any(path.is_symlink() for path in received.iterdir())


def test_an_empty_folder(nbferry: Commands) -> None:
    """An empty folder arrives."""
    (nbferry.root / "a/void").mkdir(parents=True)
    sender = nbferry("send", "void", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert nbferry.received() == [nbferry.root / "b/void"]
    assert receiver.event_of("offer") == {"event": "offer", "files": 0, "bytes": 0}


def test_plain_pipes(nbferry: Commands) -> None:
    """Without a terminal stdout has the code and a summary, stderr a log, and neither a control character."""
    nbferry.file("a/trips.parquet", TABLE)
    sender = nbferry("send", "trips.parquet", folder="a")
    code = ""
    while "@http://" not in code:
        code = (sender.line() or "").strip()
    receiver = nbferry("receive", code, folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    for command, verb in ((sender, "Sent"), (receiver, "Received")):
        assert f"{verb} trips.parquet: 3.1 MB in " in command.said()
        assert "every byte verified" in command.said()
        assert all(line.isprintable() for line in command.lines + command.errors)
        assert command.errors == command.log
        assert code not in "\n".join(command.errors)
    assert str(nbferry.root / "b/trips.parquet") in receiver.said()


def test_quiet(nbferry: Commands) -> None:
    """With -q a sender prints its code and a receiver nothing."""
    nbferry.file("a/trips.parquet", TABLE)
    sender = nbferry("send", "trips.parquet", "-q", folder="a")
    code = sender.line()
    assert code
    receiver = nbferry("receive", code, "-q", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert (receiver.lines, receiver.errors) == ([], [])
    assert (sender.lines, sender.errors) == ([code], [])


def test_the_code_by_environment(nbferry: Commands) -> None:
    """NBFERRY_CODE provides the code if no argument does."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    receiver = nbferry("receive", "--json", folder="b", NBFERRY_CODE=sender.code())
    assert (receiver.end(), sender.end()) == (0, 0)


def test_the_code_on_stdin(nbferry: Commands) -> None:
    """A code that is neither argument nor variable is read from stdin, in any spelling."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", "--code-length", "5", folder="a")
    words, _, url = sender.code().partition("@")
    assert words.count("-") == 5
    typed = f"  {words.upper().replace('-', ' ')}@{url} \n"
    receiver = nbferry("receive", "--json", folder="b", stdin=typed)
    assert (receiver.end(), sender.end()) == (0, 0)


def test_names_that_exist(nbferry: Commands) -> None:
    """--overwrite decides about existing names: ``rename`` the new file, ``replace`` the old one, or ``refuse``."""
    nbferry.file("a/x", b"new")
    nbferry.file("b/x", b"old")
    for how, code, files in (
        ("rename", 0, {"x": b"old", "x (1)": b"new"}),
        ("refuse", 1, {"x": b"old", "x (1)": b"new"}),
        ("replace", 0, {"x": b"new", "x (1)": b"new"}),
    ):
        sender = nbferry("send", "x", "--json", folder="a")
        receiver = nbferry("receive", sender.code(), "--overwrite", how, "--json", folder="b")
        assert (receiver.end(), sender.end()) == (code, code)
        assert {path.name: path.read_bytes() for path in nbferry.received()} == files
        if code:
            for command in (sender, receiver):
                assert command.events()[-1]["code"] == "destination-exists"


def test_a_large_offer_needs_a_yes(nbferry: Commands) -> None:
    """Without a terminal an offer above 10 MiB is rejected, and both sides read why."""
    nbferry.file("a/large", 11 * MIB)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--json", folder="b")
    assert (receiver.end(), sender.end()) == (3, 3)
    for command in (sender, receiver):
        assert command.events()[-2]["state"] == "rejected"
        assert command.events()[-1]["code"] == "rejected"
        assert "no person was there to accept it" in command.events()[-1]["message"]
    assert "--yes" in receiver.events()[-1]["hint"]
    assert list((nbferry.root / "b").iterdir()) == []


def test_yes_takes_a_large_offer(nbferry: Commands) -> None:
    """--yes accepts 200 MiB unasked. They arrive intact, and neither side needs 200 MiB of memory."""
    block = os.urandom(MIB)
    with nbferry.file("a/large", 200 * MIB).open("r+b") as file:
        for at in (0, 99, 199):
            file.seek(at * MIB)
            file.write(block)
    program = MEASURED + COMMAND
    sender = nbferry("send", "large", "--json", folder="a", program=program)
    receiver = nbferry("receive", sender.code(), "--yes", "--json", folder="b", program=program)
    assert (receiver.end(), sender.end()) == (0, 0)
    assert digest(nbferry.root / "a/large") == digest(nbferry.root / "b/large")
    assert max(sender.peak_memory, receiver.peak_memory) < 200 * MIB


def test_a_thousand_small_files(nbferry: Commands) -> None:
    """A thousand files of 1 KiB arrive unchanged."""
    for number in range(1000):
        nbferry.file(f"a/many/{number}", os.urandom(1024))
    sender = nbferry("send", "many", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--yes", "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    same(nbferry.root / "a/many", nbferry.root / "b/many")


def test_a_chosen_relay(nbferry: Commands) -> None:
    """--relay or NBFERRY_RELAY chooses the relay. The receiver reads it from the code and ignores its own setting."""
    nbferry.file("a/x", b"x")
    _, url = nbferry.relay()
    by_option = nbferry("send", "x", "--relay", url, "--json", folder="a")
    by_environment = nbferry("send", "x", "--json", folder="a", NBFERRY_RELAY=url)
    for number, sender in enumerate((by_option, by_environment)):
        code = sender.code()
        assert code.endswith(f"@{url}")
        receiver = nbferry(
            "receive", code, "--json", folder=f"b{number}", NBFERRY_RELAY="http://127.0.0.1:1/"
        )
        assert (receiver.end(), sender.end()) == (0, 0)


def test_many_receivers(nbferry: Commands) -> None:
    """With --to 2 two receivers share a ticket, and the sender ends when both have all files."""
    nbferry.file("a/x", TABLE)
    sender = nbferry("send", "x", "--to", "2", "--json", folder="a")
    ticket = sender.code()
    assert ticket.startswith("nbf1")
    receivers = [nbferry("receive", ticket, "--json", folder=name) for name in ("b", "c")]
    assert [command.end() for command in (*receivers, sender)] == [0, 0, 0]
    assert all((nbferry.root / name / "x").read_bytes() == TABLE for name in ("b", "c"))


def test_skipped_files_are_reported(nbferry: Commands) -> None:
    """A link in a folder is not sent, which the sender reports on stderr. The rest arrives."""
    nbferry.file("a/folder/x", b"x")
    (nbferry.root / "a/folder/link").symlink_to("x")
    sender = nbferry("send", "folder", "-q", folder="a")
    code = sender.line()
    assert code is not None
    receiver = nbferry("receive", code, "-q", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert sender.errors[0].startswith("Not sent: folder/link (")
    assert [path.name for path in (nbferry.root / "b/folder").iterdir()] == ["x"]
