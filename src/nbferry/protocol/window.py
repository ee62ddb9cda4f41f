"""The flow control of a transfer: what the receiver needs, has asked for, and is storing."""

from __future__ import annotations

from collections import Counter

from nbferry.errors import DigestMismatch, RemoteProtocolError, StorageError
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet

CHUNK_COST = 64  # bytes charged for a chunk beside its data, so that a million empty files are bounded too


class Window:
    """Every chunk is in exactly one of five sets.

    ``candidates`` (of an older copy), ``needed``, ``awaited`` (from the peer), ``storing``, ``have``.
    """

    def __init__(
        self, manifest: Manifest, limits: Limits, have: RangeSet, candidates: RangeSet | None = None
    ) -> None:
        self._manifest = manifest
        self._limits = limits
        self._damaged: Counter[int] = Counter()
        self._lost = [RangeSet()] * (limits.chunk_attempts - 1)  # chunks lost once, twice ...
        self.have = have
        self.candidates = (candidates or RangeSet()) - have
        self.needed = RangeSet.span(0, manifest.chunk_count) - (have | self.candidates)
        self.awaited = RangeSet()
        self.storing = RangeSet()

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored."""
        return not (self.candidates or self.needed or self.awaited or self.storing)

    @property
    def outstanding(self) -> int:
        """Bytes that were asked for and are not yet stored; never above ``Limits.window`` by more than a chunk."""
        return self._cost(self.awaited) + self._cost(self.storing)

    def next_want(self) -> RangeSet:
        """What to ask for now: the lowest chunks that the window has room for, once a quarter of it is free."""
        room = self._limits.window - self.outstanding
        if not self.needed or (room < self._limits.window // 4 and (self.awaited or self.storing)):
            return RangeSet()
        wanted = self._worth(room)
        self.ask(wanted)
        return wanted

    def ask(self, chunks: RangeSet) -> None:
        """Note chunks that are asked for, with or without room."""
        self.needed -= chunks
        self.awaited |= chunks

    def _worth(self, room: int) -> RangeSet:
        """The lowest needed chunks that cost at most ``room``; at least one if nothing else is under way."""
        taken: list[tuple[int, int]] = []
        for start, stop in self.needed.ranges:
            last = self._affordable(start, stop, room)
            if last > start:
                taken.append((start, last))
            if last < stop:
                break
            room -= self._cost(RangeSet.span(start, last))
        return RangeSet(tuple(taken)) or (RangeSet() if self.outstanding else self.needed.first(1))

    def _affordable(self, start: int, stop: int, room: int) -> int:
        low, high = start, stop
        while low < high:
            middle = (low + high + 1) // 2
            if self._cost(RangeSet.span(start, middle)) <= room:
                low = middle
            else:
                high = middle - 1
        return low

    def _cost(self, chunks: RangeSet) -> int:
        return self._manifest.bytes_in(chunks) + CHUNK_COST * len(chunks)

    def arrived(self, chunks: RangeSet) -> None:
        """Note chunks that have arrived completely; each must have been asked for, once."""
        if chunks - self.awaited:
            raise RemoteProtocolError("A chunk arrived that was not asked for.")
        self.awaited -= chunks
        self.storing |= chunks

    def stored(self, tried: RangeSet, right: RangeSet) -> None:
        """Note the outcome of storing: the right chunks are stored, the others are needed again."""
        self.storing -= tried
        self.have |= right
        for chunk in tried - right:
            self._damaged[chunk] += 1
            if self._damaged[chunk] >= self._limits.chunk_attempts:
                raise DigestMismatch
        self.needed |= tried - right

    def unstored(self, tried: RangeSet) -> None:
        """Note chunks that could not be written: they are needed again."""
        self.storing -= tried
        self.needed |= tried

    def compared(self, tried: RangeSet, right: RangeSet) -> None:
        """Note the outcome of a comparison: the right candidates are stored, the others are needed."""
        self.candidates -= tried
        self.have |= right
        self.needed |= tried - right

    def count_loss(self, chunks: RangeSet) -> None:
        """Count chunks that the storage lost; raises :class:`StorageError` if it loses one too often."""
        again = chunks
        for times, before in enumerate(self._lost):
            self._lost[times], again = before | again, before & again
        if again:
            raise StorageError(
                "The disk loses what is written to it.", hint="Check the disk, then start the transfer again."
            )

    def forget(self, chunks: RangeSet) -> None:
        """Want stored chunks again."""
        self.have -= chunks
        self.needed |= chunks

    def link_lost(self) -> None:
        """Want again what was under way."""
        self.needed |= self.awaited
        self.awaited = RangeSet()
