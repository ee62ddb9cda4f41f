"""Which digests are asked for, and what is compared: how much of it at once."""

from __future__ import annotations

import pytest

from nbferry.errors import RemoteProtocolError
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import AT_ONCE, COMPARE_BYTES, COMPARE_CHUNKS, MAX_ASKED, Candidates
from nbferry.protocol.frames import LeafRun

CHUNK = 4096


def candidates_of(count: int, chunk_size: int = CHUNK) -> Candidates:
    """So many candidates."""
    return Candidates(Manifest.of([Entry("a", count * chunk_size)], chunk_size), RangeSet.span(0, count))


def run(first: int, stop: int) -> LeafRun:
    """Digests of some chunks, each another."""
    digests = b"".join(chunk.to_bytes(32) for chunk in range(first, stop))
    return LeafRun(first, memoryview(digests))


def test_all_of_few_are_asked_for_at_once() -> None:
    """What fits is asked for in one question, and once."""
    candidates = candidates_of(5)
    assert candidates.next_ask() == RangeSet.span(0, 5)
    assert candidates.next_ask() == RangeSet()


def test_more_is_asked_for_when_half_is_done() -> None:
    """Answers that are not compared yet count like questions, so that neither side holds more."""
    candidates = candidates_of(2 * MAX_ASKED)
    assert candidates.next_ask() == RangeSet.span(0, MAX_ASKED)
    candidates.told(run(0, MAX_ASKED))
    assert candidates.next_ask() == RangeSet()
    for _ in range(MAX_ASKED // 2 // COMPARE_CHUNKS):
        assert candidates.next_ask() == RangeSet()
        candidates.compared([chunk for chunk, _ in candidates.next_compare()])
    assert candidates.next_ask() == RangeSet.span(MAX_ASKED, MAX_ASKED + MAX_ASKED // 2)


def test_what_nobody_asked_for() -> None:
    """A digest must have been asked for, and comes once."""
    candidates = candidates_of(5)
    with pytest.raises(RemoteProtocolError):
        candidates.told(run(0, 1))
    candidates.next_ask()
    candidates.told(run(0, 2))
    with pytest.raises(RemoteProtocolError):
        candidates.told(run(1, 3))


def test_what_is_compared_at_once() -> None:
    """A few goes of a few chunks are compared at a time; the next when one of them is done."""
    candidates = candidates_of(1000)
    candidates.next_ask()
    candidates.told(run(0, 1000))
    goes = [candidates.next_compare() for _ in range(AT_ONCE)]
    assert [len(go) for go in goes] == [COMPARE_CHUNKS] * AT_ONCE
    assert goes[0][3] == (3, (3).to_bytes(32))
    assert candidates.next_compare() == ()
    assert candidates.compared([5, 6]) == {5: (5).to_bytes(32), 6: (6).to_bytes(32)}
    assert candidates.next_compare() == ()
    candidates.compared([chunk for chunk, _ in goes[0] if chunk not in (5, 6)])
    assert len(candidates.next_compare()) == COMPARE_CHUNKS


@pytest.mark.parametrize("size", [1 * MiB, 8 * MiB, 64 * MiB])
def test_bytes_that_are_compared_at_once(size: int) -> None:
    """Of large chunks fewer are compared at once, one at least."""
    candidates = candidates_of(1000, size)
    candidates.next_ask()
    candidates.told(run(0, 1000))
    goes = []
    while go := candidates.next_compare():
        goes.append(go)
    assert all(len(go) == max(1, COMPARE_BYTES // size) for go in goes)
    assert len(goes) == max(1, AT_ONCE * COMPARE_BYTES // max(size, COMPARE_BYTES))


def test_what_could_not_be_compared() -> None:
    """What is put back is compared first; what is not being compared is not put back."""
    candidates = candidates_of(200)
    candidates.next_ask()
    candidates.told(run(0, 200))
    first = candidates.next_compare()
    candidates.put_back([chunk for chunk, _ in first])
    candidates.put_back([0, 150])
    assert candidates.next_compare() == first


def test_a_lost_link() -> None:
    """What was asked for and not told is asked for again; what was told is not."""
    candidates = candidates_of(10)
    candidates.next_ask()
    candidates.told(run(3, 5))
    candidates.link_lost()
    assert candidates.next_ask() == RangeSet(((0, 3), (5, 10)))
    assert len(candidates.next_compare()) == 2
