"""A sender and a receiver joined by a line that a test controls: no clock, no loop, no sockets, no disk."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.errors import DiskFull
from nbferry.limits import Limits
from nbferry.manifest import Entry, Manifest
from nbferry.protocol.events import Event, Offered, Publish, Store, Sync
from nbferry.protocol.frames import ChunkData, Control, decode
from nbferry.protocol.machine import Machine
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import ReadJob, Sender
from nbferry.ranges import RangeSet

SMALL = Limits(chunk_size=4096, window=5 * 4096, read_ahead=16 * 4096)

TO_RECEIVER, TO_SENDER = "to receiver", "to sender"


def manifest_of(files: dict[str, bytes], chunk_size: int = SMALL.chunk_size) -> Manifest:
    """The manifest of files held in memory."""
    return Manifest.of((Entry(path, len(data)) for path, data in files.items()), chunk_size)


def bytes_of(chunk: int, manifest: Manifest, files: dict[str, bytes]) -> bytes:
    """The bytes of one chunk."""
    entry, offset, length = manifest.place(chunk)
    return files[manifest.entries[entry].path][offset : offset + length]


def read_job(job: ReadJob, manifest: Manifest, files: dict[str, bytes]) -> tuple[RangeSet, dict[int, bytes]]:
    """Do a sender's job as a source does; what ``chunks_read`` is to be told."""
    if job.batch is None:
        return job.chunks, {chunk: chunk_digest(bytes_of(chunk, manifest, files)) for chunk in job.chunks}
    done = []
    for chunk in job.chunks:
        data = bytes_of(chunk, manifest, files)
        slots = job.batch.reserve(len(data))
        if slots is None:
            break
        at = 0
        for slot in slots:
            slot[:] = data[at : at + len(slot)]
            at += len(slot)
        job.batch.commit(chunk, chunk_digest_of(slots))
        done.append(chunk)
    return RangeSet.of(*done), job.batch.digests


