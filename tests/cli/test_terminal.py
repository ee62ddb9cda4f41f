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

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
BAR = r"{} [^\r\n]*\d+ %  [0-9.]+ [kMG]?B/s  \d[0-9a-z ]* left  direct"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminals:
    """Terminals in which ``nbferry`` runs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[pexpect.spawn] = []

    def __call__(self, *arguments: str, folder: str) -> pexpect.spawn:
        """Start ``nbferry`` in a folder, which is made if need be."""
        return self.python("-m", "nbferry", *arguments, folder=folder)

    def python(self, *arguments: str, folder: str, **env: str | None) -> pexpect.spawn:
        """Start Python in a folder, which is made if need be."""
        cwd = self._root / folder
        cwd.mkdir(exist_ok=True)
        terminal = pexpect.spawn(
            sys.executable,
            list(arguments),
            cwd=str(cwd),
            env=environment(**{"TERM": "xterm-256color", **env}),
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
    assert terminal.before.count(SHOW_CURSOR) >= terminal.before.count(HIDE_CURSOR)
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
        one.expect(BAR.format("trips.parquet"))
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


# ---------------------------------------------------------------- Python in a terminal
SEND = "import nbferry; sending = nbferry.send({!r}); print(sending.code, flush=True); {}"
IPYTHON = ("-W", "ignore", "-m", "IPython", "--no-banner", "--quick", "-c")


@pytest.mark.parametrize(
    ("start", "waiting"),
    [(("-c",), "sending.wait()"), (IPYTHON, "await sending")],
    ids=["python", "ipython"],
)
def test_waiting_in_python(
    nbferry: Commands, terminal: Terminals, start: tuple[str, ...], waiting: str
) -> None:
    """Who waits in Python, or in IPython in a terminal, sees the same bar, and at the end that all went well."""
    nbferry.file("a/trips.parquet", 600 * MIB)
    env = {"IPYTHONDIR": str(nbferry.root / "ipython"), "PYTHONWARNINGS": None}
    sender = terminal.python(*start, SEND.format("trips.parquet", waiting), folder="a", **env)
    sender.expect(r"(\d{6}(?:-[a-z]+){3}@http://127\.0\.0\.1:\d+/)\s")
    receiver = nbferry("receive", sender.match[1], "--yes", "--json", folder="b")
    sender.expect(BAR.format("trips.parquet"))
    status, shown = ended(sender)
    assert (status, receiver.end()) == (0, 0)
    assert "Sent trips.parquet: 629 MB, every byte verified." in shown


INTERRUPTED = """
import nbferry
sending = nbferry.send("large")
print(sending.code, flush=True)
try:
    sending.wait()
except KeyboardInterrupt:
    print("interrupted")
    sending.cancel()
"""


def test_interrupted_while_waiting_in_python(nbferry: Commands, terminal: Terminals) -> None:
    """Ctrl-C takes the bar away and gives the cursor back before anything else is said."""
    nbferry.file("a/large", 20_000 * MIB)
    sender = terminal.python("-c", INTERRUPTED, folder="a")
    sender.expect(r"(\d{6}(?:-[a-z]+){3}@http://127\.0\.0\.1:\d+/)\s")
    receiver = nbferry("receive", sender.match[1], "--yes", "--json", folder="b")
    sender.expect_exact(HIDE_CURSOR)
    sender.expect(BAR.format("large"))
    sender.sendintr()
    sender.expect_exact(SHOW_CURSOR)
    status, shown = ended(sender)
    assert (status, receiver.end()) == (0, 3)
    assert re.search(r"The transfer [0-9a-f]{12} is still running\..*\s+interrupted\s*$", shown)
    assert "%" not in shown


TWO = """
import threading
import nbferry
codes = {!r}
receiving = [nbferry.receive(code, accept=True) for code in codes]
waiting = [threading.Thread(target=transfer.wait) for transfer in receiving]
for thread in waiting:
    thread.start()
for thread in waiting:
    thread.join()
print("both are here")
"""


def test_two_bars(nbferry: Commands, terminal: Terminals) -> None:
    """Two transfers that are waited for in two threads have a bar each, below each other, and end whole."""
    names = ["one.bin", "two.bin"]
    senders = []
    for name in names:
        nbferry.file(f"a/{name}", 600 * MIB)
        senders.append(nbferry("send", name, "--json", folder="a"))
    receiver = terminal.python("-c", TWO.format([sender.code() for sender in senders]), folder="b")
    one, two = (rf"{name} [^\r\n]*" for name in names)
    receiver.expect(rf"{one}\r\n(?:\x1b\[2K)?{two}|{two}\r\n(?:\x1b\[2K)?{one}")
    status, shown = ended(receiver)
    assert (status, [sender.end() for sender in senders]) == (0, [0, 0])
    for name in names:
        assert re.search(rf"[\r\n]Received {name}: 629 MB, every byte verified\.\r?\n", shown)
    assert shown.rstrip().endswith("both are here")


def test_a_terminal_without_a_cursor(nbferry: Commands, terminal: Terminals) -> None:
    """A terminal that cannot move its cursor gets lines of a log, and not one escape."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    receiver = terminal.python("-m", "nbferry", "receive", sender.code(), folder="b", TERM="dumb")
    receiver.expect(pexpect.EOF)
    assert sender.end() == 0
    assert re.search(r"nbferry receive [0-9a-f]{12}: connecting", receiver.before)
    assert "\x1b" not in receiver.before
