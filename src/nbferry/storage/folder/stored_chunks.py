"""Which chunks are stored, which of them are durable, and the digests of those that are not yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from nbferry.model.ranges import RangeSet


class StoredChunks:
    """Thread-safe. Only the thread that flushes calls ``begin`` and ``lose``."""

    def __init__(self) -> None:
        self._have = self._durable = RangeSet()
        self._unsynced: dict[int, bytes] = {}
        # Counts failed flushes.
        self._losses = 0
        self._lock = threading.Lock()

    @property
    def have(self) -> RangeSet:
        """The chunks that count as stored."""
        with self._lock:
            return self._have

    @property
    def durable(self) -> RangeSet:
        """The chunks that the journal has recorded."""
        with self._lock:
            return self._durable

    def start_with(self, durable: RangeSet) -> None:
        """Start with chunks that an earlier run stored and recorded."""
        with self._lock:
            self._have = self._durable = durable

    def keep(self, write: Callable[[], Mapping[int, bytes]]) -> RangeSet:
        """Count the chunks that ``write`` returns, with their digests, as stored.

        Calls ``write`` again if a flush failed meanwhile, because that flush may have lost what it wrote.
        """
        while True:
            with self._lock:
                losses = self._losses
            written = write()
            with self._lock:
                if losses == self._losses:
                    self._unsynced.update(written)
                    chunks = RangeSet.of(*written)
                    self._have |= chunks
                    return chunks

    # -------------------------------------------------------------- a flush
    def begin(self) -> dict[int, bytes]:
        """Take the chunks that are not yet durable; chunks stored later wait for the next flush."""
        with self._lock:
            taken, self._unsynced = self._unsynced, {}
            return taken

    def succeed(self, taken: Mapping[int, bytes]) -> None:
        """Count these as durable: they and their record are on the disk."""
        with self._lock:
            self._durable |= RangeSet.of(*taken)

    def give_back(self, taken: Mapping[int, bytes]) -> None:
        """Return these to the next flush: they are on the disk, but their record is not."""
        with self._lock:
            self._unsynced = {**taken, **self._unsynced}

    def lose(self) -> None:
        """Keep only durable chunks: a system reports lost writes once, and does not say which."""
        with self._lock:
            self._have, self._unsynced = self._durable, {}
            self._losses += 1

    def drop(self, chunks: RangeSet) -> None:
        """Drop chunks that turned out to be damaged."""
        with self._lock:
            self._have -= chunks
            self._durable -= chunks
