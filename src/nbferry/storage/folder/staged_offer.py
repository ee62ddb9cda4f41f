"""An offer while it arrives: its staging folder, opened, with the journal and the files that are being written.

The order of everything that has to do with durability is here: bytes, then their record, then the next step.
Everything raises OSError as the system does, and our own errors.
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

_DOUBTFUL = frozenset({errno.EIO, errno.ESTALE})  # after these, what a disk says may not be what it has


class StagedOffer:
    """Open from its construction to ``close``; ``to`` is closed with it.

    ``stored`` is brought up to date. ``unsure`` are chunks for which there are bytes in the staging data that nobody
    vouches for, ``candidates`` these and what older copies may have. ``finished`` is as in :class:`Sink`.
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
        self._flushing = threading.RLock()  # so that no flush overtakes another; and for the journal
        self.to = to
        if overwrite is Overwrite.REFUSE and not resume:
            check_free(to, self._tops)
        self._staging = Staging.open(to, transfer_id, resume=resume, sync=disk.sync)
        try:
            self._journal = Journal(self._staging.root, transfer_id, manifest, disk)
            self._reconcile(self._journal.load())
            self._files = self._open_files(self._vouched if resume else None)
        except BaseException:
            self._staging.close()
            raise

    def _reconcile(self, recorded: Recorded) -> None:
        """Compare what the journal vouches for with what is there, and make the staging folder fit the offer."""
        journal, staging, manifest = self._journal, self._staging, self._manifest
        if self._overwrite is Overwrite.REFUSE:
            check_free(self.to, [name for name in self._tops if name not in journal.intents])
        journal.remove_foreign()
        write_manifest(staging.root, manifest, self._disk.sync)
        self._begun = begun(staging.data, self.to, journal.intents)
        have, self.unsure = scan_staging(manifest, staging.data, recorded.have, self._begun)
        journal.doubted |= have != recorded.have
        self.finished = journal.finished if len(have) == manifest.chunk_count else None
        self._recorded: Recorded | None = recorded  # until the first flush
        self._vouched = have
        self._stored.start_with(have)
        self._candidates = CandidateFinder(manifest, self.to, self.unsure, have)
        self.candidates = self._candidates.chunks

    def _open_files(self, have: RangeSet | None) -> StagedFiles:
        return StagedFiles(self._manifest, self._staging.data, self._disk, have, self._begun)

    def make_folders(self) -> None:
        """Create the folders of the offer."""
        self._files.make_folders()

    def leaves(self) -> Iterable[tuple[int, bytes]]:
        """See :meth:`Sink.leaves`."""
        return self._recorded.runs(self._vouched) if self._recorded else ()

    def close(self) -> None:
        """Let go of everything, whatever fails. May be called twice."""
        with ExitStack() as last_first:
            for each in (self.to, self._staging, self._journal, self._candidates, self._files):
                last_first.callback(each.close)

    # -------------------------------------------------------------- meanwhile
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """Write chunks that are verified."""

        def write() -> Mapping[int, bytes]:
            for chunk in chunks:
                self._files.write(chunk)
            return {chunk.chunk: chunk.digest for chunk in chunks}

        return self._stored.keep(write)

    def reuse(self, chunks: Sequence[tuple[int, bytes]]) -> RangeSet:
        """See :meth:`Sink.reuse`."""

        def take() -> Mapping[int, bytes]:
            return {chunk: leaf for chunk, leaf in chunks if self._candidates.reuse(chunk, leaf, self._files)}

        return self._stored.keep(take)

    def sync(self) -> None:
        """See :meth:`Sink.sync`."""
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
            with suppress(OSError):  # it counts in this process; such a disk need not be able to record it
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
        """See :meth:`Sink.check`."""
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
        """Read all that is durable, through descriptors that know of no error, but not what is placed."""
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
        """Make all durable, record that it is verified, then place it; top-level name -> name at the destination."""
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
        """Make everything durable, with its times and modes, and record that; look again at what is in doubt."""
        if not self.finished:
            self._notice_others()
        if not self.finished:
            self._flush(self._files.finish)
        if wrong := self.check():
            raise StorageError(f"{len(wrong)} chunks were damaged on the disk, so nothing was published.")
        if self.finished != digest:
            self._journal.finish(digest)
            self.finished = digest

    def _notice_others(self) -> None:
        """See whether another process, which had the same, has meanwhile begun to publish it."""
        known = self._journal.finished
        self._journal.load()
        if self._journal.finished != known:
            self.finished = self._journal.finished
            self._begun = begun(self._staging.data, self.to, self._journal.intents)
