"""Files of a browser's machine, uploaded and sent. The pages come, go, change, lie or stay silent."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

import nbferry
from faults.ends import PATIENCE, Watch, tree, until
from nbferry import errors
from nbferry.crypto.digest import chunk_digest
from nbferry.engine import portal
from nbferry.jupyter.state_folder import state_folders
from nbferry.limits import MiB
from nbferry.model.manifest import Entry
from nbferry.model.overwrite import Overwrite
from nbferry.status import Snapshot, State
from nbferry.storage.records.record import UploadRecord
from nbferry.transfer.handle import Transfer
from pages import CHUNK, SMALL, Lender, entries_of, lent, send_from_page, upload

DATA = random.Random(1).randbytes(40 * CHUNK + 17)  # noqa: S311  # the same in every run
FILES = {"trips/a.bin": DATA, "trips/b.txt": b"hello", "trips/empty": b""}
AWAY = errors.SourceAway().message
LIMITS = replace(SMALL, sync_bytes=4 * CHUNK, auto_accept=1 << 30)


class Sparing(Lender):
    """Answers this many questions and no more, then sets ``out``."""

    def __init__(self, files: dict[str, bytes], answers: int) -> None:
        super().__init__(files)
        self.out = threading.Event()
        self._left = answers

    def answer_all(self) -> None:
        """Answer as many questions as are left."""
        while self.asked and self._left:
            self._left -= 1
            self.answer(self.asked.pop(0))
        if self.asked:
            self.out.set()


def ended(transfer: Transfer) -> type | None:
    """Wait until the transfer has released its resources. Returns the class of its error, or None."""
    error = transfer._result.exception(PATIENCE)
    assert transfer._closed.wait(PATIENCE)
    return type(error) if error else None


def both_end(*transfers: Transfer) -> tuple[type | None, ...]:
    """The class of each transfer's error, or None."""
    return tuple(map(ended, transfers))


def away(transfer: Transfer) -> Snapshot:
    """Wait until the transfer is paused because no page has the files."""
    return Watch(transfer, lambda view: view.state is State.PAUSED and AWAY in view.reason).wait()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """The destination of uploads."""
    return tmp_path / "to"


@pytest.fixture
def half(to: Path) -> Iterator[tuple[Transfer, Sparing]]:
    """An upload that a page served in part. Some of it is durable, and it waits for the rest."""
    transfer = upload(FILES, to, limits=LIMITS)
    page = Sparing(FILES, 24)
    lent(transfer).lend(page)
    assert page.out.wait(PATIENCE)
    Watch(transfer, lambda view: view.durable >= 8 * CHUNK).wait()
    yield transfer, page
    if not transfer.is_over:
        transfer.cancel()


# ------------------------------------------------------------------ uploads
def test_an_upload(to: Path) -> None:
    """An upload waits for a page, then puts every file and folder in place and leaves nothing behind."""
    entries = (Entry("deep", folder=True), Entry("deep/nothing in it", folder=True))
    files = {"deep/er/a.bin": DATA, "deep/empty": b"", "top.txt": b"hello"}
    entries += tuple(Entry(path, len(data), 1_700_000_000_000_000_000) for path, data in files.items())
    transfer = upload(entries, to)
    view = away(transfer)
    assert (view.role, view.names, view.files, view.total) == (
        "upload",
        ("deep", "top.txt"),
        3,
        len(DATA) + 5,
    )
    lent(transfer).lend(Lender(files))
    assert ended(transfer) is None
    result = transfer.wait()
    assert result.via == "browser"
    assert set(result.files) == {to / path for path in files}
    assert tree(to) == {**files, "deep": None, "deep/er": None, "deep/nothing in it": None}
    assert (to / "top.txt").stat().st_mtime_ns == 1_700_000_000_000_000_000
    assert nbferry.verify(to / "deep").right
    assert transfer.snapshot.state is State.DONE
    assert nbferry.resume() == []


def test_folders_alone(to: Path) -> None:
    """Folders need no page."""
    assert ended(upload((Entry("only", folder=True),), to)) is None
    assert tree(to) == {"only": None}


