"""The storage's part of a receiver: check and write what arrives, take what is here, make it durable, publish it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nbferry.connections.link import Lease
from nbferry.engine.sessions.session import Session
from nbferry.engine.threads import Threads
from nbferry.errors import DiskFull, NbferryError, StorageError
from nbferry.limits import Limits
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Compare, Publish, Store, Sync
from nbferry.protocol.receiver import Receiver
from nbferry.status import State
from nbferry.storage.base import Sink

# getting memory for a new file can cost more than filling it: one thread need not wait for the other
WRITERS = 2
FLUSH_ATTEMPTS = 1  # times that what a dying disk lost in a flush is fetched again


Published = Callable[[tuple[Path, ...]], None]
"""Told in a worker thread where everything is, before the other side hears that it is done."""


class Storing:
    """Stores for one session. What waits here is bounded by the receiver's window."""

    def __init__(
        self, receiver: Receiver, sink: Sink, threads: Threads, limits: Limits, published: Published
    ) -> None:
        self._receiver = receiver
        self._sink = sink
        self._threads = threads
        self._limits = limits
        self._published = published
        self._flushes_failed = 0
        self._comparisons: asyncio.Queue[Compare] = asyncio.Queue()
        self._stores: asyncio.Queue[tuple[Store, Lease | None]] = asyncio.Queue()
        self._syncs: asyncio.Queue[Sync | Publish] = asyncio.Queue()

    def store(self, event: Store, lease: Lease | None) -> None:
        """Check and write these chunks, then release the frame that they lie in."""
        self._stores.put_nowait((event, lease))

    def compare(self, event: Compare) -> None:
        """See which of these candidates are what the sender has."""
        self._comparisons.put_nowait(event)

    def finish(self, event: Sync | Publish) -> None:
        """Make durable, or publish, what is stored."""
        self._syncs.put_nowait(event)

    async def prepare(self, session: Session) -> None:
        """Get the sink ready; waits while the disk has no room. Raises what the sink raises otherwise."""
        while True:
            try:
                return await self._threads.call(self._sink.prepare)
            except DiskFull as error:
                self._receiver.storage_full({}, error)
                await self._wait_for_room(session)

    async def run(self, session: Session) -> None:
        """Do what was asked for, until cancelled; what cannot be stored fails the transfer."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WRITERS):
                tasks.create_task(self._keep(session, self._store_next))
            tasks.create_task(self._keep(session, self._compare_next))
            tasks.create_task(self._keep(session, self._finish_next))

    async def _keep(self, session: Session, step: Callable[[Session], object]) -> None:
        while True:
            try:
                await step(session)  # type: ignore[misc]
            except NbferryError as error:
                self._receiver.fail(error, session.now())
            session.pump()

    async def _store_next(self, session: Session) -> None:
        waiting = [await self._stores.get()]
        while not self._stores.empty():  # a hop to a thread costs more than a chunk, so take all
            waiting.append(self._stores.get_nowait())
        chunks = [chunk for event, _ in waiting for chunk in event.chunks]
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        try:
            right = await self._threads.call(self._sink.store, chunks)
            self._receiver.chunks_stored(tried, right, session.now())
            self._note_losses(right, session)
        except DiskFull as error:
            self._receiver.storage_full(tried, error)
            await self._wait_for_room(session)
        finally:
            for _, lease in waiting:
                if lease:
                    lease.release()

    def _note_losses(self, right: RangeSet, session: Session) -> None:
        """A flush may have failed, and lost them, since the thread that stored these came back."""
        if lost := right - self._sink.have:
            self._receiver.lost(lost, session.now())

    async def _compare_next(self, session: Session) -> None:
        event = await self._comparisons.get()
        tried = dict(event.pairs)
        try:
            right = await self._threads.call(self._sink.reuse, event.pairs)
            self._receiver.compared(tried, right, session.now())
            self._note_losses(right, session)
        except DiskFull as error:
            self._receiver.storage_full(tried, error)
            await self._wait_for_room(session)

    async def _finish_next(self, session: Session) -> None:
        event = await self._syncs.get()
        try:
            await self._finish(event, session)
        except DiskFull as error:
            self._receiver.flush_failed(self._receiver.verified - self._sink.have, error)
            await self._wait_for_room(session)
        except StorageError:
            self._flushes_failed += 1
            lost = self._receiver.verified - self._sink.have
            if self._flushes_failed > FLUSH_ATTEMPTS or not lost:
                raise
            self._receiver.lost(lost, session.now())  # what was durable before still is

    async def _finish(self, event: Sync | Publish, session: Session) -> None:
        match event:
            case Sync():
                await self._threads.call(self._sink.sync)
                self._receiver.synced(session.now())
            # else a flush before it has lost something
            case Publish() if self._receiver.state is State.WRITING:
                if damaged := await self._threads.call(self._sink.check):
                    self._receiver.lost(damaged, session.now())
                    return
                await self._threads.call(self._publish)
                self._receiver.published(session.now())

    def _publish(self) -> None:
        assert self._receiver.digest is not None  # it was verified
        self._published(self._sink.publish(self._receiver.digest))

    async def _wait_for_room(self, session: Session) -> None:
        """Tell everybody, and go on when the disk has room for the rest."""
        session.pump()
        # a file system does not tell; and by a quota it may be full though it says that there is room
        while True:
            await asyncio.sleep(self._limits.space_poll)
            if not await self._threads.call(self._sink.missing_space):
                break
        self._receiver.storage_ready()
