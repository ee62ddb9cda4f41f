"""A transfer with any events in any order succeeds on both sides, or ends the same way on both."""

from __future__ import annotations

from functools import cache
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nbferry.crypto.digest import chunk_digest
from nbferry.limits import KiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import Control, LeafRun, decode
from nbferry.protocol.machine import LINGER, Machine
from nbferry.protocol.phases import Phase
from nbferry.protocol.sender import ReadJob
from nbferry.protocol.window import CHUNK_COST
from rig import TO_RECEIVER, TO_SENDER, Rig, bytes_of, read_job

CHUNK = 4 * KiB
LIMITS = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=16 * CHUNK, sync_bytes=3 * CHUNK)
SIZES = (None, 0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7, 9 * CHUNK)  # None is a folder
SELDOM = st.integers(0, 2)  # 0 means that it happens
FRAME_SIZES = st.sampled_from([200, 1500, CHUNK, 1 << 20])
SIDES = st.sampled_from(["sender", "receiver"])


@cache
def data_of(size: int, version: int = 0) -> bytes:
    """The same bytes in every run; versions of a file differ in their second half."""
    half = size // 2
    return Random(size).randbytes(half) + Random(size + version).randbytes(size - half)  # noqa: S311


class Transfer(RuleBasedStateMachine):
    """All events of a transfer, in any order."""

    @initialize(
        sizes=st.lists(st.sampled_from(SIZES), max_size=5),
        frame_size=FRAME_SIZES,
        have=st.sampled_from(["no question", "nothing", "some", "everything"]),
        steps=st.integers(0, 12),
    )
    def offer(self, sizes: list[int | None], frame_size: int, have: str, steps: int) -> None:
        """Choose the offer, whether a person decides on it, that person's chunks, and the progress so far."""
        entries = [Entry(str(n), size or 0, folder=size is None) for n, size in enumerate(sizes)]
        manifest = Manifest.of(entries, CHUNK)
        files = {entry.path: data_of(entry.size) for entry in entries if not entry.folder}
        self.asks = have != "no question"
        self.rig = Rig(
            files, LIMITS, manifest=manifest, frame_size=frame_size, accept=None if self.asks else True
        )
        every = {"some": 2, "everything": 1}.get(have, manifest.chunk_count + 1)
        self.have = RangeSet.of(*range(every - 1, manifest.chunk_count, every))
        self.job: ReadJob | None = None
        self.damaged: set[int] = set()
        self.lies: set[int] = set()  # files whose digest was forged
        self.cancelled = ""  # by which side
        self.version = 0
        self.durable = RangeSet()
        self.lost = RangeSet()  # lost by the disk
        self.unsaid = RangeSet()  # lost in a crash: the sender may not have heard of it
        if steps:
            self.rig.connect()
            self.proceed(steps)

    def side(self, name: str) -> Machine:
        """One of the two sides."""
        return self.rig.sender if name == "sender" else self.rig.receiver

    # ---------------------------------------------------------------- the line
    @precondition(lambda self: not self.rig.connected)
    @rule()
    def reconnect(self) -> None:
        """A connection comes up."""
        self.rig.connect()

    @precondition(lambda self: self.rig.connected)
    @rule()
    def disconnect(self) -> None:
        """The connection and all frames on it are lost."""
        self.rig.disconnect()

    @precondition(lambda self: self.rig.connected)
    @rule(side=SIDES)
    def say(self, side: str) -> None:
        """One side puts its frames on the line."""
        self.rig.collect(self.side(side), TO_RECEIVER if side == "sender" else TO_SENDER)

    @precondition(lambda self: self.rig.lines[TO_RECEIVER])
    @rule(times=st.integers(1, 3))
    def receiver_hears(self, times: int) -> None:
        """Some frames of the sender arrive."""
        for _ in range(times):
            self.rig.deliver(TO_RECEIVER)

    @precondition(lambda self: self.rig.lines[TO_SENDER])
    @rule(times=st.integers(1, 3))
    def sender_hears(self, times: int) -> None:
        """Some frames of the receiver arrive."""
        for _ in range(times):
            self.rig.deliver(TO_SENDER)

    @precondition(lambda self: self.job is None)
    @rule(steps=st.sampled_from([1, 2, 3, 4, 10, 30]))
    def proceed(self, steps: int) -> None:
        """A few steps pass without trouble."""
        for _ in range(steps):
            self.rig.step()

    @precondition(lambda self: self.rig.lines[TO_RECEIVER])
    @rule()
    def forge(self) -> None:
        """Forge the digests of some files on their way to the receiver, once for each file."""
        line = self.rig.lines[TO_RECEIVER]
        frame = decode(memoryview(line[0]))
        if isinstance(frame, Control) and frame.name == "digests":
            wrong = [[e, text if e in self.lies else "00" * 32] for e, text in frame.fields["digests"]]
            self.lies |= {entry for entry, _ in wrong}
            line[0] = Control("digests", {"digests": wrong}).encode()

    @rule(frame_size=FRAME_SIZES)
    def change_the_frames(self, frame_size: int) -> None:
        """The line changes to another frame size."""
        self.rig.frame_size = self.rig.sender.frame_size = frame_size

    @precondition(lambda self: self.rig.lines[TO_RECEIVER])
    @rule(times=st.integers(1, 4))
    def cut(self, times: int) -> None:
        """The connection is lost several times, each time after one more frame, perhaps within a chunk."""
        for _ in range(times):
            self.rig.deliver(TO_RECEIVER)
            self.rig.disconnect()
            self.rig.connect()
            for _ in range(4):
                self.rig.step()

    # ---------------------------------------------------------------- the storage
    @precondition(lambda self: self.job is None and self.rig.connected)
    @rule()
    def begin_to_read(self) -> None:
        """The sender's storage starts a job."""
        self.job = self.rig.sender.next_read()

    @precondition(lambda self: self.job)
    @rule()
    def end_reading(self) -> None:
        """The sender's storage completes its job, perhaps for a lost connection."""
        job, self.job = self.job, None
        if job:
            self.rig.sender.chunks_read(job, *read_job(job, self.rig.manifest, self.rig.files))

    @precondition(lambda self: self.rig.can_work)
    @rule()
    def work(self) -> None:
        """The receiver's disk does one piece of work."""
        self.rig.work()

    @rule()
    def stall(self) -> None:
        """The receiver's disk stalls or works again."""
        self.rig.stalled = not self.rig.stalled

    @precondition(lambda self: not self.rig.full)
    @rule()
    def fill_the_disk(self) -> None:
        """The disk is full."""
        self.rig.full = True

    @precondition(lambda self: self.rig.full)
    @rule()
    def make_room(self) -> None:
        """Free space on the disk."""
        self.rig.make_room()

    @rule(chunk=st.integers(0, 20))
    def damage(self, chunk: int) -> None:
        """A chunk will arrive damaged, but is right at the last attempt."""
        if chunk not in self.damaged:
            self.damaged.add(chunk)
            self.rig.damage[chunk] = LIMITS.chunk_attempts - 1

    @precondition(lambda self: self.rig.receiver.verified - self.lost and not self.rig.receiver.phase.final)
    @rule(chunk=st.integers(0, 20))
    def lose(self, chunk: int) -> None:
        """The disk loses a stored or durable chunk, once each."""
        stored = list(self.rig.receiver.verified - self.lost)
        lost = RangeSet.of(stored[chunk % len(stored)])
        self.lost |= lost
        self.durable -= lost
        self.rig.lose(lost)

    # ---------------------------------------------------------------- crashes
    @precondition(lambda self: self.rig.published or not self.rig.receiver.phase.final)
    @rule(damaged=st.sets(st.integers(0, 20)), really=SELDOM)
    def crash_the_receiver(self, damaged: set[int], really: int) -> None:
        """Sometimes the receiver's process ends and another resumes. Data outside the journal may be damaged."""
        if really:
            return
        self.unsaid |= RangeSet.of(*self.rig.disk.written) - self.rig.disk.have
        self.rig.crash_receiver()
        if not self.rig.published:
            for chunk in self.rig.disk.candidates & RangeSet.of(*damaged):
                self.rig.disk.put(chunk, b"!" * self.rig.manifest.place(chunk).length)

    @precondition(lambda self: not self.rig.sender.phase.final)
    @rule(really=SELDOM)
    def crash_the_sender(self, really: int) -> None:
        """Sometimes the sender's process ends and another one offers the same files."""
        if not really:
            self.job = None
            self.rig.crash_sender()

    @precondition(lambda self: not self.rig.sender.phase.final and not self.rig.receiver.phase.final)
    @rule(entry=st.integers(0, 4), size=st.sampled_from(SIZES[1:]), really=SELDOM)
    def change_the_source(self, entry: int, size: int, really: int) -> None:
        """Sometimes a file changes, and the transfer starts anew. Data of the old one may be reused."""
        if really:
            return
        self.version += 1
        entries, files = list(self.rig.manifest.entries), dict(self.rig.files)
        if entry < len(entries) and not entries[entry].folder:
            entries[entry] = Entry(str(entry), size, self.version)
            files[str(entry)] = data_of(size, self.version)
        self.job = None
        self.durable = self.lost = self.unsaid = RangeSet()
        self.rig.change_source(files, Manifest.of(entries, CHUNK))

    # ---------------------------------------------------------------- people and time
    @precondition(lambda self: self.asks and self.rig.offered)
    @rule()
    def accept(self) -> None:
        """The person accepts, and already has some chunks."""
        self.asks = False
        rig = self.rig
        for chunk in self.have & RangeSet.span(0, rig.manifest.chunk_count):
            data = bytes_of(chunk, rig.manifest, rig.files)
            rig.disk.put(chunk, data)
            rig.disk.journal[chunk] = rig.disk.written[chunk] = chunk_digest(data)
        rig.accept = True
        rig.take()
        rig.handle_events()

    @rule(side=SIDES)
    def pause_or_resume(self, side: str) -> None:
        """A side pauses or resumes."""
        machine = self.side(side)
        if "user" in machine._pauses:
            machine.resume()
        else:
            machine.pause()
        self.rig.handle_events()

    @rule()
    def queue(self) -> None:
        """The sender enters or leaves the queue."""
        self.rig.sender.held = not self.rig.sender.held

    @rule(seconds=st.sampled_from([0.3, 3.0, 12.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and a dead connection is given up."""
        self.rig.pass_time(seconds)
        if self.rig.sender.is_dead(self.rig.now) or self.rig.receiver.is_dead(self.rig.now):
            self.rig.disconnect()

    @rule(side=SIDES, really=st.integers(0, 9))
    def cancel(self, side: str, really: int) -> None:
        """Sometimes a side cancels."""
        if really == 9 and not self.side(side).phase.final:
            self.cancelled = self.cancelled or side
            self.side(side).cancel("", self.rig.now)
            self.rig.handle_events()

    # ---------------------------------------------------------------- what holds at any time
    @invariant()
    def what_is_verified_is_right(self) -> None:
        """Every verified chunk is stored correctly."""
        rig = self.rig
        for chunk in rig.receiver.verified:
            entry, offset, length = rig.manifest.place(chunk)
            stored = rig.stored[rig.manifest.entries[entry].path][offset : offset + length]
            assert stored == bytes_of(chunk, rig.manifest, rig.files)

    @invariant()
    def nothing_is_lost(self) -> None:
        """No side overrates its progress. Durable chunks stay durable unless the disk or a forged digest took them."""
        sender, receiver, disk = self.rig.sender, self.rig.receiver, self.rig.disk
        written = RangeSet.of(*disk.written)
        assert not receiver.verified - written
        assert not receiver.durable - disk.have
        assert not sender.verified - written - self.lost - self.unsaid
        assert not sender.durable - disk.have - self.lost
        if receiver.manifest and receiver.phase is not Phase.OFFERED:
            assert not self.durable - receiver.durable - self.doubted or receiver.phase is Phase.DONE
            self.durable = receiver.durable

    @property
    def doubted(self) -> RangeSet:
        """The chunks of files whose digest was forged."""
        files = [entry for entry in self.lies if entry < len(self.rig.manifest.entries)]
        return RangeSet.union(map(self.rig.manifest.chunks_of, files))

    @invariant()
    def durable_chunks_are_not_wanted_again(self) -> None:
        """No chunk of the journal is requested, except after a forged digest."""
        assert not self.rig.again - self.doubted

    @invariant()
    def memory_is_bounded(self) -> None:
        """Outstanding bytes fit the window, and read bytes fit the batches."""
        assert self.rig.peak <= max(LIMITS.window, CHUNK + CHUNK_COST)
        assert len(self.rig.sender._ready) + len(self.rig.sender._free) + bool(self.job) <= 2

    @invariant()
    def it_ends_only_by_a_command(self) -> None:
        """No event here causes an error."""
        for side in (self.rig.sender, self.rig.receiver):
            assert side.phase is not Phase.FAILED, side.error
            assert self.cancelled or side.error is None

    # ---------------------------------------------------------------- how it ends
    def teardown(self) -> None:
        """Once all troubles are over, both sides end the same way."""
        rig = self.rig
        self.end_reading()
        rig.stalled = rig.sender.held = False
        if not rig.connected:
            rig.connect()
        rig.run()
        if not rig.sender.phase.final:
            assert rig.sender.paused is rig.receiver.paused
        rig.make_room()
        for side in (rig.sender, rig.receiver):
            side.resume()
        rig.run()
        if self.asks and rig.offered:
            self.accept()
            rig.run()
        ends = (rig.sender.phase, rig.receiver.phase)
        # The receiver was done before it learned of the cancel.
        if ends == (Phase.CANCELLED, Phase.DONE):
            assert self.cancelled == "sender"
        elif self.cancelled:
            assert ends == (Phase.CANCELLED, Phase.CANCELLED)
        else:
            assert ends == (Phase.DONE, Phase.DONE)
            assert {path: bytes(data) for path, data in rig.stored.items()} == rig.files
            assert rig.sender.digest == rig.receiver.digest
        rig.pass_time(LINGER)
        assert rig.sender.finished
        assert rig.receiver.finished


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(
    max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class ThinLine:
    """A line for one frame, which breaks after given numbers of the sender's bytes, within or after a frame.

    ``sent`` counts the sender's bytes of chunks, arrived or not.
    """

    def __init__(self, rig: Rig, cuts: list[int]) -> None:
        self.rig = rig
        self.sent = 0
        self.breaks = cuts  # the cuts to come
        self._passed = 0  # bytes since the last cut

    def run(self) -> None:
        """Run until no frame moves."""
        self.rig.connect()
        while self._step():
            continue

    def _step(self) -> bool:
        rig = self.rig
        moved = rig.read()
        moved = bool(rig.collect(rig.receiver, TO_SENDER)) or moved
        moved = rig.deliver(TO_SENDER) or moved
        moved = rig.work() or moved
        frame = rig.sender.next_frame(rig.now)
        if frame is None:
            return moved
        self._pass(bytes(frame))
        return True

    def _pass(self, frame: bytes) -> None:
        read = decode(memoryview(frame))
        if not isinstance(read, Control | LeafRun):
            self.sent += sum(len(piece.data) for piece in read)
        self._passed += len(frame)
        if self.breaks and self._passed > self.breaks[0]:
            self.breaks.pop(0)
            self._passed = 0
            self.rig.disconnect()
            self.rig.connect()
        else:
            self.rig.lines[TO_RECEIVER].append(frame)
            self.rig.deliver(TO_RECEIVER)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.sampled_from(SIZES[1:]), min_size=1, max_size=5),
    frame_size=FRAME_SIZES,
    cuts=st.lists(st.integers(0, 2 * CHUNK), max_size=30),
)
def test_the_cost_of_a_cut(sizes: list[int], frame_size: int, cuts: list[int]) -> None:
    """Each lost connection costs at most the frame in transit."""
    files = {str(n): data_of(size) for n, size in enumerate(sizes)}
    rig = Rig(files, LIMITS, frame_size=frame_size)
    line = ThinLine(rig, list(cuts))
    line.run()
    assert rig.received == files
    assert (rig.sender.phase, rig.receiver.phase) == (Phase.DONE, Phase.DONE)
    lost = min(frame_size, sum(sizes), 5 * CHUNK)
    assert line.sent <= sum(sizes) + len(cuts) * lost


@settings(max_examples=50, deadline=None)
@given(frame_size=st.integers(200, CHUNK), after=st.integers(0, 200))
def test_connections_shorter_than_a_chunk(frame_size: int, after: int) -> None:
    """All chunks arrive over connections that last for one frame after the offer, where a chunk has many frames."""
    files = {"0": data_of(3 * CHUNK + 7)}
    rig = Rig(files, LIMITS, frame_size=frame_size)
    line = ThinLine(rig, [500 + frame_size + after] * 200)
    line.run()
    assert rig.received == files
    assert line.breaks