def test_a_page_that_leaves_and_returns(half, to: Path) -> None:
    """Without its page an upload pauses and says why. Another page continues it, and no byte is sent twice."""
    transfer, page = half
    lent(transfer).gone(page)
    assert away(transfer).verified >= 8 * CHUNK
    assert not lent(transfer).present
    lent(transfer).lend(second := Lender(FILES))
    assert ended(transfer) is None
    assert tree(to) == {**FILES, "trips": None}
    assert page.count + second.count <= 43 + 2 * SMALL.window // CHUNK + 2


def test_a_newer_page_takes_over(half, to: Path) -> None:
    """A newer page gets the open questions at once, and late answers of the silent one are ignored."""
    transfer, page = half
    lent(transfer).lend(Lender(FILES))
    assert ended(transfer) is None
    page.error = errors.SourceChanged()
    page._left = 100
    page.answer_all()
    assert tree(to) == {**FILES, "trips": None}


def test_a_returning_page_does_not_end_a_pause(half) -> None:
    """An upload that the user paused stays paused when its page returns, until it is resumed."""
    transfer, page = half
    transfer.pause()
    until(transfer, State.PAUSED)
    lent(transfer).gone(page)
    lent(transfer).lend(Lender(FILES))
    Watch(transfer, lambda view: view.reason == "paused").wait()
    assert transfer.snapshot.state is State.PAUSED
    transfer.resume()
    assert ended(transfer) is None


@pytest.mark.parametrize("goes", [False, True], ids=["silent page", "no page"])
def test_cancelling_an_upload_that_waits(half, to: Path, goes: bool) -> None:
    """A cancel ends the upload at once, even while a page is silent, and leaves no files."""
    transfer, page = half
    if goes:
        lent(transfer).gone(page)
        away(transfer)
    transfer.cancel()
    assert ended(transfer) is errors.Cancelled
    assert tree(to) == {}
    assert nbferry.resume() == []
    page.answer_all()


@pytest.mark.parametrize(
    "spoil",
    [lambda data: (data, bytes(32)), lambda data: (data[1:], chunk_digest(data[1:]))],
    ids=["wrong bytes", "wrong length"],
)
def test_a_page_that_lies(to: Path, spoil: Callable[[bytes], tuple[bytes, bytes]]) -> None:
    """Wrong answers fail the upload after a few tries."""
    transfer = upload(FILES, to)
    lent(transfer).lend(Lender(FILES, spoil=spoil))
    assert ended(transfer) is errors.DigestMismatch
    assert tree(to) == {}


def test_a_file_that_changed(half, to: Path) -> None:
    """The upload fails with the page's message and keeps its parts. Chosen anew, only changed chunks are sent."""
    transfer, page = half
    page.error = errors.SourceChanged('"a.bin" was changed.')
    page._left = 100
    page.answer_all()
    with pytest.raises(errors.SourceChanged, match=r'^"a\.bin" was changed\.'):
        transfer.wait(PATIENCE)
    assert transfer._closed.wait(PATIENCE)
    assert list((to / ".nbferry").glob("*/data"))
    (resumed,) = nbferry.resume(limits=LIMITS)
    lent(resumed).lend(Lender(FILES))
    assert ended(resumed) is None
    assert tree(to) == {**FILES, "trips": None}


def test_an_upload_of_an_ended_process(half, to: Path) -> None:
    """The next process lists the upload and resumes it once a page lends the files. Durable bytes are not resent."""
    transfer, _ = half
    there = transfer.snapshot.durable
    portal.stop()
    assert ended(transfer) is errors.Interrupted
    (listed,) = nbferry.transfers()
    view = listed.snapshot
    assert (view.role, view.state, view.total) == ("upload", State.PAUSED, len(DATA) + 5)
    assert view.durable >= there
    listed.resume()
    away(listed)
    lent(listed).lend(page := Counting(FILES))
    assert ended(listed) is None
    assert page.travelled <= len(DATA) + 5 - there
    assert tree(to) == {**FILES, "trips": None}
    assert nbferry.resume() == []


class Counting(Lender):
    """Counts the bytes that it answers with."""

    travelled = 0

    def answer(self, question) -> None:
        """Count and answer."""
        self.travelled += question.length if question.op == "read" else 0
        super().answer(question)


