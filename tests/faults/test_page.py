"""Files of a browser's machine: uploaded and sent, with pages that come, go, change, lie or keep silent."""

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
    """Answers so many questions, and none after that; ``out`` is set then."""

    def __init__(self, files: dict[str, bytes], answers: int) -> None:
        super().__init__(files)
        self.out = threading.Event()
        self._left = answers

    def answer_all(self) -> None:
        """Answer as many as are left."""
        while self.asked and self._left:
            self._left -= 1
            self.answer(self.asked.pop(0))
        if self.asked:
            self.out.set()


def ended(transfer: Transfer) -> type | None:
    """How it ended, once nothing of it is in use any more."""
    error = transfer._result.exception(PATIENCE)
    assert transfer._closed.wait(PATIENCE)
    return type(error) if error else None


def both_end(*transfers: Transfer) -> tuple[type | None, ...]:
    """How each side ended."""
    return tuple(map(ended, transfers))


def away(transfer: Transfer) -> Snapshot:
    """Wait until it is paused because no page has the files."""
    return Watch(transfer, lambda view: view.state is State.PAUSED and AWAY in view.reason).wait()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Where uploads go."""
    return tmp_path / "to"


@pytest.fixture
def half(to: Path) -> Iterator[tuple[Transfer, Sparing]]:
    """An upload that a page has served in part, something of which is durable, and that waits for the rest."""
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
    """It waits for a page; then everything is at its place, empty files and folders too, and nothing is left over."""
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
    """What has no bytes needs no page."""
    assert ended(upload((Entry("only", folder=True),), to)) is None
    assert tree(to) == {"only": None}


def test_a_page_that_goes_and_comes_back(half, to: Path) -> None:
    """It is paused, with the reason; another page goes on where the first was, and what travelled does not again."""
    transfer, page = half
    lent(transfer).gone(page)
    assert away(transfer).verified >= 8 * CHUNK
    assert not lent(transfer).present
    lent(transfer).lend(again := Lender(FILES))
    assert ended(transfer) is None
    assert tree(to) == {**FILES, "trips": None}
    assert page.count + again.count <= 43 + 2 * SMALL.window // CHUNK + 2


def test_a_page_that_is_replaced(half, to: Path) -> None:
    """A newer page is asked at once for what the silent one owes; the answers of that one come too late."""
    transfer, page = half
    lent(transfer).lend(Lender(FILES))
    assert ended(transfer) is None
    page.error = errors.SourceChanged()
    page._left = 100
    page.answer_all()
    assert tree(to) == {**FILES, "trips": None}


def test_a_person_who_pauses(half) -> None:
    """When the page is back it is still paused; until it is resumed."""
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
def test_cancelling_while_it_waits(half, to: Path, goes: bool) -> None:
    """It ends at once, though nobody answers, and nothing is left."""
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
    """After a few tries the upload fails."""
    transfer = upload(FILES, to)
    lent(transfer).lend(Lender(FILES, spoil=spoil))
    assert ended(transfer) is errors.DigestMismatch
    assert tree(to) == {}


def test_a_file_that_changed(half, to: Path) -> None:
    """It fails with the page's words and keeps its parts; chosen anew, what is still right does not travel again."""
    transfer, page = half
    page.error = errors.SourceChanged('"a.bin" was changed.')
    page._left = 100
    page.answer_all()
    with pytest.raises(errors.SourceChanged, match=r'^"a\.bin" was changed\.'):
        transfer.wait(PATIENCE)
    assert transfer._closed.wait(PATIENCE)
    assert list((to / ".nbferry").glob("*/data"))
    (again,) = nbferry.resume(limits=LIMITS)
    lent(again).lend(Lender(FILES))
    assert ended(again) is None
    assert tree(to) == {**FILES, "trips": None}


def test_a_process_that_ends(half, to: Path) -> None:
    """Another one lists it, and goes on as soon as a page lends the same files; what is durable does not travel."""
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
    """Counts the bytes that travel."""

    travelled = 0

    def answer(self, question) -> None:
        """Count, and answer."""
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
"""A process that uploads a part, says so, and waits for its end."""


def test_a_process_that_is_killed(to: Path) -> None:
    """Nothing that was durable is asked for again, and everything is right in the end."""
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", KILLED, str(to)]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": tests}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"half\n"
        process.kill()
    (again,) = nbferry.resume(limits=LIMITS)
    assert again.snapshot.role == "upload"
    away(again)
    lent(again).lend(page := Counting(FILES))
    assert ended(again) is None
    assert page.travelled <= len(DATA) + 5 - 8 * CHUNK
    assert tree(to) == {**FILES, "trips": None}


