"""The sender: a small server of chunks. It answers WANT with exactly the wanted chunks, and reads ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from typing_extensions import override

from nbferry.errors import DigestMismatch, Expired, Rejected, RemoteProtocolError
from nbferry.limits import MAX_MESSAGE, Limits, MiB
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.debts import Debts
from nbferry.protocol.frames import ChunkBatch, Control, LeafRun, Piece
from nbferry.protocol.leaves import Leaves
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase, Step

ENTRIES_PER_FRAME = 1_000
ENTRIES_BYTES = 512 * 1024  # of paths in one frame: JSON may escape each byte to more
MAX_WANTS = 1_024  # unanswered WANT frames: a receiver keeps a few
AHEAD = 5  # WANT frames to read ahead: a receiver has one for each quarter of its window, and one more
BATCH = 4 * MiB  # read in one job: enough to make the hop to a worker thread cheap


@dataclass(eq=False, slots=True)
class Want:
    """Chunks that are still to be read. ``rest``: the receiver has the first bytes of one: (chunk, how many)."""

    chunks: RangeSet
    rest: tuple[int, int] | None


@dataclass(eq=False, slots=True)
class ReadJob:
    """Read these chunks into the batch (or, without one, only hash them), then call ``chunks_read``.

    ``ahead`` are the chunks that will be read soon, including these.
    """

    chunks: RangeSet
    batch: ChunkBatch | None
    generation: int
    ahead: RangeSet


class Sender(Machine):
    """Offers a manifest and serves its chunks to one receiver."""

    role = "sender"

    def __init__(
        self,
        manifest: Manifest,
        limits: Limits,
        *,
        agent: str = "",
        expires_at: float | None = None,
    ) -> None:
        super().__init__(limits, agent=agent)
        self.manifest = manifest
        self.sent = RangeSet()
        self.verified = RangeSet()
        self.durable = RangeSet()
        self.frame_size = 1 * MiB + 4096  # the driver adapts it to the link
        self.held = False  # queued: the driver clears it when this transfer may send
        self.digest: bytes | None = None
        self._expires_at = expires_at
        self._leaves = Leaves(manifest)
        self._generation = 0
        self._wanted: deque[Want] = deque()
        self._was_wanted = False  # whether a chunk was wanted on this connection
        self._debts = Debts(manifest, self._leaves)
        self._hashing: ReadJob | None = None
        self._listing: Iterator[Control] | None = None
        size = max(BATCH, ChunkBatch.room_for(limits.chunk_size, 64 * 1024))
        self._batch_size = size
        self._batches_left = max(2, limits.read_ahead // size)
        self._free: list[ChunkBatch] = []
        self._ready: deque[tuple[ChunkBatch, deque[memoryview]]] = deque()

    @property
    def offer_id(self) -> str:
        """The id of the offer; the same after a restart."""
        return self.manifest.id

    @property
    def hashing(self) -> bool:
        """Whether this side only reads for digests, because the receiver needs no bytes."""
        return bool(self._debts) and not self._wanted and not self._ready

    # ---------------------------------------------------------------- reading ahead
    def next_read(self) -> ReadJob | None:
        """What to read next, if a batch is free."""
        if self.phase.final or not self.is_connected or self.held:
            return None
        if self._wanted:
            want = self._wanted[0]
            batch = self._take_batch(want)
            return ReadJob(want.chunks, batch, self._generation, self._ahead()) if batch else None
        return self._next_hash()

    def chunks_read(self, job: ReadJob, done: RangeSet, digests: dict[int, bytes]) -> None:
        """A job is done: these chunks are in the batch, or hashed. Their digests stay known on later connections."""
        self._leaves.update(digests)
        self._debts.learnt(done)
        if job is self._hashing:
            self._hashing = None
            self._changed()
        if job.batch and job.generation == self._generation and not self.phase.final:
            self._send(job.batch, done)
        elif job.batch:
            self._give_back(job.batch)

    def _ahead(self) -> RangeSet:
        wanted = RangeSet()
        for want in islice(self._wanted, AHEAD):
            wanted |= want.chunks
        return wanted

    def source_away(self, job: ReadJob, why: str) -> None:
        """Pause until ``source_back``: the files of a job cannot be reached now."""
        if job is self._hashing:
            self._hashing = None
        if job.batch:
            self._give_back(job.batch)
        if not self.phase.final:
            self._pause("source", why)
            self._say("pause", reason=self._own_reasons)

    def source_back(self) -> None:
        """End the pause: the files can be read again."""
        self._release("source")

    def _send(self, batch: ChunkBatch, done: RangeSet) -> None:
        self._ready.append((batch, deque(batch.frames())))
        want = self._wanted[0]
        want.chunks -= done
        if not want.chunks:
            self._wanted.popleft()

    def _take_batch(self, want: Want) -> ChunkBatch | None:
        if self._free:
            batch = self._free.pop()
        elif self._batches_left:
            self._batches_left -= 1
            batch = ChunkBatch(bytearray(self._batch_size), MAX_MESSAGE)
        else:
            return None
        batch.start(self.frame_size, want.rest)
        return batch

    def _give_back(self, batch: ChunkBatch) -> None:
        self._free.append(batch)

    def _next_hash(self) -> ReadJob | None:
        chunks = self._debts.next_job() if self._debts and not self._hashing else None
        if not chunks:
            return None
        self._hashing = ReadJob(chunks, None, self._generation, RangeSet())
        self._changed()
        return self._hashing

    @override
    def _next_data_frame(self) -> memoryview | None:
        if self._listing is not None:
            if entries := next(self._listing, None):
                return memoryview(entries.encode())
            self._listing = None
        if digests := self._debts.next_frame():
            return memoryview(digests)
        return None if self.paused else self._next_chunk_frame()

    def _next_chunk_frame(self) -> memoryview | None:
        if not self._ready:
            return None
        batch, frames = self._ready[0]
        if frames:
            return frames.popleft()
        # The caller is done with the last frame of this batch.
        self.sent |= RangeSet.of(*batch.digests)
        self._ready.popleft()
        self._give_back(batch)
        return self._next_chunk_frame()

    # ---------------------------------------------------------------- the receiver's frames
    @override
    def connected(self, now: float) -> None:
        self._generation += 1
        self._was_wanted = False
        super().connected(now)

    @override
    def disconnected(self) -> None:
        super().disconnected()
        self._generation += 1
        self._wanted.clear()
        self._debts.forget()
        self._hashing = None
        self._listing = None
        while self._ready:
            self._give_back(self._ready.popleft()[0])
        self.sent = self.verified

    @override
    def _receive_greeting(self, now: float) -> None:
        if self.phase is Phase.CONNECTING:
            self._step(Step.OFFER)
        self._say(
            "offer",
            id=self.offer_id,
            entries=len(self.manifest.entries),
            files=self.manifest.file_count,
            bytes=self.manifest.total_bytes,
            chunk_size=self.manifest.chunk_size,
        )

    @override
    def _receive_frame(self, frame: Control, now: float) -> None:
        match frame.name:
            case "list":
                self._listing = self._pages()
            case "answer":
                self._receive_answer(frame, now)
            case "want":
                self._receive_want(frame)
            case "progress":
                self._receive_progress(frame)
            case "done":
                self._receive_done(frame, now)

    def _pages(self) -> Iterator[Control]:
        page: list[dict[str, object]] = []
        first = size = 0
        for index, entry in enumerate(self.manifest.entries):
            if page and (len(page) == ENTRIES_PER_FRAME or size + len(entry.path) > ENTRIES_BYTES // 6):
                yield Control("entries", {"first": first, "entries": page})
                page, first, size = [], index, 0
            page.append(entry.to_wire())
            size += len(entry.path)
        yield Control("entries", {"first": first, "entries": page})

    def _receive_answer(self, frame: Control, now: float) -> None:
        if frame.fields.get("accept") is True:
            if self.phase is Phase.OFFERED:
                self._step(Step.ACCEPT)
        elif self.phase is Phase.OFFERED:
            reason = frame.text("reason")
            error = Rejected(f"The receiver rejected the offer{': ' + reason if reason else ''}.")
            self._peer_ended(Step.REJECT, error, now)
        else:
            raise frame.wrong("accept")

    def _receive_want(self, frame: Control) -> None:
        if self.phase is Phase.OFFERED:
            raise RemoteProtocolError("The other side asked for data before it accepted the offer.")
        chunks = frame.ranges("chunks", stop=self.manifest.chunk_count)
        files = frame.ranges("digests", stop=len(self.manifest.entries))
        leaves = frame.ranges("leaves", stop=self.manifest.chunk_count)
        if len(self._wanted) >= MAX_WANTS:
            raise RemoteProtocolError("The other side asks for too much at once.")
        rest = self._rest_of(frame, chunks)
        if chunks:
            self._wanted.append(Want(chunks, rest))
            self._was_wanted = True
        self._debts.ask(files, leaves)

    def _rest_of(self, frame: Control, chunks: RangeSet) -> tuple[int, int] | None:
        """The chunk of which the receiver has the first bytes, and how many."""
        # Once for each connection: the whole chunk is read even for a few bytes of it.
        match frame.fields.get("rest"):
            case None:
                return None
            case [int(chunk), int(offset)] if chunk in chunks and not self._was_wanted:
                if 0 < offset < self.manifest.place(chunk).length:
                    return chunk, offset
        raise frame.wrong("rest")

    def _receive_progress(self, frame: Control) -> None:
        stop = self.manifest.chunk_count
        verified, durable = frame.ranges("verified", stop=stop), frame.ranges("durable", stop=stop)
        if frame.fields.get("all"):
            self.verified = self.durable = RangeSet()
        self.verified |= verified
        self.durable |= durable
        self.sent |= verified
        match frame.fields.get("state"), self.phase:
            case "verifying", Phase.TRANSFERRING:
                self._step(Step.RECEIVED)
            case "writing", Phase.TRANSFERRING | Phase.VERIFYING:
                self._step(Step.VERIFIED)
            case "transferring", Phase.VERIFYING | Phase.WRITING:
                self._step(Step.DAMAGED)

    def _receive_done(self, frame: Control, now: float) -> None:
        if self.phase is Phase.OFFERED:
            raise RemoteProtocolError("The other side was done before it accepted the offer.")
        try:
            digest = bytes.fromhex(frame.text("digest"))
        except ValueError:
            raise frame.wrong("digest") from None
        if len(self._leaves.known) == self.manifest.chunk_count and digest != self._leaves.content():
            raise DigestMismatch("What the other side received differs from what was sent.")
        self.digest = digest
        everything = RangeSet.span(0, self.manifest.chunk_count)
        self.sent = self.verified = self.durable = everything
        self._peer_ended(Step.PUBLISHED, None, now)

    @override
    def _receive_pieces(self, pieces: Iterator[Piece], now: float) -> None:
        raise RemoteProtocolError("The receiver sent a chunk.")

    @override
    def _receive_leaves(self, run: LeafRun, now: float) -> None:
        raise RemoteProtocolError("The receiver sent digests of chunks.")

    @override
    def _say_done(self) -> None:
        """Nothing: the receiver says it."""

    # ---------------------------------------------------------------- time
    @override
    def _deadlines(self) -> list[float]:
        waits = self.phase in (Phase.CONNECTING, Phase.OFFERED)
        return [self._expires_at] if self._expires_at is not None and waits else []

    @override
    def _do_what_is_due(self, now: float) -> None:
        if any(now >= deadline for deadline in self._deadlines()):
            self.fail(Expired(), now)
