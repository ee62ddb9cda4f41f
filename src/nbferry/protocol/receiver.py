"""The receiver: the brain. It wants the chunks that it lacks, checks them, and says when everything is there."""

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
from nbferry.protocol.phases import Step
from nbferry.protocol.progress import Progress
from nbferry.protocol.sender import ENTRIES_PER_FRAME
from nbferry.protocol.window import Window
from nbferry.status import State

MIN_CHUNK, MAX_CHUNK = 4 * 1024, 64 * 1024 * 1024
NO_CHUNKS = RangeSet()
FILE_ATTEMPTS = 2  # times that a whole file may fail its digest although each of its chunks passed


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
        """``known`` are the id and the manifest of an offer from an earlier run: it need not be listed again."""
        super().__init__(limits, agent=agent)
        self._allow_hidden = allow_hidden
        self._known = known
        self.offer_id: str | None = None
        self.manifest: Manifest | None = None
        self.reused = RangeSet()
        self.digest: bytes | None = None
        self._entries: list[Entry] = []
        self._offer: tuple[int, int, int] = (0, 0, 0)  # entries, bytes, chunk size
        self._assembly: Assembly | None = None  # of a chunk that is here in part
        self._window: Window | None = None  # with the three after it, once the offer is accepted
        self._progress = Progress(NO_CHUNKS)
        self._promised: dict[int, bytes] = {}  # file digests by entry, as the sender said
        self._checked = RangeSet()  # files whose digest fits
        self._damaged_files: dict[int, int] = {}
        self._answered = False  # on this connection
        self._asked = RangeSet()  # files whose digest was asked for on this connection
        self._unsynced_since: float | None = None
        self._reported = State.CONNECTING
        self._report_at: float | None = None
        self._draining = False

    @classmethod
    def already_done(cls, limits: Limits, digest: bytes, now: float, *, agent: str = "") -> Receiver:
        """A receiver whose files an earlier run has published: it only says so, for some seconds or until bye."""
        receiver = cls(limits, agent=agent)
        receiver._be_done(digest, now)
        return receiver

    def _be_done(self, digest: bytes, now: float) -> None:
        self.state, self.digest = State.DONE, digest
        self._met, self._ended_at = True, now  # the earlier run has met the sender

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
        """The chunks for which bytes are here that are not compared yet."""
        return self._window.candidates if self._window else NO_CHUNKS

    @property
    def outstanding(self) -> int:
        """Bytes that were asked for and are not yet stored."""
        return self._window.outstanding if self._window else 0

    @property
    def left(self) -> int:
        """Bytes that are still to come, as far as is known."""
        return (
            self._known_manifest().bytes_in(self._window.needed | self._window.awaited) if self._window else 0
        )

    @property
    def drained(self) -> bool:
        """Whether all chunks that were asked for on this connection have come."""
        return self._window is None or not self._window.awaited

    def file_digests(self) -> list[bytes | None]:
        """The digest of each entry, None for folders; everything is stored."""
        return self._leaves.files()

    # ---------------------------------------------------------------- decisions
    def accept(
        self,
        now: float,
        have: RangeSet = NO_CHUNKS,
        leaves: Iterable[tuple[int, bytes]] = (),
        candidates: RangeSet = NO_CHUNKS,
    ) -> None:
        """Take the offer.

        ``have`` are chunks that are stored and durable, ``leaves`` their digests: runs of a first chunk and
        concatenated digests. ``candidates`` are chunks for which bytes are here that may be right; what is in ``have``
        without a digest becomes one of them.
        """
        if self.state.final:
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
        self._go_on_if_complete(now)

    def _begin(self, manifest: Manifest, have: RangeSet, candidates: RangeSet) -> None:
        self._window = Window(manifest, self.limits, have, candidates)
        self._candidates = Candidates(manifest, self._window.candidates)
        self._progress = Progress(have)

    def reject(self, reason: str, now: float) -> None:
        """Decline the offer; the sender is told why."""
        self._end_reason = reason
        self._end(Step.REJECT, Rejected(f"The offer was rejected{': ' + reason if reason else ''}."), now)

    def drain(self, draining: bool = True) -> None:
        """Ask for no more chunks on this connection, so that the next one can go on where it ends; or do again."""
        self._draining = draining
        self._want()

    # ---------------------------------------------------------------- the storage's answers
    def chunks_stored(self, tried: dict[int, bytes], right: RangeSet, now: float) -> None:
        """Of the chunks of a :class:`Store` (number: digest), these were right and are written."""
        if self._window is None or self.state.final:
            return
        try:
            self._window.stored(RangeSet.of(*tried), right)
        except DigestMismatch as error:
            self.fail(error, now)
            return
        self._learn({chunk: tried[chunk] for chunk in right}, now)

    def compared(self, tried: Iterable[int], right: RangeSet, now: float) -> None:
        """Of the chunks of a :class:`Compare`, what was here of these was right and is stored now."""
        if self._window is None or self.state.final:
            return
        digests = self._candidates.compared(tried)
        self._window.compared(RangeSet.of(*digests), right)
        self.reused |= right
        self._learn({chunk: digests[chunk] for chunk in right}, now)

    def _learn(self, digests: dict[int, bytes], now: float) -> None:
        """Chunks with these digests are stored now."""
        right = RangeSet.of(*digests)
        self._leaves.update(digests)
        self._progress.stored(right)
        if self._unsynced_since is None:
            self._unsynced_since = now
        self._check_files(self._known_manifest().entries_of(right), now)
        self._after_progress(now)

    def storage_full(self, tried: Iterable[int], error: DiskFull) -> None:
        """The chunks of a :class:`Store` or :class:`Compare` did not fit: pause until ``storage_ready``."""
        if self.state.final:
            return
        if self._window:
            chunks = RangeSet.of(*tried)
            self._candidates.put_back(chunks)
            self._window.unstored(chunks & self._window.storing)
        self._pause("disk", error.message)
        self._say(
            "pause", reason=f"The receiver's disk is full: {error.needed:,} more bytes are needed there."
        )

    def storage_ready(self) -> None:
        """There is room again."""
        self._release("disk")
        if self.state is State.WRITING:
            self._events.append(Publish())

    def flush_failed(self, lost: RangeSet, error: DiskFull) -> None:
        """A :class:`Sync` or :class:`Publish` did not fit and lost these chunks: pause until ``storage_ready``."""
        if self.state.final:
            return
        self._progress.flush_failed()
        self._lose(lost)
        self.storage_full((), error)

    def lost(self, chunks: RangeSet, now: float) -> None:
        """The storage found these damaged, or cannot make them durable: they are needed again.

        A :class:`Sync` or :class:`Publish` that is under way counts as failed.
        """
        if self._window is None or self.state.final:
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
        """The last :class:`Sync` is done."""
        self._progress.synced()
        self._unsynced_since = now if self._progress.unsynced else None
        self._report_soon(now)

    def published(self, now: float) -> None:
        """The :class:`Publish` is done: everything is at its place and durable."""
        if self.state is not State.WRITING:
            return
        self._progress.published()
        self._ended_at = now
        self._step(Step.PUBLISHED)
        self._say_done()

    # ---------------------------------------------------------------- the sender's frames
    @override
    def _receive_greeting(self, now: float) -> None:
        """The sender speaks first."""

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
        count = frame.number("entries", most=self.limits.max_entries)
        size = frame.number("bytes", most=self.limits.max_bytes)
        chunk_size = frame.number("chunk_size", least=MIN_CHUNK, most=MAX_CHUNK)
        offer_id = frame.text("id", most=64)
        if self.offer_id not in (None, offer_id):
            raise RemoteProtocolError("The other side now offers something else.")
        self.offer_id, self._offer = offer_id, (count, size, chunk_size)
        if self.manifest is None and self._known and self._known[0] == offer_id:
            self._take(self._known[1])
        elif self.manifest is None:
            self._entries.clear()
            self._say("list")
        elif self._window:
            self._go_on(now)

    def _receive_entries(self, frame: Control) -> None:
        entries = frame.items("entries", most=ENTRIES_PER_FRAME)
        count, _, chunk_size = self._offer
        if self.offer_id is None:
            raise RemoteProtocolError("The other side lists what it did not offer.")
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
            # The id stands for the list in later runs, so nobody may pass one list off as another.
            if manifest.id != self.offer_id:
                raise RemoteProtocolError("The list is not the one that was offered.")
            self._take(manifest)

    def _take(self, manifest: Manifest) -> None:
        """This is what is offered."""
        if (len(manifest.entries), manifest.total_bytes, manifest.chunk_size) != self._offer:
            raise RemoteProtocolError("The list is not the one that was offered.")
        self.manifest = manifest
        self._step(Step.OFFER)
        self._events.append(Offered(manifest))

    def _receive_digests(self, frame: Control, now: float) -> None:
        pairs = frame.items("digests", most=100_000)
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
        if self.state.final:
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
                assembled = False  # one that lies in the frame is enough to need it
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
        if self.state.final:
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
        """Compare what can be compared, and ask for what there is room for."""
        if self._window is None or self.paused or self.state is not State.TRANSFERRING:
            return
        while pairs := self._candidates.next_compare():
            self._events.append(Compare(pairs))
        if self._answered and not self._draining:
            rest = self._want_rest(self._window)
            chunks = self._window.next_want()
            self._say_want(chunks, self._completed_by(rest | chunks), self._candidates.next_ask())

    def _want_rest(self, window: Window) -> RangeSet:
        """Ask for the rest of the chunk that the last connection left in pieces, before anything else."""
        part = self._assembly
        if part is None or part.chunk not in window.needed:  # there is none, or it was asked for
            return NO_CHUNKS
        chunks = RangeSet.of(part.chunk)
        window.ask(chunks)
        self._say("want", chunks=ranges_to_wire(chunks), rest=[part.chunk, part.there])
        return chunks

    def _completed_by(self, chunks: RangeSet) -> RangeSet:
        """The files whose digests to ask for together with these chunks: nothing more is needed of them."""
        assert self._window is not None  # it wants something
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

    def _go_on(self, now: float) -> None:
        """A new connection after the answer: answer again, report everything, want what is outstanding."""
        self._answer()
        self._progress.report_afresh()
        self._report(now)
        self._want()
        self._go_on_if_complete(now)

    # ---------------------------------------------------------------- files
    def _check_files(self, entries: RangeSet, now: float) -> None:
        """Compare the digests of those files that are complete and promised."""
        manifest = self._known_manifest()
        fits = []
        for entry in entries - self._checked:
            if entry not in self._promised or self._leaves.missing(entry):
                continue
            if manifest.entries[entry].folder:
                raise RemoteProtocolError("A folder has a digest.")
            if self._leaves.file(entry) == self._promised[entry]:
                fits.append(entry)
            else:
                self._forget_file(entry, now)
        self._checked |= RangeSet.of(*fits)

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
        """What of these was stored is needed again."""
        if self._window is None or not (chunks := chunks & self._window.have):
            return
        self._leaves.forget(chunks)
        self._window.forget(chunks)
        self._progress.lost(chunks)
        self.reused -= chunks
        self._checked -= self._known_manifest().entries_of(chunks)
        if self.state in (State.VERIFYING, State.WRITING):
            self._step(Step.DAMAGED)

    def _after_progress(self, now: float) -> None:
        if not self.state.final:
            self._report_soon(now)
            self._sync_if_due(now)
            self._want()
            self._go_on_if_complete(now)

    def _go_on_if_complete(self, now: float) -> None:
        """Every chunk stored: verify; every file verified: publish."""
        if self._window is None or not self._window.complete:
            return
        if self.state is State.TRANSFERRING:
            self._step(Step.RECEIVED)
            self._report(now)
        if unchecked := self._known_manifest().files - self._checked:
            if self._answered:
                self._say_want(NO_CHUNKS, unchecked - self._asked)
        elif self.state is State.VERIFYING:
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
        assert self.digest is not None  # it was verified
        self._answer()  # the first one may have been lost with its connection
        self._say("done", digest=self.digest.hex())

    def _report_soon(self, now: float) -> None:
        if self._report_at is None:
            self._report_at = now + self.limits.report_interval

    def _report(self, now: float) -> None:
        verified, durable, everything = self._progress.news(self.verified)
        self._report_at = None
        if not (verified or durable or everything or self._reported is not self.state):
            return
        self._reported = self.state
        *parts, last = split(verified, durable)
        for part in parts:
            self._say_progress(part, all=everything)
            everything = False  # the next ones add to it
        self._say_progress(last, state=str(self.state), all=everything)

    def _say_progress(self, part: tuple[RangeSet, ...], **fields: object) -> None:
        verified, durable = map(ranges_to_wire, part)
        self._say("progress", verified=verified, durable=durable, **fields)

    def _sync_if_due(self, now: float) -> None:
        if (at := self._sync_deadline()) is not None and now >= at:
            self._progress.begin_sync()
            self._events.append(Sync())

    def _sync_deadline(self) -> float | None:
        idle = self._progress.syncing is None and self.state is State.TRANSFERRING
        if self._unsynced_since is None or not idle:
            return None
        unsynced = self._known_manifest().bytes_in(self._progress.unsynced)
        return self._unsynced_since + (0 if unsynced >= self.limits.sync_bytes else self.limits.sync_interval)

    @override
    def _deadlines(self) -> list[float]:
        if self.state.final:
            return []
        deadlines = [self._report_at if self._answered else None, self._sync_deadline()]
        return [deadline for deadline in deadlines if deadline is not None]

    @override
    def _do_what_is_due(self, now: float) -> None:
        if self.state.final:
            return
        if self._report_at is not None and now >= self._report_at and self._answered:
            self._report(now)
        self._sync_if_due(now)
