"""A set of whole numbers stored as ranges: which chunks are requested, stored, durable.

``RangeSet()`` is the neutral element of ``|``, so progress is a merge: ``have |= RangeSet.of(n)``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RangeSet:
    """Sorted, disjoint, non-adjacent half-open ranges ``(start, stop)``."""

    ranges: Ranges = ()

    @classmethod
    def of(cls, *numbers: int) -> RangeSet:
        """Return the set of exactly these numbers."""
        return cls.union((n, n + 1) for n in numbers)

    @classmethod
    def span(cls, start: int, stop: int) -> RangeSet:
        """Return the numbers from ``start`` up to, not including, ``stop``."""
        return cls(((start, stop),)) if start < stop else cls()

    @classmethod
    def union(cls, ranges: Iterable[tuple[int, int]]) -> RangeSet:
        """Return the set covered by any ranges, in any order, overlapping or not."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(r for r in ranges if r[0] < r[1]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
            else:
                merged.append((start, stop))
        return cls(tuple(merged))

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges:
            yield from range(start, stop)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.ranges, (number, float("inf"))) - 1
        return at >= 0 and number < self.ranges[at][1]

    # A set may have as many ranges as a disk has holes, and changes in one place at a time. So the operators
    # examine only the ranges near the other set and copy the rest.
    def _near(self, low: int, high: int) -> slice:
        """Find the ranges with numbers from ``low`` up to, not including, ``high``."""
        first = bisect_right(self.ranges, low, key=itemgetter(1))
        return slice(first, bisect_left(self.ranges, high, key=itemgetter(0)))

    @property
    def _bounds(self) -> tuple[int, int]:
        return self.ranges[0][0], self.ranges[-1][1]

    def __or__(self, other: RangeSet) -> RangeSet:
        few, many = sorted((self, other), key=lambda ranges: len(ranges.ranges))
        if not few:
            return many
        low, high = few._bounds
        # Ranges that only touch are joined too.
        near = many._near(low - 1, high + 1)
        joined = RangeSet.union((*many.ranges[near], *few.ranges))
        return RangeSet(many.ranges[: near.start] + joined.ranges + many.ranges[near.stop :])

    def __and__(self, other: RangeSet) -> RangeSet:
        if not self or not other:
            return RangeSet()
        (low, high), (first, last) = self._bounds, other._bounds
        low, high = max(low, first), min(high, last)
        if low >= high:
            return RangeSet()
        return RangeSet(_common(self.ranges[self._near(low, high)], other.ranges[other._near(low, high)]))

    def __sub__(self, other: RangeSet) -> RangeSet:
        if not self or not other:
            return self
        near = self._near(*other._bounds)
        touched = RangeSet(self.ranges[near])
        if not touched:
            return self
        gaps = _gaps(other.ranges[other._near(*touched._bounds)], *touched._bounds)
        kept = gaps if len(touched.ranges) == 1 else _common(touched.ranges, gaps)
        return RangeSet(self.ranges[: near.start] + kept + self.ranges[near.stop :])

    def first(self, count: int) -> RangeSet:
        """Return the ``count`` smallest numbers."""
        taken = []
        for start, stop in self.ranges:
            if count <= 0:
                break
            taken.append((start, min(stop, start + count)))
            count -= stop - start
        return RangeSet(tuple(taken))


def _gaps(ranges: Ranges, low: int, high: int) -> Ranges:
    """Return the gaps between ranges from ``low`` up to, not including, ``high``."""
    starts = [start for start, _ in ranges]
    stops = [stop for _, stop in ranges]
    return tuple(gap for gap in zip([low, *stops], [*starts, high], strict=True) if gap[0] < gap[1])


def _common(mine: Ranges, theirs: Ranges) -> Ranges:
    """Return the ranges that two sets have in common."""
    common = []
    left, right = iter(mine), iter(theirs)
    a, b = next(left, None), next(right, None)
    while a and b:
        start, stop = max(a[0], b[0]), min(a[1], b[1])
        if start < stop:
            common.append((start, stop))
        if a[1] < b[1]:
            a = next(left, None)
        else:
            b = next(right, None)
    return tuple(common)
