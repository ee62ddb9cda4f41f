"""One transfer from one seed: two processes, a network, a disk, and everything that can befall them.

    seed -> files, limits, an older copy, a plan of troubles
    two lives, of a sender's and a receiver's process; whoever ends early is started again, as a person would
    in the end: what was promised is checked

I1  what is published is, byte for byte, a version of the file that was offered, never a mix
I2  nothing else at the destination or around it has changed
I3  what the journal vouches for is on the disk, and right
I4  what was reported durable survives the end of the process and of the power
I5  progress only grows, but for what a disk that fails has lost
I6  no number seals twice under one key
I7  memory stays within its bounds
I8  it ends: done, or with an error that has a type, or it waits and says for what
I9  no task and no open file is left
"""

from __future__ import annotations

import asyncio
import random as standard_random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nbferry.crypto.digest import chunk_digest, file_digest
from nbferry.errors import (
    Cancelled,
    DestinationExists,
    NbferryError,
    RemoteProtocolError,
    SourceChanged,
    StorageError,
)
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.protocol.phases import Phase
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.records.receipts import read_receipt
from simulation.disk import SimDisk, open_files
from simulation.lives import Life, ReceiverLife, SenderLife, SimDestination
from simulation.loop import VirtualLoop, run
from simulation.network import Network, Seals
from simulation.offered import BEGIN, CHUNK, Offered, places_of
from simulation.trees import fast_folder

