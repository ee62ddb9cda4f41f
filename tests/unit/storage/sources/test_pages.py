"""Files that a page lends: who is asked, how much at once, and what becomes of it when pages come and go."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DigestMismatch, Interrupted, SourceAway, SourceChanged
from nbferry.limits import KiB, MiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch
from nbferry.storage.sources.pages import COST, FIRST, LEAST, QUICK, SLOW, Pace, PageFiles, PageSource
from pages import CHUNK, SMALL, Lender, page_files

PATIENCE = 60  # seconds
DATA = random.Random(1).randbytes(5 * CHUNK + 17)  # noqa: S311  # the same in every run
FILES = {"a.bin": DATA, "b.txt": b"hello", "empty": b""}
ALL = RangeSet.span(0, 8)
WRONG = b"?" * 32


def a_batch(room: int = 64 * KiB) -> ChunkBatch:
    """Room for some chunks."""
    return ChunkBatch(bytearray(room), room)


@pytest.fixture
def files() -> PageFiles:
    """Three files that nobody lends yet."""
    return page_files(FILES)


@pytest.fixture
def source(files: PageFiles) -> Iterator[PageSource]:
    """A source of them."""
    made = PageSource(files, SMALL)
    yield made
    made.interrupt()
    made.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Where something may wait."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def reading(thread: ThreadPoolExecutor, source: PageSource, page: Lender) -> Future[RangeSet]:
    """Somebody who reads everything, and waits for the page."""
    read = thread.submit(source.read, ALL, a_batch())
    page.until_asked()
    return read


# ------------------------------------------------------------------ pages
def test_nobody_lends(files: PageFiles, source: PageSource) -> None:
    """Without a page nothing can be read, and that is said at once."""
    assert not files.present
    for read in (lambda: source.read(ALL, a_batch()), lambda: source.digests(ALL)):
        with pytest.raises(SourceAway, match="closed"):
            read()


def test_a_page_goes(files: PageFiles, source: PageSource, thread: ThreadPoolExecutor) -> None:
    """Whoever waits for its answer hears of it; what it says later is of no account."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    read = reading(thread, source, page)
    files.gone(page)
    with pytest.raises(SourceAway):
        read.result(PATIENCE)
    page.answer_all()
    assert not files.present
    with pytest.raises(SourceAway):
        source.read(ALL, a_batch())


def test_a_page_comes_back(files: PageFiles, source: PageSource) -> None:
    """What failed meanwhile is asked for anew, of whichever page lends them then."""
    gone = Lender(FILES, hold=True)
    files.lend(gone)
    source.expect(ALL)
    files.gone(gone)
    files.lend(Lender(FILES))
    batch = a_batch()
    assert source.read(ALL, batch) == ALL
    assert batch.digests[7] == chunk_digest(b"")


def test_a_page_that_is_replaced(files: PageFiles, source: PageSource, thread: ThreadPoolExecutor) -> None:
    """The newest is asked for what the one before still owes; whatever that one says then does not count."""
    old = Lender(FILES, hold=True, spoil=lambda data: (data, WRONG))
    files.lend(old)
    read = reading(thread, source, old)
    files.lend(Lender(FILES))
    assert read.result(PATIENCE)
    old.error = SourceChanged()
    old.answer_all()
    assert source.read(ALL, a_batch()) == ALL


def test_the_newest_page_goes(files: PageFiles, source: PageSource) -> None:
    """Another tab that has the files too is asked instead."""
    first, second = Lender(FILES), Lender(FILES, hold=True)
    files.lend(first)
    files.lend(second)
    source.expect(ALL)
    assert second.asked
    files.gone(second)
    assert files.present
    assert source.read(ALL, a_batch()) == ALL


def test_an_older_page_goes(files: PageFiles, source: PageSource) -> None:
    """Nobody waits for it, so nothing happens."""
    first, second = Lender(FILES), Lender(FILES)
    files.lend(first)
    files.lend(second)
    files.gone(first)
    files.gone(first)
    assert source.read(ALL, a_batch()) == ALL


def test_a_page_that_has_not_got_them(files: PageFiles, source: PageSource) -> None:
    """One that says so lends them no more, so that nobody asks it again and again."""
    page = Lender(FILES)
    page.error = SourceAway()
    files.lend(page)
    with pytest.raises(SourceAway):
        source.read(ALL, a_batch())
    assert not files.present


