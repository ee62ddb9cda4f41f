"""A destination folder: chunks become files in a staging folder, renames move these into place.

    prepare    check the names and the free space; make .nbferry/<transfer>/data and its folders, or reopen them and
               scan what they contain
    store      verify -> write at the final offset
    reuse      read existing bytes -> verify -> write them, unless they are in place
    sync       flush what was written -> record it in the journal -> flush the journal
    check      if anything is in doubt, read everything again
    publish    times, modes -> flush -> record that -> rename into place -> flush the folders

A crash leaves only complete files at the destination, and the staging folder from which to resume.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from typing_extensions import override

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DiskFull, LocalProtocolError, StorageError
from nbferry.limits import KiB, MiB
from nbferry.model.manifest import Manifest
from nbferry.model.names import check_paths, display_name
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.storage.base import Sink
from nbferry.storage.disk.directory import Directory, make_path, missing_folders
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.staged_offer import StagedOffer
from nbferry.storage.folder.staging import remove_staging_in
from nbferry.storage.folder.stored_chunks import StoredChunks

BLOCK = 4 * KiB
"""Space that the smallest file takes on most file systems."""
RESERVE = 16 * MiB
"""Space to leave free on a full disk: for folders, the journal, a notebook that is saved."""

_TRANSFER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FolderSink(Sink):
    """Writes an offer into the folder ``to``, which is made if necessary.

    ``transfer_id`` names the staging folder: letters, digits, "-" and "_". ``resume`` keeps what an earlier run
    stored, by its journal; otherwise that is removed.

    If ``sync`` or ``publish`` fails to flush, only chunks that were durable before stay in ``have``. A
    :class:`StorageError` from an error of the system has that OSError as its ``__cause__``.
    """

    def __init__(
        self,
        manifest: Manifest,
        to: Path,
        *,
        transfer_id: str,
        overwrite: Overwrite = Overwrite.RENAME,
        allow_hidden: bool = False,
        resume: bool = False,
        disk: Disk = REAL_DISK,
    ) -> None:
        if not _TRANSFER.fullmatch(transfer_id):
            raise LocalProtocolError(f'"{display_name(transfer_id)}" cannot name a staging folder.')
        self.manifest, self.path = manifest, Path(to).absolute()
        self._transfer_id, self._overwrite, self._disk = transfer_id, overwrite, disk
        self._allow_hidden, self._resume = allow_hidden, resume
        self._stored = StoredChunks()
        # Chunks with unverified bytes in the staging data.
        self._unsure = RangeSet()
        # Set between prepare and close.
        self._staged: StagedOffer | None = None

    @property
    @override
    def have(self) -> RangeSet:
        return self._stored.have

    # -------------------------------------------------------------- before
    @override
    def prepare(self) -> None:
        entries = self.manifest.entries
        folders = {entry.path for entry in entries if entry.folder}
        check_paths((entry.path for entry in entries), folders=folders, allow_hidden=self._allow_hidden)
        with self._translated("Preparing"):
            if not self._resume:
                self._check_room()
            with self._undone_on_failure():
                self._open()

    def _check_room(self) -> None:
        if missing := self.missing_space():
            raise DiskFull(missing)

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Make the destination; remove it if the block fails, but never data that could be resumed."""
        made = missing_folders(self.path)
        try:
            make_path(self.path, self._disk.sync)
            yield
        except BaseException:
            self.close()
            if not self._resume:
                self._undo(made)
            raise

    def _undo(self, made: list[Path]) -> None:
        with suppress(StorageError):
            self._remove(everything=False)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()

    def _open(self) -> None:
        to = Directory.open(self.path)
        try:
            self._check_lengths(to)
            staged = self._staged = StagedOffer(
                self.manifest,
                to,
                self._transfer_id,
                overwrite=self._overwrite,
                resume=self._resume,
                disk=self._disk,
                stored=self._stored,
            )
        except BaseException:
            to.close()
            raise
        self.finished, self.candidates, self._unsure = staged.finished, staged.candidates, staged.unsure
        self._check_room()
        staged.make_folders()

    @override
    def leaves(self) -> Iterable[tuple[int, bytes]]:
        return self._prepared().leaves()

    def _check_lengths(self, to: Directory) -> None:
        """Check early that this file system and this folder can hold names this long."""
        if to.fd is None:
            return
        max_name, max_path = os.pathconf(to.fd, "PC_NAME_MAX"), os.pathconf(to.fd, "PC_PATH_MAX")
        above = len(os.fsencode(self.path)) + 1
        for path in (entry.path.encode() for entry in self.manifest.entries):
            if above + len(path) >= max_path or max(map(len, path.split(b"/"))) > max_name:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    @override
    def missing_space(self) -> int:
        # Unverified staging data already takes its space.
        there = self.have | self._unsure
        left = self.manifest.total_bytes - self.manifest.bytes_in(there)
        if not left:
            return 0
        files = min(self.manifest.file_count, self.manifest.chunk_count - len(there))
        return max(0, left + files * BLOCK + RESERVE - self._free())

    def _free(self) -> int:
        staged = self._staged
        if staged is not None:
            return staged.to.free(self._disk.free)
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return self._disk.free(str(there))

    # -------------------------------------------------------------- storing
    @override
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        with self._translated("Writing"):
            return self._prepared().store([chunk for chunk in chunks if self._is_right(chunk)])

    @override
    def reuse(self, chunks: Sequence[tuple[int, bytes]]) -> RangeSet:
        with self._translated("Writing"):
            return self._prepared().reuse(chunks)

    def _is_right(self, chunk: ChunkData) -> bool:
        """Whether a chunk belongs to the offer, has the right length, and is undamaged."""
        if not 0 <= chunk.chunk < self.manifest.chunk_count:
            return False
        return (
            len(chunk.data) == self.manifest.place(chunk.chunk).length
            and chunk_digest(chunk.data) == chunk.digest
        )

    @override
    def sync(self) -> None:
        with self._translated("Writing"):
            self._prepared().sync()

    # -------------------------------------------------------------- after
    @override
    def check(self) -> RangeSet:
        # Published files are no longer checked.
        with self._translated("Reading again"), self._updating_finished() as staged:
            return staged.check()

    @override
    def publish(self, digest: bytes) -> tuple[Path, ...]:
        with self._translated("Publishing"), self._updating_finished() as staged:
            return tuple(self._published(staged.publish(digest)))

    def _published(self, placed: Mapping[str, str]) -> Iterator[Path]:
        for entry in self.manifest.entries:
            if not entry.folder:
                top, _, rest = entry.path.partition("/")
                yield self.path.joinpath(placed[top], rest)

    @contextmanager
    def _updating_finished(self) -> Iterator[StagedOffer]:
        staged = self._prepared()
        try:
            yield staged
        finally:
            self.finished = staged.finished

    @override
    def discard(self) -> None:
        self._remove(everything=True)

    def _remove(self, *, everything: bool) -> None:
        self.close()
        with self._translated("Cleaning up"):
            remove_staging_in(self.path, self._transfer_id, everything=everything)

    @override
    def close(self) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            staged.close()

    def _prepared(self) -> StagedOffer:
        if self._staged is None:
            raise LocalProtocolError("A sink was used before it was prepared or after it was closed.")
        return self._staged

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(f'{doing} in "{display_name(str(self.path))}"', self._lacking)

    def _lacking(self) -> int:
        """Return the bytes to ask for on a full disk; with a quota the disk may seem to have space."""
        return self.missing_space() or self.manifest.total_bytes - self.manifest.bytes_in(self.have)
