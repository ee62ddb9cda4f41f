"""What is written down of a transfer while it runs, and by whom."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.threads import Threads
from nbferry.errors import StorageError, TransferBusy, TransferUnknown
from nbferry.model.overwrite import Overwrite
from nbferry.status import State
from nbferry.storage.records.claim import CLAIM
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import Pairing, ReceiveRecord, SendRecord

SEND = SendRecord(
    id="0123456789ab",
    created=1.0,
    paths=("/home/anna/trips",),
    follow_symlinks=False,
    chunk_size=1 << 20,
    receivers=None,
    invitation="acid-acorn-tiger",
    room="17",
    key="ab" * 16,
    expires_at=2.0,
    pairings=(Pairing(root=b"r" * 32),),
)
RECEIVE = ReceiveRecord(
    id="ba9876543210",
    created=1.0,
    code="17-acid-acorn-tiger",
    to="/home/bert/in",
    overwrite=Overwrite.RENAME,
    allow_hidden=False,
)


class Disk:
    """Syncs, unless it is full."""

    def __init__(self) -> None:
        self.full = False

    def sync(self, _: int) -> None:
        """Make durable."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def disk() -> Disk:
    """A disk with room."""
    return Disk()


@pytest.fixture
def ledger(tmp_path: Path, disk: Disk) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / ".nbferry", key=bytes(32), sync=disk.sync)


def left(ledger: Ledger) -> None:
    """An earlier process left the receive half done."""
    ledger.save(replace(RECEIVE, accepted=True, reason="The disk failed."))


# ------------------------------------------------------------------ one process at a time
def test_a_new_transfer_is_claimed_when_it_is_first_saved(ledger: Ledger) -> None:
    """Before that there is nothing on the disk; from then on nobody else can take it."""
    store = RecordStore(RECEIVE, ledger)
    assert ledger.records() == []
    store.update(root=b"s" * 32)
    assert ledger.records() == [replace(RECEIVE, root=b"s" * 32)]
    with pytest.raises(TransferBusy):
        RecordStore(RECEIVE, ledger).claim()
    store.release()
    RecordStore(RECEIVE, ledger).claim()


def test_what_is_taken_is_the_memo_as_it_stands_now(ledger: Ledger) -> None:
    """Not as it was when it was listed; and why it stopped before is forgotten."""
    left(ledger)
    store = RecordStore(RECEIVE, ledger)
    store.claim()
    assert store.record == replace(RECEIVE, accepted=True)


@pytest.mark.parametrize("remains", [True, False], ids=["with staging data", "without"])
def test_what_has_ended_cannot_be_taken(ledger: Ledger, remains: bool) -> None:
    """It is said how it ended, and no claim is left behind."""
    left(ledger)
    (record,) = ledger.records()
    if remains:
        (ledger.folder_of(record.id) / "data").mkdir()
    ledger.end(record, "cancelled", "enough")
    with pytest.raises(TransferUnknown, match="enough"):
        RecordStore(record, ledger).claim()
    assert not list(ledger.folder.rglob(CLAIM))


@pytest.mark.parametrize("then", ["changes", "rests", "releases"])
def test_nothing_is_written_after_another_has_taken_over(ledger: Ledger, then: str) -> None:
    """Whatever the first process still does, the memo and the claim are the other's."""
    left(ledger)
    first: RecordStore[ReceiveRecord] = RecordStore(RECEIVE, ledger)
    other: RecordStore[ReceiveRecord] = RecordStore(RECEIVE, ledger)
    first.claim()
    other.claim(take_over=True)
    other.update(digest="cd" * 32)
    match then:
        case "changes":
            first.update(durable=5)
        case "rests":
            first.release("Interrupted.")
        case "releases":
            first.release()
    assert ledger.records() == [other.record]
    other.update(durable=7)
    assert ledger.records() == [other.record]
    assert ledger.is_claimed(RECEIVE.id)


def test_what_one_has_ended_is_over_for_all(ledger: Ledger) -> None:
    """Done or cancelled by the process that was at it before: who took over finds that out, and writes nothing."""
    left(ledger)
    first: RecordStore[ReceiveRecord] = RecordStore(RECEIVE, ledger)
    other: RecordStore[ReceiveRecord] = RecordStore(RECEIVE, ledger)
    first.claim()
    other.claim(take_over=True)
    first.finish(State.DONE)
    other.update(durable=7)
    other.release("Interrupted.")
    assert ledger.records() == []
    ended = ledger.ended(RECEIVE.id)
    assert ended
    assert ended.state == "done"


