"""Shows a transfer while a caller waits for it outside a notebook: a bar, or lines of a log.

The command and ``transfer.wait()`` show the same. A separate thread draws, so a slow terminal delays nothing else.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol
from weakref import WeakKeyDictionary

from nbferry.status import Snapshot
from nbferry.text.log import Log


class Followed(Protocol):
    """The part of a transfer that this module reads."""

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot."""

    def subscribe(self, callback: Callable[[Snapshot], None], /) -> Callable[[], None]:
        """Subscribe to snapshots, beginning with the current one. Returns a function that unsubscribes."""


class TextFace(Protocol):
    """Shows one transfer, from one thread."""

    @property
    def every(self) -> float | None:
        """Seconds after which to show the last snapshot again."""

    def show(self, view: Snapshot) -> None:
        """Show a snapshot."""

    def end(self, view: Snapshot) -> None:
        """Show how the transfer ended."""

    def close(self) -> None:
        """Restore the terminal. May be called twice."""


def text_face() -> TextFace:
    """Make a bar if stderr is a terminal that can move its cursor, a log otherwise."""
    if not _at_terminal():
        return Log()
    # Here, because rich loads slowly.
    from nbferry.text.bar import Bar  # noqa: PLC0415

    return Bar()


def aside() -> AbstractContextManager[None]:
    """Return a context without bars, in which to ask a person something."""
    if "nbferry.text.bar" not in sys.modules:
        return nullcontext()
    # Loaded already.
    from nbferry.text.bar import board  # noqa: PLC0415

    return board().aside()


def _at_terminal() -> bool:
    return (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "") not in ("dumb", "unknown")
    )


@contextmanager
def following(transfer: Followed) -> Iterator[None]:
    """Show a transfer as text while the caller is inside this context.

    A second wait does not repeat what the first one showed.
    """
    shown = _shown.setdefault(transfer, _Shown())
    shown.begin(transfer)
    try:
        yield
    finally:
        shown.end(transfer)


class _Shown:
    """A transfer that is shown; several threads may wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._face: TextFace | None = None
        self._running: tuple[SnapshotQueue, Callable[[], None], threading.Thread] | None = None

    def begin(self, transfer: Followed) -> None:
        """Count one more waiting thread; the first one starts the face."""
        with self._lock:
            self._waiting += 1
            if not self._running and not transfer.snapshot.state.final:
                self._start(transfer)

    def end(self, transfer: Followed) -> None:
        """Count one waiting thread less; the last one returns when everything is shown."""
        with self._lock:
            self._waiting -= 1
            if self._waiting or not self._running:
                return
            (news, unsubscribe, thread), self._running = self._running, None
            unsubscribe()
            news.put(transfer.snapshot)
            news.close()
            thread.join()

    def _start(self, transfer: Followed) -> None:
        news, face = SnapshotQueue(), self._face or text_face()
        thread = threading.Thread(target=_show_all, args=(news, face), name="nbferry-face", daemon=True)
        self._face = face
        self._running = news, transfer.subscribe(news.put), thread
        thread.start()


_shown: WeakKeyDictionary[Followed, _Shown] = WeakKeyDictionary()


def _show_all(news: SnapshotQueue, face: TextFace) -> None:
    view = None
    try:
        for view in news.all(face.every):
            if not view.state.final:
                face.show(view)
        if view is not None and view.state.final:
            face.end(view)
    finally:
        face.close()


class SnapshotQueue:
    """Snapshots on their way to a face. A slow face sees only the last one of each state."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._views: deque[Snapshot] = deque()
        self._over = False

    def put(self, view: Snapshot) -> None:
        """Add a snapshot, from any thread; returns at once."""
        with self._changed:
            if self._views and _same_state(self._views[-1], view):
                self._views.pop()
            self._views.append(view)
            self._changed.notify()

    def close(self) -> None:
        """End the queue."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def all(self, every: float | None) -> Iterator[Snapshot]:
        """Yield snapshots until the queue ends; after ``every`` seconds without one, repeat the last."""
        last = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._views or self._over, every)
                if self._views:
                    last = self._views.popleft()
                elif self._over:
                    return
            if last is not None:
                yield last


def _same_state(one: Snapshot, other: Snapshot) -> bool:
    return (one.state, one.reason) == (other.state, other.reason)