def test_a_page_that_drops_a_question(
    files: PageFiles, source: PageSource, thread: ThreadPoolExecutor
) -> None:
    """A future that was cancelled is that of a page which is gone."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    read = reading(thread, source, page)
    page.asked[0].answer.cancel()
    with pytest.raises(SourceAway):
        read.result(PATIENCE)


def test_when_it_is_back(files: PageFiles, source: PageSource) -> None:
    """It is told once; at once if a page is there."""
    told: list[str] = []
    source.when_back(lambda: told.append("first"))
    assert told == []
    files.lend(Lender(FILES))
    files.lend(Lender(FILES))
    assert told == ["first"]
    source.when_back(lambda: told.append("second"))
    assert told == ["first", "second"]


def test_a_changed_file(files: PageFiles, source: PageSource) -> None:
    """What the page says of a file is what is raised; and it still lends the others."""
    page = Lender(FILES)
    page.error = SourceChanged('"a.bin" was changed.')
    files.lend(page)
    for read in (lambda: source.read(ALL, a_batch()), lambda: source.digests(ALL)):
        with pytest.raises(SourceChanged, match=r"a\.bin"):
            read()
    assert files.present


# ------------------------------------------------------------------ what comes
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: (b"?" + data[1:], chunk_digest(data)),
        lambda data: (data[:-1], chunk_digest(data[:-1])),
        lambda data: (data + b"!", chunk_digest(data + b"!")),
        lambda data: (data, b""),
    ],
    ids=["bytes", "too short", "too long", "no digest"],
)
def test_a_slice_that_is_not_what_it_says(
    files: PageFiles, source: PageSource, spoil: Callable[[bytes], tuple[bytes, bytes]]
) -> None:
    """It is asked for again, a few times; then it is an error."""
    page = Lender(FILES, spoil=spoil)
    files.lend(page)
    with pytest.raises(DigestMismatch):
        source.read(RangeSet.of(0), a_batch())
    assert page.count == SMALL.chunk_attempts


def test_a_slice_that_is_right_the_second_time(files: PageFiles, source: PageSource) -> None:
    """Nobody hears of the first."""
    times = iter([True])
    page = Lender(FILES, spoil=lambda data: (data, WRONG if next(times, False) else chunk_digest(data)))
    files.lend(page)
    batch = a_batch()
    assert source.read(RangeSet.of(0), batch) == RangeSet.of(0)
    assert batch.digests == {0: chunk_digest(DATA[:CHUNK])}


def test_digests_travel_alone(files: PageFiles, source: PageSource) -> None:
    """For a digest no byte is asked for; one of a wrong length is asked for again."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    with ThreadPoolExecutor() as pool:
        told = pool.submit(source.digests, ALL)
        page.until_asked(len(ALL))
        assert {question.op for question in page.asked} == {"digest"}
        page.answer_all()
        assert told.result(PATIENCE)[6] == chunk_digest(b"hello")
    files.lend(broken := Lender(FILES, spoil=lambda data: (data, b"short")))
    with pytest.raises(DigestMismatch):
        source.digests(RangeSet.of(0))
    assert broken.count == SMALL.chunk_attempts


def test_what_is_here_is_read(files: PageFiles, source: PageSource) -> None:
    """Once something is in the batch, the next that is not here is not waited for."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    source.expect(ALL)
    for question in page.asked[:2]:
        page.answer(question)
    assert source.read(ALL, a_batch()) == RangeSet.of(0, 1)


def test_what_is_here_when_the_page_goes(files: PageFiles, source: PageSource) -> None:
    """It is read; only then it is said that there is no more."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    source.expect(ALL)
    page.answer(page.asked[0])
    files.gone(page)
    assert source.read(ALL, a_batch()) == RangeSet.of(0)
    with pytest.raises(SourceAway):
        source.read(RangeSet.of(1), a_batch())


