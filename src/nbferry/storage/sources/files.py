"""Files and folders of this computer as an offer: listed when it is made, read when chunks are requested."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.errors import SourceChanged, UnsafePath
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.names import check_paths, display_name
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch
from nbferry.storage.base import Source
from nbferry.storage.disk.failures import storage_error
from nbferry.storage.disk.handles import Handles
from nbferry.storage.disk.system import NOFOLLOW, READ, read_into
from nbferry.storage.sources.digest_cache import DigestCache, identity
from nbferry.storage.sources.scan import Scan

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESTALE})
_PASSING = frozenset({errno.ESTALE, errno.EIO})


def offer_of(
    paths: Sequence[Path | str],
    *,
    chunk_size: int,
    follow_symlinks: bool = False,
    max_entries: int = Limits.max_entries,
    cache: DigestCache | None = None,
) -> FileSource:
    """Offer files and folders without opening a file. Links inside folders are skipped or followed.

    Where only digests are requested, digests in ``cache`` save hashing the files again.

    Raises :class:`StorageError` for a path that is missing or cannot be sent, :class:`UnsafePath` for a name that no
    receiver would accept.
    """
    scan = Scan(follow_symlinks=follow_symlinks, max_entries=max_entries)
    for path in paths:
        scan.add(Path(path))
    folders = {entry.path for entry in scan.entries if entry.folder}
    try:
        check_paths((entry.path for entry in scan.entries), folders=folders)
    except UnsafePath as error:
        raise UnsafePath(error.message, hint="Rename it, then send again.") from None
    return FileSource(scan, chunk_size, follow_symlinks=follow_symlinks, cache=cache)


class FileSource(Source):
    """The files that a scan found. ``skipped`` lists what it left out.

    A file must keep its device, inode, size and time of modification; that is checked before and after each batch.
    Bytes to send are always hashed as they are read, without ``cache``. ``reader(fd, views, offset)`` fills views like
    :func:`read_into`.
    """

    def __init__(
        self,
        scan: Scan,
        chunk_size: int,
        *,
        follow_symlinks: bool,
        cache: DigestCache | None = None,
        reader: Callable[[int, Sequence[memoryview], int], int] = read_into,
    ) -> None:
        self.manifest = Manifest.of(scan.entries, chunk_size)
        self.skipped = tuple(scan.skipped)
        self._scan = scan
        self._reader = reader
        self._flags = READ if follow_symlinks else READ | NOFOLLOW
        self._files = Handles(self._open, os.close)
        self._cache = cache or DigestCache(None)
        self._cache.expect(scan.inodes)

    @override
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        done: list[tuple[int, int]] = []
        for index, first, stop in self._runs(chunks):
            at = self._read_run(index, first, stop, batch)
            done.append((first, at))
            if at < stop:
                break
            self._leave(index, stop)
        return RangeSet.union(done)

    def _read_run(self, index: int, first: int, stop: int, batch: ChunkBatch) -> int:
        """Read chunks of one file while there is room; return the first that was not read."""
        at = first

        def work(fd: int) -> None:
            nonlocal at
            while at < stop and self._read_chunk(fd, at, batch):
                at += 1

        info = self._unchanged(index, work)
        self._learn(info, index, first, [batch.digests[chunk] for chunk in range(first, at)])
        return at

    def _read_chunk(self, fd: int, chunk: int, batch: ChunkBatch) -> bool:
        """Read a chunk into the batch and hash it there; return whether there was room."""
        index, offset, length = self.manifest.place(chunk)
        slots = batch.reserve(chunk, length)
        if slots is None:
            return False
        self._read(fd, slots, offset, index)
        batch.commit(chunk, chunk_digest(slots[0]) if len(slots) == 1 else chunk_digest_of(slots))
        return True

    @override
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        buffer = memoryview(bytearray(self.manifest.chunk_size))
        found: dict[int, bytes] = {}
        for index, first, stop in self._runs(chunks):
            known = self._known(index, first, stop)
            found |= known
            if len(known) < stop - first:
                for start, end in _without(first, stop, known):
                    hashed = self._hash_run(index, start, end, buffer)
                    found |= zip(range(start, end), hashed, strict=True)
            self._leave(index, stop)
        return found

    def _hash_run(self, index: int, first: int, stop: int, buffer: memoryview) -> list[bytes]:
        """Hash chunks of one file."""
        found: list[bytes] = []

        def work(fd: int) -> None:
            while first + len(found) < stop:
                _, offset, length = self.manifest.place(first + len(found))
                self._read(fd, [buffer[:length]], offset, index)
                found.append(chunk_digest(buffer[:length]))

        info = self._unchanged(index, work)
        self._learn(info, index, first, found)
        return found

    @override
    def close(self) -> None:
        self._files.close()
        self._cache.close()

    def _runs(self, chunks: RangeSet) -> Iterator[tuple[int, int, int]]:
        """Split chunks by file: index of the entry, first chunk, the one after the last."""
        for first, stop in chunks.ranges:
            while first < stop:
                index = self.manifest.entry_of(first)
                end = min(stop, self.manifest.chunks_of(index)[1])
                yield index, first, end
                first = end  # noqa: PLW2901

    def _leave(self, index: int, stop: int) -> None:
        """Close a file after its last chunk, so that 10,000 small files do not evict the large ones."""
        if stop == self.manifest.chunks_of(index)[1]:
            self._files.drop(index)

    # -------------------------------------------------------------- the cache
    def _known(self, index: int, first: int, stop: int) -> dict[int, bytes]:
        """Return the known digests of these chunks, if the file is still as it was offered."""
        if not self._cache.may_know(self._scan.inodes[index]):
            return {}
        with self._explained(index):
            info = self._check(self._scan.look(index), index)
        leaves = self._cache.known(identity(info, self.manifest.chunk_size))
        if leaves is None:
            return {}
        before = self.manifest.chunks_of(index)[0]
        known = leaves.known & RangeSet.span(first - before, stop - before)
        return {before + chunk: leaves[chunk] for chunk in known}

    def _learn(self, info: os.stat_result | None, index: int, first: int, digests: Sequence[bytes]) -> None:
        """Remember digests of a file that did not change while it was read."""
        if info:
            before = self.manifest.chunks_of(index)[0]
            self._cache.add(info, self.manifest.chunk_size, first - before, b"".join(digests))

    # -------------------------------------------------------------- one file
    def _read(self, fd: int, views: Sequence[memoryview], offset: int, index: int) -> None:
        if self._reader(fd, views, offset) != sum(map(len, views)):
            raise self._changed(index)

    def _unchanged(self, index: int, work: Callable[[int], None]) -> os.stat_result | None:
        """Call ``work`` with a file that is as it was offered, before and after.

        Returns its status, or None if only its name, links or permissions changed meanwhile. If a drive lost the file
        or failed to read it, ``work`` is called once more and resumes where it stopped.
        """
        with self._explained(index):
            try:
                return self._work(index, work)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                if error.errno == errno.ESTALE:
                    # Reopened by its path.
                    self._files.drop(index)
            return self._work(index, work)

    def _work(self, index: int, work: Callable[[int], None]) -> os.stat_result | None:
        with self._files.use(index) as fd:
            before = self._check(os.fstat(fd), index)
            work(fd)
            after = self._check(os.fstat(fd), index)
        return after if before.st_ctime_ns == after.st_ctime_ns else None

    @contextmanager
    def _explained(self, index: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _GONE:
                raise self._changed(index) from error
            raise storage_error(error, f'Reading "{display_name(self._scan.where(index))}"') from error

    def _open(self, index: int) -> int:
        return os.open(self._scan.where(index), self._flags)

    def _check(self, info: os.stat_result, index: int) -> os.stat_result:
        if not self._scan.is_same(index, info):
            raise self._changed(index)
        return info

    def _changed(self, index: int) -> SourceChanged:
        name = display_name(self.manifest.entries[index].path)
        return SourceChanged(f'"{name}" was changed, replaced or removed while it was being sent.')


def _without(first: int, stop: int, known: Collection[int]) -> Sequence[tuple[int, int]]:
    """Return the ranges of chunks without the known ones; usually none is known."""
    return (RangeSet.span(first, stop) - RangeSet.of(*known)).ranges if known else ((first, stop),)
