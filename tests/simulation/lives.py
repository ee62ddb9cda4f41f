"""Both processes of a transfer, built as the engine builds them: machine, session, storage and worker threads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from nbferry.connections.link import Lease
from nbferry.engine.sessions.serving import Serving
from nbferry.engine.sessions.session import Session
from nbferry.engine.sessions.storing import Storing
from nbferry.engine.threads import Threads
from nbferry.errors import NbferryError
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Compare, Event, Offered, Publish, Store, Sync
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import Sender
from nbferry.storage.folder.destination import Destination
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.sources.digest_cache import DigestCache
from nbferry.storage.sources.files import offer_of
from simulation.disk import drop_files
from simulation.loop import Workers
from simulation.network import Answering, Calling
from simulation.offered import CHUNK

if TYPE_CHECKING:
    from simulation.world import World


class WatchedSink(FolderSink):
    """A sink that checks each promise as soon as it makes it."""

    world: World

    @override
    def prepare(self) -> None:
        super().prepare()
        self.world.prepared(self)

    @override
    def publish(self, digest: bytes) -> tuple[Path, ...]:
        files = super().publish(digest)
        self.world.published(self.manifest, files)
        return files


@dataclass(frozen=True)
class SimDestination(Destination):
    """A destination on a simulated disk."""

    world: World = field(kw_only=True)

    @override
    def open(self, manifest: Manifest, *, resume: bool) -> FolderSink:
        disk = self.world.disk.for_new_life()
        sink = WatchedSink(
            manifest, self.to, transfer_id=self.id, overwrite=self.overwrite, resume=resume, disk=disk
        )
        sink.world = self.world
        return sink


class Life:
    """One process, from its start until it ends or is killed."""

    direction: int  # of this end's messages on a line
    machine: Machine
    session: Session | None = None

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.workers = Workers(world.loop, world.random, died=self.kill, seconds=world.call_takes)
        self.threads = Threads(self.workers)
        self.task: asyncio.Task[None]

    def kill(self, *, noticed: bool = True) -> None:
        """Kill the process: no more calls, messages or writes."""
        if self.dead or self.task.done():
            return
        self.dead = True
        self.world.note(f"{self.machine.role} killed in {self.machine.phase}")
        self.workers.kill()
        self.world.network.abandon(self.direction, noticed=noticed)
        self.task.cancel()

    def pump(self) -> None:
        """Send what a command changed in the machine."""
        if not self.dead and self.session:
            self.session.pump()

    @property
    def error(self) -> NbferryError | None:
        """How it ended: None for success. An unexpected error is raised."""
        try:
            self.task.result()
        except NbferryError as error:
            return error
        return self.machine.error

    @property
    def trouble(self) -> str:
        """Why the process has no connection, in words."""
        return self.session.trouble if self.session else ""


class SenderLife(Life):
    """The process that sends."""

    direction = 0
    machine: Sender

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.cache = DigestCache(world.state, clock=world.clock, ticks=world.loop.time)
        self.source = offer_of(world.offered.paths, chunk_size=CHUNK, cache=self.cache)
        self.machine = Sender(self.source.manifest, world.limits)
        world.offers(self.source.manifest)
        self.serving = Serving(self.machine, self.source, self.threads)
        self.session = session = Session(
            self.machine,
            Answering(world.network),
            world.limits,
            handle=lambda event, lease: None,
            changed=self._changed,
            frame_sent=self.serving.frame_sent,
            clock=world.loop.time,
        )
        self._durable = RangeSet()
        self.task = asyncio.create_task(self._run(session))

    async def _run(self, session: Session) -> None:
        try:
            await session.run(lambda: self.serving.run(session))
            await self.threads.settle()
        finally:
            self.source.close()
            if self.dead:
                drop_files(self.world.state)
            else:
                self.cache.close()

    def _changed(self) -> None:
        self.serving.more_to_do()
        if self.dead:
            return
        lost = self._durable - self.machine.durable
        self.world.expect(
            not lost or self.world.rotten, f"I5: the sender hears that {lost} is not durable any more"
        )
        self._durable = self.machine.durable
        held = len(self.machine._ready) + len(self.machine._free)
        self.world.expect(held <= 2, f"I7: the sender holds {held} batches")
        if self.machine.phase is Phase.DONE:
            self.world.sender_done()


class ReceiverLife(Life):
    """The process that receives. It resumes what an earlier life left."""

    direction = 1
    machine: Receiver

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sink: FolderSink | None = None
        self.files: tuple[Path, ...] = ()
        self.offer: asyncio.Future[Manifest] = world.loop.create_future()
        self.storing: Storing | None = None
        self.machine = Receiver(world.limits)
        self._verified = RangeSet()
        # Failed flushes that this life has seen.
        self._losses = world.disk.failed_flushes
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self.world.accepted:
                await self.threads.call(self._resume)
            self.session = session = Session(
                self.machine,
                Calling(self.world.network),
                self.world.limits,
                handle=self._handle,
                changed=self._changed,
                clock=self.world.loop.time,
            )
            await session.run(lambda: self._work(session))
            await self.threads.settle()
            await self.threads.call(self._put_away)
        finally:
            if self.dead:
                drop_files(self.world.to)

    @override
    def kill(self, *, noticed: bool = True) -> None:
        self.world.remember_durable()
        super().kill(noticed=noticed)

    def _resume(self) -> None:
        """Resume from the data of an earlier life."""
        left, limits = self.world.destination.recover(), self.world.limits
        if left.receipt:
            self.world.note("has a receipt")
            digest = bytes.fromhex(left.receipt.digest)
            self.machine = Receiver.already_done(limits, digest, self.world.loop.time())
        else:
            self.machine = Receiver(limits, known=left.offer)

    async def _work(self, session: Session) -> None:
        if self.machine.phase.final:
            return
        manifest = await self.offer
        sink = self.sink = self.world.destination.open(manifest, resume=self.world.accepted)
        self.storing = Storing(self.machine, sink, self.threads, self.world.limits, self._published)
        await self.storing.prepare(session)
        self.world.accepted = True
        self.machine.accept(self.world.loop.time(), sink.have, sink.leaves(), sink.candidates)
        session.pump()
        await self.storing.run(session)

    def _published(self, files: tuple[Path, ...]) -> None:
        receiver = self.machine
        assert receiver.manifest
        assert receiver.digest
        digests = receiver.file_digests()
        self.world.destination.leave_receipt(receiver.manifest, files, receiver.digest, digests)

    def _put_away(self) -> None:
        """Keep the data that a later life can resume from, and remove the rest."""
        if self.sink:
            self.sink.close()
        if self.machine.phase is Phase.FAILED or (
            self.machine.phase is Phase.DONE and not self.machine.understood
        ):
            return
        self.world.destination.discard()

    def _handle(self, event: Event, lease: Lease | None) -> None:
        if self.dead:
            return
        match event:
            case Offered(manifest):
                self.offer.set_result(manifest)
            case Store() if self.storing:
                self.storing.store(event, lease)
            case Compare() if self.storing:
                self.storing.compare(event)
            case Sync() | Publish() if self.storing:
                self.storing.finish(event)

    def _changed(self) -> None:
        if self.dead:
            return
        lost = self._verified - self.machine.verified
        if lost:
            failed = self.world.disk.failed_flushes
            excused = failed > self._losses or self.world.rotten
            self.world.expect(excused, f"I5: the receiver has lost {lost}")
            self._losses = failed
        self._verified = self.machine.verified
        self.world.expect(not self.machine.durable - self.machine.verified, "I5: durable but not verified")
        most = self.world.limits.window + CHUNK
        self.world.expect(
            self.machine.outstanding <= most, f"I7: {self.machine.outstanding} bytes are outstanding"
        )