# ------------------------------------------------------------------ ahead
def test_asking_ahead(files: PageFiles, source: PageSource) -> None:
    """As many slices are under way as the window takes, of several files, each asked for once."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    source.expect(ALL)
    source.expect(ALL)
    places = [(question.path, question.offset) for question in page.asked]
    assert places == [("a.bin", at * CHUNK) for at in range(6)] + [("b.txt", 0), ("empty", 0)]


def test_a_full_window() -> None:
    """What is under way or waits to be read is bounded, whatever its size is."""
    many = {f"{number:05}": b"x" for number in range(10_000)}
    files = page_files(many)
    source = PageSource(files, SMALL)
    files.lend(page := Lender(many, hold=True))
    source.expect(RangeSet.span(0, 10_000))
    assert len(page.asked) == SMALL.window // COST


def test_another_want(files: PageFiles, source: PageSource) -> None:
    """Where the window is full, what is not wanted any more makes room for what is."""
    data = {"a": bytes(20 * CHUNK)}
    files = page_files(data)
    source = PageSource(files, SMALL)
    files.lend(page := Lender(data, hold=True))
    source.expect(RangeSet.span(0, 10))
    page.asked.clear()
    source.expect(RangeSet.span(10, 12))
    assert [question.offset for question in page.asked] == [10 * CHUNK, 11 * CHUNK]


def test_the_pace_of_a_quick_page() -> None:
    """The window grows by what was answered quickly, up to what it may be."""
    pace = Pace(16 * MiB)
    assert pace.window == FIRST
    pace.answered(MiB, 0.0, QUICK / 2)
    assert pace.window == FIRST + MiB
    for _ in range(100):
        pace.answered(MiB, 0.0, QUICK / 2)
    assert pace.window == 16 * MiB


def test_the_pace_of_a_slow_page() -> None:
    """It is halved once for all that was under way, down to the least; what takes its time changes nothing."""
    pace = Pace(16 * MiB)
    pace.answered(MiB, 0.0, (QUICK + SLOW) / 2)
    assert pace.window == FIRST
    now = SLOW + 1
    for _ in range(3):
        pace.answered(MiB, 0.5, now)
    assert pace.window == FIRST // 2
    for _ in range(10):
        pace.answered(MiB, now, now + SLOW + 1)
        now += SLOW + 2
    assert pace.window == LEAST


def test_a_page_under_way_is_timed(files: PageFiles) -> None:
    """Quick answers widen the window of a source; failures do not."""
    now = [0.0]
    source = PageSource(files, clock=lambda: now[0])
    files.lend(page := Lender(FILES, hold=True))
    source.expect(RangeSet.of(0))
    page.answer_all()
    assert source._pace.window == FIRST + CHUNK
    source.expect(RangeSet.of(1))
    page.error = SourceChanged()
    page.answer_all()
    assert source._pace.window == FIRST + CHUNK


# ------------------------------------------------------------------ interrupted
def test_interrupted_while_it_waits(files: PageFiles, source: PageSource, thread: ThreadPoolExecutor) -> None:
    """Whoever waits comes back at once, and nobody waits any more; an answer that comes later harms nobody."""
    page = Lender(FILES, hold=True)
    files.lend(page)
    read = reading(thread, source, page)
    source.interrupt()
    with pytest.raises(Interrupted):
        read.result(PATIENCE)
    with pytest.raises(Interrupted):
        source.read(ALL, a_batch())
    with pytest.raises(Interrupted):
        source.digests(ALL)
    page.answer_all()


def test_pages_that_come_and_go_while_many_read(files: PageFiles) -> None:
    """Whatever happens meanwhile, what is read is right, and everybody comes to an end."""
    stop = threading.Event()

    def lend_and_go() -> None:
        while not stop.is_set():
            page = Lender(FILES)
            files.lend(page)
            files.gone(page)

    def read_it() -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        source = PageSource(files, SMALL)
        while left := ALL - RangeSet.of(*found):
            batch = a_batch()
            try:
                source.read(left, batch)
            except SourceAway:
                back = threading.Event()
                source.when_back(back.set)
                assert back.wait(PATIENCE)
            found |= batch.digests
        return found

    right = {number: chunk_digest(DATA[number * CHUNK : (number + 1) * CHUNK]) for number in range(6)}
    right |= {6: chunk_digest(b"hello"), 7: chunk_digest(b"")}
    with ThreadPoolExecutor(6) as pool:
        lending = pool.submit(lend_and_go)
        readers = [pool.submit(read_it) for _ in range(5)]
        try:
            assert [reader.result(PATIENCE) for reader in readers] == [right] * 5
        finally:
            stop.set()
        lending.result(PATIENCE)
