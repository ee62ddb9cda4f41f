"""Chunks for which the receiver has unverified bytes: whose digests to ask for, and which to compare."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from nbferry.errors import RemoteProtocolError
from nbferry.limits import MiB
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import LeafRun

# Digests that are asked for, or received and not yet compared: 128 KiB on either side.
MAX_ASKED = 4_096
COMPARE_CHUNKS = 64  # in one batch, so that the hop to a worker thread is cheap
COMPARE_BYTES = 8 * MiB  # in one batch, so that chunks to store do not wait for long
AT_ONCE = 2  # batches: the thread need not wait for the next


class Candidates:
    """Every candidate is in exactly one of four sets: to ask for, asked for, told by the sender, being compared."""

    def __init__(self, manifest: Manifest, chunks: RangeSet) -> None:
        self._manifest = manifest
        self._unasked = chunks
        self._asked = RangeSet()
        self._told: dict[int, bytes] = {}
        self._comparing: dict[int, bytes] = {}

    def next_ask(self) -> RangeSet:
        """Whose digests to ask for now. Waits until half of those under way are answered and compared."""
        room = MAX_ASKED - len(self._asked) - len(self._told)
        if not self._unasked or room < MAX_ASKED // 2:
            return RangeSet()
        chunks = self._unasked.first(room)
        self._unasked -= chunks
        self._asked |= chunks
        return chunks

    def told(self, run: LeafRun) -> None:
        """Take digests from the sender; each must have been asked for, once."""
        if run.chunks - self._asked:
            raise RemoteProtocolError("A digest arrived that was not asked for.")
        self._asked -= run.chunks
        self._told.update(run.pairs())

    def next_compare(self) -> tuple[tuple[int, bytes], ...]:
        """The next batch to compare; empty while enough is being compared."""
        pairs = tuple(islice(self._told.items(), self._room()))
        for chunk, digest in pairs:
            self._comparing[chunk] = digest
            del self._told[chunk]
        return pairs

    def _room(self) -> int:
        """How many chunks one more batch may have; at least one if nothing is being compared."""
        room = AT_ONCE * COMPARE_BYTES - self._manifest.bytes_in(RangeSet.of(*self._comparing))
        if self._comparing and (
            room < COMPARE_BYTES or len(self._comparing) > (AT_ONCE - 1) * COMPARE_CHUNKS
        ):
            return 0
        return max(1, min(COMPARE_CHUNKS, COMPARE_BYTES // self._manifest.chunk_size))

    def compared(self, tried: Iterable[int]) -> dict[int, bytes]:
        """Drop chunks that are compared; return their digests."""
        return {chunk: self._comparing.pop(chunk) for chunk in tried}

    def put_back(self, tried: Iterable[int]) -> None:
        """Compare these chunks once more, and first: the comparison failed."""
        back = {chunk: self._comparing.pop(chunk) for chunk in tried if chunk in self._comparing}
        self._told = back | self._told

    def link_lost(self) -> None:
        """Ask again for digests that were not answered."""
        self._unasked |= self._asked
        self._asked = RangeSet()