TRANSFER = "00c0ffee0123"
TIME_LIMIT = 6 * 3600.0  # seconds of virtual time; what happens to a transfer happens in the first minutes
MOST_LIVES = 60
PATIENCE = 300.0  # seconds after which it is looked whether anybody waits in vain


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and what it took."""

    seed: int
    ended: str
    seconds: float
    connections: int
    lives: int
    seals: int
    troubles: tuple[str, ...]


class Violation(AssertionError):
    """Something that was promised did not hold."""


def replay(seed: int) -> str:
    """How to see a run again."""
    return f"replay: python bench/simulation.py --seed {seed}"


def simulate(seed: int, *, log: Callable[[str], None] | None = None) -> Outcome:
    """Run the transfer of a seed; AssertionError, with the way to replay it, if anything promised does not hold."""
    before, world = len(open_files()), None
    state = standard_random.getstate()
    standard_random.seed(seed)  # the jitter of a session's backoff
    try:
        with fast_folder() as folder:
            world = World(seed, folder, log or (lambda _: None))
            outcome = run(world.run)
            world.expect(len(open_files()) == before, "I9: files are left open")
    except Exception as error:
        why = world.broken[0] if world and world.broken else repr(error)
        raise Violation(f"seed {seed}: {why}\n{replay(seed)}") from error
    finally:
        standard_random.setstate(state)
    return outcome


class World:
    """Everything that one seed decides."""

    def __init__(self, seed: int, folder: Path, log: Callable[[str], None]) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311  # the same in every run
        self.loop: VirtualLoop
        self.network: Network
        self.disk: SimDisk
        self.to, self.state = folder / "to", folder / ".nbferry"
        self.offered = Offered(folder, self.random)
        self._log = log
        self.accepted = False  # as the receiver's memo says
        self.excuses = 0  # things after which a side may end with an error of its storage
        self.rotten = False  # what was durable is not any more: it has to be found before it is published
        self.broken: list[str] = []
        self._durable = ("", RangeSet())  # reported so far, of which offer
        self._sender: SenderLife | None = None
        self._receiver: ReceiverLife | None = None
        self._placed: tuple[Manifest, tuple[Path, ...]] | None = None
        self._done = False
        self._lives = 0
        self._cancelled = False
        self._quiet_at = 0.0
        self._choose()

    # ---------------------------------------------------------------- what the seed decides
    def _choose(self) -> None:
        pick = self.random
        self.overwrite: Overwrite = pick.choice(
            [Overwrite.RENAME, Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REPLACE, Overwrite.REFUSE]
        )
        self.destination = SimDestination(self.to, TRANSFER, self.overwrite, world=self)
        self.limits = Limits(
            chunk_size=CHUNK,
            window=pick.choice([1, 3, 5, 20]) * CHUNK,
            read_ahead=16 * CHUNK,
            sync_bytes=pick.choice([1, 3, 8, 1000]) * CHUNK,
            offer_ttl=TIME_LIMIT,
            path_trial=pick.choice([0.1, 1.0]),
        )

    def expect(self, fact: bool, otherwise: str) -> None:
        """Take note of what is not as it should be, whoever catches the error, and stop."""
        if not fact:
            self.note(f"BROKEN: {otherwise}")
            self.broken.append(otherwise)
            raise Violation(otherwise)

    def call_takes(self) -> float:
        """Seconds that a call in a worker thread takes: now and then a flush takes seconds."""
        return self.random.uniform(3, 8) if self.random.random() < 0.01 else self.random.uniform(0.0005, 0.02)

    def clock(self) -> int:
        """Nanoseconds since 1970, long after the files were made."""
        return BEGIN + (10**6 + round(self.loop.time())) * 10**9

    def calm(self) -> bool:
        """Whether the time of troubles is over."""
        return self.loop.time() > self._quiet_at

    def note(self, what: str) -> None:
        """Something happened."""
        self._log(f"{self.loop.time():10.3f}  {what}")

    # ---------------------------------------------------------------- running
    async def run(self, loop: VirtualLoop) -> Outcome:
        """From the first call to the end of both processes."""
        self.loop = loop
        pick = self.random
        self.disk = SimDisk(self.to, pick, loop.time)
        self.disk.short = pick.choice([0.0, 0.0, 0.3])
        lasts = pick.uniform(1, 15)
        self.network = Network(
            pick,
            self.limits,
            self.calm,
            Seals(self.expect),
            latency=pick.choice([0.001, 0.05, 0.5]),
            rate=max(4000.0, self.offered.total / lasts),
            troubled=pick.choice([0.0, 0.3, 0.8]),
            max_message=pick.choice([6000, 70_000, 1 << 20]),
            high_water=pick.choice([1000, 20_000, 1 << 20]),
            others=pick.choice([0, 1, 3]),
        )
        plan = self._plan(2 * lasts)
        self._quiet_at = max([at for at, _, _ in plan], default=0) + 120
        directing = asyncio.create_task(self._direct(plan))
        try:
            async with asyncio.timeout(TIME_LIMIT):
                ended = await self._live()
        except TimeoutError:
            raise Violation(f"I8: it does not end: {self._condition()}") from None
        finally:
            directing.cancel()
            await asyncio.gather(directing, return_exceptions=True)
            await self._stop()
        self._check_end(ended)
        troubles = tuple(sorted({name for _, name, _ in plan}))
        return Outcome(
            self.seed, ended, loop.time(), self.network.made, self._lives, len(self.network.seals), troubles
        )

    def _condition(self) -> str:
        lives = [life for life in (self._sender, self._receiver) if life]
        return "; ".join(
            f"{life.machine.role} {life.machine.phase} {life.machine.pause_reason} {life.trouble}"
            for life in lives
        )

    async def _live(self) -> str:
        """Start what is not running, until it is over; how it ended."""
        while not (ended := self._bury()):
            self._start_what_is_missing()
            tasks = [life.task for life in (self._sender, self._receiver) if life and not life.task.done()]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
            await asyncio.sleep(self.random.choice([0, 1, 20, 90]))
        return ended

    def _start_what_is_missing(self) -> None:
        if self._sender is None:
            self._sender = SenderLife(self)
            self._lives += 1
        if self._receiver is None:
            self._receiver = ReceiverLife(self)
            self._lives += 1
        self.expect(self._lives <= MOST_LIVES, "I8: it is started again and again")

    def _bury(self) -> str:
        """See how those who ended have ended; whether that is the end of it all, and what it is called."""
        sender, receiver = self._sender, self._receiver
        if not sender or not receiver:
            return ""
        for life in (sender, receiver):
            if life.task.done():
                self._take_note(life)
        if self._cancelled and self._all_over(sender, receiver):
            return "cancelled"
        if receiver.task.done() and not receiver.dead and isinstance(receiver.error, DestinationExists):
            return "refused"
        if sender.task.done() and sender.machine.phase is Phase.DONE and not sender.dead:
            return "done" if receiver.task.done() else ""
        if self._has_gone(sender):
            self._sender = None
        if self._has_gone(receiver):
            self._receiver = None
        return ""

    def _has_gone(self, life: Life) -> bool:
        """Whether a life is over, and not because a person wanted that."""
        return life.task.done() and (life.dead or not isinstance(life.machine.error, Cancelled))

    def _all_over(self, sender: Life, receiver: Life) -> bool:
        """Whether a cancelled transfer has ended on both sides, or a side waits in vain, and says so."""
        for life in (sender, receiver):
            over = life.task.done() and not self._has_gone(life)
            waits = life.trouble and not life.machine.is_connected and self.calm()
            if not over and not waits:
                return False
        return True

    def _take_note(self, life: Life) -> None:
        if life.dead:
            assert life.task.cancelled() or life.task.exception() is None
            return
        error = life.error
        self.note(f"{life.machine.role} ended {life.machine.phase}: {error!r}")
        self.expect(self._is_expected(error), f"I8: the {life.machine.role} ends with {error!r}")

    def _is_expected(self, error: NbferryError | None) -> bool:
        """Whether anything that was done to the transfer explains this end."""
        match error:
            case Cancelled():
                return self._cancelled
            case SourceChanged():
                return self.offered.edited
            case DestinationExists():
                return self.overwrite == Overwrite.REFUSE
            case RemoteProtocolError():
                return len(self.offered.manifests) > 1 and "offers something else" in error.message
            case StorageError():
                return self.excuses > 0
        return error is None

    async def _stop(self) -> None:
        """End whoever still runs."""
        for life in (self._sender, self._receiver):
            if life and not life.task.done():
                life.kill()
                await asyncio.gather(life.task, return_exceptions=True)

    # ---------------------------------------------------------------- troubles
    def _plan(self, lasts: float) -> list[tuple[float, str, float]]:
        """When which trouble comes, and for how many seconds."""
        pick = self.random
        names = [name.removeprefix("_do_") for name in dir(self) if name.startswith("_do_")]
        if pick.random() < 0.8:
            names.remove("cancel")
        some = pick.sample(names, pick.randint(1, 4))
        count = pick.choice([0, 1, 2, 3, 5, 8])
        return sorted((pick.uniform(0, lasts), pick.choice(some), pick.uniform(1, 60)) for _ in range(count))

    async def _direct(self, plan: list[tuple[float, str, float]]) -> None:
        for at, name, seconds in plan:
            await asyncio.sleep(at - self.loop.time())
            self.note(f"{name} ({seconds:.0f})")
            getattr(self, f"_do_{name}")(seconds)

    def _do_cut(self, _: float) -> None:
        self.network.cut(all_of_them=False)

    def _do_down(self, seconds: float) -> None:
        self.network.down_until = self.loop.time() + seconds * 10
        self.network.cut(all_of_them=True)

    def _do_pause_sender(self, seconds: float) -> None:
        self._hold(self._sender, seconds)

    def _do_pause_receiver(self, seconds: float) -> None:
        self._hold(self._receiver, seconds)

    def _hold(self, life: Life | None, seconds: float) -> None:
        if life and not life.dead:
            life.machine.pause()
            life.pump()
            self.loop.call_later(seconds, self._release, life)

    def _release(self, life: Life) -> None:
        if not life.dead and not life.task.done():
            life.machine.resume()
            life.pump()

    def _do_fill_disk(self, seconds: float) -> None:
        self.disk.full_until = self.loop.time() + seconds
        self.excuses += 1

    def _do_fill_quota(self, seconds: float) -> None:
        self.disk.over_quota_until = self.loop.time() + seconds
        self.excuses += 1

    def _do_fail_write(self, _: float) -> None:
        self.disk.bad_writes += 1
        self.excuses += 1

    def _do_fail_flush(self, _: float) -> None:
        self.disk.bad_flushes += self.random.choice([1, 1, 3])
        self.excuses += 1

    def _do_kill_sender(self, seconds: float) -> None:
        if self._sender:
            self._sender.kill(noticed=seconds > 20)

    def _do_kill_receiver(self, seconds: float) -> None:
        if self._receiver:
            self._receiver.kill(noticed=seconds > 20)

    def _do_kill_receiver_in_a_call(self, seconds: float) -> None:
        self.disk.dies_after = round(seconds) // 3 + 1

    def _do_cut_power_of_receiver(self, _: float) -> None:
        if self._receiver:
            self._receiver.kill(noticed=False)
            self.disk.lose_power()

    def _do_rot(self, _: float) -> None:
        """The power fails, and a disk that had promised more has lost what was durable on it."""
        staged = self.to / ".nbferry" / TRANSFER / "data"
        files = [path for path in sorted(staged.rglob("*")) if path.is_file() and path.stat().st_size]
        if self._receiver and files:
            self.rotten = True
            self._do_cut_power_of_receiver(0)
            self.disk.rot(self.random.choice(files))

    def _do_edit_source(self, seconds: float) -> None:
        self.offered.edit(seconds)

    def _do_cancel(self, seconds: float) -> None:
        life = self._sender if seconds > 30 else self._receiver
        if life and not life.dead and not life.machine.phase.final:
            self._cancelled = True
            life.machine.cancel("no longer needed", self.loop.time())
            life.pump()

    # ---------------------------------------------------------------- what the lives tell
    def offers(self, manifest: Manifest) -> None:
        """A sender offers this."""
        if manifest not in self.offered.manifests:
            self.offered.manifests.append(manifest)
            self.note(f"offers {len(manifest.entries)} entries, {manifest.chunk_count} chunks")

    def remember_durable(self) -> None:
        """Note what was reported as durable when the receiver dies."""
        receiver, sender = self._receiver, self._sender
        if receiver and receiver.machine.offer_id and receiver.machine.manifest:
            offer_id, durable = receiver.machine.offer_id, receiver.machine.durable
            if sender and sender.machine.offer_id == offer_id:
                durable |= sender.machine.durable
            self._durable = (offer_id, durable)

    def prepared(self, sink: FolderSink) -> None:
        """A sink is ready: see that it vouches for what is right (I3), and for all that was durable (I4)."""
        manifest = sink.manifest
        self.note(
            f"prepared: has {len(sink.have)}, candidates {len(sink.candidates)} of {manifest.chunk_count}"
        )
        if self.rotten:
            return
        for chunk in sink.have:
            self.expect(self._is_stored(chunk, manifest), f"I3: chunk {chunk} is not as the journal says")
        offer_id, durable = self._durable
        if offer_id == manifest.id:
            self.expect(not durable - sink.have, f"I4: {durable - sink.have} was reported durable")

    def _is_stored(self, chunk: int, manifest: Manifest) -> bool:
        index, offset, length = manifest.place(chunk)
        entry = manifest.entries[index]
        right = self.offered.version(entry)[offset : offset + length]
        staged = self.to / ".nbferry" / TRANSFER / "data" / entry.path
        places = [staged, *(self.to / path for path in places_of(entry))]
        return any(place.is_file() and _piece(place, offset, length) == right for place in places)

    def published(self, manifest: Manifest, files: tuple[Path, ...]) -> None:
        """A sink says where everything is."""
        self.note("published")
        self._placed = (manifest, files)
        self._check_published()

    def sender_done(self) -> None:
        """The sender has heard that everything is at its place and durable."""
        self._check_published()
        self._done = True

    # ---------------------------------------------------------------- the end
    def _check_published(self) -> None:
        """I1, of what the receiver says that it has published."""
        self.expect(self._placed is not None, "I8: an end that has not come")
        assert self._placed
        manifest, placed = self._placed
        files = [entry for entry in manifest.entries if not entry.folder]
        self.expect(len(files) == len(placed), "I1: files are missing")
        for entry, path in zip(files, placed, strict=True):
            self.expect(
                path.is_file() and path.read_bytes() == self.offered.version(entry),
                f"I1: {entry.path} is wrong",
            )

    def _check_end(self, ended: str) -> None:
        if ended == "done":
            self.expect(self._done, "I8: done, without a word of it")
            self._check_receipt()
        wrong = self.offered.wrong(replaced=self.overwrite == Overwrite.REPLACE)
        self.expect(not wrong, wrong)
        if ended == "cancelled":
            self.expect(
                self._placed is not None or self._nothing_is_left(), "I8: a cancelled transfer left data"
            )

    def _check_receipt(self) -> None:
        receipt = read_receipt(self.to, TRANSFER)
        self.expect(receipt is not None, "I1: there is no receipt")
        assert receipt
        for file in receipt.files:
            data = (self.to / file.path).read_bytes()
            leaves = b"".join(chunk_digest(data[at : at + CHUNK]) for at in range(0, len(data) or 1, CHUNK))
            right = file_digest(len(data), CHUNK, leaves).hex()
            self.expect(file.digest == right, f"I1: the receipt is wrong about {file.path}")

    def _nothing_is_left(self) -> bool:
        receiver = self._receiver
        told = receiver is not None and isinstance(receiver.machine.error, Cancelled)
        return not told or not (self.to / ".nbferry" / TRANSFER / "data").exists()


def _piece(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
