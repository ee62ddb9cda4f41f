"""How large the frames are that a sender makes: what the line takes, and less once a connection was lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from nbferry.engine.link import Link
from nbferry.engine.serving import LARGEST, QUICK, SLOW, SMALLEST, STREAK, Serving
from nbferry.engine.threads import Threads
from nbferry.limits import MAX_MESSAGE, KiB
from nbferry.protocol.sender import Sender
from nbferry.storage.memory import MemorySource
from nbferry.transports.memory import memory_pair
from rig import SMALL

NO_THREADS = ThreadPoolExecutor()  # it starts them when there is work for them
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
