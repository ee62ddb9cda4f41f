"""The sender: a small server of chunks. It answers WANT with exactly what was wanted, reading ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from nbferry.errors import DigestMismatch, Expired, Rejected, RemoteProtocolError
from nbferry.limits import MAX_MESSAGE, Limits, MiB
from nbferry.manifest import Manifest
from nbferry.protocol.frames import MAX_RANGES, ChunkBatch, Control, Piece
from nbferry.protocol.leaves import Leaves
from nbferry.protocol.machine import Machine
from nbferry.protocol.states import Step
from nbferry.ranges import RangeSet
from nbferry.status import State

ENTRIES_PER_FRAME = 1_000
ENTRIES_BYTES = 512 * 1024  # of paths in one frame: JSON may escape each byte to more
MAX_WANTS = 1_024  # unanswered WANT frames: a receiver keeps a few
BATCH = 4 * MiB  # read in one go: enough to make the hop to a worker thread cheap
DIGESTS_PER_FRAME = 4_096


@dataclass(eq=False, slots=True)
class ReadJob:
    """Read these chunks into the batch (or, without one, only hash them), then call ``chunks_read``."""

    chunks: RangeSet
    batch: ChunkBatch | None
    generation: int


class Sender(Machine):
    """Offers a manifest and serves its chunks to one receiver."""

    role = "sender"

    def __init__(
        self,
        manifest: Manifest,
        limits: Limits,
        *,
        offer_id: str,
        agent: str = "",
        expires_at: float | None = None,
    ) -> None:
        super().__init__(limits, agent=agent)
        self.manifest = manifest
        self.offer_id = offer_id
        self.sent = RangeSet()
        self.verified = RangeSet()
        self.durable = RangeSet()
        self.frame_size = 1 * MiB + 4096  # the driver lowers it on a slow line
        self.held = False  # in the queue: the driver lets it go when it is this transfer's turn
        self.digest: bytes | None = None
        self._expires_at = expires_at
        self._leaves = Leaves(manifest)
        self._generation = 0
        self._wanted: deque[RangeSet] = deque()
        self._owed = RangeSet()  # files whose digest was asked for
        self._hashing = RangeSet()  # chunks that are read only for their digest
        self._listing: Iterator[Control] | None = None
        size = max(BATCH, ChunkBatch.room_for(limits.chunk_size, 64 * 1024))
        self._batch_size = size
        self._batches_left = max(2, limits.read_ahead // size)
        self._free: list[ChunkBatch] = []
        self._ready: deque[tuple[ChunkBatch, deque[memoryview]]] = deque()

    @property
    def hashing(self) -> bool:
        """Whether files are read only for their digests, because their bytes need not travel."""
        return bool(self._hashing)

    # ---------------------------------------------------------------- reading ahead
    def next_read(self) -> ReadJob | None:
        """What to read next, if there is room for it."""
        if self.state.final or not self.is_connected or self.held:
            return None
        while self._wanted and not self._wanted[0]:
            self._wanted.popleft()
        if self._wanted:
            batch = self._take_batch()
            return ReadJob(self._wanted[0], batch, self._generation) if batch else None
        return self._next_hash()

    def chunks_read(self, job: ReadJob, done: RangeSet, digests: dict[int, bytes]) -> None:
        """A job is done: these chunks of it are in the batch, or hashed."""
        self._leaves.update(digests)
        self._hashing -= done
        if job.generation != self._generation or self.state.final:
            if job.batch:
                self._give_back(job.batch)
            return
        if job.batch:
            self._wanted[0] -= done
            self._ready.append((job.batch, deque(job.batch.frames())))
        self._pay_digests(self._entries_of(done))

    def _take_batch(self) -> ChunkBatch | None:
        if self._free:
            batch = self._free.pop()
        elif self._batches_left:
            self._batches_left -= 1
            batch = ChunkBatch(bytearray(self._batch_size), MAX_MESSAGE)
        else:
            return None
        batch.start(self.frame_size)
        return batch

    def _give_back(self, batch: ChunkBatch) -> None:
        self._free.append(batch)

    def _next_hash(self) -> ReadJob | None:
        if self._hashing:
            return None
        for entry in self._owed:
            if missing := self._leaves.missing(entry):
                self._hashing = missing.first(max(1, BATCH // self.manifest.chunk_size))
                self._changed()
                return ReadJob(self._hashing, None, self._generation)
        return None

    def _next_data_frame(self) -> memoryview | None:
        if self._listing is not None:
            if entries := next(self._listing, None):
                return memoryview(entries.encode())
            self._listing = None
        if self.paused or not self._ready:
            return None
        batch, frames = self._ready[0]
        if frames:
            return frames.popleft()
        # The last frame was valid until now.
        self.sent |= RangeSet.of(*batch.digests)
        self._ready.popleft()
        self._give_back(batch)
        return self._next_data_frame()

    # ---------------------------------------------------------------- the receiver's frames
    def connected(self, now: float) -> None:
        """See :meth:`Machine.connected`."""
        self._generation += 1
        super().connected(now)

    def disconnected(self) -> None:
        """See :meth:`Machine.disconnected`."""
        super().disconnected()
        self._generation += 1
        self._wanted.clear()
        self._owed = self._hashing = RangeSet()
        self._listing = None
        while self._ready:
            self._give_back(self._ready.popleft()[0])
        self.sent = self.verified

    def _receive_greeting(self, now: float) -> None:
        if self.state is State.CONNECTING:
            self._step(Step.OFFER)
        self._say(
            "offer",
            id=self.offer_id,
            entries=len(self.manifest.entries),
            files=self.manifest.file_count,
            bytes=self.manifest.total_bytes,
            chunk_size=self.manifest.chunk_size,
        )

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
            if self.state is State.OFFERED:
                self._step(Step.ACCEPT)
        elif self.state is State.OFFERED:
            reason = frame.text("reason")
            error = Rejected(f"The receiver rejected the offer{': ' + reason if reason else ''}.")
            self._peer_ended(Step.REJECT, error, now)
        else:
            raise frame.wrong("accept")

    def _receive_want(self, frame: Control) -> None:
        if self.state is State.OFFERED:
            raise RemoteProtocolError("The other side wants data without having accepted.")
        chunks = frame.ranges("chunks", stop=self.manifest.chunk_count)
        entries = frame.ranges("digests", stop=len(self.manifest.entries))
        if len(self._wanted) >= MAX_WANTS or len(self._owed.ranges) > MAX_RANGES:
            raise RemoteProtocolError("The other side wants too much at once.")
        if chunks:
            self._wanted.append(chunks)
        self._owed |= entries
        self._pay_digests(entries)

    def _receive_progress(self, frame: Control) -> None:
        stop = self.manifest.chunk_count
        verified, durable = frame.ranges("verified", stop=stop), frame.ranges("durable", stop=stop)
        if frame.fields.get("all"):
            self.verified = self.durable = RangeSet()
        self.verified |= verified
        self.durable |= durable
        self.sent |= verified
        match frame.fields.get("state"), self.state:
            case "verifying", State.TRANSFERRING:
                self._step(Step.RECEIVED)
            case "writing", State.TRANSFERRING | State.VERIFYING:
                self._step(Step.VERIFIED)
            case "transferring", State.VERIFYING | State.WRITING:
                self._step(Step.DAMAGED)

    def _receive_done(self, frame: Control, now: float) -> None:
        if self.state is State.OFFERED:
            raise RemoteProtocolError("The other side is done without having accepted.")
        try:
            digest = bytes.fromhex(frame.text("digest"))
        except ValueError:
            raise frame.wrong("digest") from None
        if len(self._leaves.known) == self.manifest.chunk_count and digest != self._leaves.content():
            raise DigestMismatch("The other side received something else than was sent.")
        self.digest = digest
        everything = RangeSet.span(0, self.manifest.chunk_count)
        self.sent = self.verified = self.durable = everything
        self._peer_ended(Step.PUBLISHED, None, now)

    # ---------------------------------------------------------------- digests of files
    def _entries_of(self, chunks: RangeSet) -> RangeSet:
        entry_of = self.manifest.entry_of
        return RangeSet.union((entry_of(start), entry_of(stop - 1) + 1) for start, stop in chunks.ranges)

    def _pay_digests(self, entries: RangeSet) -> None:
        """Send the digests that are owed for these entries, as far as they are known."""
        payable = [
            entry
            for entry in entries & self._owed
            if not self.manifest.entries[entry].folder and not self._leaves.missing(entry)
        ]
        for at in range(0, len(payable), DIGESTS_PER_FRAME):
            part = payable[at : at + DIGESTS_PER_FRAME]
            self._say("digests", digests=[[entry, self._leaves.file(entry).hex()] for entry in part])
        self._owed -= RangeSet.of(*payable)

    def _receive_pieces(self, pieces: Iterator[Piece], now: float) -> None:
        raise RemoteProtocolError("The receiver sent a chunk.")

    def _say_done(self) -> None:
        """The receiver says it."""

    # ---------------------------------------------------------------- time
    def _deadlines(self) -> list[float]:
        waits = self.state in (State.CONNECTING, State.OFFERED)
        return [self._expires_at] if self._expires_at is not None and waits else []

    def _do_what_is_due(self, now: float) -> None:
        if any(now >= deadline for deadline in self._deadlines()):
            self.fail(Expired(), now)
