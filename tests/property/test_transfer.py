"""A transfer in which anything may happen at any time ends well on both sides, or ends alike."""

from __future__ import annotations

from functools import cache
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rig import SMALL, TO_RECEIVER, TO_SENDER, Rig, bytes_of, read_job

from nbferry.crypto.digest import chunk_digest
from nbferry.manifest import Entry, Manifest
from nbferry.protocol.machine import LINGER, Machine
from nbferry.protocol.sender import ReadJob
from nbferry.protocol.window import CHUNK_COST
from nbferry.ranges import RangeSet
from nbferry.status import State

CHUNK = SMALL.chunk_size
SIZES = (None, 0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7, 9 * CHUNK)  # None is a folder
LINES = st.sampled_from([TO_RECEIVER, TO_SENDER])
SIDES = st.sampled_from(["sender", "receiver"])


@cache
def data_of(size: int) -> bytes:
    """Bytes that are the same in every run."""
    return Random(size).randbytes(size)  # noqa: S311


class Transfer(RuleBasedStateMachine):
    """Everything that can happen to a transfer, in any order."""

    @initialize(
        sizes=st.lists(st.sampled_from(SIZES), max_size=6),
        frame_size=st.sampled_from([200, 1500, CHUNK, 1 << 20]),
        asks=st.booleans(),
        have=st.sets(st.integers(0, 60)),
    )
    def offer(self, sizes: list[int | None], frame_size: int, asks: bool, have: set[int]) -> None:
        """Choose what is offered, whether a person decides on it, and what that person has already."""
        entries = [Entry(str(n), size or 0, folder=size is None) for n, size in enumerate(sizes)]
        manifest = Manifest.of(entries, CHUNK)
        files = {entry.path: data_of(entry.size) for entry in entries if not entry.folder}
        self.rig = Rig(files, manifest=manifest, frame_size=frame_size, accept=None if asks else True)
        self.have = RangeSet.of(*(chunk for chunk in have if chunk < manifest.chunk_count))
        self.decided = not asks
        self.job: ReadJob | None = None
        self.damaged: set[int] = set()
        self.cancelled = ""  # by whom
        self.verified = RangeSet()

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
        """The connection is lost, with everything on it."""
        self.rig.disconnect()

    @rule(line=LINES)
    def say(self, line: str) -> None:
        """One side puts what it has on the line."""
        self.rig.collect(self.rig.sender if line == TO_RECEIVER else self.rig.receiver, line)

    @rule(line=LINES, times=st.integers(1, 5))
    def deliver(self, line: str, times: int) -> None:
        """Some frames arrive."""
        for _ in range(times):
            self.rig.deliver(line)

    @rule(steps=st.integers(1, 15))
    def go_on(self, steps: int) -> None:
        """For a while everything goes as it should."""
        for _ in range(steps):
            if self.job is None:
                self.rig.step()

    # ---------------------------------------------------------------- the storage
    @precondition(lambda self: self.job is None)
    @rule()
    def begin_to_read(self) -> None:
        """The sender's storage takes a job."""
        self.job = self.rig.sender.next_read()

    @precondition(lambda self: self.job is not None)
    @rule()
    def end_reading(self) -> None:
        """The sender's storage has done its job, perhaps for a connection that is gone."""
        job, self.job = self.job, None
        if job:
            self.rig.sender.chunks_read(job, *read_job(job, self.rig.manifest, self.rig.files))

    @rule()
    def work(self) -> None:
        """The receiver's disk does something."""
        self.rig.work()

    @rule(stalled=st.booleans())
    def stall(self, stalled: bool) -> None:
        """The receiver's disk stalls, or works again."""
        self.rig.stalled = stalled

    @rule()
    def fill_the_disk(self) -> None:
        """There is no room any more."""
        self.rig.full = True

    @rule()
    def make_room(self) -> None:
        """There is room again."""
        self.rig.make_room()

    @rule(chunk=st.integers(0, 60))
    def damage(self, chunk: int) -> None:
        """A chunk will arrive damaged, so often that it must still be right the last time."""
        if chunk not in self.damaged:
            self.damaged.add(chunk)
            self.rig.damage[chunk] = SMALL.chunk_attempts - 1

    # ---------------------------------------------------------------- people and time
    @precondition(lambda self: not self.decided and self.rig.offered)
    @rule()
    def accept(self) -> None:
        """The person decides, and has some chunks already."""
        self.decided = True
        rig = self.rig
        digests = {n: chunk_digest(bytes_of(n, rig.manifest, rig.files)) for n in self.have}
        for chunk in self.have:
            entry, offset, length = rig.manifest.place(chunk)
            path, size = rig.manifest.entries[entry].path, rig.manifest.entries[entry].size
            rig.stored.setdefault(path, bytearray(size))[offset : offset + length] = bytes_of(
                chunk, rig.manifest, rig.files
            )
        rig.receiver.accept(rig.now, self.have, digests)
        rig.handle_events()

    @rule(side=SIDES)
    def pause(self, side: str) -> None:
        """Somebody pauses."""
        self.side(side).pause()

    @rule(side=SIDES)
    def resume(self, side: str) -> None:
        """Somebody goes on."""
        self.side(side).resume()
        self.rig.handle_events()

    @rule(held=st.booleans())
    def queue(self, held: bool) -> None:
        """The sender waits in the queue, or it is its turn."""
        self.rig.sender.held = held

    @rule(seconds=st.floats(0, 35))
    def wait(self, seconds: float) -> None:
        """Time passes; a connection that counts as dead is given up."""
        self.rig.pass_time(seconds)
        if self.rig.sender.is_dead(self.rig.now) or self.rig.receiver.is_dead(self.rig.now):
            self.rig.disconnect()

    @rule(side=SIDES, really=st.integers(0, 9))
    def cancel(self, side: str, really: int) -> None:
        """Now and then somebody cancels."""
        if really == 0 and not self.side(side).state.final:
            self.cancelled = self.cancelled or side
            self.side(side).cancel("", self.rig.now)
            self.rig.handle_events()

    # ---------------------------------------------------------------- what holds at any time
    @invariant()
    def what_is_verified_is_right(self) -> None:
        """Every verified chunk is stored as it was sent."""
        rig = self.rig
        for chunk in rig.receiver.verified:
            entry, offset, length = rig.manifest.place(chunk)
            stored = rig.stored[rig.manifest.entries[entry].path][offset : offset + length]
            assert stored == bytes_of(chunk, rig.manifest, rig.files)

    @invariant()
    def nothing_is_lost(self) -> None:
        """What is verified stays so; what is durable is verified; the sender believes no more than is true."""
        sender, receiver = self.rig.sender, self.rig.receiver
        assert not self.verified - receiver.verified
        self.verified = receiver.verified
        assert not receiver.durable - receiver.verified
        assert not sender.verified - receiver.verified
        assert not sender.durable - receiver.durable

    @invariant()
    def memory_is_bounded(self) -> None:
        """No more is outstanding than the window holds, or one chunk; no more is read than the batches hold."""
        assert self.rig.peak <= max(SMALL.window, CHUNK + CHUNK_COST)
        assert len(self.rig.sender._ready) + len(self.rig.sender._free) + bool(self.job) <= 2

    @invariant()
    def it_ends_only_if_somebody_ends_it(self) -> None:
        """Nothing of what happens here is an error."""
        for side in (self.rig.sender, self.rig.receiver):
            assert side.state is not State.FAILED, side.error
            assert self.cancelled or side.error is None

    # ---------------------------------------------------------------- how it ends
    def teardown(self) -> None:
        """When everything works again it ends, on both sides alike."""
        rig = self.rig
        self.end_reading()
        rig.stalled = rig.sender.held = False
        rig.make_room()
        for side in ("sender", "receiver"):
            self.resume(side)
        if not rig.connected:
            rig.connect()
        rig.run()
        if not self.decided and rig.offered:
            self.accept()
            rig.run()
        ends = (rig.sender.state, rig.receiver.state)
        if ends == (State.CANCELLED, State.DONE):  # the receiver was done before it heard of it
            assert self.cancelled == "sender"
        elif self.cancelled:
            assert ends == (State.CANCELLED, State.CANCELLED)
        else:
            assert ends == (State.DONE, State.DONE)
            assert {path: bytes(data) for path, data in rig.stored.items()} == rig.files
            assert rig.sender.digest == rig.receiver.digest
        self.nothing_is_lost()
        rig.pass_time(LINGER)
        assert rig.sender.finished
        assert rig.receiver.finished
        rig.sender.next_deadline()


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
