"""What is durable, what is being made so, and what is news for the sender."""

from __future__ import annotations

from nbferry.model.ranges import RangeSet
from nbferry.protocol.progress import Progress

ONE, TWO, BOTH = RangeSet.of(1), RangeSet.of(2), RangeSet.of(1, 2)
NOTHING = RangeSet()


def test_a_flush_covers_what_was_stored_before_it() -> None:
    """What is stored while a flush runs is durable with the next."""
    progress = Progress(NOTHING)
    progress.stored(ONE)
    progress.begin_sync()
    progress.stored(TWO)
    assert (progress.syncing, progress.unsynced, progress.durable) == (ONE, TWO, NOTHING)
    progress.synced()
    assert (progress.syncing, progress.unsynced, progress.durable) == (None, TWO, ONE)
    progress.published()
    assert (progress.unsynced, progress.durable) == (NOTHING, BOTH)


def test_a_flush_that_was_not_begun() -> None:
    """The end of a flush that counts no more makes nothing durable."""
    progress = Progress(NOTHING)
    progress.stored(ONE)
    progress.synced()
    assert progress.durable == NOTHING


def test_a_flush_that_failed() -> None:
    """What a failed flush was about is due again."""
    progress = Progress(NOTHING)
    progress.stored(ONE)
    progress.begin_sync()
    progress.stored(TWO)
    progress.flush_failed()
    assert (progress.syncing, progress.unsynced, progress.durable) == (None, BOTH, NOTHING)
    progress.flush_failed()
    assert progress.unsynced == BOTH


def test_what_is_lost_is_in_no_flush() -> None:
    """A lost chunk becomes durable by no flush, begun or not."""
    progress = Progress(RangeSet.of(0))
    progress.stored(ONE)
    progress.begin_sync()
    progress.stored(TWO)
    progress.lost(RangeSet.span(0, 3))
    progress.synced()
    progress.published()
    assert progress.durable == NOTHING


def test_news_are_told_once() -> None:
    """The first report has everything; each later one what was stored or became durable after the one before."""
    progress = Progress(ONE)
    assert progress.news(ONE) == (ONE, ONE, True)
    assert progress.news(ONE) == (NOTHING, NOTHING, False)
    progress.stored(TWO)
    assert progress.news(BOTH) == (TWO, NOTHING, False)
    progress.begin_sync()
    progress.synced()
    assert progress.news(BOTH) == (NOTHING, TWO, False)


def test_after_a_loss_everything_is_news() -> None:
    """What was reported and lost can only be taken back by reporting all that is there; so after a reconnection."""
    progress = Progress(BOTH)
    progress.news(BOTH)
    progress.lost(TWO)
    assert progress.news(ONE) == (ONE, ONE, True)
    progress.report_afresh()
    assert progress.news(ONE) == (ONE, ONE, True)
