"""Files and folders of this computer as an offer: looked at when it is made, read when chunks are wanted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.errors import SourceChanged, UnsafePath
from nbferry.limits import Limits
from nbferry.manifest import Manifest
from nbferry.names import check_paths, display_name
from nbferry.protocol.frames import ChunkBatch
from nbferry.ranges import RangeSet
from nbferry.storage.base import Source
from nbferry.storage.failures import storage_error
from nbferry.storage.handles import Handles
from nbferry.storage.scan import Scan
from nbferry.storage.system import NOFOLLOW, READ, read_into

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESTALE})


def offer_of(
    paths: Sequence[Path | str],
    *,
    chunk_size: int,
    follow_symlinks: bool = False,
    max_entries: int = Limits.max_entries,
) -> FileSource:
    """Offer files and folders; no file is opened. Links inside of folders are skipped or followed.

    Raises :class:`StorageError` for what is not there or cannot be sent, :class:`UnsafePath` for a name that no
    receiver would take.
    """
    scan = Scan(follow_symlinks=follow_symlinks, max_entries=max_entries)
    for path in paths:
        scan.add(Path(path))
    folders = {entry.path for entry in scan.entries if entry.folder}
    try:
        check_paths((entry.path for entry in scan.entries), folders=folders)
    except UnsafePath as error:
        raise UnsafePath(error.message, hint="Rename it, then send again.") from None
    return FileSource(scan, chunk_size, follow_symlinks=follow_symlinks)


class FileSource(Source):
    """The files that a scan found. ``skipped`` lists what it left out.

    A file must stay what it was in device, inode, size and time of modification: that is looked at before and
    after each batch is read from it.
    """

    def __init__(self, scan: Scan, chunk_size: int, *, follow_symlinks: bool) -> None:
        self.manifest = Manifest.of(scan.entries, chunk_size)
        self.skipped = tuple(scan.skipped)
        self._scan = scan
        self._flags = READ if follow_symlinks else READ | NOFOLLOW
        self._files = Handles(self._open, os.close)

    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        """See :meth:`Source.read`."""
        done: list[tuple[int, int]] = []
        for index, first, stop in self._runs(chunks):
            at = first
            with self._unchanged(index) as fd:
                while at < stop and self._read_chunk(fd, at, batch):
                    at += 1
            done.append((first, at))
            if at < stop:
                break
            self._leave(index, stop)
        return RangeSet.union(done)

    def _read_chunk(self, fd: int, chunk: int, batch: ChunkBatch) -> bool:
        """Read and hash a chunk where it will be sent from; whether there was room."""
        index, offset, length = self.manifest.place(chunk)
        slots = batch.reserve(length)
        if slots is None:
            return False
        self._read(fd, slots, offset, index)
        batch.commit(chunk, chunk_digest(slots[0]) if len(slots) == 1 else chunk_digest_of(slots))
        return True

    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        """See :meth:`Source.digests`."""
        buffer = memoryview(bytearray(self.manifest.chunk_size))
        found = {}
        for index, first, stop in self._runs(chunks):
            with self._unchanged(index) as fd:
                for chunk in range(first, stop):
                    _, offset, length = self.manifest.place(chunk)
                    self._read(fd, [buffer[:length]], offset, index)
                    found[chunk] = chunk_digest(buffer[:length])
            self._leave(index, stop)
        return found

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._files.close()

    def _runs(self, chunks: RangeSet) -> Iterator[tuple[int, int, int]]:
        """Divide chunks by files: index of the entry, first chunk, the one after the last."""
        for first, stop in chunks.ranges:
            while first < stop:
                index = self.manifest.entry_of(first)
                end = min(stop, self.manifest.chunks_of(index)[1])
                yield index, first, end
                first = end  # noqa: PLW2901  # the rest of this range

    def _leave(self, index: int, stop: int) -> None:
        """Close a file after its last chunk, so that 10,000 small ones do not push the large ones out."""
        if stop == self.manifest.chunks_of(index)[1]:
            self._files.drop(index)

    def _read(self, fd: int, views: Sequence[memoryview], offset: int, index: int) -> None:
        if read_into(fd, views, offset) != sum(map(len, views)):
            raise self._changed(index)

    @contextmanager
    def _unchanged(self, index: int) -> Iterator[int]:
        """Hold a file open and see that it is the one that was offered, before and after."""
        try:
            with self._files.use(index) as fd:
                self._check(fd, index)
                yield fd
                self._check(fd, index)
        except OSError as error:
            if error.errno in _GONE:
                raise self._changed(index) from error
            raise storage_error(error, f'Reading "{display_name(self._scan.where(index))}"') from error

    def _open(self, index: int) -> int:
        return os.open(self._scan.where(index), self._flags)

    def _check(self, fd: int, index: int) -> None:
        if not self._scan.is_same(index, os.fstat(fd)):
            raise self._changed(index)

    def _changed(self, index: int) -> SourceChanged:
        name = display_name(self.manifest.entries[index].path)
        return SourceChanged(f'"{name}" was changed, replaced or removed while it was being sent.')
