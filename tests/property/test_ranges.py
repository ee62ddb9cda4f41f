"""Sets of ranges behave as Python's sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nbferry.model.ranges import RangeSet

NUMBERS = st.integers(0, 40)
SETS = st.sets(NUMBERS)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS))


def of(numbers: set[int]) -> RangeSet:
    """The same numbers as ranges, in a checked form."""
    ranges = RangeSet.of(*numbers)
    well_formed(ranges)
    return ranges


def well_formed(ranges: RangeSet) -> None:
    """Assert that ranges are sorted, not empty, and do not touch."""
    assert all(start < stop for start, stop in ranges.ranges)
    assert all(left[1] < right[0] for left, right in pairwise(ranges.ranges))


@given(SETS)
def test_a_set_has_its_numbers(numbers: set[int]) -> None:
    """Numbers, length, truth and membership equal those of the set."""
    ranges = of(numbers)
    assert list(ranges) == sorted(numbers)
    assert len(ranges) == len(numbers)
    assert bool(ranges) is bool(numbers)
    assert [n in ranges for n in range(-1, 42)] == [n in numbers for n in range(-1, 42)]


@given(SETS, SETS)
def test_operations(left: set[int], right: set[int]) -> None:
    """Union, intersection and difference equal those of the sets, and equal sets are equal."""
    a, b = of(left), of(right)
    for ranges, numbers in ((a | b, left | right), (a & b, left & right), (a - b, left - right)):
        well_formed(ranges)
        assert set(ranges) == numbers
    assert (a == b) is (left == right)
    assert a | RangeSet() == RangeSet() | a == a


@given(SETS, st.integers(-3, 50))
def test_the_first_few(numbers: set[int], count: int) -> None:
    """The first numbers are the smallest ones."""
    first = of(numbers).first(count)
    well_formed(first)
    assert list(first) == sorted(numbers)[: max(0, count)]


@given(PAIRS)
def test_any_ranges(pairs: list[tuple[int, int]]) -> None:
    """Any ranges, also reversed and overlapping ones, cover the numbers that lie in one of them."""
    ranges = RangeSet.union(pairs)
    well_formed(ranges)
    assert set(ranges) == {n for start, stop in pairs for n in range(start, stop)}
    for start, stop in pairs:
        assert set(RangeSet.span(start, stop)) == set(range(start, stop))