# ------------------------------------------------------------------ writing
def test_a_full_disk_keeps_nobody_from_transferring(
    ledger: Ledger, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is logged once, and written with the next change for which there is room."""
    disk.full = True
    store = RecordStore(RECEIVE, ledger)
    store.update(root=b"s" * 32)
    store.update(paired=True)
    assert store.record.paired
    assert len(caplog.records) == 1
    disk.full = False
    store.update(accepted=True)
    assert ledger.records() == [store.record]
    assert ledger.is_claimed(RECEIVE.id)
    store.finish(State.DONE)
    assert ledger.records() == []


def test_threads_change_their_parts(ledger: Ledger) -> None:
    """No change gets lost."""
    store = RecordStore(SEND, ledger)

    def pair(byte: int) -> None:
        for _ in range(10):
            store.change(lambda record: record.with_pairing(bytes([byte]) * 32))

    threads = [threading.Thread(target=pair, args=(byte,)) for byte in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.record.pairings) == 41
    assert ledger.records() == [store.record]


# ------------------------------------------------------------------ the end
@pytest.mark.parametrize(
    ("begun", "state", "line"),
    [
        (True, State.DONE, True),
        (True, State.CANCELLED, True),
        (False, State.EXPIRED, True),
        (False, State.CANCELLED, False),
    ],
)
def test_what_stays_of_it(ledger: Ledger, begun: bool, state: State, line: bool) -> None:
    """The memo and the claim go; how it ended stays of one that had begun, or that expired."""
    store = RecordStore(RECEIVE, ledger)
    store.update(accepted=begun)
    store.finish(state, "enough")
    assert ledger.records() == []
    assert not list(ledger.folder.rglob(CLAIM))
    ended = ledger.ended(RECEIVE.id)
    assert (ended is not None) is line
    if ended:
        assert (ended.state, ended.reason) == (str(state), "enough")
    store.update(durable=1)
    assert ledger.records() == []


def test_what_was_never_saved_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """A transfer that came to nothing before it was saved is not written down at its end."""
    RecordStore(RECEIVE, ledger).finish(State.FAILED, "no relay")
    RecordStore(RECEIVE, ledger).release("no relay")
    assert list(tmp_path.iterdir()) == []


def test_resting(ledger: Ledger) -> None:
    """The memo says why, another process may go on, and this one writes no more; twice is no harm."""
    store = RecordStore(RECEIVE, ledger)
    store.update(accepted=True)
    store.release("The disk failed.")
    store.release()
    store.update(durable=1)
    assert ledger.records() == [replace(RECEIVE, accepted=True, reason="The disk failed.")]
    assert not ledger.is_claimed(RECEIVE.id)


def test_an_error_that_is_none_of_its_own_is_raised(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that cannot be used is an error for who wants to go on with what is in it."""
    left(ledger)
    claim = ledger.folder_of(RECEIVE.id) / CLAIM
    claim.parent.joinpath("record.json").rename(claim.parent / "moved")
    with pytest.raises(TransferUnknown):
        RecordStore(RECEIVE, ledger).claim()
    claim.parent.joinpath("moved").rename(claim.parent / "record.json")
    disk_error = StorageError("The drive is away.")
    monkeypatch.setattr(
        "nbferry.engine.activities.record_store.Claim.take", lambda *_, **__: _raise(disk_error)
    )
    with pytest.raises(StorageError, match="away"):
        RecordStore(RECEIVE, ledger).claim()


def _raise(error: Exception) -> None:
    raise error


# ------------------------------------------------------------------ watching
def test_watching(ledger: Ledger) -> None:
    """How far it is goes into the memo; that another process has taken over is told once, and ends it."""

    async def scenario() -> None:
        store = RecordStore(RECEIVE, ledger)
        store.update(accepted=True)
        written, taken = asyncio.Event(), []

        def durable() -> int:
            if store.record.durable:
                written.set()
            return 5

        with ThreadPoolExecutor(1) as executor:
            watching = asyncio.create_task(
                store.heartbeat(Threads(executor), durable, lambda: taken.append(1), every=0)
            )
            await written.wait()
            other = RecordStore(RECEIVE, ledger)
            other.claim(take_over=True)
            await watching
        assert taken == [1]
        assert other.record.durable == 5
        assert ledger.records() == [other.record]

    asyncio.run(asyncio.wait_for(scenario(), 30))
