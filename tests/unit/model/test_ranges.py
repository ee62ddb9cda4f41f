"""Sets of numbers stored as ranges. tests/property/test_ranges.py compares them with Python's sets."""

from __future__ import annotations

import pytest

from nbferry.model.ranges import RangeSet

SOME = RangeSet(((0, 3), (5, 6), (10, 20)))


def test_numbers_join_to_ranges() -> None:
    """Neighbours make one range in any order, and repeated numbers count once."""
    assert RangeSet.of(4, 2, 3, 9, 2).ranges == ((2, 5), (9, 10))
    assert RangeSet.of() == RangeSet()


def test_an_empty_span() -> None:
    """A span that ends before or at its start has no numbers."""
    assert RangeSet.span(3, 5).ranges == ((3, 5),)
    assert RangeSet.span(5, 5) == RangeSet.span(6, 5) == RangeSet()


def test_a_union_takes_ranges_in_any_order() -> None:
    """Overlapping, touching, contained, empty and reversed ranges become sorted disjoint ones."""
    ranges = [(8, 9), (0, 2), (1, 4), (4, 5), (2, 3), (7, 7), (9, 6)]
    assert RangeSet.union(ranges).ranges == ((0, 5), (8, 9))


def test_length_truth_and_order() -> None:
    """A set knows its size without counting, is false when empty, and yields its numbers in order."""
    assert len(SOME) == 14
    assert len(RangeSet.span(0, 10**12)) == 10**12
    assert SOME
    assert not RangeSet()
    assert list(SOME) == [0, 1, 2, 5, *range(10, 20)]


@pytest.mark.parametrize(("number", "there"), [(-1, False), (0, True), (2, True), (3, False), (5, True)])
def test_membership(number: int, there: bool) -> None:
    """A number is in the set if it is in one of its ranges, ends excluded."""
    assert (number in SOME) is there
    assert number not in RangeSet()


def test_merging() -> None:
    """The empty set is the neutral element of a merge, on both sides."""
    assert SOME | RangeSet() == RangeSet() | SOME == SOME
    assert (SOME | RangeSet.span(3, 10)).ranges == ((0, 20),)


def test_intersection() -> None:
    """An intersection has the numbers of both, whichever range ends first."""
    other = RangeSet(((1, 2), (4, 12), (15, 30)))
    assert (SOME & other).ranges == (other & SOME).ranges == ((1, 2), (5, 6), (10, 12), (15, 20))
    assert SOME & RangeSet() == RangeSet() & SOME == RangeSet()


def test_difference() -> None:
    """A difference has the numbers of the first set alone: cut at either end, in the middle, or whole."""
    assert (SOME - RangeSet(((2, 11), (12, 13), (19, 99)))).ranges == ((0, 2), (11, 12), (13, 19))
    assert SOME - RangeSet() == SOME
    assert RangeSet() - SOME == RangeSet()
    assert not SOME - SOME
    assert SOME - RangeSet.span(100, 200) == SOME


def test_the_first_few() -> None:
    """The smallest numbers are taken across ranges, up to the size of the set."""
    assert SOME.first(4).ranges == ((0, 3), (5, 6))
    assert SOME.first(2).ranges == ((0, 2),)
    assert SOME.first(0) == RangeSet()
    assert SOME.first(1000) == SOME


def test_holes_far_away_are_left_alone() -> None:
    """In a set of very many ranges, a change in one place touches only the ranges there."""
    holes = RangeSet(tuple((n, n + 1) for n in range(0, 2_000, 2)))
    filled = holes | RangeSet.span(1001, 1004)
    assert filled.ranges == (*holes.ranges[:500], (1000, 1005), *holes.ranges[503:])
    assert filled - RangeSet.span(1001, 1004) == holes - RangeSet.of(1002)
    assert holes & RangeSet.span(999, 1003) == RangeSet.of(1000, 1002)
    assert (holes - RangeSet.of(1001)).ranges == holes.ranges
    assert (RangeSet.span(0, 2_000) - holes).ranges == tuple((n, n + 1) for n in range(1, 2_000, 2))


def test_sets_that_only_touch() -> None:
    """A range that begins where another ends joins it, on either side."""
    assert (RangeSet.span(3, 5) | SOME).ranges == ((0, 6), (10, 20))
    assert (SOME | RangeSet.span(20, 21)).ranges == ((0, 3), (5, 6), (10, 21))
    assert (SOME | RangeSet.span(30, 31)).ranges == (*SOME.ranges, (30, 31))
