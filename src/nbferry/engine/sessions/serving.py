"""The storage's part of a sender: read what the receiver wants, ahead of the frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nbferry.connections.link import AnyLink
from nbferry.engine.sessions.session import Session
from nbferry.engine.slots import Lane
from nbferry.engine.threads import Threads
from nbferry.errors import NbferryError, SourceAway
from nbferry.limits import KiB, MiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import PIECE_HEADER, ChunkBatch
from nbferry.protocol.sender import ReadJob, Sender
from nbferry.storage.base import Source

SLOW, QUICK = 2.0, 0.25  # seconds for one frame: a slow one makes control frames wait behind it
# The largest holds a whole chunk of the usual size.
SMALLEST, LARGEST = 64 * KiB, 1 * MiB + PIECE_HEADER.size + 1
STREAK = 32  # quick frames in a row before they grow: more than a socket's buffer takes at once


class Serving:
    """Reads for one session; one job at a time, in a worker thread."""

    def __init__(
        self, sender: Sender, source: Source, threads: Threads, *, frame_size: int = SMALLEST
    ) -> None:
        self._sender = sender
        self._source = source
        self._threads = threads
        self._work = asyncio.Event()
        self._link: AnyLink | None = None
        self._quick = 0  # frames in a row
        sender.frame_size = frame_size

    def more_to_do(self) -> None:
        """Look again for something to read: the machine has had an input."""
        self._work.set()

    async def run_in_turn(
        self, session: Session, lane: Lane, limit: int, queued: Callable[[bool], None]
    ) -> None:
        """Serve while this transfer has its turn, until cancelled; give the turn up while the source is away."""
        while True:
            queued(lane.is_full(limit))
            async with lane.turn(limit):
                queued(False)
                self._sender.held = False
                back = await self.run(session)
                self._sender.held = True
            await back.wait()
            self._sender.source_back()
            session.pump()

    async def run(self, session: Session) -> asyncio.Event:
        """Read until cancelled, or until the source is away; the returned event is set when it is back.

        A file that cannot be read fails the transfer.
        """
        while True:
            job = self._sender.next_read()
            if job is None:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                await self._read(job)
            except SourceAway as error:
                self._sender.source_away(job, error.message)
                session.pump()
                return self._when_back()
            except NbferryError as error:
                self._sender.fail(error, session.now())
            session.pump()

    def _when_back(self) -> asyncio.Event:
        back, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(back.set)

        self._source.when_back(tell)
        return back

    async def _read(self, job: ReadJob) -> None:
        if job.batch is None:
            digests = await self._threads.call(self._source.digests, job.chunks)
            done = job.chunks
        else:
            done = await self._threads.call(self._read_into, job, job.batch)
            digests = job.batch.digests
        self._sender.chunks_read(job, done, digests)

    def _read_into(self, job: ReadJob, batch: ChunkBatch) -> RangeSet:
        self._source.expect(job.ahead)
        return self._source.read(job.chunks, batch)

    def frame_sent(self, link: AnyLink, seconds: float) -> None:
        """Adapt the size of frames to the link, so that no frame delays others for long or costs many bytes when lost.

        Every link begins with the smallest: its speed is unknown, or the link before it was lost.
        """
        if link is not self._link:
            self._link, self._quick, self._sender.frame_size = link, 0, SMALLEST
        size = self._sender.frame_size
        self._quick = self._quick + 1 if seconds < QUICK else 0
        if seconds > SLOW:
            size = max(SMALLEST, size // 2)
        elif self._quick == STREAK:
            size, self._quick = min(LARGEST, size * 2), 0
        self._sender.frame_size = min(size, link.max_frame)
        self._work.set()
