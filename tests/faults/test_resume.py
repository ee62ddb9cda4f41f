"""Transfers that resume after one or both sides ended. Sources, disks and offers change meanwhile.

Stopping the portal stands for the end of a process; tests/crash kills real processes.
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
    """Lets this many chunks be stored and blocks the next one until ``go`` is set."""

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
    """End the process of both sides once a byte is durable. Returns the receiver's last snapshot."""
    view = Watch(receiving, lambda view: view.durable > 0).wait()
    stopping = threading.Thread(target=portal.stop)
    stopping.start()
    brake.go.set()
    stopping.join(PATIENCE)
    assert both_end(sending, receiving) == (errors.Interrupted, errors.Interrupted)
    return view


def test_both_sides_resume(tmp_path, source, monkeypatch):
    """``resume`` continues both sides without a code, and durable bytes count from the start."""
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


def test_the_same_cells_resume(tmp_path, source, monkeypatch):
    """Repeating the calls resumes, too. A repeated receive returns the handle of the running transfer."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    code = sending.code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    interrupted(sending, receiving, brake)
    repeated = nbferry.send(source, limits=QUICK)
    assert repeated.id == sending.id
    assert not repeated.code_works
    taken = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert taken.id == receiving.id
    assert both_end(repeated, taken) == (None, None)
    assert (tmp_path / "to/x.bin").read_bytes() == source.read_bytes()


def test_an_unused_code_works_after_a_restart(tmp_path, source):
    """A sender restarted before a receiver came has the same code, and the code works."""
    sending = nbferry.send(source, limits=QUICK)
    code = sending.code
    portal.stop()
    repeated = nbferry.send(source, limits=QUICK)
    assert repeated.code == code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert both_end(repeated, receiving) == (None, None)


def test_a_resumed_ticket_serves_the_remaining_receivers(tmp_path, source, monkeypatch):
    """One receiver is done, one is interrupted, one joins after the restart; each gets the whole file."""
    sending = nbferry.send(source, to=3, limits=QUICK)
    code = sending.code
    assert error_of(nbferry.receive(code, to=tmp_path / "1", accept=True, limits=QUICK)) is None
    brake = Brake(monkeypatch, 12)
    second = nbferry.receive(code, to=tmp_path / "2", accept=True, limits=QUICK)
    interrupted(sending, second, brake)
    offering, second = nbferry.resume(limits=QUICK)
    third = nbferry.receive(offering.code, to=tmp_path / "3", accept=True, limits=QUICK)
    assert both_end(second, third) == (None, None)
    assert error_of(offering) is None
    for name in "123":
        assert (tmp_path / name / "x.bin").read_bytes() == source.read_bytes()


def test_a_source_that_changed_is_sent_again(tmp_path, source, monkeypatch):
    """A changed source ends both sides and keeps the parts. Sent again, only changed chunks travel."""
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
    repeated = nbferry.send(source, limits=QUICK)
    taken = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert (repeated.id, taken.id) == (sending.id, receiving.id)
    assert both_end(repeated, taken) == (None, None)
    assert (tmp_path / "to/x.bin").read_bytes() == content
    assert taken.wait().reused >= 3 * CHUNK


def test_an_older_copy_is_reused(tmp_path, source):
    """Equal chunks of an older copy are not sent, and the copy itself stays unchanged."""
    (tmp_path / "to").mkdir()
    older = bytearray(source.read_bytes())
    older[10 * CHUNK] ^= 1
    (tmp_path / "to/x.bin").write_bytes(older)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    assert both_end(sending, receiving) == (None, None)
    assert receiving.wait().reused == 39 * CHUNK
    assert tree(tmp_path / "to") == {"x.bin": bytes(older), "x (1).bin": source.read_bytes()}


def test_a_lost_journal_costs_only_hashing(tmp_path, source, monkeypatch):
    """Without its journal, staged data are compared with the sender's digests and kept."""
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
    """A cancelled transfer leaves only a record of how it ended, on both sides."""
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


def test_old_unfinished_transfers_expire(tmp_path, source, monkeypatch):
    """Parts are removed after the time to keep them, and ``resume`` reports that they expired."""
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
    """Sender and receiver of a transfer that was interrupted in the instant of its publication."""
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
    """A resumed receiver that published everything returns its result once the sender knows."""
    sending, receiving = untold
    told = nbferry.resume(sending, limits=QUICK)
    resumed = nbferry.resume(receiving, limits=QUICK)
    assert resumed.wait(PATIENCE).files == (tmp_path / "to/x.bin",)
    assert told.snapshot.state is State.DONE
    assert error_of(told) is None
    assert not resumed.accepted


def test_a_published_transfer_cannot_be_cancelled(tmp_path, untold):
    """A receiver with all files ignores a cancel and still tells the sender."""
    sending, receiving = untold
    resumed = nbferry.resume(receiving, limits=QUICK)
    until(resumed, State.DONE)
    assert resumed.accepted
    resumed.cancel("too late")
    told = nbferry.resume(sending, limits=QUICK)
    assert both_end(told, resumed) == (None, None)
    assert nbferry.resume() == []


@pytest.mark.parametrize("accept", [None, True])
def test_a_repeated_receive_can_decide(tmp_path, source, monkeypatch, accept):
    """Repeating the cell while the offer waits asks the user again, or decides."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    limits = replace(QUICK, auto_accept=0)
    sending = nbferry.send(source, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", limits=limits)
    until(receiving, State.OFFERED)
    repeated = nbferry.receive(sending.code, to=tmp_path / "to", limits=limits, accept=accept)
    assert repeated.id == receiving.id
    assert error_of(repeated) is None
    assert error_of(sending) is None


def test_listed_handles_follow_resumed_transfers(tmp_path, source, monkeypatch):
    """A handle from ``transfers()`` follows its transfer when ``resume`` continues it."""
    brake = Brake(monkeypatch, 12)
    sending = nbferry.send(source, limits=QUICK)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=QUICK)
    interrupted(sending, receiving, brake)
    listed = nbferry.transfers()
    nbferry.resume(sending.id, limits=QUICK)
    nbferry.resume(receiving.id, limits=QUICK)
    assert both_end(*listed) == (None, None)
    assert [transfer.snapshot.state for transfer in listed] == [State.DONE, State.DONE]


def test_discarded_transfers_have_ended(tmp_path, source, monkeypatch):
    """``cancel`` of a listed handle and ``discard`` of an id remove parts and record, and end every wait."""
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


def test_a_fault_of_the_invitation_ends_the_send(tmp_path, source, monkeypatch, caplog):
    """The send fails with the fault, which is logged."""

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
    """Chunks lost by a failed flush are fetched again. A second failure fails the transfer and keeps its parts."""
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
