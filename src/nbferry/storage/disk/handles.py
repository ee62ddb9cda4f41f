"""A cache of open files and folders, so that reading a chunk need not open its file again."""

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

MAX_IDLE = 64
"""Far below the 256 descriptors that macOS gives a process."""


@dataclass(slots=True)
class _Held(Generic[V]):
    value: V
    users: int = 0
    dropped: bool = False


class Handles(Generic[K, V]):
    """Keeps at most ``limit`` unused handles open; beyond that it closes the one unused for longest.

    Several threads may use it; they share a handle. ``opener`` runs under the lock, so that a file is created
    once; reading and writing do not.
    """

    def __init__(self, opener: Callable[[K], V], closer: Callable[[V], None], limit: int = MAX_IDLE) -> None:
        self._opener, self._closer, self._limit = opener, closer, limit
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def use(self, key: K) -> Iterator[V]:
        """Return a context with the handle of this key, opened if necessary and kept open."""
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
        """Remove surplus unused handles from the cache, oldest first."""
        excess = len(self._held) - self._limit
        if excess <= 0:
            return []
        unused = (key for key, held in self._held.items() if not held.users)
        return [self._held.pop(key) for key in list(islice(unused, excess))]

    def drop(self, key: K) -> None:
        """Close the handle of this key as soon as it is unused; the next use opens it again."""
        with self._lock:
            unused = self._forget([key])
        for each in unused:
            self._closer(each.value)

    def release(self) -> None:
        """Close all handles as soon as they are unused; the next use opens them again."""
        with self._lock:
            unused = self._forget(list(self._held))
        for each in unused:
            self._closer(each.value)

    def close(self) -> None:
        """Close all handles, those in use when they are returned; none can be used later. May be called twice."""
        with self._lock:
            self._closed = True
        self.release()

    def _forget(self, keys: list[K]) -> list[_Held[V]]:
        """Remove handles from the cache; return the unused ones. The others close when they are returned."""
        found = [held for key in keys if (held := self._held.pop(key, None)) is not None]
        for held in found:
            held.dropped = True
        return [held for held in found if not held.users]
