"""An offer while it arrives: its open staging folder, the journal, and the files being written.

This module keeps the order that durability needs: bytes, then their record, then the next step. All methods raise
OSError and our own errors.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress

from nbferry.errors import LocalProtocolError, StorageError
from nbferry.model.manifest import Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import Disk
from nbferry.storage.folder.candidates import CandidateFinder, damaged
from nbferry.storage.folder.journal import Journal, Recorded
from nbferry.storage.folder.manifest_file import write_manifest
from nbferry.storage.folder.publish import begun, check_free, moved, publish
from nbferry.storage.folder.recovery_scan import scan_staging
from nbferry.storage.folder.staged_files import StagedFiles
from nbferry.storage.folder.staging import Staging
from nbferry.storage.folder.stored_chunks import StoredChunks

# After these errors a disk may not contain what it reports.
_DOUBTFUL = frozenset({errno.EIO, errno.ESTALE})


class StagedOffer:
    """Open from construction to ``close``, which also closes ``to``.

    Updates ``stored``. ``unsure`` are chunks with unverified bytes in the staging data; ``candidates`` adds chunks that
    older copies may have. ``finished`` is as in :class:`Sink`.
    """

    def __init__(
        self,
        manifest: Manifest,
        to: Directory,
        transfer_id: str,
        *,
        overwrite: Overwrite,
        resume: bool,
        disk: Disk,
        stored: StoredChunks,
    ) -> None:
        self._manifest, self._overwrite, self._disk, self._stored = manifest, overwrite, disk, stored
        self._tops = list(dict.fromkeys(entry.path.partition("/")[0] for entry in manifest.entries))
        # Keeps flushes in order, and guards the journal.
        self._flushing = threading.RLock()
        self.to = to
        if overwrite is Overwrite.REFUSE and not resume:
            check_free(to, self._tops)
        self._staging = Staging.open(to, transfer_id, resume=resume, sync=disk.sync)
        try:
            self._journal = Journal(self._staging.root, transfer_id, manifest, disk)
            self._reconcile(self._journal.load())
            self._files = self._open_files(self._confirmed if resume else None)
        except BaseException:
            self._staging.close()
            raise

    def _reconcile(self, recorded: Recorded) -> None:
        """Compare the journal with the staged files, and make the staging folder match the offer."""
        journal, staging, manifest = self._journal, self._staging, self._manifest
        if self._overwrite is Overwrite.REFUSE:
            check_free(self.to, [name for name in self._tops if name not in journal.intents])
        journal.remove_foreign()
        write_manifest(staging.root, manifest, self._disk.sync)
        self._begun = begun(staging.data, self.to, journal.intents)
        have, self.unsure = scan_staging(manifest, staging.data, recorded.have, self._begun)
        journal.doubted |= have != recorded.have
        self.finished = journal.finished if len(have) == manifest.chunk_count else None
        # Kept until the first flush.
        self._recorded: Recorded | None = recorded
        self._confirmed = have
        self._stored.start_with(have)
        self._candidates = CandidateFinder(manifest, self.to, self.unsure, have)
        self.candidates = self._candidates.chunks

    def _open_files(self, have: RangeSet | None) -> StagedFiles:
        return StagedFiles(self._manifest, self._staging.data, self._disk, have, self._begun)

    def make_folders(self) -> None:
        """Create the folders of the offer."""
        self._files.make_folders()

    def leaves(self) -> Iterable[tuple[int, bytes]]:
        """Do :meth:`Sink.leaves`."""
        return self._recorded.runs(self._confirmed) if self._recorded else ()

    def close(self) -> None:
        """Close everything, even if one part fails. May be called twice."""
        with ExitStack() as last_first:
            for each in (self.to, self._staging, self._journal, self._candidates, self._files):
                last_first.callback(each.close)

    # -------------------------------------------------------------- storing
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """Write verified chunks."""

        def write() -> Mapping[int, bytes]:
            for chunk in chunks:
                self._files.write(chunk)
            return {chunk.chunk: chunk.digest for chunk in chunks}

        return self._stored.keep(write)

    def reuse(self, chunks: Sequence[tuple[int, bytes]]) -> RangeSet:
        """Do :meth:`Sink.reuse`."""

        def place() -> Mapping[int, bytes]:
            return {chunk: leaf for chunk, leaf in chunks if self._candidates.reuse(chunk, leaf, self._files)}

        return self._stored.keep(place)

    def sync(self) -> None:
        """Do :meth:`Sink.sync`."""
        self._flush(self._files.sync)

    def _flush(self, flush: Callable[[], None]) -> None:
        """Make durable what was stored before this call, and only then record it."""
        with self._flushing:
            leaves = self._stored.begin()
            try:
                flush()
            except BaseException as error:
                self._note_loss(error)
                raise
            self._record(leaves)
            self._stored.succeed(leaves)

    def _note_loss(self, error: BaseException) -> None:
        self._candidates.distrust_cache()
        self._stored.lose()
        if isinstance(error, OSError) and error.errno in _DOUBTFUL:
            # Such a disk may be unable to record it; in this process the doubt counts all the same.
            with suppress(OSError):
                self._journal.doubt()

    def _record(self, leaves: Mapping[int, bytes]) -> None:
        self._recorded = None
        try:
            if self._files.doubted or self._journal.doubted:
                self._journal.doubt()
                self._files.doubted = False
            if leaves:
                self._journal.add(leaves)
        except BaseException:
            self._stored.give_back(leaves)
            raise

    # -------------------------------------------------------------- after
    def check(self) -> RangeSet:
        """Do :meth:`Sink.check`."""
        with self._flushing:
            self.sync()
            return self._check() if self._journal.doubted else RangeSet()

    def _check(self) -> RangeSet:
        self._journal.doubt()
        recorded = self._journal.load()
        self._begun = moved(self._staging.data, self.to, self._journal.intents)
        wrong = self._damaged(recorded)
        self._stored.drop(wrong)
        right = self._stored.durable & recorded.have
        if wrong:
            self.finished = None
            self._files.close()
            self._files = self._open_files(right)
        self._journal.replace(recorded, right, self.finished)
        return wrong

    def _damaged(self, recorded: Recorded) -> RangeSet:
        """Read all durable chunks that are not placed, through new descriptors that have seen no error."""
        entries = self._manifest.entries
        placed = RangeSet.union(
            self._manifest.chunks_of(index)
            for index, entry in enumerate(entries)
            if entry.path.partition("/")[0] in self._begun
        )
        doubted = self._stored.durable - placed
        known = doubted & recorded.have
        with closing(self._open_files(known)) as files:
            wrong = damaged(((chunk, recorded.leaf(chunk)) for chunk in known), files, self._manifest)
        return RangeSet.of(*wrong) | (doubted - known)

    def publish(self, digest: bytes) -> dict[str, str]:
        """Make everything durable, record it as verified, then place it; map top-level names to final names."""
        with self._flushing:
            if len(self._stored.have) < self._manifest.chunk_count:
                raise LocalProtocolError("A transfer was published before all of it was stored.")
            self._finish(digest)
            self._files.close()
            self._candidates.release()
            return publish(
                self._staging.data,
                self.to,
                self._tops,
                overwrite=self._overwrite,
                journal=self._journal,
                sync=self._disk.sync,
            )

    def _finish(self, digest: bytes) -> None:
        """Make everything durable with its times and modes, check what is in doubt, and record the result."""
        if not self.finished:
            self._check_other_processes()
        if not self.finished:
            self._flush(self._files.finish)
        if wrong := self.check():
            raise StorageError(f"The disk damaged {len(wrong)} chunks, so nothing was published.")
        if self.finished != digest:
            self._journal.finish(digest)
            self.finished = digest

    def _check_other_processes(self) -> None:
        """Check whether another process with the same data has begun to publish it."""
        known = self._journal.finished
        self._journal.load()
        if self._journal.finished != known:
            self.finished = self._journal.finished
            self._begun = begun(self._staging.data, self.to, self._journal.intents)
