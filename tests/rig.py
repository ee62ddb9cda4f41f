"""A sender and a receiver joined by a line that a test controls: no clock, no loop, no sockets, no disk."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.errors import DiskFull
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Compare, Event, Offered, Publish, Store, Sync
from nbferry.protocol.frames import ChunkData, Control, LeafRun, decode
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import ReadJob, Sender

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
    """Run a sender's read job as a source does. Returns the arguments for ``chunks_read``."""
    if job.batch is None:
        return job.chunks, {chunk: chunk_digest(bytes_of(chunk, manifest, files)) for chunk in job.chunks}
    done = []
    for chunk in job.chunks:
        data = bytes_of(chunk, manifest, files)
        slots = job.batch.reserve(chunk, len(data))
        if slots is None:
            break
        at = 0
        for slot in slots:
            slot[:] = data[at : at + len(slot)]
            at += len(slot)
        job.batch.commit(chunk, chunk_digest_of(slots))
        done.append(chunk)
    return RangeSet.of(*done), job.batch.digests


class Disk:
    """The receiver's disk. ``journal`` has the chunks that survive a crash, with their digests.

    ``stored`` are the files as they are now, right or wrong. ``written`` are the chunks stored since the process began.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.stored: dict[str, bytearray] = {}
        # How often a chunk arrives damaged.
        self.damage: Counter[int] = Counter()
        self.begin(manifest)

    def begin(self, manifest: Manifest) -> None:
        """Prepare for an offer. Files under its names stay until they are overwritten."""
        self.manifest = manifest
        self.journal: dict[int, bytes] = {}
        self.written: dict[int, bytes] = {}
        self.finished: bytes | None = None

    @property
    def have(self) -> RangeSet:
        """The chunks in the journal."""
        return RangeSet.of(*self.journal)

    @property
    def candidates(self) -> RangeSet:
        """Chunks of existing files that are not in the journal."""
        files = [index for index, entry in enumerate(self.manifest.entries) if entry.path in self.stored]
        return RangeSet.union(map(self.manifest.chunks_of, files)) - self.have

    def write(self, chunk: ChunkData) -> bool:
        """Check a chunk and write it. Returns whether it was right."""
        data = bytes(chunk.data)
        if self.damage[chunk.chunk]:
            self.damage[chunk.chunk] -= 1
            data = b"?" + data[1:]
        if chunk_digest(data) != chunk.digest:
            return False
        self.put(chunk.chunk, data)
        self.written[chunk.chunk] = chunk.digest
        return True

    def put(self, chunk: int, data: bytes) -> None:
        """Put these bytes on the disk, right or wrong."""
        entry, offset, _ = self.manifest.place(chunk)
        path, size = self.manifest.entries[entry].path, self.manifest.entries[entry].size
        file = self.stored.setdefault(path, bytearray(size))
        file.extend(bytes(max(0, size - len(file))))
        del file[size:]
        file[offset : offset + len(data)] = data

    def reuse(self, chunk: int, digest: bytes) -> bool:
        """Keep the stored bytes of a chunk if they have this digest. Returns whether they do."""
        entry, offset, length = self.manifest.place(chunk)
        data = bytes(self.stored[self.manifest.entries[entry].path][offset : offset + length])
        if chunk_digest(data) != digest:
            return False
        self.put(chunk, data)
        self.written[chunk] = digest
        return True

    def sync(self) -> None:
        """Add all written chunks to the journal."""
        self.journal |= self.written

    def lose(self, chunks: RangeSet) -> None:
        """Lose chunks: they are neither written nor in the journal."""
        for chunk in chunks:
            self.journal.pop(chunk, None)
            self.written.pop(chunk, None)
            self.put(chunk, bytes(self.manifest.place(chunk).length))

    def crash(self) -> None:
        """Forget all but the chunks in the journal."""
        self.written = dict(self.journal)


class Rig:
    """Both machines, the files of one and the disk of the other.

    With ``accept=None`` the test decides on the offer. A disk that is ``stalled`` does nothing. A ``full`` one has
    no room until ``make_room``. ``said`` counts the frames of each name; chunk frames count as ``chunks``, those with
    digests of chunks as ``leaves``. Control frames with names in ``withheld`` never arrive. ``again`` are the chunks
    that the receiver wanted although they were in the journal.
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
        self.limits = limits
        self.now = 0.0
        self.manifest = manifest or manifest_of(files, limits.chunk_size)
        self.frame_size = frame_size
        self.sender = self._new_sender(expires_at)
        self.receiver = Receiver(limits)
        self.accept = accept
        self.offered: Manifest | None = None
        self.published = False
        self.syncs = 0
        self.disk = Disk(self.manifest)
        # The offer was accepted and needs no further decision.
        self.taken = False
        self.again = RangeSet()
        self.stalled = self.full = False
        self.said: Counter[str] = Counter()
        self.withheld: set[str] = set()
        # The most bytes that were outstanding at once.
        self.peak = 0
        self.lines: dict[str, deque[bytes]] = {TO_RECEIVER: deque(), TO_SENDER: deque()}
        self._work: deque[Store | Compare | Sync | Publish] = deque()
        self._waits_for_room = False

    def _new_sender(self, expires_at: float | None = None) -> Sender:
        sender = Sender(self.manifest, self.limits, expires_at=expires_at)
        sender.frame_size = self.frame_size
        return sender

    @property
    def stored(self) -> dict[str, bytearray]:
        """The files on the receiver's disk."""
        return self.disk.stored

    @property
    def damage(self) -> Counter[int]:
        """How often a chunk arrives damaged."""
        return self.disk.damage

    # ---------------------------------------------------------------- crashes
    def crash_sender(self) -> None:
        """The sender's process ends; another one offers the same list."""
        if self.connected:
            self.disconnect()
        self.sender = self._new_sender()

    def crash_receiver(self) -> None:
        """The receiver's process ends. Another one resumes with the data on the disk."""
        if self.connected:
            self.disconnect()
        self._work.clear()
        self._waits_for_room = False
        self.offered = None
        self.disk.crash()
        if self.published:
            # The digest is recorded before the files are published.
            assert self.disk.finished is not None
            self.receiver = Receiver.already_done(self.limits, self.disk.finished, self.now)
        else:
            self.receiver = Receiver(
                self.limits, known=(self.manifest.id, self.manifest) if self.taken else None
            )

    def change_source(self, files: dict[str, bytes], manifest: Manifest) -> None:
        """Offer different files. The data that arrived for the old ones stay."""
        before = self.manifest
        self.files, self.manifest = files, manifest
        self.crash_sender()
        self.crash_receiver()
        self.receiver = Receiver(self.limits, known=(before.id, before))
        self.disk.begin(manifest)
        self.taken = False

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
            name = self._name_of(frame)
            self.said[name] += 1
            if name not in self.withheld:
                self.lines[line].append(bytes(frame))
            count += 1
        return count

    def _name_of(self, frame: bytes | memoryview) -> str:
        match decode(memoryview(frame)):
            case Control() as control:
                wanted = control.fields["chunks"] if control.name == "want" else []
                self.again |= RangeSet.union((start, stop) for start, stop in wanted) & self.disk.have
                return control.name
            case LeafRun():
                return "leaves"
        return "chunks"

    def deliver(self, line: str) -> bool:
        """Deliver the first frame of a line."""
        if not self.lines[line]:
            return False
        machine = self.receiver if line == TO_RECEIVER else self.sender
        machine.receive(memoryview(self.lines[line].popleft()), self.now)
        self.handle_events()
        return True

    # ---------------------------------------------------------------- the storage
    def read(self) -> bool:
        """Run one read job of the sender."""
        job = self.sender.next_read()
        if job is None:
            return False
        self.sender.chunks_read(job, *read_job(job, self.manifest, self.files))
        return True

    def handle_events(self) -> None:
        """Handle the machines' events as both drivers do."""
        self.sender.events()
        while events := self.receiver.events():
            for event in events:
                self._handle(event)
        self.peak = max(self.peak, self.receiver.outstanding)

    def _handle(self, event: Event) -> None:
        match event:
            case Offered(manifest):
                self.offered = manifest
                if self.accept is True or self.taken:
                    self.take()
                elif self.accept is False:
                    self.receiver.reject("no", self.now)
            case Store() | Compare() | Sync() | Publish():
                self._work.append(event)

    def take(self) -> None:
        """Accept the offer with the chunks that the disk has."""
        self.taken = True
        leaves = list(self.disk.journal.items())
        self.receiver.accept(self.now, self.disk.have, leaves, self.disk.candidates)

    @property
    def can_work(self) -> bool:
        """Whether the disk has work and can do it."""
        return bool(self._work) and not self.stalled and not self._waits_for_room

    def work(self) -> bool:
        """Let the disk do one piece of work, if it can."""
        if not self.can_work:
            return False
        match self._work.popleft():
            case Store(chunks):
                self._store(chunks)
            case Compare(pairs):
                self._compare(pairs)
            case Publish() if self.receiver.phase is not Phase.WRITING:
                pass  # a chunk was lost meanwhile
            case Sync() | Publish() if self.full:
                self._waits_for_room = True
                self.receiver.flush_failed(RangeSet(), DiskFull(1))
            case Sync():
                self.syncs += 1
                self.disk.sync()
                self.receiver.synced(self.now)
            case Publish():
                self.disk.sync()
                self.disk.finished = self.receiver.digest
                self.published = True
                self.receiver.published(self.now)
        self.handle_events()
        return True

    def _store(self, chunks: Sequence[ChunkData]) -> None:
        """Do one piece of work as a sink does, and tell the receiver."""
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        if self._has_no_room(tried):
            return
        right = [chunk.chunk for chunk in chunks if self.disk.write(chunk)]
        self.receiver.chunks_stored(tried, RangeSet.of(*right), self.now)

    def _compare(self, pairs: Sequence[tuple[int, bytes]]) -> None:
        if self._has_no_room(dict(pairs)):
            return
        right = [chunk for chunk, digest in pairs if self.disk.reuse(chunk, digest)]
        self.receiver.compared(dict(pairs), RangeSet.of(*right), self.now)

    def _has_no_room(self, tried: dict[int, bytes]) -> bool:
        if self.full:
            self._waits_for_room = True
            self.receiver.storage_full(tried, DiskFull(self.manifest.bytes_in(RangeSet.of(*tried))))
        return self.full

    def lose(self, chunks: RangeSet) -> None:
        """The disk finds that it lost these chunks."""
        lost = chunks & self.receiver.verified
        self.disk.lose(lost)
        self.receiver.lost(lost, self.now)
        self.handle_events()

    def make_room(self) -> None:
        """Free space on the disk."""
        self.full = False
        if self._waits_for_room:
            self._waits_for_room = False
            self.receiver.storage_ready()
            self.handle_events()

    # ---------------------------------------------------------------- all of it
    def step(self) -> bool:
        """Do once all that is possible without time passing."""
        moved = self.read()
        moved = bool(self.collect(self.sender, TO_RECEIVER)) or moved
        moved = bool(self.collect(self.receiver, TO_SENDER)) or moved
        moved = self.deliver(TO_RECEIVER) or moved
        moved = self.work() or moved
        return self.deliver(TO_SENDER) or moved

    def run(self) -> None:
        """Run until no machine has work left. Time advances a little while a timer is due."""
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
        """Advance the time and handle what is due."""
        self.now += max(0.0, seconds)
        self.sender.deadline_passed(self.now)
        self.receiver.deadline_passed(self.now)
        self.handle_events()

    @property
    def received(self) -> dict[str, bytes]:
        """The stored files, once they are published."""
        assert self.published
        return {path: bytes(data) for path, data in self.stored.items()}
