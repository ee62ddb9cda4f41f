"""The digests of a manifest's chunks as they become known, and of the files that they make up."""

from __future__ import annotations

from collections.abc import Mapping

from nbferry.crypto.digest import content_digest, file_digest
from nbferry.manifest import Manifest
from nbferry.ranges import RangeSet

SIZE = 32  # bytes of a digest


class Leaves:
    """Chunk digests by number. 32 bytes for each chunk, touched only once it is known."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._digests = bytearray(SIZE * manifest.chunk_count)
        self.known = RangeSet()

    def update(self, digests: Mapping[int, bytes]) -> None:
        """Learn some chunks' digests."""
        for chunk, digest in digests.items():
            self._digests[chunk * SIZE : (chunk + 1) * SIZE] = digest
        self.known |= RangeSet.of(*digests)

    def forget(self, chunks: RangeSet) -> None:
        """These chunks have to come again."""
        self.known -= chunks

    def missing(self, entry: int) -> RangeSet:
        """The chunks of a file whose digests are not known."""
        return RangeSet.span(*self._manifest.chunks_of(entry)) - self.known

    def file(self, entry: int) -> bytes:
        """The digest of a file all of whose chunks are known."""
        start, stop = self._manifest.chunks_of(entry)
        leaves = memoryview(self._digests)[start * SIZE : stop * SIZE]
        return file_digest(self._manifest.entries[entry].size, self._manifest.chunk_size, leaves)

    def content(self) -> bytes:
        """The digest of the whole transfer; all chunks are known."""
        return content_digest(
            (entry.path, None if entry.folder else self.file(index))
            for index, entry in enumerate(self._manifest.entries)
        )