def test_what_is_left_is_discarded(half, to: Path) -> None:
    """An unfinished upload of another process is removed with all its parts."""
    transfer, _ = half
    portal.stop()
    nbferry.discard(transfer.id)
    assert nbferry.transfers() == []
    assert tree(to) == {}
    assert not list((to / ".nbferry").glob("*/data"))


@pytest.mark.usefixtures("half")
def test_a_page_is_missed_while_all_is_verified(to: Path) -> None:
    """Resumed, digests of what is there are asked of the page; one that goes then pauses it too."""
    portal.stop()
    (again,) = nbferry.resume(limits=LIMITS)
    lent(again).lend(first := OnlyBytes(FILES))
    assert first.asked_for_digests.wait(PATIENCE)
    lent(again).gone(first)
    away(again)
    lent(again).lend(Lender(FILES))
    assert ended(again) is None
    assert tree(to) == {**FILES, "trips": None}


class OnlyBytes(Lender):
    """Never answers with a digest."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.asked_for_digests = threading.Event()

    def answer(self, question) -> None:
        """Answer, or do not."""
        if question.op == "read":
            super().answer(question)
        else:
            self.asked_for_digests.set()


def test_those_that_wait_for_a_page_keep_nobody_waiting(to: Path) -> None:
    """Any number of uploads may have lost their pages; another one goes ahead."""
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
    """Questions for many files are under way at once, so that none waits for the one before."""
    many = {f"many/{number:05}": b"%d" % number for number in range(2_000)}
    transfer = upload(many, to, limits=nbferry.Limits())
    page = Batches(many)
    lent(transfer).lend(page)
    assert ended(transfer) is None
    assert page.most >= FULL
    assert tree(to) == {**many, "many": None}


FULL = MiB // (4 * 1024)  # small slices in the window that every page begins with


class Batches(Lender):
    """Answers in a thread of its own, when there is nothing more to be asked or the first window is full."""

    most = 0

    def answer_all(self) -> None:
        """Wait for more."""
        self.most = max(self.most, len(self.asked))
        if len(self.asked) >= FULL or self.count >= len(self.files):
            threading.Thread(target=super().answer_all).start()


def test_published_before_the_process_ended(to: Path) -> None:
    """If all that is missing is the note that it is over, no page is needed."""
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
    (again,) = nbferry.resume()
    assert ended(again) is None
    assert again.wait().files == first.files
    assert tree(to) == {**FILES, "trips": None}
    assert nbferry.resume() == []


def test_what_is_there_already(to: Path) -> None:
    """The ways to deal with a name that exists are those of a receive; what is equal does not travel."""
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
def test_names_that_are_not_safe(to: Path, name: str) -> None:
    """They are refused, though they come from the page of the same person; nothing is written."""
    transfer = upload({name: b"x"}, to)
    lent(transfer).lend(Lender({name: b"x"}))
    assert ended(transfer) is errors.UnsafePath
    assert not list(to.parent.rglob("out"))
    assert not to.exists() or tree(to) == {}


# ------------------------------------------------------------------ sent from a page to another kernel
@pytest.mark.parametrize("via", ["direct", "relay"])
def test_sent_from_a_page(to: Path, via: Literal["direct", "relay"]) -> None:
    """Files of a browser's machine go to another kernel, chunk by chunk; nothing of them is kept in between."""
    sending = send_from_page(FILES, via=via)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS, via=via)
    lent(sending).lend(Lender(FILES))
    assert both_end(sending, receiving) == (None, None)
    assert receiving.snapshot.via == via
    assert tree(to) == {**FILES, "trips": None}


def test_both_sides_see_that_the_page_is_away(to: Path) -> None:
    """Sender and receiver are paused with the reason, and both go on when a page lends the files again."""
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
    """Each says so."""
    sending = send_from_page(FILES, limits=LIMITS)
    receiving = nbferry.receive(sending.code, to=to, accept=True, limits=LIMITS)
    page = Lender(FILES)
    page.error = errors.SourceChanged()
    lent(sending).lend(page)
    assert both_end(sending, receiving) == (errors.SourceChanged, errors.SourceChanged)


def test_a_sender_whose_kernel_restarts(to: Path) -> None:
    """It goes on with its receiver, and asks for the same files again."""
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
def test_cancelling_a_send_whose_page_keeps_silent(to: Path, goes: bool) -> None:
    """Both sides end, though a thread waits for the page."""
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
