"""What a person sees and types in a terminal of 80 columns."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from running import MIB, PATIENCE, Commands, environment

# Python warns since 3.12 that a fork with threads may hang; pexpect's child does nothing but exec.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminals:
    """Terminals in which ``nbferry`` runs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[pexpect.spawn] = []

    def __call__(self, *arguments: str, folder: str) -> pexpect.spawn:
        """Start ``nbferry`` in a folder, which is made if need be."""
        cwd = self._root / folder
        cwd.mkdir(exist_ok=True)
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "nbferry", *arguments],
            cwd=str(cwd),
            env=environment(TERM="xterm-256color"),
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        self._open.append(terminal)
        return terminal

    def close(self) -> None:
        """End what still runs."""
        for terminal in self._open:
            terminal.close(force=True)


@pytest.fixture
def terminal(nbferry: Commands) -> Iterator[Terminals]:
    """Terminals in the folders of ``nbferry``."""
    terminals = Terminals(nbferry.root)
    yield terminals
    terminals.close()


def ended(terminal: pexpect.spawn) -> tuple[int, str]:
    """Read to the end: the exit code, and what was shown since it was last looked at."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert "Traceback" not in terminal.before
    return terminal.exitstatus, ESCAPES.sub("", terminal.before)


def test_a_transfer_between_people(nbferry: Commands, terminal: Terminals) -> None:
    """A person reads the code, another types it and says yes; both see a bar with rate, time left and path."""
    nbferry.file("a/trips.parquet", 600 * MIB)
    sender = terminal("send", "trips.parquet", folder="a")
    sender.expect(r"enter this code:\s+(\d{6}(?:-[a-z]+){3}@http://127\.0\.0\.1:\d+/)\s")
    code = sender.match[1]
    sender.expect("It works on this machine only")
    receiver = terminal("receive", folder="b")
    receiver.expect("Code: ")
    receiver.sendline(code)
    receiver.expect(r"Offered: 1 file, 629 MB\s+trips\.parquet  629 MB\s+Accept\? \[y/N\] ")
    receiver.sendline("y")
    for one in (sender, receiver):
        one.expect(r"trips\.parquet .*\d+ %  [0-9.]+ [MG]B/s  \d+ s left  direct")
    for one, verb in ((sender, "Sent"), (receiver, "Received")):
        status, shown = ended(one)
        assert status == 0
        assert f"{verb} trips.parquet: 629 MB in " in shown
        assert "direct), every byte verified." in shown
    assert str(nbferry.root / "b/trips.parquet") in shown


def test_a_no(nbferry: Commands, terminal: Terminals) -> None:
    """Who is asked and does not say yes has declined: exit code 3 on both sides, and the sender reads it."""
    nbferry.file("a/large", 11 * MIB)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = terminal("receive", sender.code(), folder="b")
    receiver.expect(r"Accept\? \[y/N\] ")
    receiver.sendline("")
    status, shown = ended(receiver)
    assert (status, sender.end()) == (3, 3)
    assert "Error: The offer was rejected" in shown
    assert sender.events()[-1]["message"].startswith("The receiver rejected the offer")
    assert list((nbferry.root / "b").iterdir()) == []


def test_interrupted_at_the_question(nbferry: Commands, terminal: Terminals) -> None:
    """Ctrl-C at the question ends at once with exit code 130, and the sender with 3."""
    nbferry.file("a/large", 11 * MIB)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = terminal("receive", sender.code(), folder="b")
    receiver.expect(r"Accept\? \[y/N\] ")
    receiver.sendintr()
    assert (ended(receiver)[0], sender.end()) == (130, 3)
    assert sender.events()[-1]["code"] == "cancelled"


def test_interrupted_at_the_prompt(nbferry: Commands, terminal: Terminals) -> None:
    """Ctrl-C where a code is asked for ends with exit code 130; the end of the input with 2."""
    interrupted, finished = terminal("receive", folder="b"), terminal("receive", folder="b")
    interrupted.expect("Code: ")
    interrupted.sendintr()
    assert ended(interrupted)[0] == 130
    finished.expect("Code: ")
    finished.sendeof()
    status, shown = ended(finished)
    assert status == 2
    assert "No code was given" in shown
    assert list((nbferry.root / "b").iterdir()) == []


def test_a_prompt_beside_json(nbferry: Commands, terminal: Terminals) -> None:
    """With --json too a person at a terminal is asked for the code, on stderr."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    receiver = terminal("receive", "--json", folder="b")
    receiver.expect("Code: ")
    receiver.sendline(sender.code())
    status, shown = ended(receiver)
    assert (status, sender.end()) == (0, 0)
    assert '{"event": "done"' in shown


def test_names_that_would_move_the_cursor(nbferry: Commands, terminal: Terminals) -> None:
    """A name with control characters is refused in words that show none of them."""
    nbferry.file("a/evil\x1b]0;owned\x07\u202e", b"x")
    status, shown = ended(terminal("send", "evil\x1b]0;owned\x07\u202e", folder="a"))
    assert status == 1
    assert "evil\\x1b]0;owned\\x07\\u202e" in shown
    assert shown.replace("\r\n", "").isprintable()
