"""The log lines of a transfer, snapshot by snapshot."""

from __future__ import annotations

import io
import re
import sys

import pytest

from nbferry.model.roles import Role
from nbferry.status import Snapshot, State
from nbferry.text.log import Log, LogLines

WAITING = Snapshot(id="ba9876543210", role=Role.RECEIVE)
OFFERED = WAITING.evolve(state=State.OFFERED, names=("x.bin",), files=1, total=1000)
MOVING = OFFERED.evolve(state=State.TRANSFERRING, via="direct")


class Story:
    """Lines of one transfer without their common prefix, with a clock that the test sets."""

    def __init__(self) -> None:
        self._lines = LogLines()

    def __call__(self, view: Snapshot, now: float = 0.0) -> list[str]:
        """The lines for a snapshot."""
        said = self._lines.of(view, now)
        assert all(line.startswith("nbferry receive ba9876543210: ") for line in said)
        return [line.partition(": ")[2] for line in said]

    def end(self, view: Snapshot, now: float = 0.0) -> str:
        """The lines at the end."""
        return self._lines.end(view, now).partition(": ")[2]


@pytest.fixture
def story() -> Story:
    """The log of one transfer."""
    return Story()


def test_the_start(story: Story) -> None:
    """The log begins with the state, and names the offer once it is known."""
    assert story(WAITING) == ["waiting"]
    assert story(WAITING.evolve(state=State.CONNECTING)) == ["connecting"]
    assert story(OFFERED) == ["x.bin, 1.0 kB", "offered"]
    assert story(OFFERED) == []
    assert story(MOVING) == ["transferring, 0 %  0 B of 1.0 kB  direct"]


def test_each_tenth(story: Story) -> None:
    """Each tenth has a line, several at once share one, and the last has none."""
    story(MOVING)
    said = [verified for verified in range(1001) if story(MOVING.evolve(verified=verified))]
    assert said == list(range(100, 1000, 100))
    other = Story()
    other(MOVING)
    assert other(MOVING.evolve(verified=470)) == ["transferring, 47 %  470 B of 1.0 kB  direct"]
    assert other(MOVING.evolve(verified=480)) == []


def test_half_a_minute(story: Story) -> None:
    """A slow transfer has a line each half minute. One that waits or pauses has none."""
    story(MOVING, 100.0)
    assert story(MOVING, 129.0) == []
    assert len(story(MOVING, 130.0)) == 1
    assert story(MOVING, 159.0) == []
    assert len(story(MOVING, 160.0)) == 1
    paused = MOVING.evolve(state=State.PAUSED)
    assert len(story(paused, 161.0)) == 1
    assert story(paused, 1000.0) == []


def test_reasons(story: Story) -> None:
    """A new state or reason has a line. A peer's reason has no control characters."""
    story(MOVING)
    paused = MOVING.evolve(state=State.PAUSED, reason="no\nroom\x1b[31m")
    assert story(paused) == ["paused, 0 %  0 B of 1.0 kB  direct: no\\x0aroom\\x1b[31m"]
    assert story(paused) == []
    assert story(paused.evolve(reason="2 MB are missing")) == [
        "paused, 0 %  0 B of 1.0 kB  direct: 2 MB are missing"
    ]


def test_another_path(story: Story) -> None:
    """A change of path has a line with the progress so far."""
    story(MOVING)
    moved = MOVING.evolve(via="webrtc", via_since=0.0)
    (line,) = story(moved)
    assert re.search(r"webrtc since \d\d:\d\d:\d\d$", line)
    assert story(moved) == []


def test_wrong_guesses(story: Story) -> None:
    """Each wrong guess is a warning."""
    story(WAITING)
    assert story(WAITING.evolve(wrong_guesses=1)) == ["Warning: wrong guesses of the code: 1 of 3"]
    assert story(WAITING.evolve(wrong_guesses=1)) == []
    assert story(WAITING.evolve(wrong_guesses=2)) == ["Warning: wrong guesses of the code: 2 of 3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": State.DONE}, "done: 1.0 kB in 20 s (direct), every byte verified"),
        ({"state": State.DONE, "via": None}, "done: 1.0 kB in 20 s, every byte verified"),
        ({"state": State.FAILED, "reason": "It broke."}, "failed, 0 %  0 B of 1.0 kB  direct: It broke."),
        ({"state": State.CANCELLED, "verified": 500}, "cancelled, 50 %  500 B of 1.0 kB  direct"),
    ],
)
def test_the_end(story: Story, changes: dict[str, object], said: str) -> None:
    """The last line has the result."""
    story(MOVING, 10.0)
    assert story.end(MOVING.evolve(**changes), 30.0) == said


def test_an_end_without_a_path(story: Story) -> None:
    """If the wait began after all bytes arrived, no time is printed."""
    story(OFFERED)
    assert story.end(OFFERED.evolve(state=State.DONE)) == "done: 1.0 kB, every byte verified"


def test_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing or closed stderr is no error."""
    monkeypatch.setattr(sys, "stderr", None)
    Log().show(WAITING)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    sys.stderr.close()
    Log().end(WAITING)
