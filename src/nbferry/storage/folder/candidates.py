"""Candidates: chunks with unverified bytes here, in the staging data or in older copies of the files.

Only the sender knows the correct digests. When it has sent them, the bytes are read, hashed and compared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from nbferry.crypto.digest import chunk_digest
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.handles import Handles
from nbferry.storage.disk.system import NOFOLLOW, READ, read_into
from nbferry.storage.folder.layout import chunks_within, files_by_folder
from nbferry.storage.folder.staged_files import StagedFiles


class OlderCopies:
    """Files at the destination under the paths of the offer, reached through no link. Read-only."""

    def __init__(self, manifest: Manifest, to: Directory) -> None:
        self._manifest, self._to = manifest, to
        self._files = Handles(self._open, os.close)

    def chunks(self) -> RangeSet:
        """Return every chunk of the offer that lies wholly inside the older copy of its file."""
        return RangeSet.union(self._find())

    def _find(self) -> Iterator[tuple[int, int]]:
        for path, indexes in files_by_folder(self._manifest).items():
            try:
                folder = self._to.descend(path)
            # It is missing, or not readable for us.
            except OSError:
                continue
            with folder:
                for index in indexes:
                    info = folder.look(self._manifest.entries[index].path.rpartition("/")[2])
                    if info and stat.S_ISREG(info.st_mode):
                        yield chunks_within(self._manifest, index, 0, info.st_size)

    def read(self, chunk: int) -> memoryview | None:
        """Read the bytes at a chunk's place; None if they are unreadable or too few."""
        index, offset, length = self._manifest.place(chunk)
        buffer = memoryview(bytearray(length))
        try:
            with self._files.use(index) as fd:
                count = read_into(fd, [buffer], offset)
        # The user's file may go at any time; then the sender sends the chunk.
        except OSError:
            return None
        return buffer if count == length else None

    def _open(self, index: int) -> int:
        above, _, name = self._manifest.entries[index].path.rpartition("/")
        with self._to.descend(above) as folder:
            fd = folder.file(name, READ | NOFOLLOW)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(name)
        return fd

    def release(self) -> None:
        """Close every file for now."""
        self._files.release()

    def close(self) -> None:
        """Close every file. May be called twice."""
        self._files.close()


class CandidateFinder:
    """Finds ``chunks`` with bytes in the staging data (``unsure``) or in older copies; none is in ``have``."""

    def __init__(self, manifest: Manifest, to: Directory, unsure: RangeSet, have: RangeSet) -> None:
        self._manifest = manifest
        self._older = OlderCopies(manifest, to)
        self.unsure = unsure
        self.chunks = RangeSet() if len(have) == manifest.chunk_count else self._older.chunks() | unsure
        self.chunks -= have
        # Files that are read from the disk, not from the system's cache.
        self._fresh: set[int] = set()

    def distrust_cache(self) -> None:
        """After a failed flush, read every file from the disk again: the system's cache may differ from it.

        Call it before :meth:`StoredChunks.lose`, so that a read that runs meanwhile is repeated.
        """
        self._fresh = set()

    def release(self) -> None:
        """Close the older copies for now: Windows does not rename onto an open file."""
        self._older.release()

    def reuse(self, chunk: int, digest: bytes, staged: StagedFiles) -> bool:
        """Put bytes of this digest in a chunk's place if they are here; return whether they were. Raises OSError."""
        if chunk not in self.chunks:
            return False
        if chunk in self.unsure and self._is_in_place(chunk, digest, staged):
            return True
        data = self._older.read(chunk)
        if data is None or chunk_digest(data) != digest:
            return False
        staged.write(ChunkData(chunk, digest, data))
        return True

    def _is_in_place(self, chunk: int, digest: bytes, staged: StagedFiles) -> bool:
        # Kept in a local, because another thread may replace the set.
        index, fresh = self._manifest.place(chunk).entry, self._fresh
        if index not in fresh:
            staged.forget_cached(index)
            fresh.add(index)
        if chunk_digest(staged.read(chunk)) != digest:
            return False
        staged.note(index)
        return True

    def close(self) -> None:
        """Close every file. May be called twice."""
        self._older.close()


def damaged(chunks: Iterable[tuple[int, bytes]], staged: StagedFiles, manifest: Manifest) -> list[int]:
    """Read these chunks from the disk, not from the system's cache; return those with another digest.

    Chunks must be in order, so that each file is dropped from the cache once. A missing file and a chunk that the disk
    fails to read count as damaged. Raises OSError.
    """
    found, forgotten = [], -1
    for chunk, digest in chunks:
        index = manifest.place(chunk).entry
        try:
            if index != forgotten:
                staged.forget_cached(index)
                forgotten = index
            right = chunk_digest(staged.read(chunk)) == digest
        except FileNotFoundError:
            right = False
        if not right:
            found.append(chunk)
    return found
