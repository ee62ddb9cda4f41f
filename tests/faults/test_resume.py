"""Transfers that go on after one side, or both, have let go of them; sources, disks and offers that changed meanwhile.

A process that ends is played by its portal, which is stopped and made anew; killed ones are in tests/crash.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import nbferry
from faults.ends import CHUNK, PATIENCE, Watch, both_end, error_of, make, tree, until
from nbferry import errors
from nbferry.engine import portal
from nbferry.engine.activities.record_store import RecordStore
from nbferry.limits import Limits
from nbferry.status import Snapshot, State
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.destination import Destination
from nbferry.storage.folder.sink import FolderSink
from nbferry.transfer.handle import Transfer

QUICK = Limits(
    chunk_size=CHUNK, window=8 * CHUNK, read_ahead=8 * CHUNK, sync_bytes=4 * CHUNK, backoff_first=0.01
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of some chunks."""
    return make(tmp_path / "x.bin", 40 * CHUNK)


class Brake:
    """Lets so many chunks be stored, and holds the next one until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
        self.go = threading.Event()
        self.stored = 0
        store = FolderSink.store

        def held(sink, chunks_now):
            self.stored += len(chunks_now)
            if self.stored > chunks:
                assert self.go.wait(PATIENCE)
            return store(sink, chunks_now)

        monkeypatch.setattr(FolderSink, "store", held)


def interrupted(sending: Transfer, receiving: Transfer, brake: Brake) -> Snapshot:
    """The process of both ends when something is durable; the receiver's last snapshot."""
    view = Watch(receiving, lambda view: view.durable > 0).wait()
    stopping = threading.Thread(target=portal.stop)
    stopping.start()
    brake.go.set()
    stopping.join(PATIENCE)
    assert both_end(sending, receiving) == (errors.Interrupted, errors.Interrupted)
    return view


def test_both_sides_go_on(tmp_path, source, monkeypatch):
    """``resume`` has both go on, without a code, and what was durable is there from the start."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    there = interrupted(sending, receiving, brake).durable
    listed = nbferry.transfers()
    assert [view.snapshot.state for view in listed] == [State.PAUSED, State.PAUSED]
    assert listed[1].snapshot.durable >= there
    first, second = nbferry.resume(limits=QUICK)
    assert (first.id, second.id) == (sending.id, receiving.id)
    assert both_end(first, second) == (None, None)
    assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()
    assert nbferry.resume() == []


def test_the_same_cells_go_on(tmp_path, source, monkeypatch):
    """So do the same calls; while they run, the receiver's gives the handle of what runs."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    code = sending.code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    interrupted(sending, receiving, brake)
    again = nbferry.send(source, limits=QUICK)
    assert again.id == sending.id
    assert not again.code_works
    taken = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert taken.id == receiving.id
    assert both_end(again, taken) == (None, None)
    assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()


def test_a_code_that_nobody_used_works_after_a_restart(tmp_path, source):
    """The sender's process ended before anybody came: the same cell has the same code, and it works."""
    sending = nbferry.send(source, limits=QUICK)
    code = sending.code
    portal.stop()
    again = nbferry.send(source, limits=QUICK)
    assert again.code == code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert both_end(again, receiving) == (None, None)


def test_a_ticket_goes_on_for_those_who_are_not_done(tmp_path, source, monkeypatch):
    """One receiver is served, one is interrupted, one comes after the restart: each has everything in the end."""
    sending = nbferry.send(source, to=3, limits=QUICK)
    code = sending.code
    assert error_of(nbferry.receive(code, to=tmp_path / "1", accept=True, limits=QUICK)) is None
    brake = Brake(monkeypatch, 12)
    second = nbferry.receive(code, to=tmp_path / "2", accept=True, limits=QUICK)
    interrupted(sending, second, brake)
    again, resumed = nbferry.resume(limits=QUICK)
    third = nbferry.receive(again.code, to=tmp_path / "3", accept=True, limits=QUICK)
    assert both_end(resumed, third) == (None, None)
    assert error_of(again) is None
    for name in "123":
        assert (tmp_path / name / "x.bin").read_bytes() == source.read_bytes()


