"""Which chunks count as stored, which of these are durable, and the digests of those that are not yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from nbferry.model.ranges import RangeSet


class StoredChunks:
    """May be used from several threads. ``begin`` and ``lose`` are for the one that flushes."""

    def __init__(self) -> None:
        self._have = self._durable = RangeSet()
        self._unsynced: dict[int, bytes] = {}
        self._losses = 0  # times that a flush failed
        self._lock = threading.Lock()

    @property
    def have(self) -> RangeSet:
        """What counts as stored."""
        with self._lock:
            return self._have

    @property
    def durable(self) -> RangeSet:
        """What the journal vouches for."""
        with self._lock:
            return self._durable

    def start_with(self, durable: RangeSet) -> None:
        """An earlier run has stored and recorded these."""
        with self._lock:
            self._have = self._durable = durable

    def keep(self, write: Callable[[], Mapping[int, bytes]]) -> RangeSet:
        """Count as stored what ``write`` says it wrote: chunks and digests.

        It is called again if a flush failed meanwhile, which may have lost what was written before it.
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
        """Take what is stored and not yet durable; what is stored from now on waits for the next flush."""
        with self._lock:
            taken, self._unsynced = self._unsynced, {}
            return taken

    def succeed(self, taken: Mapping[int, bytes]) -> None:
        """These are on the disk, and so is the record of them."""
        with self._lock:
            self._durable |= RangeSet.of(*taken)

    def give_back(self, taken: Mapping[int, bytes]) -> None:
        """These are on the disk, but the record of them is not: the next flush takes them again."""
        with self._lock:
            self._unsynced = {**taken, **self._unsynced}

    def lose(self) -> None:
        """Only what was durable before still counts: a system reports once that writes were lost, and not which."""
        with self._lock:
            self._have, self._unsynced = self._durable, {}
            self._losses += 1

    def drop(self, chunks: RangeSet) -> None:
        """These turned out to be damaged."""
        with self._lock:
            self._have -= chunks
            self._durable -= chunks
