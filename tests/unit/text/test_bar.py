"""When bars appear, and the lines above them. Their looks are tested in tests/cli."""

from __future__ import annotations

import re

import pytest

from nbferry.model.roles import Role
from nbferry.status import Snapshot, State
from nbferry.text import bar
from nbferry.text.bar import Bar

OFFERED = Snapshot(
    id="ba9876543210", role=Role.RECEIVE, state=State.OFFERED, names=("x.bin",), files=1, total=1000
)
MOVING = OFFERED.evolve(state=State.TRANSFERRING, verified=450, rate=10.0, eta=55.0, via="direct")
PARTS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")
OTHER = MOVING.evolve(id="ba9876543211", names=("y.bin",))


class Screen:
    """A terminal that moves its cursor and wipes lines on command."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._rows = [""]
        self._row = self._column = 0
        self._cursor = True

    @property
    def cursor(self) -> bool:
        """Whether the cursor is visible."""
        assert self.rows
        return self._cursor

    @property
    def rows(self) -> list[str]:
        """The visible rows. No output may go to stdout."""
        written = self._capsys.readouterr()
        assert written.out == ""
        for part in PARTS.findall(written.err):
            self._write(part)
        return [row.rstrip() for row in self._rows[: self._row + 1]]

    def _write(self, part: str) -> None:
        match part:
            case "\n":
                self._row, self._column = self._row + 1, 0
                self._rows += [""] * (self._row + 1 - len(self._rows))
            case "\r":
                self._column = 0
            case "\x1b[1A":
                self._row -= 1
            case "\x1b[2K":
                self._rows[self._row] = ""
            case "\x1b[?25l" | "\x1b[?25h":
                self._cursor = part.endswith("h")
            case _ if not part.startswith("\x1b"):
                row = self._rows[self._row].ljust(self._column)
                self._rows[self._row] = row[: self._column] + part + row[self._column + len(part) :]
                self._column += len(part)
            case _:
                assert part.endswith("m"), repr(part)


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 80 columns without a bar."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(bar, "_boards", [])
    monkeypatch.setattr(bar.atexit, "register", lambda _: None)
    return Screen(capsys)


def test_from_the_first_byte_to_the_end(screen: Screen) -> None:
    """A bar appears when bytes move. At the end a line replaces it, and the cursor returns."""
    shown = Bar()
    shown.show(OFFERED)
    assert screen.rows == [""]
    for verified in (100, 450):
        shown.show(MOVING.evolve(verified=verified))
    (row,) = screen.rows
    assert re.fullmatch(r"x\.bin ━+[╸╺]━+ 45 %  10 B/s  55 s left  direct", row)
    assert not screen.cursor
    shown.end(MOVING.evolve(state=State.DONE))
    assert screen.rows == ["Received x.bin: 1.0 kB, every byte verified.", ""]
    assert screen.cursor


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.EXPIRED, State.REJECTED])
def test_no_line_after_a_failure(screen: Screen, state: State) -> None:
    """After a failure the bar disappears without a line, as ``wait`` raises the error."""
    shown = Bar()
    shown.show(MOVING)
    shown.end(MOVING.evolve(state=state, reason="It broke."))
    shown.close()
    assert screen.rows == [""]
    assert screen.cursor


def test_reasons_above_the_bar(screen: Screen) -> None:
    """A reason appears once above the bar, without control characters. The bar shows the state."""
    shown = Bar()
    shown.show(MOVING)
    for _ in range(2):
        shown.show(MOVING.evolve(state=State.PAUSED, reason="no room\x1b[31m", eta=None))
    reason, row = screen.rows
    assert reason == "x.bin: paused: no room\\x1b[31m"
    assert row.endswith("paused  45 %  direct")
    shown.close()


def test_reasons_before_an_offer(screen: Screen) -> None:
    """Before an offer a reason stands alone."""
    Bar().show(Snapshot(id="ba9876543210", role=Role.RECEIVE, reason="no sender yet"))
    assert screen.rows == ["waiting: no sender yet", ""]


def test_a_wrong_guess(screen: Screen) -> None:
    """A wrong guess is one warning."""
    shown = Bar()
    for _ in range(2):
        shown.show(OFFERED.evolve(wrong_guesses=1))
    assert screen.rows == ["Warning: wrong guesses of the code: 1 of 3", ""]


def test_two(screen: Screen) -> None:
    """Two transfers have a bar each, and the cursor returns after the last."""
    one, two = Bar(), Bar()
    one.show(MOVING)
    two.show(OTHER)
    assert [row[:5] for row in screen.rows] == ["x.bin", "y.bin"]
    one.end(MOVING.evolve(state=State.DONE))
    assert [row[:14] for row in screen.rows] == ["Received x.bin", "y.bin ━━━━━━━━"]
    assert not screen.cursor
    two.close()
    assert screen.rows == ["Received x.bin: 1.0 kB, every byte verified.", ""]
    assert screen.cursor


def test_aside(screen: Screen) -> None:
    """During a question no bar is shown. Afterwards the bars return."""
    one, two = Bar(), Bar()
    one.show(MOVING)
    with bar.board().aside():
        assert screen.rows == [""]
        assert screen.cursor
        one.show(MOVING.evolve(verified=500))
        two.show(OTHER)
        with bar.board().aside():
            two.close()
        assert screen.rows == [""]
        assert screen.cursor
    (row,) = screen.rows
    assert row.startswith("x.bin")
    assert "50 %" in row
    one.close()
    assert screen.cursor


def test_a_bar_that_ends_during_a_question(screen: Screen) -> None:
    """A bar that ends during a question does not return."""
    one = Bar()
    one.show(MOVING)
    with bar.board().aside():
        one.close()
    assert screen.rows == [""]
    assert screen.cursor