KILLED = """
import sys
from pathlib import Path

from faults.test_page import FILES, LIMITS, PATIENCE, Sparing, Watch
from pages import CHUNK, lent, upload

transfer = upload(FILES, Path(sys.argv[1]), limits=LIMITS)
lent(transfer).lend(page := Sparing(FILES, 24))
assert page.out.wait(PATIENCE)
Watch(transfer, lambda view: view.durable >= 8 * CHUNK).wait()
print("half", flush=True)
sys.stdin.read()
"""
"""A process that uploads a part, reports it, and waits to be killed."""


def test_an_upload_of_a_killed_process(to: Path) -> None:
    """After ``kill -9`` no durable byte is read again, and the files are right in the end."""
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", KILLED, str(to)]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": tests}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"half\n"
        process.kill()
    (resumed,) = nbferry.resume(limits=LIMITS)
    assert resumed.snapshot.role == "upload"
    away(resumed)
    lent(resumed).lend(page := Counting(FILES))
    assert ended(resumed) is None
    assert page.travelled <= len(DATA) + 5 - 8 * CHUNK
    assert tree(to) == {**FILES, "trips": None}


def test_discarding_an_unfinished_upload(half, to: Path) -> None:
    """``discard`` removes an unfinished upload of an earlier process with all its parts."""
    transfer, _ = half
    portal.stop()
    nbferry.discard(transfer.id)
    assert nbferry.transfers() == []
    assert tree(to) == {}
    assert not list((to / ".nbferry").glob("*/data"))


@pytest.mark.usefixtures("half")
def test_a_page_that_leaves_during_verification(to: Path) -> None:
    """A resumed upload asks the page for digests of stored data. It pauses when that page leaves."""
    portal.stop()
    (resumed,) = nbferry.resume(limits=LIMITS)
    lent(resumed).lend(first := OnlyBytes(FILES))
    assert first.asked_for_digests.wait(PATIENCE)
    lent(resumed).gone(first)
    away(resumed)
    lent(resumed).lend(Lender(FILES))
    assert ended(resumed) is None
    assert tree(to) == {**FILES, "trips": None}


class OnlyBytes(Lender):
    """Never answers with a digest."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.asked_for_digests = threading.Event()

    def answer(self, question) -> None:
        """Answer reads only."""
        if question.op == "read":
            super().answer(question)
        else:
            self.asked_for_digests.set()


def test_waiting_uploads_do_not_block_others(to: Path) -> None:
    """Uploads that wait for their pages take no slot, so another upload runs."""
    waiting = [upload(FILES, to / str(number)) for number in range(LIMITS.max_active + 1)]
    for transfer in waiting:
        away(transfer)
    quick = upload({"quick": b"quick"}, to)
    lent(quick).lend(Lender({"quick": b"quick"}))
    assert ended(quick) is None
    for transfer in waiting:
        transfer.cancel()
    assert [ended(transfer) for transfer in waiting] == [errors.Cancelled] * len(waiting)


def test_many_small_files(to: Path) -> None:
    """Questions for many files run at the same time, so no file waits for the one before it."""
    many = {f"many/{number:05}": b"%d" % number for number in range(2_000)}
    transfer = upload(many, to, limits=nbferry.Limits())
    page = Batches(many)
    lent(transfer).lend(page)
    assert ended(transfer) is None
    assert page.most >= FULL
    assert tree(to) == {**many, "many": None}


FULL = MiB // (4 * 1024)  # small slices in the window that every page begins with


class Batches(Lender):
    """Answers in its own thread, once all questions are asked or the first window is full."""

    most = 0

    def answer_all(self) -> None:
        """Wait for more questions."""
        self.most = max(self.most, len(self.asked))
        if len(self.asked) >= FULL or self.count >= len(self.files):
            threading.Thread(target=super().answer_all).start()


def test_an_upload_published_before_its_process_ended(to: Path) -> None:
    """An upload that lacks only the record of its end needs no page to finish."""
    transfer = upload(FILES, to)
    lent(transfer).lend(Lender(FILES))
    assert ended(transfer) is None
    first = transfer.wait()
    accepted = UploadRecord(
        id=transfer.id,
        created=time.time(),
        to=str(to),
        overwrite=Overwrite.RENAME,
        allow_hidden=False,
        accepted=True,
        entries=entries_of(FILES),
        chunk_size=CHUNK,
    )
    state_folders().ledger().save(accepted)
    (resumed,) = nbferry.resume()
    assert ended(resumed) is None
    assert resumed.wait().files == first.files
    assert tree(to) == {**FILES, "trips": None}
    assert nbferry.resume() == []


def test_names_that_exist(to: Path) -> None:
    """An upload treats existing names as a receive does, and reads only chunks that differ."""
    to.mkdir()
    (to / "a.bin").write_bytes(DATA[:CHUNK] + bytes(CHUNK))
    files = {"a.bin": DATA}
    refused = upload(files, to, overwrite="refuse")
    lent(refused).lend(Lender(files))
    assert ended(refused) is errors.DestinationExists
    replaced = upload(files, to, overwrite="replace")
    lent(replaced).lend(Lender(files))
    assert ended(replaced) is None
    assert replaced.wait().reused == CHUNK
    renamed = upload({"a.bin": b"other"}, to)
    lent(renamed).lend(Lender({"a.bin": b"other"}))
    assert ended(renamed) is None
    assert tree(to) == {"a.bin": DATA, "a (1).bin": b"other"}


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "a/../../out", ".nbferry/record.json", ".git/config", "con"]
)
def test_unsafe_names_are_refused(to: Path, name: str) -> None:
    """Unsafe names from the user's own page are refused, too, and nothing is written."""
    transfer = upload({name: b"x"}, to)
    lent(transfer).lend(Lender({name: b"x"}))
    assert ended(transfer) is errors.UnsafePath
    assert not list(to.parent.rglob("out"))
    assert not to.exists() or tree(to) == {}


