"""A transfer as lines of a log, to be read later or by a program such as CI."""

from __future__ import annotations

import logging
import sys
import threading
import time

from nbferry.model.names import display_name
from nbferry.status import Snapshot, State
from nbferry.text import rendering

EVERY = 30.0
"""Seconds after which a line is due even if little has changed."""
STEPS = 10
"""A line is due after each tenth of the bytes."""

_MOVING = (State.HASHING, State.TRANSFERRING, State.VERIFYING, State.WRITING)
_one_at_a_time = threading.Lock()

log = logging.getLogger("nbferry")


class LogLines:
    """Turns snapshots into lines: at both ends, when state or path changes, each tenth and each half minute."""

    def __init__(self) -> None:
        self._about = ""
        self._said: tuple[State, str, float | None] | None = None
        self._step = 0
        self._guesses = 0
        self._last = 0.0
        self._began: float | None = None

    def of(self, view: Snapshot, now: float) -> list[str]:
        """Return the lines for a snapshot that is not the last."""
        said = [*self._what(view), *self._how_far(view, now), *self._warnings(view)]
        if said:
            self._last = now
        return [_line(view, text) for text in said]

    def end(self, view: Snapshot, now: float) -> str:
        """Return the last line."""
        if view.state is not State.DONE:
            return _line(view, _state(view))
        spent = [] if self._began is None else [f"in {rendering.duration(now - self._began)}"]
        text = " ".join(
            ["done:", rendering.size(view.total), *spent, *([f"({view.via})"] if view.via else [])]
        )
        return _line(view, f"{text}, every byte verified")

    def _what(self, view: Snapshot) -> list[str]:
        """Name the content once, as soon as it is known."""
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
    """Describe the state: ``transferring, 45 %  450 MB of 1.0 GB``, and the reason."""
    shown = "" if view.state in rendering.BEFORE else rendering.progress(view)
    reason = display_name(view.reason, 300)
    return f"{view.state}{', ' * bool(shown)}{shown}{': ' * bool(reason)}{reason}"


class Log:
    """Writes the lines of one transfer to stderr."""

    every = EVERY

    def __init__(self) -> None:
        self._lines = LogLines()

    def show(self, view: Snapshot) -> None:
        """Write the lines for a snapshot."""
        _write(self._lines.of(view, time.monotonic()))

    def end(self, view: Snapshot) -> None:
        """Write how the transfer ended."""
        _write([self._lines.end(view, time.monotonic())])

    def close(self) -> None:
        """Nothing is open."""


def _write(lines: list[str]) -> None:
    """Write whole lines, because several transfers share stderr. An unreadable stderr is no failure."""
    # Under pythonw there is no stderr.
    if not lines or sys.stderr is None:
        return
    try:
        with _one_at_a_time:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
    # A pipe without a reader; a closed file.
    except (OSError, ValueError):
        log.debug("cannot write to stderr", exc_info=True)
