"""The flow control of a receiver: what is asked for, what comes, what is stored."""

from __future__ import annotations

import pytest

from nbferry.errors import DigestMismatch, RemoteProtocolError, StorageError
from nbferry.limits import KiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.window import CHUNK_COST, Window

CHUNK = 4 * KiB
COST = CHUNK + CHUNK_COST
LIMITS = Limits(chunk_size=CHUNK, window=4 * COST, read_ahead=4 * CHUNK)


def window_of(sizes: list[int], have: RangeSet | None = None, limits: Limits = LIMITS) -> Window:
    """A window over files of these sizes."""
    manifest = Manifest.of([Entry(f"f{n}", size) for n, size in enumerate(sizes)], limits.chunk_size)
    return Window(manifest, limits, have or RangeSet())


def test_as_much_is_wanted_as_the_window_holds() -> None:
    """The lowest chunks are asked for first, and no more of them than the window has room for."""
    window = window_of([20 * CHUNK])
    assert window.next_want() == RangeSet.span(0, 4)
    assert window.next_want() == RangeSet()
    assert window.outstanding == 4 * COST


def test_nothing_new_is_wanted_by_who_has_everything() -> None:
    """A receiver that has all chunks wants nothing and is complete."""
    window = window_of([3 * CHUNK], have=RangeSet.span(0, 3))
    assert window.complete
    assert window.next_want() == RangeSet()


def test_only_what_is_lacking_is_wanted() -> None:
    """What is stored already is left out of what is asked for."""
    window = window_of([6 * CHUNK], have=RangeSet.of(0, 2, 3))
    assert window.next_want() == RangeSet.of(1, 4, 5)


def test_what_is_asked_for_counts() -> None:
    """A chunk that is asked for out of turn takes its room in the window."""
    window = window_of([20 * CHUNK])
    window.ask(RangeSet.of(9))
    assert window.outstanding == COST
    assert window.next_want() == RangeSet.span(0, 3)
    window.link_lost()
    assert window.next_want() == RangeSet.span(0, 4)


def test_the_disk_sets_the_pace() -> None:
    """Chunks that wait for the disk keep the window closed; when a quarter of it is free, more is wanted."""
    window = window_of([20 * CHUNK])
    window.next_want()
    window.arrived(RangeSet.span(0, 4))
    assert window.next_want() == RangeSet()
    window.stored(RangeSet.of(0), RangeSet.of(0))
    assert window.next_want() == RangeSet.of(4)


def test_a_little_room_is_not_worth_a_question() -> None:
    """With less than a quarter free nothing is asked for, unless nothing is under way."""
    window = window_of([CHUNK] * 3 + [100] * 30)
    assert window.next_want() == RangeSet.span(0, 28)
    window.arrived(RangeSet.of(3))
    window.stored(RangeSet.of(3), RangeSet.of(3))
    assert window.next_want() == RangeSet()
    window.arrived(window.awaited)
    window.stored(window.storing, window.storing)
    assert window.next_want() == RangeSet.span(28, 33)
    window.arrived(window.awaited)
    window.stored(window.storing, window.storing)
    assert window.complete


def test_a_chunk_that_the_window_cannot_hold() -> None:
    """A chunk larger than the whole window is asked for alone."""
    manifest = Manifest.of([Entry("a", 3 * 64 * KiB)], 64 * KiB)
    window = Window(manifest, LIMITS, RangeSet())
    assert window.next_want() == RangeSet.of(0)
    assert window.next_want() == RangeSet()
    assert window.outstanding == 64 * KiB + CHUNK_COST
    window.arrived(RangeSet.of(0))
    assert window.next_want() == RangeSet()
    window.stored(RangeSet.of(0), RangeSet.of(0))
    assert window.next_want() == RangeSet.of(1)


def test_a_large_chunk_waits_for_room() -> None:
    """What does not fit beside the chunks that are under way is asked for when they are stored."""
    window = window_of(
        [CHUNK, 100, 100, CHUNK], limits=Limits(chunk_size=CHUNK, window=CHUNK, read_ahead=CHUNK)
    )
    assert window.next_want() == RangeSet.of(0)
    window.arrived(RangeSet.of(0))
    window.stored(RangeSet.of(0), RangeSet.of(0))
    assert window.next_want() == RangeSet.of(1, 2)
    assert window.next_want() == RangeSet()


