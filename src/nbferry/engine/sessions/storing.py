"""The storage's part of a receiver: check and write what arrives, reuse older copies, make it durable, publish it."""

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
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from nbferry.storage.base import Sink

# Allocating a new file can take longer than filling it: one thread need not wait for the other.
WRITERS = 2
FLUSH_ATTEMPTS = 1  # how often chunks that a failed flush lost are fetched again


Published = Callable[[tuple[Path, ...]], None]
"""Called in a worker thread with the places of the files, before the other side hears that the transfer is done."""


class Storing:
    """Stores for one session. The receiver's window bounds what waits here."""

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
        """Find out which of these candidates equal the sender's chunks."""
        self._comparisons.put_nowait(event)

    def finish(self, event: Sync | Publish) -> None:
        """Make durable, or publish, what is stored."""
        self._syncs.put_nowait(event)

    async def prepare(self, session: Session) -> None:
        """Get the sink ready; wait while the disk is full. Raises the sink's other errors."""
        while True:
            try:
                return await self._threads.call(self._sink.prepare)
            except DiskFull as error:
                self._receiver.storage_full({}, error)
                await self._wait_for_room(session)

    async def run(self, session: Session) -> None:
        """Do what was asked for, until cancelled. An error of the storage fails the transfer."""
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
        # A hop to a thread costs more than a chunk, so take all.
        while not self._stores.empty():
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
        """Report chunks that a failed flush has lost since the thread stored them."""
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
            # In any other phase an earlier flush has lost something.
            case Publish() if self._receiver.phase is Phase.WRITING:
                if damaged := await self._threads.call(self._sink.check):
                    self._receiver.lost(damaged, session.now())
                    return
                await self._threads.call(self._publish)
                self._receiver.published(session.now())

    def _publish(self) -> None:
        assert self._receiver.digest is not None  # set when everything is verified
        self._published(self._sink.publish(self._receiver.digest))

    async def _wait_for_room(self, session: Session) -> None:
        """Tell the sender and the face, and resume when the disk has room for the rest."""
        session.pump()
        # A file system does not notify; and under a quota it may be full although it reports room.
        while True:
            await asyncio.sleep(self._limits.space_poll)
            if not await self._threads.call(self._sink.missing_space):
                break
        self._receiver.storage_ready()
