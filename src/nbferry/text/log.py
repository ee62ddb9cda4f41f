"""A transfer as lines of a log: for what is read later, or by a program, in CI for instance."""

from __future__ import annotations

import logging
import sys
import threading
import time

from nbferry.model.names import display_name
from nbferry.status import Snapshot, State
from nbferry.text import rendering

EVERY = 30.0  # seconds after which a line is due, even if there is little to say
STEPS = 10  # and after each tenth

_MOVING = (State.HASHING, State.TRANSFERRING, State.VERIFYING, State.WRITING)
_one_at_a_time = threading.Lock()

log = logging.getLogger("nbferry")


class LogLines:
    """Snapshots in, lines out: at both ends, when state or path changes, each tenth, and each half minute."""

    def __init__(self) -> None:
        self._about = ""
        self._said: tuple[State, str, float | None] | None = None
        self._step = 0
        self._guesses = 0
        self._last = 0.0
        self._began: float | None = None

    def of(self, view: Snapshot, now: float) -> list[str]:
        """What there is to say about a snapshot that is not the last."""
        said = [*self._what(view), *self._how_far(view, now), *self._warnings(view)]
        if said:
            self._last = now
        return [_line(view, text) for text in said]

    def end(self, view: Snapshot, now: float) -> str:
        """The last line."""
        if view.state is not State.DONE:
            return _line(view, _state(view))
        spent = [] if self._began is None else [f"in {rendering.duration(now - self._began)}"]
        text = " ".join(
            ["done:", rendering.size(view.total), *spent, *([f"({view.via})"] if view.via else [])]
        )
        return _line(view, f"{text}, every byte verified")

    def _what(self, view: Snapshot) -> list[str]:
        """What it is about, once that is known."""
        about = f"{rendering.title(view)}, {rendering.size(view.total)}" if view.names and view.total else ""
        if not about or self._about:
            return []
        self._about = about
        return [about]

    def _how_far(self, view: Snapshot, now: float) -> list[str]:
        if view.state is State.TRANSFERRING and self._began is None:
            self._began = now
        step = view.verified * STEPS // view.total if view.total else 0
        further = self._step < step < STEPS
        said = (view.state, view.reason, view.via_since)
        changed = said != self._said
        overdue = view.state in _MOVING and now - self._last >= EVERY
        self._said, self._step = said, max(step, self._step)
        return [_state(view)] if not view.state.final and (changed or further or overdue) else []

    def _warnings(self, view: Snapshot) -> list[str]:
        if view.wrong_guesses <= self._guesses:
            return []
        self._guesses = view.wrong_guesses
        return [f"Warning: {rendering.guessed(view)}"]


def _line(view: Snapshot, text: str) -> str:
    return f"nbferry {view.role} {view.id}: {text}"


def _state(view: Snapshot) -> str:
    """``transferring, 45 %  450 MB of 1.0 GB``, and why."""
    shown = "" if view.state in rendering.BEFORE else rendering.progress(view)
    reason = display_name(view.reason, 300)
    return f"{view.state}{', ' * bool(shown)}{shown}{': ' * bool(reason)}{reason}"


class Log:
    """Writes the lines of one transfer to stderr."""

    every = EVERY

    def __init__(self) -> None:
        self._lines = LogLines()

    def show(self, view: Snapshot) -> None:
        """Write what there is to say."""
        _write(self._lines.of(view, time.monotonic()))

    def end(self, view: Snapshot) -> None:
        """Write how it ended."""
        _write([self._lines.end(view, time.monotonic())])

    def close(self) -> None:
        """Nothing is open."""


def _write(lines: list[str]) -> None:
    """Whole lines; several transfers may be at it. That nobody can read them is no failure."""
    if not lines or sys.stderr is None:  # as under pythonw
        return
    try:
        with _one_at_a_time:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
    except (OSError, ValueError):  # a pipe without a reader; a closed file
        log.debug("stderr cannot be written to", exc_info=True)
