"""What counts as stored, before, during and after a flush."""

from __future__ import annotations

from nbferry.model.ranges import RangeSet
from nbferry.storage.folder.stored_chunks import StoredChunks


def written(*chunks: int) -> dict[int, bytes]:
    """Chunks with any digests."""
    return {chunk: bytes([chunk]) * 32 for chunk in chunks}


def test_stored_then_durable() -> None:
    """What is written counts at once, and is durable once a flush has taken it and succeeded."""
    stored = StoredChunks()
    stored.start_with(RangeSet.of(9))
    assert stored.keep(lambda: written(1, 2)) == RangeSet.of(1, 2)
    assert (stored.have, stored.durable) == (RangeSet.of(1, 2, 9), RangeSet.of(9))
    taken = stored.begin()
    stored.keep(lambda: written(3))
    stored.succeed(taken)
    assert stored.durable == RangeSet.of(1, 2, 9)
    assert stored.begin() == written(3)


def test_a_flush_that_fails() -> None:
    """After a failed flush only what was durable before counts; the digests of the rest are forgotten."""
    stored = StoredChunks()
    stored.keep(lambda: written(1))
    stored.succeed(stored.begin())
    stored.keep(lambda: written(2))
    stored.begin()
    stored.keep(lambda: written(3))
    stored.lose()
    assert stored.have == stored.durable == RangeSet.of(1)
    assert stored.begin() == {}


def test_a_record_that_fails() -> None:
    """What is on the disk but not recorded still counts, and the next flush takes it again."""
    stored = StoredChunks()
    stored.keep(lambda: written(1))
    taken = stored.begin()
    stored.keep(lambda: written(2))
    stored.give_back(taken)
    assert stored.have == RangeSet.of(1, 2)
    assert not stored.durable
    assert stored.begin() == written(1, 2)


def test_a_flush_that_fails_while_one_writes() -> None:
    """What was written before a flush failed, but not counted yet, is written again."""
    stored = StoredChunks()
    calls = 0

    def write() -> dict[int, bytes]:
        nonlocal calls
        calls += 1
        if calls == 1:
            stored.lose()
        return written(1)

    assert stored.keep(write) == RangeSet.of(1)
    assert calls == 2
    assert stored.begin() == written(1)


def test_damage() -> None:
    """What turned out to be damaged counts no more."""
    stored = StoredChunks()
    stored.start_with(RangeSet.span(0, 5))
    stored.drop(RangeSet.of(2))
    assert stored.have == stored.durable == RangeSet.of(0, 1, 3, 4)
