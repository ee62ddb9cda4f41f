"""One transfer from one seed: two processes, a network, a disk, and every trouble that can happen to them.

    seed -> files, limits, an older copy, a plan of troubles
    two lives, the sender's and the receiver's process; one that ends early is restarted, as a user would
    at the end: the promises are checked

I1  each published file is, byte for byte, one version of the offered file, never a mix
I2  no other file at the destination or around it has changed
I3  the journal's chunks are on the disk, and right
I4  chunks reported durable survive the end of the process and a power failure
I5  progress only grows, except for chunks that a failing disk lost
I6  no number seals twice under one key
I7  memory stays within its bounds
I8  it completes, or ends with a typed error, or waits and says for what
I9  no task and no open file remains
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
# Seconds of virtual time. All troubles happen in the first minutes.
TIME_LIMIT = 6 * 3600.0
MOST_LIVES = 60
# Seconds between checks for a side that waits in vain.
PATIENCE = 300.0


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
    """A broken promise."""


def replay(seed: int) -> str:
    """The command that replays a run."""
    return f"replay: python bench/simulation.py --seed {seed}"


def simulate(seed: int, *, log: Callable[[str], None] | None = None) -> Outcome:
    """Run the transfer of a seed. AssertionError with the replay command if a promise is broken."""
    before, world = len(open_files()), None
    state = standard_random.getstate()
    # The jitter of a session's backoff comes from there.
    standard_random.seed(seed)
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
    """All that a seed decides."""

    def __init__(self, seed: int, folder: Path, log: Callable[[str], None]) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311  # the same in every run
        self.loop: VirtualLoop
        self.network: Network
        self.disk: SimDisk
        self.to, self.state = folder / "to", folder / ".nbferry"
        self.offered = Offered(folder, self.random)
        self._log = log
        self.accepted = False  # as in the receiver's record
        # Troubles that excuse an end with a storage error.
        self.excuses = 0
        # Durable data were damaged; a receiver must find that before it publishes.
        self.rotten = False
        self.broken: list[str] = []
        # The durable chunks reported so far, and their offer.
        self._durable = ("", RangeSet())
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
        """Record a broken promise, even if a later handler catches the error, and stop."""
        if not fact:
            self.note(f"BROKEN: {otherwise}")
            self.broken.append(otherwise)
            raise Violation(otherwise)

    def call_takes(self) -> float:
        """Seconds of a call in a worker thread. Sometimes a flush takes seconds."""
        return self.random.uniform(3, 8) if self.random.random() < 0.01 else self.random.uniform(0.0005, 0.02)

    def clock(self) -> int:
        """Nanoseconds since 1970, long after the files were made."""
        return BEGIN + (10**6 + round(self.loop.time())) * 10**9

    def calm(self) -> bool:
        """Whether the troubles are over."""
        return self.loop.time() > self._quiet_at

    def note(self, what: str) -> None:
        """Log an event."""
        self._log(f"{self.loop.time():10.3f}  {what}")

    # ---------------------------------------------------------------- running
    async def run(self, loop: VirtualLoop) -> Outcome:
        """Run from the first call to the end of both processes."""
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
        """Start the missing sides until the transfer is over. Returns how it ended."""
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
        self.expect(self._lives <= MOST_LIVES, "I8: it is started too often")

    def _bury(self) -> str:
        """Examine the lives that ended. Returns the transfer's end, or "" if it is not over."""
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
        """Whether a life ended without the user's command."""
        return life.task.done() and (life.dead or not isinstance(life.machine.error, Cancelled))

    def _all_over(self, sender: Life, receiver: Life) -> bool:
        """Whether each side of a cancelled transfer has ended, or waits and says so."""
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
        """Whether a trouble explains this error."""
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
        """Kill the lives that still run."""
        for life in (self._sender, self._receiver):
            if life and not life.task.done():
                life.kill()
                await asyncio.gather(life.task, return_exceptions=True)

    # ---------------------------------------------------------------- troubles
    def _plan(self, lasts: float) -> list[tuple[float, str, float]]:
        """Times, names and durations of the troubles."""
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
        """The power fails, and the disk damages durable data."""
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
        """Record a sender's offer."""
        if manifest not in self.offered.manifests:
            self.offered.manifests.append(manifest)
            self.note(f"offers {len(manifest.entries)} entries, {manifest.chunk_count} chunks")

    def remember_durable(self) -> None:
        """Record what was reported durable when the receiver dies."""
        receiver, sender = self._receiver, self._sender
        if receiver and receiver.machine.offer_id and receiver.machine.manifest:
            offer_id, durable = receiver.machine.offer_id, receiver.machine.durable
            if sender and sender.machine.offer_id == offer_id:
                durable |= sender.machine.durable
            self._durable = (offer_id, durable)

    def prepared(self, sink: FolderSink) -> None:
        """Check a prepared sink: its chunks are right (I3) and include all durable ones (I4)."""
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
        """Record where a sink published the files."""
        self.note("published")
        self._placed = (manifest, files)
        self._check_published()

    def sender_done(self) -> None:
        """Record that the sender was told of the published files."""
        self._check_published()
        self._done = True

    # ---------------------------------------------------------------- the end
    def _check_published(self) -> None:
        """Check the receiver's published files (I1)."""
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
