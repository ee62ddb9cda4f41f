"""What of the stored chunks is durable, what is being made so, and what the sender has not heard of yet.

Kept as what changed: to compare all that is stored with all that was reported would cost more than a chunk.
"""

from __future__ import annotations

from nbferry.model.ranges import RangeSet


class Progress:
    """``durable`` survives a crash, ``unsynced`` is stored and in no flush yet, ``syncing`` in the one under way."""

    def __init__(self, have: RangeSet) -> None:
        self.durable = have
        self.unsynced = RangeSet()
        self.syncing: RangeSet | None = None
        self._news = (RangeSet(), RangeSet())
        self._afresh = True  # the sender may have heard from an earlier run what is not true any more

    def stored(self, chunks: RangeSet) -> None:
        """These are stored now."""
        self.unsynced |= chunks
        self._news = (self._news[0] | chunks, self._news[1])

    def begin_sync(self) -> None:
        """A flush begins."""
        self.syncing, self.unsynced = self.unsynced, RangeSet()

    def synced(self) -> None:
        """The flush is done."""
        self._harden(self.syncing or RangeSet())
        self.syncing = None

    def published(self) -> None:
        """All that is stored is durable."""
        self.synced()
        self._harden(self.unsynced)
        self.unsynced = RangeSet()

    def _harden(self, chunks: RangeSet) -> None:
        self.durable |= chunks
        self._news = (self._news[0], self._news[1] | chunks)

    def flush_failed(self) -> None:
        """The flush is over, and nothing of it is durable."""
        self.unsynced |= self.syncing or RangeSet()
        self.syncing = None

    def lost(self, chunks: RangeSet) -> None:
        """These are stored no more."""
        self.durable -= chunks
        self.unsynced -= chunks
        if self.syncing is not None:
            self.syncing -= chunks
        self._afresh = True

    def report_afresh(self) -> None:
        """The next report has everything: who hears it may know of nothing."""
        self._afresh = True

    def news(self, verified: RangeSet) -> tuple[RangeSet, RangeSet, bool]:
        """What became verified and durable since the last call, or with True all that is."""
        news = (verified, self.durable, True) if self._afresh else (*self._news, False)
        self._news, self._afresh = (RangeSet(), RangeSet()), False
        return news
