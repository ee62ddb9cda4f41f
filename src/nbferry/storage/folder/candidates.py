"""Chunks for which bytes are here that nobody vouches for: in the staging data, and in older copies of the files.

Only the sender knows whether they are right. They are read and hashed when it has said which digest they should have.
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
    """Files at the destination under the paths of the offer, reached through no link. They are only read."""

    def __init__(self, manifest: Manifest, to: Directory) -> None:
        self._manifest, self._to = manifest, to
        self._files = Handles(self._open, os.close)

    def chunks(self) -> RangeSet:
        """Every chunk of the offer that lies wholly in the older copy of its file."""
        return RangeSet.union(self._find())

    def _find(self) -> Iterator[tuple[int, int]]:
        for path, indexes in files_by_folder(self._manifest).items():
            try:
                folder = self._to.descend(path)
            except OSError:  # there is none, or it is not for us to look into
                continue
            with folder:
                for index in indexes:
                    info = folder.look(self._manifest.entries[index].path.rpartition("/")[2])
                    if info and stat.S_ISREG(info.st_mode):
                        yield chunks_within(self._manifest, index, 0, info.st_size)

    def read(self, chunk: int) -> memoryview | None:
        """Read the bytes that lie where a chunk would; None if they cannot be read, or are fewer meanwhile."""
        index, offset, length = self._manifest.place(chunk)
        buffer = memoryview(bytearray(length))
        try:
            with self._files.use(index) as fd:
                count = read_into(fd, [buffer], offset)
        except OSError:  # it is somebody's file and may go at any time: then the chunk is fetched
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
        """Let go of every file for now."""
        self._files.release()

    def close(self) -> None:
        """Let go of every file. May be called twice."""
        self._files.close()


class CandidateFinder:
    """``chunks`` for which bytes are in the staging data (``unsure``), in older copies, or both; none in ``have``."""

    def __init__(self, manifest: Manifest, to: Directory, unsure: RangeSet, have: RangeSet) -> None:
        self._manifest = manifest
        self._older = OlderCopies(manifest, to)
        self.unsure = unsure
        self.chunks = RangeSet() if len(have) == manifest.chunk_count else self._older.chunks() | unsure
        self.chunks -= have
        self._fresh: set[int] = set()  # files that are read from the disk, not from memory

    def distrust_cache(self) -> None:
        """A flush has failed: what memory has of a file need no longer be what the disk has.

        To be called before what is stored is taken back: what was read until then is read again, from the disk.
        """
        self._fresh = set()

    def release(self) -> None:
        """Let go of the older copies for now: Windows renames nothing onto a file that is open."""
        self._older.release()

    def reuse(self, chunk: int, digest: bytes, staged: StagedFiles) -> bool:
        """See whether bytes of this digest are here for a chunk, and have them in their place; raises OSError."""
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
        index, fresh = self._manifest.place(chunk).entry, self._fresh  # which may be another one in a moment
        if index not in fresh:
            staged.forget_cached(index)
            fresh.add(index)
        if chunk_digest(staged.read(chunk)) != digest:
            return False
        staged.note(index)
        return True

    def close(self) -> None:
        """Let go of every file. May be called twice."""
        self._older.close()


def damaged(chunks: Iterable[tuple[int, bytes]], staged: StagedFiles, manifest: Manifest) -> list[int]:
    """Read these chunks from the disk, not from memory, and say which do not have these digests.

    In order, so that what is cached of a file is forgotten once. A file that is gone has none, nor has a chunk that
    the disk fails to read; raises OSError.
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
