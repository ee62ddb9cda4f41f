"""A TCP proxy on the loopback interface that breaks connections after given bytes, not after given seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Self

BLOCK = 64 << 10
# A read of more than this comes from a connection that carries data.
DATA = 16 << 10
PATIENCE = 30  # seconds


class How(Enum):
    """What happens to a connection."""

    RESET = auto()  # both ends learn of it at once
    CLOSED = auto()  # both ends see a close of the other one
    HALF_CLOSED = auto()  # the receiving end sees a close, and may still send
    DEAF = auto()  # later bytes in this direction vanish
    MUTE = auto()  # later bytes in the other direction vanish
    HOLE = auto()  # both


@dataclass
class Faults:
    """Byte counts in one direction after which a connection breaks. Each serves once, for the first to reach it."""

    after: list[int] = field(default_factory=list)
    how: How = How.RESET
    times: list[float] = field(default_factory=list)  # times of the breaks
    back: list[float] = field(default_factory=list)  # times of the next data

    def strikes(self, passed: int, coming: int) -> int | None:
        """How many of a connection's next bytes pass before it breaks; None: all of them."""
        if not self.after or passed + coming <= self.after[0]:
            return None
        self.times.append(time.monotonic())
        return max(0, self.after.pop(0) - passed)

    def data_flow(self, since: float) -> None:
        """Record data on a connection opened at this time. Data of an older connection do not count."""
        if len(self.back) < len(self.times) and since > self.times[-1]:
            self.back += [time.monotonic()] * (len(self.times) - len(self.back))

    @property
    def gaps(self) -> list[float]:
        """Seconds between each break and the next data."""
        return [back - lost for lost, back in zip(self.times, self.back, strict=False)]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How bytes pass: delay in seconds, bytes per second, bytes in one segment."""

    delay: float = 0.0
    rate: float = float("inf")
    slice: int = BLOCK


class ToxicProxy:
    """Forwards connections to ports of this machine, all with the same pace and faults.

    ``carried`` counts the bytes of both directions.
    """

    def __init__(self, faults: Faults | None = None, pace: Pace | None = None) -> None:
        self.faults = faults or Faults()
        self.pace = pace or Pace()
        self.carried = 0
        self.connections = 0
        self._servers: list[asyncio.Server] = []
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toxics")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def front(self, port: int) -> int:
        """A port that leads to this port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The proxy ends, and asyncio.streams would print it.
            with suppress(asyncio.CancelledError):
                await self._serve(port, reader, writer)

        server = self._run(asyncio.start_server(serve, "127.0.0.1", 0, limit=BLOCK))
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        # Then each accepted connection has its task.
        await asyncio.sleep(0)
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # Then the aborted transports close their sockets.
        await asyncio.sleep(0)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port, limit=BLOCK)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, there), (back, writer))
        # Otherwise it would be collected once one end has closed.
        self._open.add(connection)
        await connection.run()
        self._open.discard(connection)


class _Connection:
    """One connection: two readers, each with the writer of the other end."""

    def __init__(self, proxy: ToxicProxy, readers, writers) -> None:
        self._proxy = proxy
        self._readers = readers
        self._writers = writers
        for writer in writers:
            # Forwarded bytes are with the other end, not in a buffer here.
            writer.transport.set_write_buffer_limits(0)
        self._vanishes = [False, False]
        self._gently = False
        self._since = time.monotonic()

    async def run(self) -> None:
        """Forward until both directions have ended."""
        try:
            async with asyncio.TaskGroup() as ways:
                for way in (0, 1):
                    ways.create_task(self._pump(way))
        except* (OSError, _Broken):
            pass  # one end is lost, and so is the other
        finally:
            for writer in self._writers:
                writer.close() if self._gently else writer.transport.abort()

    async def _pump(self, way: int) -> None:
        faults, passed = self._proxy.faults, 0
        async with _Pacer(self._proxy.pace, self._writers[way]) as pacer:
            while data := await self._readers[way].read(BLOCK):
                if len(data) > DATA and not self._vanishes[way]:
                    faults.data_flow(self._since)
                if (last := faults.strikes(passed, len(data))) is not None:
                    await self._pass(way, data[:last], pacer)
                    await self._break(way, faults.how)
                else:
                    await self._pass(way, data, pacer)
                passed += len(data)
        if not self._vanishes[way] and self._writers[way].can_write_eof():
            self._writers[way].write_eof()

    async def _pass(self, way: int, data: bytes, pacer: _Pacer) -> None:
        self._proxy.carried += len(data)
        if not self._vanishes[way]:
            await pacer.write(data)

    async def _break(self, way: int, how: How) -> None:
        match how:
            case How.RESET | How.CLOSED:
                self._gently = how is How.CLOSED
                raise _Broken
            case How.HALF_CLOSED:
                self._writers[way].write_eof()
                self._vanishes[way] = True
            case How.DEAF:
                self._vanishes[way] = True
            case How.MUTE:
                self._vanishes[1 - way] = True
            case How.HOLE:
                self._vanishes = [True, True]


class _Broken(Exception):
    """A connection must end."""


class _Pacer:
    """Writes at a pace. Delayed bytes wait in a queue, so a delay costs no throughput."""

    def __init__(self, pace: Pace, writer: asyncio.StreamWriter) -> None:
        self._pace = pace
        self._writer = writer
        self._waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue(256)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._pace.delay:
            self._task = asyncio.create_task(self._post())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if self._task is None:
            return
        if kind is None:
            await self._waiting.put(None)
            await self._task
        self._task.cancel()

    async def write(self, data: bytes) -> None:
        """Write now or later."""
        if self._task is None:
            await self._write(data)
        else:
            await self._waiting.put((time.monotonic() + self._pace.delay, data))

    async def _post(self) -> None:
        while item := await self._waiting.get():
            due, data = item
            await asyncio.sleep(due - time.monotonic())
            await self._write(data)

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), self._pace.slice):
            piece = data[start : start + self._pace.slice]
            self._writer.write(piece)
            await self._writer.drain()
            if self._pace.slice < BLOCK:
                await asyncio.sleep(0)  # send it as a separate segment
            if seconds := len(piece) / self._pace.rate:
                await asyncio.sleep(seconds)
