"""How large the frames are that a sender makes, and what becomes of one whose source is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from typing_extensions import override

from nbferry.connections.link import Link
from nbferry.engine.sessions.serving import LARGEST, QUICK, SLOW, SMALLEST, STREAK, Serving
from nbferry.engine.sessions.session import Session
from nbferry.engine.slots import Lane
from nbferry.engine.threads import Threads
from nbferry.errors import SourceAway
from nbferry.limits import MAX_MESSAGE, KiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch, Control
from nbferry.protocol.sender import Sender
from nbferry.storage.memory import MemorySource
from nbferry.transports.memory import memory_pair
from rig import SMALL

NO_THREADS = ThreadPoolExecutor()  # it starts them when there is work for them
PATIENCE = 60.0  # seconds
LATE = SLOW + 1.0  # seconds
BETWEEN = (QUICK + SLOW) / 2


class Line:
    """A sender's frames, and the links that they go over."""

    def __init__(self) -> None:
        source = MemorySource({"a": b"a"}, chunk_size=SMALL.chunk_size)
        self.sender = Sender(source.manifest, SMALL)
        self.serving = Serving(self.sender, source, Threads(NO_THREADS))
        self.connect()

    def connect(self, max_message: int = MAX_MESSAGE) -> None:
        """A connection, whatever became of the last one."""
        transport, _ = memory_pair()
        transport.max_message = max_message
        self.link = Link(transport, bytes(32), bytes(32))

    def send(self, *seconds: float) -> int:
        """Frames that take so long each; the size of the next ones."""
        for each in seconds:
            self.serving.frame_sent(self.link, each)
        return self.sender.frame_size


def test_frames_begin_small() -> None:
    """A link begins with the smallest; they double after a number of quick ones, up to a whole chunk."""
    line = Line()
    assert line.sender.frame_size == SMALLEST
    assert line.send(*[0.0] * (STREAK - 1)) == SMALLEST
    assert line.send(0.0) == 2 * SMALLEST
    assert line.send(*[0.0] * STREAK) == 4 * SMALLEST
    assert line.send(*[0.0] * 3 * STREAK) == LARGEST
    assert line.send(*[0.0] * 10 * STREAK) == LARGEST


def test_a_slow_line_gets_smaller_frames() -> None:
    """Each frame that takes too long halves the size, down to the smallest; one that takes its time changes nothing."""
    line = Line()
    line.send(*[0.0] * 10 * STREAK)
    assert line.send(LATE) == LARGEST // 2
    assert line.send(BETWEEN) == LARGEST // 2
    assert line.send(LATE) == LARGEST // 4
    assert line.send(*[LATE] * 10) == SMALLEST


def test_frames_after_a_lost_connection() -> None:
    """When a connection was lost the next one begins with the smallest, too."""
    line = Line()
    line.send(*[0.0] * 10 * STREAK)
    line.connect()
    assert line.send(0.0) == SMALLEST
    assert line.send(*[0.0] * (STREAK - 1)) == 2 * SMALLEST


def test_quick_frames_in_a_row() -> None:
    """What a socket's memory takes at once says little of the line: a frame that is not quick begins the count anew."""
    line = Line()
    line.send(0.0)
    line.connect()
    for _ in range(5):
        assert line.send(*[0.0] * (STREAK - 1)) == SMALLEST
        assert line.send(BETWEEN) == SMALLEST
    assert line.send(*[0.0] * STREAK) == 2 * SMALLEST
    assert line.send(LATE) == SMALLEST


def test_a_line_that_is_lost_again_and_again() -> None:
    """Each loss makes them the smallest, and quick frames of one connection do not count for the next."""
    line = Line()
    line.send(0.0)
    for _ in range(5):
        line.connect()
        assert line.send(*[0.0] * (STREAK - 1)) == SMALLEST
    line.send(*[0.0] * 3 * STREAK)
    line.connect()
    assert line.send(0.0) == SMALLEST


def test_a_path_that_takes_small_messages() -> None:
    """No frame is larger than a message of the path, however quick that is."""
    line = Line()
    line.connect(100 * KiB)
    assert line.send(*[0.0] * 10 * STREAK) == line.link.max_frame


# ------------------------------------------------------------------ a source that is away
class Away(MemorySource):
    """Cannot be read while ``away``; how many wait to hear that it is back."""

    def __init__(self) -> None:
        super().__init__({"a": b"a"}, chunk_size=SMALL.chunk_size)
        self.away = True
        self.waiting: list[Callable[[], None]] = []

    @override
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        if self.away:
            raise SourceAway
        return super().read(chunks, batch)

    @override
    def when_back(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)


class Driver:
    """What a serving needs of a session."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.pumped = asyncio.Event()

    def now(self) -> float:
        """No time passes."""
        return 0.0

    def pump(self) -> None:
        """Something happened."""
        self.pumped.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.pumped.clear()
                await self.pumped.wait()


def test_a_source_that_is_away_leaves_its_turn_to_others() -> None:
    """No thread waits for it meanwhile; when it is back it queues again, and goes on."""

    async def scenario() -> None:
        source = Away()
        sender = Sender(source.manifest, SMALL)
        sender.held = True
        greet(sender)
        sender.receive(memoryview(Control("want", {"chunks": [[0, 1]], "digests": []}).encode()), 0)
        threads, lane, queued = Threads(NO_THREADS), Lane(), list[bool]()
        driver = Driver(sender)
        serving = Serving(sender, source, threads)
        running = asyncio.create_task(serving.run_in_turn(cast("Session", driver), lane, 1, queued.append))
        await driver.until(lambda: bool(source.waiting))
        assert sender.pause_reason == SourceAway().message
        assert not lane.is_full(1)
        async with lane.turn(1):
            source.away = False
            source.waiting.pop()()
            await driver.until(lambda: not sender.paused)
            assert queued[-1]
        await driver.until(lambda: bool(sender._ready))
        assert not queued[-1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def greet(sender: Sender) -> None:
    """A receiver that has accepted."""
    sender.connected(0)
    for name, fields in (
        ("hello", {"protocol": [1], "role": "receiver", "agent": ""}),
        ("answer", {"accept": True}),
    ):
        sender.receive(memoryview(Control(name, fields).encode()), 0)
