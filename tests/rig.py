"""A sender and a receiver joined by a line that a test controls: no clock, no loop, no sockets."""

from __future__ import annotations

from collections import deque

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.limits import Limits
from nbferry.manifest import Entry, Manifest
from nbferry.protocol.events import Offered, Publish, Store, Sync
from nbferry.protocol.machine import Machine
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import ReadJob, Sender
from nbferry.ranges import RangeSet

SMALL = Limits(chunk_size=4096, window=5 * 4096, read_ahead=16 * 4096)


def manifest_of(files: dict[str, bytes], chunk_size: int = SMALL.chunk_size) -> Manifest:
    """The manifest of files held in memory."""
    return Manifest.of((Entry(path, len(data)) for path, data in files.items()), chunk_size)


class Rig:
    """Both machines, the files of one and what the other has stored."""

    def __init__(
        self,
        files: dict[str, bytes],
        limits: Limits = SMALL,
        *,
        manifest: Manifest | None = None,
        accept: bool = True,
        frame_size: int = 1 << 20,
    ) -> None:
        self.files = files
        self.now = 0.0
        self.manifest = manifest or manifest_of(files, limits.chunk_size)
        self.sender = Sender(self.manifest, limits, offer_id="offer")
        self.sender.frame_size = frame_size
        self.receiver = Receiver(limits)
        self.stored: dict[str, bytearray] = {}
        self.accept = accept
        self.published = False
        self.offered: Manifest | None = None
        self.syncs = 0
        self.damage: deque[int] = deque()  # chunks that arrive damaged, once each time they are listed
        self.chunk_frames = 0
        self.lines: dict[str, deque[bytes]] = {"to receiver": deque(), "to sender": deque()}

    # ---------------------------------------------------------------- the line
    def connect(self) -> None:
        self.sender.connected(self.now)
        self.receiver.connected(self.now)

    def disconnect(self) -> None:
        for line in self.lines.values():
            line.clear()
        self.sender.disconnected()
        self.receiver.disconnected()

    def collect(self, machine: Machine, line: str) -> int:
        """Put every frame that a machine has on its line."""
        count = 0
        while (frame := machine.next_frame(self.now)) is not None:
            self.chunk_frames += frame[0] == 2
            self.lines[line].append(bytes(frame))
            count += 1
        return count

    def deliver(self, line: str) -> bool:
        """Hand over the first frame of a line."""
        if not self.lines[line]:
            return False
        machine = self.receiver if line == "to receiver" else self.sender
        machine.receive(memoryview(self.lines[line].popleft()), self.now)
        self.handle_events()
        return True

    # ---------------------------------------------------------------- the storage
    def handle_events(self) -> None:
        self.sender.events()
        for event in self.receiver.events():
            match event:
                case Offered(manifest):
                    self.offered = manifest
                    if self.accept:
                        self.receiver.accept(self.now)
                case Store(chunks):
                    self.store(chunks)
                case Sync():
                    self.syncs += 1
                    self.receiver.synced(self.now)
                case Publish():
                    self.published = True
                    self.receiver.published(self.now)

    def store(self, chunks) -> None:
        right = []
        for chunk in chunks:
            data = bytes(chunk.data)
            if chunk.chunk in self.damage:
                self.damage.remove(chunk.chunk)
                data = b"?" + data[1:]
            if chunk_digest(data) == chunk.digest:
                entry, offset, _ = self.manifest.place(chunk.chunk)
                path = self.manifest.entries[entry].path
                file = self.stored.setdefault(path, bytearray(self.manifest.entries[entry].size))
                file[offset : offset + len(data)] = data
                right.append(chunk.chunk)
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        self.receiver.chunks_stored(tried, RangeSet.of(*right), self.now)
        self.handle_events()

    def read(self) -> bool:
        """Do one read job of the sender."""
        job = self.sender.next_read()
        if job is None:
            return False
        done, digests = self.do(job)
        self.sender.chunks_read(job, done, digests)
        return True

    def bytes_of(self, chunk: int) -> bytes:
        entry, offset, length = self.manifest.place(chunk)
        return self.files[self.manifest.entries[entry].path][offset : offset + length]

    def do(self, job: ReadJob) -> tuple[RangeSet, dict[int, bytes]]:
        if job.batch is None:
            return job.chunks, {chunk: chunk_digest(self.bytes_of(chunk)) for chunk in job.chunks}
        done = []
        for chunk in job.chunks:
            data = self.bytes_of(chunk)
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

    # ---------------------------------------------------------------- all of it
    def step(self) -> bool:
        """Everything that can happen without time passing, once."""
        moved = self.read()
        moved = bool(self.collect(self.sender, "to receiver")) or moved
        moved = bool(self.collect(self.receiver, "to sender")) or moved
        moved = self.deliver("to receiver") or moved
        return self.deliver("to sender") or moved

    def run(self) -> None:
        """Until nothing moves, letting time pass while something is due."""
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
        self.now += max(0.0, seconds)
        self.sender.deadline_passed(self.now)
        self.receiver.deadline_passed(self.now)
        self.handle_events()
