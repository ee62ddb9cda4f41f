"""What the receiver still needs, what it has asked for and what it is storing: the flow control of a transfer."""

from __future__ import annotations

from collections import Counter

from nbferry.errors import DigestMismatch, RemoteProtocolError, StorageError
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet

CHUNK_COST = 64  # bytes that a chunk costs beside its data, so that a million empty files are bounded too


class Window:
    """Every chunk is in exactly one of five sets.

    ``candidates`` (bytes are here that may be right), ``needed``, ``awaited`` (from the peer), ``storing``, ``have``.
    """

    def __init__(
        self, manifest: Manifest, limits: Limits, have: RangeSet, candidates: RangeSet | None = None
    ) -> None:
        self._manifest = manifest
        self._limits = limits
        self._damaged: Counter[int] = Counter()
        self._lost = [RangeSet()] * (limits.chunk_attempts - 1)  # once, twice ...
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
        """What to ask for now: as many of the lowest as the window has room for, once a quarter of it is free."""
        room = self._limits.window - self.outstanding
        if not self.needed or (room < self._limits.window // 4 and (self.awaited or self.storing)):
            return RangeSet()
        wanted = self._worth(room)
        self.ask(wanted)
        return wanted

    def ask(self, chunks: RangeSet) -> None:
        """These are asked for, whether there is room or not."""
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
        """These came in whole; each must have been asked for, once."""
        if chunks - self.awaited:
            raise RemoteProtocolError("A chunk arrived that was not asked for.")
        self.awaited -= chunks
        self.storing |= chunks

    def stored(self, tried: RangeSet, right: RangeSet) -> None:
        """Of the chunks that were tried, these were right and are stored; the others are needed again."""
        self.storing -= tried
        self.have |= right
        for chunk in tried - right:
            self._damaged[chunk] += 1
            if self._damaged[chunk] >= self._limits.chunk_attempts:
                raise DigestMismatch
        self.needed |= tried - right

    def unstored(self, tried: RangeSet) -> None:
        """These could not be written: they are needed again."""
        self.storing -= tried
        self.needed |= tried

    def compared(self, tried: RangeSet, right: RangeSet) -> None:
        """Of these candidates some are right and stored; the others are needed."""
        self.candidates -= tried
        self.have |= right
        self.needed |= tried - right

    def count_loss(self, chunks: RangeSet) -> None:
        """The storage lost these; raises :class:`StorageError` when it does so again and again to one of them."""
        again = chunks
        for times, before in enumerate(self._lost):
            self._lost[times], again = before | again, before & again
        if again:
            raise StorageError(
                "What is written here does not last.", hint="Check the disk, then start again."
            )

    def forget(self, chunks: RangeSet) -> None:
        """These are stored, and are needed again."""
        self.have -= chunks
        self.needed |= chunks

    def link_lost(self) -> None:
        """What was under way will not come."""
        self.needed |= self.awaited
        self.awaited = RangeSet()