def test_a_source_that_changed_is_sent_again(tmp_path, source, monkeypatch):
    """Both sides say so and keep what is there; sent again, the chunks that are still right do not travel."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    code = sending.code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    Watch(receiving, lambda view: view.durable > 0).wait()
    content = bytearray(source.read_bytes())
    content[5] ^= 1
    source.write_bytes(content)
    brake.go.set()
    assert both_end(sending, receiving) == (errors.SourceChanged, errors.SourceChanged)
    again = nbferry.send(source, limits=QUICK)
    taken = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert (again.id, taken.id) == (sending.id, receiving.id)
    assert both_end(again, taken) == (None, None)
    assert (tmp_path / "to/x.bin").read_bytes() == content
    assert taken.wait().reused >= 3 * CHUNK


def test_an_older_copy_is_reused(tmp_path, source):
    """What is equal in an older copy at the destination does not travel; the copy itself is left alone."""
    (tmp_path / "to").mkdir()
    older = bytearray(source.read_bytes())
    older[10 * CHUNK] ^= 1
    (tmp_path / "to/x.bin").write_bytes(older)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert both_end(sending, receiving) == (None, None)
    assert receiving.wait().reused == 39 * CHUNK
    assert tree(tmp_path / "to") == {"x.bin": bytes(older), "x (1).bin": source.read_bytes()}


def test_a_lost_journal_costs_hashing_only(tmp_path, source, monkeypatch):
    """Without its journal the staging data are compared with what the sender has, and kept."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    there = interrupted(sending, receiving, brake).durable
    for log in (tmp_path / "to/.nbferry").glob("*/have.*.log"):
        log.unlink()
    first, second = nbferry.resume(limits=QUICK)
    assert both_end(first, second) == (None, None)
    assert second.wait().reused >= there
    assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()


def test_a_cancelled_transfer_cannot_be_resumed(tmp_path, source, monkeypatch):
    """Nothing of it stays, on either side, but a line that says how it ended."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    until(receiving, State.TRANSFERRING)
    sending.cancel("enough")
    brake.go.set()
    assert both_end(sending, receiving) == (errors.Cancelled, errors.Cancelled)
    portal.stop()
    assert nbferry.resume() == []
    assert tree(tmp_path / "to") == {}
    with pytest.raises(errors.TransferUnknown, match="cancelled"):
        nbferry.resume(receiving.id)


def test_what_nobody_touched_for_long_expires(tmp_path, source, monkeypatch):
    """Part data are removed after the time for which they are kept, and whoever asks is told."""
    brake = Brake(monkeypatch, 12)
    limits = Limits(
        chunk_size=CHUNK, window=8 * CHUNK, read_ahead=8 * CHUNK, sync_bytes=4 * CHUNK, keep_unfinished=1
    )
    sending = nbferry.send(source, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=limits)
    interrupted(sending, receiving, brake)
    long_ago = 1_000_000_000
    state = Path(os.environ["NBFERRY_STATE"]) / ".nbferry"
    for path in [*state.rglob("*"), *(tmp_path / "to/.nbferry").rglob("*")]:
        os.utime(path, (long_ago, long_ago))
    assert nbferry.transfers() == []
    assert not list((tmp_path / "to").rglob("data"))
    for transfer in (sending, receiving):
        with pytest.raises(errors.TransferUnknown, match="expired"):
            nbferry.resume(transfer.id)


@pytest.fixture
def untold(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Sender and receiver of a transfer that was published in the instant in which both were interrupted."""
    writing, go = threading.Event(), threading.Event()
    leave_receipt = Destination.leave_receipt

    def held(*arguments, **more):
        writing.set()
        assert go.wait(PATIENCE)
        return leave_receipt(*arguments, **more)

    monkeypatch.setattr(Destination, "leave_receipt", held)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert writing.wait(PATIENCE)
    stopping = threading.Thread(target=portal.stop)
    stopping.start()
    assert both_end(sending, receiving) == (errors.Interrupted, errors.Interrupted)
    go.set()
    stopping.join(PATIENCE)
    return sending.id, receiving.id


