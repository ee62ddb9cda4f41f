"""What a sender owes besides bytes: the digests of files and of chunks that it was asked for.

A debt becomes a frame only when the link takes it, so a receiver that asks and does not read costs nothing.
"""

from __future__ import annotations

from nbferry.errors import RemoteProtocolError
from nbferry.limits import MiB
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import MAX_ASKED
from nbferry.protocol.frames import MAX_LEAVES, Control, encode_leaves
from nbferry.protocol.leaves import Leaves

DIGESTS_PER_FRAME = 4_096
HASH_CHUNKS = (
    64  # read for their digests in one job: a million chunks must not cost a million hops to a thread
)
HASH_BYTES = 64 * MiB  # in one job, because wanted bytes may have to wait for it


class Debts:
    """Digests that were asked for and not yet sent. A digest is due when all its chunks are known."""

    def __init__(self, manifest: Manifest, leaves: Leaves) -> None:
        self._manifest = manifest
        self._leaves = leaves
        self.forget()

    def __bool__(self) -> bool:
        return bool(self._files or self._chunks)

    def forget(self) -> None:
        """Forget all debts: they belong to the lost connection."""
        self._files = self._due_files = RangeSet()  # bounded by the number of files
        self._chunks = self._due_chunks = RangeSet()

    def ask(self, files: RangeSet, chunks: RangeSet) -> None:
        """Note what the receiver asks for; raises :class:`RemoteProtocolError` if that is too much at once."""
        if len(self._chunks | chunks) > MAX_ASKED:
            raise RemoteProtocolError("The other side asks for too much at once.")
        self._files |= files & self._manifest.files
        self._chunks |= chunks
        self._find_due(files, chunks)

    def learnt(self, chunks: RangeSet) -> None:
        """Find debts that are due now that the digests of these chunks are known."""
        self._find_due(self._manifest.entries_of(chunks), chunks)

    def _find_due(self, files: RangeSet, chunks: RangeSet) -> None:
        due = (file for file in files & self._files if not self._leaves.missing(file))
        self._due_files |= RangeSet.of(*due)
        self._due_chunks |= chunks & self._chunks & self._leaves.known

    def next_job(self) -> RangeSet:
        """Chunks to hash next: first those whose own digests are owed."""
        missing = self._chunks - self._leaves.known or self._missing_of_files()
        return missing.first(max(1, min(HASH_CHUNKS, HASH_BYTES // self._manifest.chunk_size)))

    def _missing_of_files(self) -> RangeSet:
        missing = RangeSet()
        for first, stop in self._files.ranges:
            span = RangeSet.span(self._manifest.chunks_of(first)[0], self._manifest.chunks_of(stop - 1)[1])
            missing |= span - self._leaves.known
            if len(missing) >= HASH_CHUNKS:
                break
        return missing

    def next_frame(self) -> bytes | None:
        """The next frame of due digests, which pays those debts."""
        if self._due_chunks:
            return self._pay_chunks()
        return self._pay_files() if self._due_files else None

    def _pay_chunks(self) -> bytes:
        first, stop = self._due_chunks.ranges[0]
        paid = RangeSet.span(first, min(stop, first + MAX_LEAVES))
        self._chunks -= paid
        self._due_chunks -= paid
        return encode_leaves(first, self._leaves.run(*paid.ranges[0]))

    def _pay_files(self) -> bytes:
        paid = self._due_files.first(DIGESTS_PER_FRAME)
        self._files -= paid
        self._due_files -= paid
        return Control("digests", {"digests": [[n, self._leaves.file(n).hex()] for n in paid]}).encode()