def test_empty_files_are_bounded_too() -> None:
    """A chunk without data costs something, so that a million of them are not all asked for at once."""
    window = window_of([0] * 1000)
    assert len(window.next_want()) == LIMITS.window // CHUNK_COST


@pytest.mark.parametrize("chunk", [0, 9])
def test_what_was_not_asked_for(chunk: int) -> None:
    """A chunk that nobody wants, or that came already, is the other side's mistake."""
    window = window_of([20 * CHUNK])
    window.next_want()
    window.arrived(RangeSet.of(0))
    with pytest.raises(RemoteProtocolError):
        window.arrived(RangeSet.of(chunk))


def test_a_damaged_chunk_is_wanted_again() -> None:
    """A chunk that fails its digest is needed again, until it has failed as often as the limits say."""
    window = window_of([CHUNK])
    for _ in range(LIMITS.chunk_attempts - 1):
        assert window.next_want() == RangeSet.of(0)
        window.arrived(RangeSet.of(0))
        window.stored(RangeSet.of(0), RangeSet())
        assert not window.complete
    window.next_want()
    window.arrived(RangeSet.of(0))
    with pytest.raises(DigestMismatch):
        window.stored(RangeSet.of(0), RangeSet())


def test_what_could_not_be_written() -> None:
    """Chunks for which the disk had no room are needed again, however often, and are not damaged."""
    window = window_of([2 * CHUNK])
    for _ in range(LIMITS.chunk_attempts + 1):
        assert window.next_want() == RangeSet.of(0, 1)
        window.arrived(RangeSet.of(0, 1))
        window.unstored(RangeSet.of(0, 1))
    assert window.outstanding == 0
    assert window.have == RangeSet()


def test_a_lost_link() -> None:
    """What was under way is needed again; what is being stored is not."""
    window = window_of([3 * CHUNK])
    window.next_want()
    window.arrived(RangeSet.of(1))
    window.link_lost()
    assert window.needed == RangeSet.of(0, 2)
    assert window.storing == RangeSet.of(1)
    assert not window.complete


def test_a_file_that_is_forgotten() -> None:
    """The chunks of a file whose digest does not fit are needed again."""
    window = window_of([CHUNK, CHUNK], have=RangeSet.span(0, 2))
    window.forget(RangeSet.of(1))
    assert window.have == RangeSet.of(0)
    assert window.next_want() == RangeSet.of(1)


def test_candidates_are_not_needed_yet() -> None:
    """A chunk that may be here is neither wanted nor stored until it is compared; then it is one of both."""
    manifest = Manifest.of([Entry("a", 4 * CHUNK)], CHUNK)
    window = Window(manifest, LIMITS, RangeSet.of(0), candidates=RangeSet.of(0, 1, 2))
    assert window.candidates == RangeSet.of(1, 2)
    assert window.next_want() == RangeSet.of(3)
    window.arrived(RangeSet.of(3))
    window.stored(RangeSet.of(3), RangeSet.of(3))
    assert not window.complete
    window.compared(RangeSet.of(1), RangeSet.of(1))
    window.compared(RangeSet.of(2), RangeSet())
    assert window.have == RangeSet.of(0, 1, 3)
    assert window.next_want() == RangeSet.of(2)


def test_only_the_lowest_are_wanted() -> None:
    """What does not fit is not stepped over, so that all that is still needed lies behind what was wanted."""
    window = window_of(
        [3 * CHUNK, 100], limits=Limits(chunk_size=CHUNK, window=2 * COST + 200, read_ahead=CHUNK)
    )
    window.needed = RangeSet.of(0, 1, 2, 3)
    assert window.next_want() == RangeSet.of(0, 1)
    window = window_of([CHUNK, 100, CHUNK, 100], have=RangeSet.of(1), limits=LIMITS)
    assert window.next_want() == RangeSet.of(0, 2, 3)


def test_losses_are_counted_for_each_chunk() -> None:
    """The storage may lose as many chunks as it likes, but none as often as a chunk may arrive damaged."""
    window = window_of([9 * CHUNK], have=RangeSet.span(0, 9))
    for chunk in range(9):
        window.count_loss(RangeSet.of(chunk))
    window.count_loss(RangeSet.of(4))
    assert LIMITS.chunk_attempts == 3
    with pytest.raises(StorageError):
        window.count_loss(RangeSet.span(3, 6))
