"""The digests of a manifest's chunks as they become known, and of the files that they make up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nbferry.crypto.digest import content_digest, file_digest
from nbferry.errors import LocalProtocolError
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet

LEAF_SIZE = 32  # bytes of a digest


class Leaves:
    """Chunk digests by number: 32 bytes for each chunk, touched only when it becomes known."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._digests = bytearray(LEAF_SIZE * manifest.chunk_count)
        self.known = RangeSet()

    def update(self, digests: Mapping[int, bytes]) -> None:
        """Learn some chunks' digests."""
        for chunk, digest in digests.items():
            self._digests[chunk * LEAF_SIZE : (chunk + 1) * LEAF_SIZE] = digest
        self.known |= RangeSet.of(*digests)

    def load(self, first: int, digests: bytes) -> None:
        """Learn the digests of consecutive chunks, concatenated; see :meth:`load_runs`."""
        self.load_runs([(first, digests)])

    def load_runs(self, runs: Iterable[tuple[int, bytes]]) -> None:
        """Learn very many digests at once: runs of a first chunk and concatenated digests.

        Raises :class:`LocalProtocolError` on digests of chunks that the offer does not have.
        """
        learnt = []
        for first, digests in runs:
            at = first * LEAF_SIZE
            if at < 0 or len(digests) % LEAF_SIZE or at + len(digests) > len(self._digests):
                raise LocalProtocolError("Some digests belong to chunks that the offer does not have.")
            self._digests[at : at + len(digests)] = digests
            learnt.append((first, first + len(digests) // LEAF_SIZE))
        self.known |= RangeSet.union(learnt)

    def run(self, start: int, stop: int) -> bytes:
        """The concatenated digests of chunks that are known, from ``start`` up to, not including, ``stop``."""
        return bytes(self._digests[start * LEAF_SIZE : stop * LEAF_SIZE])

    def forget(self, chunks: RangeSet) -> None:
        """Forget the digests of chunks that are needed again."""
        self.known -= chunks

    def missing(self, entry: int) -> RangeSet:
        """The chunks of a file whose digests are not known."""
        return RangeSet.span(*self._manifest.chunks_of(entry)) - self.known

    def file(self, entry: int) -> bytes:
        """The digest of a file all of whose chunks are known."""
        start, stop = self._manifest.chunks_of(entry)
        leaves = memoryview(self._digests)[start * LEAF_SIZE : stop * LEAF_SIZE]
        return file_digest(self._manifest.entries[entry].size, self._manifest.chunk_size, leaves)

    def files(self) -> list[bytes | None]:
        """The digest of each entry, None for folders; all chunks are known."""
        entries = enumerate(self._manifest.entries)
        return [None if entry.folder else self.file(index) for index, entry in entries]

    def content(self) -> bytes:
        """The digest of the whole transfer; all chunks are known."""
        paths = (entry.path for entry in self._manifest.entries)
        return content_digest(zip(paths, self.files(), strict=True))
