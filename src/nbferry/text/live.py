"""What is seen of a transfer while somebody waits for it outside of a notebook: a bar, or lines of a log.

The command and ``transfer.wait()`` show the same. It is drawn in a thread of its own, so that a terminal
that is held up holds up nobody else.
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
    """What of a transfer is looked at."""

    @property
    def snapshot(self) -> Snapshot:
        """How it stands."""

    def subscribe(self, callback: Callable[[Snapshot], None], /) -> Callable[[], None]:
        """Be told of each snapshot, the present one first; returns what ends that."""


class TextFace(Protocol):
    """Shows one transfer, from one thread."""

    @property
    def every(self) -> float | None:
        """Seconds after which it wants the last snapshot again."""

    def show(self, view: Snapshot) -> None:
        """Show a snapshot."""

    def end(self, view: Snapshot) -> None:
        """Say how it ended."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""


def text_face() -> TextFace:
    """A bar if stderr is a terminal that can move its cursor, a log otherwise."""
    if not _at_terminal():
        return Log()
    from nbferry.text.bar import Bar  # noqa: PLC0415  # rich takes its time to load

    return Bar()


def aside() -> AbstractContextManager[None]:
    """Whoever asks a person something does so within this: no bar is drawn meanwhile."""
    if "nbferry.text.bar" not in sys.modules:
        return nullcontext()
    from nbferry.text.bar import board  # noqa: PLC0415  # loaded already

    return board().aside()


def _at_terminal() -> bool:
    return (
        sys.stderr is not None
        and sys.stderr.isatty()
        and os.environ.get("TERM", "") not in ("dumb", "unknown")
    )


@contextmanager
def following(transfer: Followed) -> Iterator[None]:
    """Show a transfer as text as long as somebody is within this.

    What was said already is not said again to who waits once more.
    """
    shown = _shown.setdefault(transfer, _Shown())
    shown.begin(transfer)
    try:
        yield
    finally:
        shown.end(transfer)


class _Shown:
    """One transfer while it is shown; several threads may wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._face: TextFace | None = None
        self._running: tuple[SnapshotQueue, Callable[[], None], threading.Thread] | None = None

    def begin(self, transfer: Followed) -> None:
        """One more waits."""
        with self._lock:
            self._waiting += 1
            if not self._running and not transfer.snapshot.state.final:
                self._start(transfer)

    def end(self, transfer: Followed) -> None:
        """One less; after the last everything that is to be shown has been."""
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
    """Snapshots on the way to where they are shown. Who is slow sees the last one of each state."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._views: deque[Snapshot] = deque()
        self._over = False

    def put(self, view: Snapshot) -> None:
        """One more, from any thread; returns at once."""
        with self._changed:
            if self._views and _same_state(self._views[-1], view):
                self._views.pop()
            self._views.append(view)
            self._changed.notify()

    def close(self) -> None:
        """There will be no more."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def all(self, every: float | None) -> Iterator[Snapshot]:
        """One after the other, until they are over; the last one again after so many seconds without another."""
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