def test_a_sender_is_told_before_the_receiver_returns(tmp_path, untold):
    """All was published when the process ended: resumed, the receiver has its result when the sender knows."""
    sending, receiving = untold
    told = nbferry.resume(sending, limits=QUICK)
    again = nbferry.resume(receiving, limits=QUICK)
    assert again.wait(PATIENCE).files == (tmp_path / "to/x.bin",)
    assert told.snapshot.state is State.DONE
    assert error_of(told) is None
    assert not again.accepted


def test_what_is_published_is_no_longer_cancelled(tmp_path, untold):
    """A receiver that has everything cannot take that back; it only looks for the sender, to tell it."""
    sending, receiving = untold
    again = nbferry.resume(receiving, limits=QUICK)
    until(again, State.DONE)
    assert again.accepted
    again.cancel("too late")
    told = nbferry.resume(sending, limits=QUICK)
    assert both_end(told, again) == (None, None)
    assert nbferry.resume() == []


@pytest.mark.parametrize("accept", [None, True])
def test_whoever_receives_again_can_decide(tmp_path, source, monkeypatch, accept):
    """The same cell once more, while the offer waits for a decision: that one asks, or has decided."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    limits = replace(QUICK, auto_accept=0)
    sending = nbferry.send(source, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", limits=limits)
    until(receiving, State.OFFERED)
    again = nbferry.receive(sending.code, to=tmp_path / "to", limits=limits, accept=accept)
    assert again.id == receiving.id
    assert error_of(again) is None
    assert error_of(sending) is None


def test_a_listed_transfer_that_the_same_cell_goes_on_with(tmp_path, source, monkeypatch):
    """Who holds the paused one follows what goes on."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    interrupted(sending, receiving, brake)
    listed = nbferry.transfers()
    nbferry.resume(sending.id, limits=QUICK)
    nbferry.resume(receiving.id, limits=QUICK)
    assert both_end(*listed) == (None, None)
    assert [transfer.snapshot.state for transfer in listed] == [State.DONE, State.DONE]


def test_what_is_listed_and_discarded_has_ended(tmp_path, source, monkeypatch):
    """By its handle or by its id: part data and memo are gone, and who waits is told."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    interrupted(sending, receiving, brake)
    first, second = nbferry.transfers()
    first.cancel()
    nbferry.discard(second.id)
    assert both_end(first, second) == (errors.Cancelled, errors.Cancelled)
    assert nbferry.resume() == []
    assert tree(tmp_path / "to") == {}
    for transfer in (first, second):
        with pytest.raises(errors.TransferUnknown, match="discarded"):
            nbferry.resume(transfer.id)


def test_a_fault_while_inviting_ends_the_send(tmp_path, source, monkeypatch, caplog):
    """It is named, and nothing is said to have been sent."""

    async def broken(*_, **__):
        raise KeyError("no such room")

    monkeypatch.setattr(RecordStore, "update_in", broken)
    for to in (1, 2):
        sending = nbferry.send(source, to=to, limits=QUICK)
        with pytest.raises(errors.NbferryError, match="no such room"):
            sending.wait(PATIENCE)
    assert "no such room" in caplog.text


# ------------------------------------------------------------------ failing disks
@pytest.mark.parametrize("times", [1, 100])
def test_a_disk_that_fails_to_flush(tmp_path, source, monkeypatch, times):
    """What an I/O error lost in a flush is fetched again; after a second one the transfer fails and keeps its parts."""
    left = [times]
    sync = REAL_DISK.sync

    def failing(fd: int) -> None:
        if left[0] and Path(f"/proc/self/fd/{fd}").readlink().name == "x.bin":
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    disk = replace(REAL_DISK, sync=failing)
    monkeypatch.setattr("nbferry.engine.engine.Destination", partial(Destination, disk=disk))
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    if times == 1:
        assert both_end(sending, receiving) == (None, None)
        assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()
    else:
        assert both_end(sending, receiving) == (errors.StorageError, errors.StorageError)
        assert tree(tmp_path / "to") == {}
        left[0] = 0
        first, second = nbferry.resume(limits=QUICK)
        assert both_end(first, second) == (None, None)
        assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()
