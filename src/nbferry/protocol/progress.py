"""Which stored chunks are durable, which are being flushed, and which the sender does not know of yet.

Only changes are kept: comparing all that is stored with all that was reported would cost more than a chunk.
"""

from __future__ import annotations

from nbferry.model.ranges import RangeSet


class Progress:
    """``durable`` survives a crash, ``syncing`` is being flushed, ``unsynced`` is stored and in no flush yet."""

    def __init__(self, have: RangeSet) -> None:
        self.durable = have
        self.unsynced = RangeSet()
        self.syncing: RangeSet | None = None
        self._news = (RangeSet(), RangeSet())
        self._afresh = True  # an earlier run may have reported chunks that are lost now

    def stored(self, chunks: RangeSet) -> None:
        """Note chunks that are stored now."""
        self.unsynced |= chunks
        self._news = (self._news[0] | chunks, self._news[1])

    def begin_sync(self) -> None:
        """Note that a flush begins."""
        self.syncing, self.unsynced = self.unsynced, RangeSet()

    def synced(self) -> None:
        """Note that the flush is done."""
        self._harden(self.syncing or RangeSet())
        self.syncing = None

    def published(self) -> None:
        """Note that all that is stored is durable."""
        self.synced()
        self._harden(self.unsynced)
        self.unsynced = RangeSet()

    def _harden(self, chunks: RangeSet) -> None:
        self.durable |= chunks
        self._news = (self._news[0], self._news[1] | chunks)

    def flush_failed(self) -> None:
        """Note that the flush failed, and nothing of it is durable."""
        self.unsynced |= self.syncing or RangeSet()
        self.syncing = None

    def lost(self, chunks: RangeSet) -> None:
        """Note chunks that are no longer stored."""
        self.durable -= chunks
        self.unsynced -= chunks
        if self.syncing is not None:
            self.syncing -= chunks
        self._afresh = True

    def report_afresh(self) -> None:
        """Report everything next: the sender may be a new process that knows nothing."""
        self._afresh = True

    def news(self, verified: RangeSet) -> tuple[RangeSet, RangeSet, bool]:
        """The chunks verified and durable since the last call, and False; or all of them, and True."""
        news = (verified, self.durable, True) if self._afresh else (*self._news, False)
        self._news, self._afresh = (RangeSet(), RangeSet()), False
        return news