# ------------------------------------------------------------------ sent from a page to another kernel
@pytest.mark.parametrize("via", ["direct", "relay"])
def test_sent_from_a_page(to: Path, via: Literal["direct", "relay"]) -> None:
    """A browser's files reach another kernel chunk by chunk, and the kernel between stores none of them."""
    sending = send_from_page(FILES, via=via)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS, via=via)
    lent(sending).lend(Lender(FILES))
    assert both_end(sending, receiving) == (None, None)
    assert receiving.snapshot.via == via
    assert tree(to) == {**FILES, "trips": None}


def test_both_sides_see_that_the_page_is_away(to: Path) -> None:
    """Both sides pause and say why, and both continue when a page lends the files again."""
    sending = send_from_page(FILES, limits=LIMITS)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS)
    page = Sparing(FILES, 24)
    lent(sending).lend(page)
    assert page.out.wait(PATIENCE)
    lent(sending).gone(page)
    away(sending)
    away(receiving)
    lent(sending).lend(Lender(FILES))
    assert both_end(sending, receiving) == (None, None)
    assert tree(to) == {**FILES, "trips": None}


def test_a_changed_file_fails_both_sides(to: Path) -> None:
    """Both sides report the changed file."""
    sending = send_from_page(FILES, limits=LIMITS)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS)
    page = Lender(FILES)
    page.error = errors.SourceChanged()
    lent(sending).lend(page)
    assert both_end(sending, receiving) == (errors.SourceChanged, errors.SourceChanged)


def test_a_sender_whose_kernel_restarts(to: Path) -> None:
    """The sender resumes with its receiver and asks a page for the same files."""
    sending = send_from_page(FILES, limits=LIMITS)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS)
    page = Sparing(FILES, 24)
    lent(sending).lend(page)
    assert page.out.wait(PATIENCE)
    portal.stop()
    assert both_end(sending, receiving) == (errors.Interrupted, errors.Interrupted)
    first, second = nbferry.resume(limits=LIMITS)
    away(first)
    away(second)
    lent(first).lend(Lender(FILES))
    assert both_end(first, second) == (None, None)
    assert tree(to) == {**FILES, "trips": None}


@pytest.mark.parametrize("goes", [False, True], ids=["silent page", "no page"])
def test_cancelling_a_send_with_a_silent_page(to: Path, goes: bool) -> None:
    """A cancel ends both sides even while a thread waits for the page."""
    sending = send_from_page(FILES, limits=LIMITS)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS)
    page = Sparing(FILES, 24)
    lent(sending).lend(page)
    assert page.out.wait(PATIENCE)
    if goes:
        lent(sending).gone(page)
        away(sending)
    sending.cancel()
    assert both_end(sending, receiving) == (errors.Cancelled, errors.Cancelled)
