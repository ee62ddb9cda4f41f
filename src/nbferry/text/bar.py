"""A transfer as a progress bar on stderr, for a person at a terminal. Several bars are stacked."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from nbferry.model.names import display_name
from nbferry.status import Snapshot, State
from nbferry.text import rendering


class Board:
    """The area of the terminal that shows all bars of this process. Any thread may call it."""

    def __init__(self) -> None:
        self._console = Console(
            stderr=True, force_terminal=True, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
        self._bars = Progress(
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
            ),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4, max_width=40)),
            TextColumn("{task.fields[how]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            transient=True,
            expand=True,
            auto_refresh=False,
            # Printed text goes above the bars.
            redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),
        )
        self._lock = threading.RLock()
        self._aside = 0

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._console.width

    def add(self, view: Snapshot) -> TaskID:
        """Add a bar."""
        with self._lock:
            if not self._aside:
                self._bars.start()
            return self._bars.add_task(display_name(rendering.title(view), 20), total=view.total, how="")

    def update(self, bar: TaskID, completed: int, how: str) -> None:
        """Draw a bar."""
        with self._lock:
            self._bars.update(bar, completed=completed, how=how, refresh=not self._aside)

    def remove(self, bar: TaskID) -> None:
        """Remove a bar. Without any bar the terminal is as it was before."""
        with self._lock:
            if len(self._bars.tasks) == 1:
                # Before the bar goes: stopping erases only what is drawn.
                self._bars.stop()
            self._bars.remove_task(bar)
            self._bars.refresh()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        with self._lock:
            self._console.print(Text(text))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the bars while a person answers a question."""
        with self._lock:
            self._aside += 1
            self._bars.stop()
        try:
            yield
        finally:
            with self._lock:
                self._aside -= 1
                if not self._aside and self._bars.tasks:
                    self._bars.start()

    def close(self) -> None:
        """Restore the terminal, also at the end of the process."""
        self._bars.stop()


_boards: list[Board] = []
_making = threading.Lock()


def board() -> Board:
    """Return the board of this process, made on first use."""
    with _making:
        if not _boards:
            _boards.append(Board())
            atexit.register(_boards[0].close)
        return _boards[0]


class Bar:
    """The bar of one transfer, with the reason for waiting above it."""

    every: float | None = None

    def __init__(self) -> None:
        self._board = board()
        self._bar: TaskID | None = None
        self._said: tuple[State, str] | None = None
        self._guesses = 0

    def show(self, view: Snapshot) -> None:
        """Draw a snapshot."""
        self._say_why(view)
        if view.wrong_guesses > self._guesses:
            self._guesses = view.wrong_guesses
            self._board.say(f"Warning: {rendering.guessed(view)}")
        if view.state.final or view.state in rendering.BEFORE or not view.total:
            return
        if self._bar is None:
            self._bar = self._board.add(view)
        how = rendering.progress(view, sizes=self._board.width >= 100)
        moving = view.state is State.TRANSFERRING
        self._board.update(self._bar, view.verified, how if moving else f"{view.state}  {how}")

    def _say_why(self, view: Snapshot) -> None:
        if (view.state, view.reason) == self._said:
            return
        self._said = (view.state, view.reason)
        if view.reason and not view.state.final:
            about = f"{rendering.title(view)}: " if view.names else ""
            self._board.say(f"{about}{view.state}: {display_name(view.reason, 300)}")

    def end(self, view: Snapshot) -> None:
        """Report success. A failure is raised to the caller that waits."""
        self.close()
        if view.state is State.DONE:
            self._board.say(
                f"{view.role.done} {rendering.title(view)}: {rendering.size(view.total)}, every byte verified."
            )

    def close(self) -> None:
        """Remove the bar. May be called twice."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            self._board.remove(bar)
