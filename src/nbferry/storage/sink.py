"""A destination folder: chunks become files in a staging folder, renames move these to their place.

    prepare    judge the names; see that there is room; make .nbferry/<transfer>/data and its folders
    store      verify -> write at the final offset
    sync       flush what was written
    publish    times, modes -> flush -> rename into place -> flush the folders -> remove the staging folder

A crash leaves nothing or complete files at the destination, and the staging folder to go on with.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DiskFull, LocalProtocolError, StorageError
from nbferry.limits import KiB, MiB
from nbferry.manifest import Manifest
from nbferry.names import check_paths, display_name
from nbferry.protocol.frames import ChunkData
from nbferry.ranges import RangeSet
from nbferry.storage.base import Sink
from nbferry.storage.directory import Directory
from nbferry.storage.failures import translated
from nbferry.storage.parts import Parts
from nbferry.storage.publish import Overwrite, check_free, publish
from nbferry.storage.staging import Staging, remove_staging
from nbferry.storage.system import REAL_DISK, Disk

BLOCK = 4 * KiB  # what the smallest file takes on most file systems
RESERVE = 16 * MiB  # left to others on a disk that we fill: folders, a journal, a notebook that is saved

P = TypeVar("P")

_TRANSFER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FolderSink(Sink):
    """Writes an offer into the folder ``to``, which is made if need be.

    ``transfer_id`` names the staging folder: letters, digits, "-" and "_". ``overwrite`` says what happens
    to names that are taken: "rename" gives ours a number, "replace" puts files over files, "refuse" ends it.
    ``have`` goes on with what an earlier run stored, by its journal; None starts afresh.

    If ``sync`` or ``publish`` fails to flush, only what was durable before counts as stored; see ``have``.
    """

    def __init__(
        self,
        manifest: Manifest,
        to: Path,
        *,
        transfer_id: str,
        overwrite: Overwrite = "rename",
        allow_hidden: bool = False,
        have: RangeSet | None = None,
        disk: Disk = REAL_DISK,
    ) -> None:
        if not _TRANSFER.fullmatch(transfer_id):
            raise LocalProtocolError(f'"{display_name(transfer_id)}" cannot name a staging folder.')
        self.manifest, self.path = manifest, Path(to).absolute()
        self._transfer_id, self._overwrite, self._disk = transfer_id, overwrite, disk
        self._allow_hidden = allow_hidden
        self._resumed = have
        self._have = self._durable = have or RangeSet()
        self._lock = threading.Lock()  # for those two
        self._to: Directory | None = None
        self._staging: Staging | None = None
        self._parts: Parts | None = None
        self._tops = list(dict.fromkeys(entry.path.partition("/")[0] for entry in manifest.entries))
        self._finished = False
        self._placed: dict[str, str] = {}  # top-level name in the offer -> at the destination

    @property
    def have(self) -> RangeSet:
        """Chunks that count as stored: what ``store`` returned, without what a failed flush lost."""
        with self._lock:
            return self._have

    # -------------------------------------------------------------- before
    def prepare(self) -> None:
        """See :meth:`Sink.prepare`."""
        entries = self.manifest.entries
        folders = {entry.path for entry in entries if entry.folder}
        check_paths((entry.path for entry in entries), folders=folders, allow_hidden=self._allow_hidden)
        with self._translated("Preparing"):
            if missing := self.missing_space():
                raise DiskFull(missing)
            with self._undone_on_failure():
                self._open()

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Make the destination; take it away again if what follows fails, but never what could be resumed."""
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._sync_above(made)
            yield
        except BaseException:
            self.close()
            if self._resumed is None:
                self._undo(made)
            raise

    def _sync_above(self, made: list[Path]) -> None:
        for folder in made:
            with suppress(PermissionError), Directory.open(folder.parent) as above:  # it need not be readable
                above.sync(self._disk.sync)

    def _undo(self, made: list[Path]) -> None:
        with suppress(StorageError):
            self.discard()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()

    def _open(self) -> None:
        self._to = Directory.open(self.path)
        self._check_lengths(self._to)
        if self._overwrite == "refuse":
            check_free(self._to, self._tops)
        resume = self._resumed is not None
        self._staging = Staging.open(self._to, self._transfer_id, resume=resume, sync=self._disk.sync)
        self._parts = Parts(self.manifest, self._staging.data, self._disk, self._resumed)
        self._parts.make_folders()

    def _check_lengths(self, to: Directory) -> None:
        """See now, not in the middle, that this file system and this folder can hold names this long."""
        if to.fd is None:
            return
        most_name, most_path = os.pathconf(to.fd, "PC_NAME_MAX"), os.pathconf(to.fd, "PC_PATH_MAX")
        above = len(os.fsencode(self.path)) + 1
        for path in (entry.path.encode() for entry in self.manifest.entries):
            if above + len(path) >= most_path or max(map(len, path.split(b"/"))) > most_name:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def missing_space(self) -> int:
        """See :meth:`Sink.missing_space`."""
        have = self.have
        left = self.manifest.total_bytes - self.manifest.bytes_in(have)
        if not left:
            return 0
        files = min(self.manifest.file_count, self.manifest.chunk_count - len(have))
        return max(0, left + files * BLOCK + RESERVE - self._free())

    def _free(self) -> int:
        if self._to is not None:
            return self._to.free(self._disk.free)
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return self._disk.free(str(there))

    # -------------------------------------------------------------- meanwhile
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """See :meth:`Sink.store`."""
        right = [chunk for chunk in chunks if self._is_right(chunk)]
        with self._translated("Writing"):
            for chunk in right:
                self._prepared(self._parts).write(chunk)
        stored = RangeSet.of(*(chunk.chunk for chunk in right))
        with self._lock:
            self._have |= stored
        return stored

    def _is_right(self, chunk: ChunkData) -> bool:
        """Whether a chunk is one of the offer, as long as it says there, and not damaged."""
        if not 0 <= chunk.chunk < self.manifest.chunk_count:
            return False
        return (
            len(chunk.data) == self.manifest.place(chunk.chunk).length
            and chunk_digest(chunk.data) == chunk.digest
        )

    def sync(self) -> None:
        """See :meth:`Sink.sync`."""
        stored = self.have
        with self._flushing():
            self._prepared(self._parts).sync()
        with self._lock:
            self._durable |= stored

    @contextmanager
    def _flushing(self) -> Iterator[None]:
        """Count only what is durable if the system reports that writes were lost."""
        try:
            with self._translated("Writing"):
                yield
        except StorageError:
            with self._lock:
                self._have = self._durable
            raise

    # -------------------------------------------------------------- after
    def publish(self) -> tuple[Path, ...]:
        """See :meth:`Sink.publish`. After it failed it may be called again, when nothing is lost."""
        parts, staging, to = (
            self._prepared(self._parts),
            self._prepared(self._staging),
            self._prepared(self._to),
        )
        if len(self.have) < self.manifest.chunk_count:
            raise LocalProtocolError("A transfer was published before all of it was stored.")
        if not self._finished:
            with self._flushing():
                parts.finish()
            parts.close()
            self._finished = True
        with self._translated("Publishing"):
            publish(
                staging.data,
                to,
                self._tops,
                overwrite=self._overwrite,
                placed=self._placed,
                sync=self._disk.sync,
            )
        with suppress(StorageError):  # all is published: an empty folder that stays is no failure
            self.discard()
        return tuple(self._published())

    def _published(self) -> Iterator[Path]:
        for entry in self.manifest.entries:
            if not entry.folder:
                top, _, rest = entry.path.partition("/")
                yield self.path.joinpath(self._placed[top], rest)

    def discard(self) -> None:
        """See :meth:`Sink.discard`."""
        self.close()
        with self._translated("Cleaning up"):
            try:
                to = Directory.open(self.path)
            except (FileNotFoundError, NotADirectoryError):
                return
            with to:
                remove_staging(to, self._transfer_id)

    def close(self) -> None:
        """See :meth:`Sink.close`."""
        parts, staging, to = self._parts, self._staging, self._to
        self._parts = self._staging = self._to = None
        for each in (parts, staging, to):
            if each is not None:
                each.close()

    def _prepared(self, part: P | None) -> P:
        if part is None:
            raise LocalProtocolError("A sink was used before it was prepared or after it was closed.")
        return part

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(f'{doing} in "{display_name(str(self.path))}"', self._lacking)

    def _lacking(self) -> int:
        """Bytes to ask for when the disk says that it is full: by a quota, if there seems to be room."""
        return self.missing_space() or self.manifest.total_bytes - self.manifest.bytes_in(self.have)
