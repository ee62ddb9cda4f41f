"""Open files and folders that are kept for the next use, so that no chunk pays for opening its file anew."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from nbferry.errors import LocalProtocolError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_IDLE = 64  # far below the 256 descriptors that macOS gives a process


@dataclass(slots=True)
class _Held(Generic[V]):
    value: V
    users: int = 0
    dropped: bool = False


class Handles(Generic[K, V]):
    """At most ``most`` handles that nobody uses; beyond that the one unused for longest is closed.

    May be used from several threads, which then share a handle. ``opener`` runs under the lock, so that a
    file is created once; reading and writing do not.
    """

    def __init__(self, opener: Callable[[K], V], closer: Callable[[V], None], most: int = MAX_IDLE) -> None:
        self._opener, self._closer, self._most = opener, closer, most
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def use(self, key: K) -> Iterator[V]:
        """Hold the handle of this key, opened if need be; it stays open until the end of the block."""
        held = self._take(key)
        try:
            yield held.value
        finally:
            self._give_back(key, held)

    def _take(self, key: K) -> _Held[V]:
        with self._lock:
            if self._closed:
                raise LocalProtocolError("Storage was used after it was closed.")
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = _Held(self._opener(key))
            self._held.move_to_end(key)
            held.users += 1
            return held

    def _give_back(self, key: K, held: _Held[V]) -> None:
        with self._lock:
            held.users -= 1
            unused = self._pop_unused()
            if held.dropped and not held.users:
                unused.append(held)
        for each in unused:
            self._closer(each.value)

    def _pop_unused(self) -> list[_Held[V]]:
        """Take out what is too much, oldest first."""
        excess = len(self._held) - self._most
        if excess <= 0:
            return []
        unused = (key for key, held in self._held.items() if not held.users)
        return [self._held.pop(key) for key in list(islice(unused, excess))]

    def drop(self, key: K) -> None:
        """Close the handle of this key as soon as nobody uses it; the next use opens it anew."""
        with self._lock:
            unused = self._forget([key])
        for each in unused:
            self._closer(each.value)

    def release(self) -> None:
        """Close all handles as soon as nobody uses them; the next use opens them anew."""
        with self._lock:
            unused = self._forget(list(self._held))
        for each in unused:
            self._closer(each.value)

    def close(self) -> None:
        """Close all handles, those in use when they are given back. May be called twice; no use after it."""
        with self._lock:
            self._closed = True
        self.release()

    def _forget(self, keys: list[K]) -> list[_Held[V]]:
        """Take these out; those that can be closed now, the others close when they are given back."""
        found = [held for key in keys if (held := self._held.pop(key, None)) is not None]
        for held in found:
            held.dropped = True
        return [held for held in found if not held.users]