class Rig:
    """Both machines, the files of one and the disk of the other.

    ``accept`` None leaves the decision to the test. A disk that is ``stalled`` does nothing; one that is ``full`` has
    no room until ``make_room``. ``said`` counts the frames of each name; chunk frames count as ``chunks``. Control
    frames of the names in ``withheld`` never arrive.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        limits: Limits = SMALL,
        *,
        manifest: Manifest | None = None,
        accept: bool | None = True,
        frame_size: int = 1 << 20,
        expires_at: float | None = None,
    ) -> None:
        self.files = files
        self.now = 0.0
        self.manifest = manifest or manifest_of(files, limits.chunk_size)
        self.sender = Sender(self.manifest, limits, offer_id="offer", expires_at=expires_at)
        self.sender.frame_size = frame_size
        self.receiver = Receiver(limits)
        self.accept = accept
        self.offered: Manifest | None = None
        self.published = False
        self.syncs = 0
        self.stored: dict[str, bytearray] = {}
        self.stalled = self.full = False
        self.damage: Counter[int] = Counter()  # chunks that arrive damaged, so many times
        self.said: Counter[str] = Counter()
        self.withheld: set[str] = set()
        self.peak = 0  # bytes that were outstanding at most
        self.lines: dict[str, deque[bytes]] = {TO_RECEIVER: deque(), TO_SENDER: deque()}
        self._work: deque[Store | Sync | Publish] = deque()
        self._waits_for_room = False

    # ---------------------------------------------------------------- the line
    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self.sender.is_connected

    def connect(self) -> None:
        """Join both sides by a new connection."""
        self.sender.connected(self.now)
        self.receiver.connected(self.now)

    def disconnect(self) -> None:
        """Cut the connection; what is on the lines is lost."""
        for line in self.lines.values():
            line.clear()
        self.sender.disconnected()
        self.receiver.disconnected()

    def collect(self, machine: Machine, line: str) -> int:
        """Put every frame that a machine has on its line."""
        count = 0
        while (frame := machine.next_frame(self.now)) is not None:
            read = decode(memoryview(frame))
            self.said[read.name if isinstance(read, Control) else "chunks"] += 1
            if not (isinstance(read, Control) and read.name in self.withheld):
                self.lines[line].append(bytes(frame))
            count += 1
        return count

    def deliver(self, line: str) -> bool:
        """Hand over the first frame of a line."""
        if not self.lines[line]:
            return False
        machine = self.receiver if line == TO_RECEIVER else self.sender
        machine.receive(memoryview(self.lines[line].popleft()), self.now)
        self.handle_events()
        return True

    # ---------------------------------------------------------------- the storage
    def read(self) -> bool:
        """Do one read job of the sender."""
        job = self.sender.next_read()
        if job is None:
            return False
        self.sender.chunks_read(job, *read_job(job, self.manifest, self.files))
        return True

    def handle_events(self) -> None:
        """Do what both drivers do with the machines' events."""
        self.sender.events()
        while events := self.receiver.events():
            for event in events:
                self._handle(event)
        self.peak = max(self.peak, self.receiver.outstanding)

    def _handle(self, event: Event) -> None:
        match event:
            case Offered(manifest):
                self.offered = manifest
                if self.accept is True:
                    self.receiver.accept(self.now)
                elif self.accept is False:
                    self.receiver.reject("no", self.now)
            case Store() | Sync() | Publish():
                self._work.append(event)

    @property
    def can_work(self) -> bool:
        """Whether the disk has something to do, and can."""
        return bool(self._work) and not self.stalled and not self._waits_for_room

    def work(self) -> bool:
        """Let the disk do one thing, if it can."""
        if not self.can_work:
            return False
        match self._work.popleft():
            case Store(chunks):
                self._store(chunks)
            case Sync() | Publish() if self.full:
                self._waits_for_room = True
                self.receiver.flush_failed(RangeSet(), DiskFull(1))
            case Sync():
                self.syncs += 1
                self.receiver.synced(self.now)
            case Publish():
                self.published = True
                self.receiver.published(self.now)
        self.handle_events()
        return True

    def _store(self, chunks: Sequence[ChunkData]) -> None:
        """Do what a sink does, and tell the receiver."""
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        if self.full:
            self._waits_for_room = True
            self.receiver.storage_full(tried, DiskFull(self.manifest.bytes_in(RangeSet.of(*tried))))
            return
        right = [chunk.chunk for chunk in chunks if self._write(chunk)]
        self.receiver.chunks_stored(tried, RangeSet.of(*right), self.now)

    def _write(self, chunk: ChunkData) -> bool:
        """Check a chunk and write it; whether it was right."""
        data = bytes(chunk.data)
        if self.damage[chunk.chunk]:
            self.damage[chunk.chunk] -= 1
            data = b"?" + data[1:]
        if chunk_digest(data) != chunk.digest:
            return False
        entry, offset, _ = self.manifest.place(chunk.chunk)
        path = self.manifest.entries[entry].path
        file = self.stored.setdefault(path, bytearray(self.manifest.entries[entry].size))
        file[offset : offset + len(data)] = data
        return True

    def make_room(self) -> None:
        """The disk is not full any more."""
        self.full = False
        if self._waits_for_room:
            self._waits_for_room = False
            self.receiver.storage_ready()
            self.handle_events()

    # ---------------------------------------------------------------- all of it
    def step(self) -> bool:
        """Everything that can happen without time passing, once."""
        moved = self.read()
        moved = bool(self.collect(self.sender, TO_RECEIVER)) or moved
        moved = bool(self.collect(self.receiver, TO_SENDER)) or moved
        moved = self.deliver(TO_RECEIVER) or moved
        moved = self.work() or moved
        return self.deliver(TO_SENDER) or moved

    def run(self) -> None:
        """Until nothing moves, letting a little time pass while something is due."""
        for _ in range(100_000):
            if self.step():
                continue
            deadlines = [m.next_deadline() for m in (self.sender, self.receiver) if not m.finished]
            due = min((d for d in deadlines if d is not None), default=None)
            if due is None or due > self.now + 1.0:
                return
            self.pass_time(due - self.now)
        raise AssertionError("it never comes to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what is due then."""
        self.now += max(0.0, seconds)
        self.sender.deadline_passed(self.now)
        self.receiver.deadline_passed(self.now)
        self.handle_events()

    @property
    def received(self) -> dict[str, bytes]:
        """The files that are stored, when they are published."""
        assert self.published
        return {path: bytes(data) for path, data in self.stored.items()}
