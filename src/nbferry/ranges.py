"""A set of whole numbers kept as ranges: which chunks are wanted, stored, durable.

``RangeSet()`` is the neutral element of ``|``, so that progress is a merge: ``have |= RangeSet.of(n)``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class RangeSet:
    """Sorted, disjoint, non-adjacent half-open ranges ``(start, stop)``."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, *numbers: int) -> RangeSet:
        """The set of exactly these numbers."""
        return cls.union((n, n + 1) for n in numbers)

    @classmethod
    def span(cls, start: int, stop: int) -> RangeSet:
        """The numbers from ``start`` up to, not including, ``stop``."""
        return cls(((start, stop),)) if start < stop else cls()

    @classmethod
    def union(cls, ranges: Iterable[tuple[int, int]]) -> RangeSet:
        """The set covered by any ranges, in any order, overlapping or not."""
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

    def __or__(self, other: RangeSet) -> RangeSet:
        return RangeSet.union((*self.ranges, *other.ranges)) if other else self

    def __and__(self, other: RangeSet) -> RangeSet:
        common = []
        mine, theirs = iter(self.ranges), iter(other.ranges)
        a, b = next(mine, None), next(theirs, None)
        while a and b:
            common.append((max(a[0], b[0]), min(a[1], b[1])))
            if a[1] < b[1]:
                a = next(mine, None)
            else:
                b = next(theirs, None)
        return RangeSet(tuple(r for r in common if r[0] < r[1]))

    def __sub__(self, other: RangeSet) -> RangeSet:
        if not self or not other:
            return self
        low, high = self.ranges[0][0], self.ranges[-1][1]
        edges = [(low, low), *other.ranges, (high, high)]
        gaps = ((left[1], right[0]) for left, right in pairwise(edges))
        return self & RangeSet(tuple(gap for gap in gaps if gap[0] < gap[1]))

    def first(self, count: int) -> RangeSet:
        """The ``count`` smallest numbers."""
        taken = []
        for start, stop in self.ranges:
            if count <= 0:
                break
            taken.append((start, min(stop, start + count)))
            count -= stop - start
        return RangeSet(tuple(taken))
