"""The receiver decides: it wants the chunks that it lacks, checks them, and says when everything has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from typing_extensions import override

from nbferry.errors import DigestMismatch, DiskFull, Rejected, RemoteProtocolError, StorageError
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import check_paths
from nbferry.model.ranges import RangeSet
from nbferry.protocol.assembly import Assembly
from nbferry.protocol.candidates import Candidates
from nbferry.protocol.events import Compare, Offered, Publish, Store, Sync
from nbferry.protocol.frames import ChunkData, Control, LeafRun, Piece, ranges_to_wire, split
from nbferry.protocol.leaves import LEAF_SIZE, Leaves
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase, Step
from nbferry.protocol.progress import Progress
from nbferry.protocol.sender import ENTRIES_PER_FRAME
from nbferry.protocol.window import Window

MIN_CHUNK, MAX_CHUNK = 4 * 1024, 64 * 1024 * 1024
NO_CHUNKS = RangeSet()
FILE_ATTEMPTS = 2  # how often a file may fail its digest although each of its chunks passed


class Receiver(Machine):
    """Takes in one offer."""

    role = "receiver"

    def __init__(
        self,
        limits: Limits,
        *,
        agent: str = "",
        allow_hidden: bool = False,
        known: tuple[str, Manifest] | None = None,
    ) -> None:
        """``known`` is the id and the manifest of an offer from an earlier run, which is not listed again."""
        super().__init__(limits, agent=agent)
        self._allow_hidden = allow_hidden
        self._known = known
        self.offer_id: str | None = None
        self.manifest: Manifest | None = None
        self.reused = RangeSet()
        self.digest: bytes | None = None
        self._entries: list[Entry] = []
        self._offer: tuple[int, int, int] = (0, 0, 0)  # entries, bytes, chunk size
        self._assembly: Assembly | None = None  # of a chunk that has arrived in part
        self._window: Window | None = None  # set when the offer is accepted
        self._progress = Progress(NO_CHUNKS)
        self._promised: dict[int, bytes] = {}  # file digests by entry, from the sender
        self._checked = RangeSet()  # files that have their digest
        self._damaged_files: dict[int, int] = {}
        self._answered = False  # on this connection
        self._asked = RangeSet()  # files whose digest was asked for on this connection
        self._unsynced_since: float | None = None
        self._reported = Phase.CONNECTING
        self._report_at: float | None = None
        self._draining = False

    @classmethod
    def already_done(cls, limits: Limits, digest: bytes, now: float, *, agent: str = "") -> Receiver:
        """A receiver whose files an earlier run has published. It only says so, for some seconds or until BYE."""
        receiver = cls(limits, agent=agent)
        receiver._be_done(digest, now)
        return receiver

    def _be_done(self, digest: bytes, now: float) -> None:
        self.phase, self.digest = Phase.DONE, digest
        self._ever_connected, self._ended_at = True, now  # the earlier run was connected to the sender

    # ---------------------------------------------------------------- what a driver reads
    @property
    def verified(self) -> RangeSet:
        """The chunks that are checked and stored."""
        return self._window.have if self._window else NO_CHUNKS

    @property
    def durable(self) -> RangeSet:
        """The chunks that survive a crash."""
        return self._progress.durable

    @property
    def candidates(self) -> RangeSet:
        """The chunks whose older copy is not compared yet."""
        return self._window.candidates if self._window else NO_CHUNKS

    @property
    def outstanding(self) -> int:
        """Bytes that were asked for and are not yet stored."""
        return self._window.outstanding if self._window else 0

    @property
    def left(self) -> int:
        """Bytes that are still to come, as far as known."""
        return (
            self._known_manifest().bytes_in(self._window.needed | self._window.awaited) if self._window else 0
        )

    @property
    def drained(self) -> bool:
        """Whether all chunks that were asked for on this connection have arrived."""
        return self._window is None or not self._window.awaited

    def file_digests(self) -> list[bytes | None]:
        """The digest of each entry, None for folders. Everything must be stored."""
        return self._leaves.files()

    # ---------------------------------------------------------------- decisions
    def accept(
        self,
        now: float,
        have: RangeSet = NO_CHUNKS,
        leaves: Iterable[tuple[int, bytes]] = (),
        candidates: RangeSet = NO_CHUNKS,
    ) -> None:
        """Accept the offer.

        ``have`` are chunks that are stored and durable, ``leaves`` their digests: runs of a first chunk and
        concatenated digests. ``candidates`` are chunks of an older copy, which may be right; a chunk of ``have``
        without a digest becomes a candidate.
        """
        if self.phase.final:
            return
        manifest = self._known_manifest()
        self._leaves = Leaves(manifest)
        self._leaves.load_runs(leaves)
        if self._leaves.known != have:
            self._leaves.forget(self._leaves.known - have)
            candidates |= have - self._leaves.known
        self._begin(manifest, self._leaves.known, candidates)
        self._step(Step.ACCEPT)
        self._answer()
        self._report_at = now
        self._want()
        self._finish_if_complete(now)

    def _begin(self, manifest: Manifest, have: RangeSet, candidates: RangeSet) -> None:
        self._window = Window(manifest, self.limits, have, candidates)
        self._candidates = Candidates(manifest, self._window.candidates)
        self._progress = Progress(have)

    def reject(self, reason: str, now: float) -> None:
        """Decline the offer; the sender is told why."""
        self._end_reason = reason
        self._end(Step.REJECT, Rejected(f"The offer was rejected{': ' + reason if reason else ''}."), now)

    def drain(self, draining: bool = True) -> None:
        """Stop asking for chunks on this connection, so that a switch of links loses nothing; or start again."""
        self._draining = draining
        self._want()

    # ---------------------------------------------------------------- the storage's answers
    def chunks_stored(self, tried: dict[int, bytes], right: RangeSet, now: float) -> None:
        """Take the outcome of a :class:`Store` (number: digest): the right chunks are written."""
        if self._window is None or self.phase.final:
            return
        try:
            self._window.stored(RangeSet.of(*tried), right)
        except DigestMismatch as error:
            self.fail(error, now)
            return
        self._learn({chunk: tried[chunk] for chunk in right}, now)

    def compared(self, tried: Iterable[int], right: RangeSet, now: float) -> None:
        """Take the outcome of a :class:`Compare`: the older copy of the right chunks is stored now."""
        if self._window is None or self.phase.final:
            return
        digests = self._candidates.compared(tried)
        self._window.compared(RangeSet.of(*digests), right)
        self.reused |= right
        self._learn({chunk: digests[chunk] for chunk in right}, now)

    def _learn(self, digests: dict[int, bytes], now: float) -> None:
        """Note chunks, with their digests, that are stored now."""
        right = RangeSet.of(*digests)
        self._leaves.update(digests)
        self._progress.stored(right)
        if self._unsynced_since is None:
            self._unsynced_since = now
        self._check_files(self._known_manifest().entries_of(right), now)
        self._after_progress(now)

    def storage_full(self, tried: Iterable[int], error: DiskFull) -> None:
        """Pause until ``storage_ready``: the chunks of a :class:`Store` or :class:`Compare` did not fit."""
        if self.phase.final:
            return
        if self._window:
            chunks = RangeSet.of(*tried)
            self._candidates.put_back(chunks)
            self._window.unstored(chunks & self._window.storing)
        self._pause("disk", error.message)
        self._say("pause", reason=f"The receiver's disk is full: {error.needed:,} more bytes are needed.")

    def storage_ready(self) -> None:
        """End the pause: the disk has room again."""
        self._release("disk")
        if self.phase is Phase.WRITING:
            self._events.append(Publish())

    def flush_failed(self, lost: RangeSet, error: DiskFull) -> None:
        """Pause until ``storage_ready``: a :class:`Sync` or :class:`Publish` did not fit and lost these chunks."""
        if self.phase.final:
            return
        self._progress.flush_failed()
        self._lose(lost)
        self.storage_full((), error)

    def lost(self, chunks: RangeSet, now: float) -> None:
        """Want these chunks again: the storage found them damaged, or cannot make them durable.

        A :class:`Sync` or :class:`Publish` that is under way counts as failed.
        """
        if self._window is None or self.phase.final:
            return
        self._progress.flush_failed()
        try:
            self._window.count_loss(chunks & self._window.have)
        except StorageError as error:
            self.fail(error, now)
            return
        self._lose(chunks)
        self._after_progress(now)

    def synced(self, now: float) -> None:
        """Note that the last :class:`Sync` is done."""
        self._progress.synced()
        self._unsynced_since = now if self._progress.unsynced else None
        self._report_soon(now)

    def published(self, now: float) -> None:
        """Finish: the :class:`Publish` is done, so everything is in its place and durable."""
        if self.phase is not Phase.WRITING:
            return
        self._progress.published()
        self._ended_at = now
        self._step(Step.PUBLISHED)
        self._say_done()

    # ---------------------------------------------------------------- the sender's frames
    @override
    def _receive_greeting(self, now: float) -> None:
        """Wait: the sender speaks first."""

    @override
    def disconnected(self) -> None:
        super().disconnected()
        self._answered = self._draining = False
        self._asked = RangeSet()
        if self.manifest is None:
            self._entries.clear()
        if self._assembly:
            self._assembly.link_lost()
        if self._window:
            self._window.link_lost()
            self._candidates.link_lost()

    @override
    def _receive_frame(self, frame: Control, now: float) -> None:
        match frame.name:
            case "offer":
                self._receive_offer(frame, now)
            case "entries":
                self._receive_entries(frame)
            case "digests":
                self._receive_digests(frame, now)

    def _receive_offer(self, frame: Control, now: float) -> None:
        count = frame.number("entries", maximum=self.limits.max_entries)
        size = frame.number("bytes", maximum=self.limits.max_bytes)
        chunk_size = frame.number("chunk_size", minimum=MIN_CHUNK, maximum=MAX_CHUNK)
        offer_id = frame.text("id", limit=64)
        if self.offer_id not in (None, offer_id):
            raise RemoteProtocolError("The other side now offers something else.")
        self.offer_id, self._offer = offer_id, (count, size, chunk_size)
        if self.manifest is None and self._known and self._known[0] == offer_id:
            self._take(self._known[1])
        elif self.manifest is None:
            self._entries.clear()
            self._say("list")
        elif self._window:
            self._resume_on_connection(now)

    def _receive_entries(self, frame: Control) -> None:
        entries = frame.items("entries", limit=ENTRIES_PER_FRAME)
        count, _, chunk_size = self._offer
        if self.offer_id is None:
            raise RemoteProtocolError("The other side sent a list without an offer.")
        if self.manifest is not None or frame.fields.get("first") != len(self._entries):
            raise frame.wrong("first")
        if len(self._entries) + len(entries) > count:
            raise frame.wrong("entries")
        self._entries += map(Entry.from_wire, entries)
        if len(self._entries) == count:
            manifest = Manifest.of(self._entries, chunk_size)
            folders = {entry.path for entry in self._entries if entry.folder}
            check_paths(
                (entry.path for entry in self._entries), folders=folders, allow_hidden=self._allow_hidden
            )
            # The id stands for the list in later runs, so it must be the id of this very list.
            if manifest.id != self.offer_id:
                raise RemoteProtocolError("The list is not the one that was offered.")
            self._take(manifest)

    def _take(self, manifest: Manifest) -> None:
        """Take this list as the offer."""
        if (len(manifest.entries), manifest.total_bytes, manifest.chunk_size) != self._offer:
            raise RemoteProtocolError("The list is not the one that was offered.")
        self.manifest = manifest
        self._step(Step.OFFER)
        self._events.append(Offered(manifest))

    def _receive_digests(self, frame: Control, now: float) -> None:
        pairs = frame.items("digests", limit=100_000)
        for pair in pairs:
            match pair:
                case [int(entry), str(text)] if entry in self._asked:
                    self._promised[entry] = self._digest_of(text, frame)
                case _:
                    raise frame.wrong("digests")
        self._check_files(RangeSet.of(*(entry for entry, _ in pairs)), now)
        self._after_progress(now)

    def _digest_of(self, text: str, frame: Control) -> bytes:
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) != LEAF_SIZE:
            raise frame.wrong("digests")
        return digest

    # ---------------------------------------------------------------- chunks
    @override
    def _receive_pieces(self, pieces: Iterator[Piece], now: float) -> None:
        if self.phase.final:
            return
        if self._window is None:
            raise RemoteProtocolError("A chunk arrived before the offer was accepted.")
        whole: list[ChunkData] = []
        assembled = True
        for piece in pieces:
            if piece.chunk not in self._window.awaited:
                raise RemoteProtocolError("A chunk arrived that was not asked for.")
            if self._is_whole(piece):
                whole.append(ChunkData(piece.chunk, piece.digest, piece.data))
                assembled = False  # this chunk lies in the frame
            elif chunk := self._assemble(piece):
                whole.append(chunk)
        if whole:
            arrived = RangeSet.of(*(chunk.chunk for chunk in whole))
            if len(arrived) != len(whole):
                raise RemoteProtocolError("A chunk arrived twice.")
            self._window.arrived(arrived)
            self._events.append(Store(tuple(whole), assembled))
            self._want()

    @override
    def _receive_leaves(self, run: LeafRun, now: float) -> None:
        if self.phase.final:
            return
        if self._window is None:
            raise RemoteProtocolError("A digest arrived that was not asked for.")
        self._candidates.told(run)
        self._want()

    def _is_whole(self, piece: Piece) -> bool:
        length = self._known_manifest().place(piece.chunk).length
        return self._assembly is None and piece.offset == 0 and len(piece.data) == length

    def _assemble(self, piece: Piece) -> ChunkData | None:
        """Add a piece to the chunk that is being put together; pieces come in order, one chunk after the other."""
        if self._assembly is None:
            self._assembly = Assembly(piece.chunk, self._known_manifest().place(piece.chunk).length)
        if whole := self._assembly.add(piece):
            self._assembly = None
        return whole

    def _answer(self) -> None:
        self._say("answer", accept=True)
        self._answered = self.is_connected

    @override
    def _unpause(self, who: str) -> bool:
        was_paused = super()._unpause(who)
        self._want()
        return was_paused

    def _want(self) -> None:
        """Compare what can be compared, and ask for as much as the window has room for."""
        if self._window is None or self.paused or self.phase is not Phase.TRANSFERRING:
            return
        while pairs := self._candidates.next_compare():
            self._events.append(Compare(pairs))
        if self._answered and not self._draining:
            rest = self._want_rest(self._window)
            chunks = self._window.next_want()
            self._say_want(chunks, self._completed_by(rest | chunks), self._candidates.next_ask())

    def _want_rest(self, window: Window) -> RangeSet:
        """Ask first for the rest of the chunk of which the last connection brought only a part."""
        part = self._assembly
        if part is None or part.chunk not in window.needed:  # no such chunk, or already asked for
            return NO_CHUNKS
        chunks = RangeSet.of(part.chunk)
        window.ask(chunks)
        self._say("want", chunks=ranges_to_wire(chunks), rest=[part.chunk, part.received])
        return chunks

    def _completed_by(self, chunks: RangeSet) -> RangeSet:
        """The files of which these are the last chunks: their digests are asked for together with these."""
        assert self._window is not None  # set since the offer was accepted
        manifest = self._known_manifest()
        if not (files := manifest.entries_of(chunks)):
            return NO_CHUNKS
        (first, _), (_, stop) = files.ranges[0], files.ranges[-1]
        theirs = RangeSet.span(manifest.chunks_of(first)[0], manifest.chunks_of(stop - 1)[1])
        return files - manifest.entries_of(self._window.needed & theirs) - self._checked - self._asked

    def _say_want(self, chunks: RangeSet, digests: RangeSet, leaves: RangeSet = NO_CHUNKS) -> None:
        if not (chunks or digests or leaves):
            return
        self._asked |= digests
        for part in split(chunks, digests, leaves):
            fields = map(ranges_to_wire, part)
            self._say("want", **dict(zip(("chunks", "digests", "leaves"), fields, strict=True)))

    def _resume_on_connection(self, now: float) -> None:
        """Resume on a new connection: answer again, report everything, want what is outstanding."""
        self._answer()
        self._progress.report_afresh()
        self._report(now)
        self._want()
        self._finish_if_complete(now)

    # ---------------------------------------------------------------- files
    def _check_files(self, entries: RangeSet, now: float) -> None:
        """Compare the digests of those files that are complete and whose digest the sender has sent."""
        manifest = self._known_manifest()
        right = []
        for entry in entries - self._checked:
            if entry not in self._promised or self._leaves.missing(entry):
                continue
            if manifest.entries[entry].folder:
                raise RemoteProtocolError("A folder has a digest.")
            if self._leaves.file(entry) == self._promised[entry]:
                right.append(entry)
            else:
                self._forget_file(entry, now)
        self._checked |= RangeSet.of(*right)

    def _forget_file(self, entry: int, now: float) -> None:
        self._damaged_files[entry] = self._damaged_files.get(entry, 0) + 1
        if self._damaged_files[entry] >= FILE_ATTEMPTS:
            self.fail(DigestMismatch(), now)
            return
        chunks = RangeSet.span(*self._known_manifest().chunks_of(entry))
        del self._promised[entry]
        self._asked -= RangeSet.of(entry)
        self._lose(chunks)

    def _lose(self, chunks: RangeSet) -> None:
        """Want again those of these chunks that were stored."""
        if self._window is None or not (chunks := chunks & self._window.have):
            return
        self._leaves.forget(chunks)
        self._window.forget(chunks)
        self._progress.lost(chunks)
        self.reused -= chunks
        self._checked -= self._known_manifest().entries_of(chunks)
        if self.phase in (Phase.VERIFYING, Phase.WRITING):
            self._step(Step.DAMAGED)

    def _after_progress(self, now: float) -> None:
        if not self.phase.final:
            self._report_soon(now)
            self._sync_if_due(now)
            self._want()
            self._finish_if_complete(now)

    def _finish_if_complete(self, now: float) -> None:
        """Verify when every chunk is stored; publish when every file is verified."""
        if self._window is None or not self._window.complete:
            return
        if self.phase is Phase.TRANSFERRING:
            self._step(Step.RECEIVED)
            self._report(now)
        if unchecked := self._known_manifest().files - self._checked:
            if self._answered:
                self._say_want(NO_CHUNKS, unchecked - self._asked)
        elif self.phase is Phase.VERIFYING:
            self.digest = self._leaves.content()
            self._step(Step.VERIFIED)
            self._report(now)
            self._events.append(Publish())

    def _known_manifest(self) -> Manifest:
        if self.manifest is None:
            raise RemoteProtocolError("The other side skipped the offer.")
        return self.manifest

    # ---------------------------------------------------------------- reports and time
    @override
    def _say_done(self) -> None:
        assert self.digest is not None  # set when everything is verified
        # The first answer may have been lost with its connection.
        self._answer()
        self._say("done", digest=self.digest.hex())

    def _report_soon(self, now: float) -> None:
        if self._report_at is None:
            self._report_at = now + self.limits.report_interval

    def _report(self, now: float) -> None:
        verified, durable, everything = self._progress.news(self.verified)
        self._report_at = None
        if not (verified or durable or everything or self._reported is not self.phase):
            return
        self._reported = self.phase
        *parts, last = split(verified, durable)
        for part in parts:
            self._say_progress(part, all=everything)
            everything = False  # the later parts add to the first
        self._say_progress(last, state=str(self.phase), all=everything)

    def _say_progress(self, part: tuple[RangeSet, ...], **fields: object) -> None:
        verified, durable = map(ranges_to_wire, part)
        self._say("progress", verified=verified, durable=durable, **fields)

    def _sync_if_due(self, now: float) -> None:
        if (at := self._sync_deadline()) is not None and now >= at:
            self._progress.begin_sync()
            self._events.append(Sync())

    def _sync_deadline(self) -> float | None:
        idle = self._progress.syncing is None and self.phase is Phase.TRANSFERRING
        if self._unsynced_since is None or not idle:
            return None
        unsynced = self._known_manifest().bytes_in(self._progress.unsynced)
        return self._unsynced_since + (0 if unsynced >= self.limits.sync_bytes else self.limits.sync_interval)

    @override
    def _deadlines(self) -> list[float]:
        if self.phase.final:
            return []
        deadlines = [self._report_at if self._answered else None, self._sync_deadline()]
        return [deadline for deadline in deadlines if deadline is not None]

    @override
    def _do_what_is_due(self, now: float) -> None:
        if self.phase.final:
            return
        if self._report_at is not None and now >= self._report_at and self._answered:
            self._report(now)
        self._sync_if_due(now)
