"""The ledger remembers for a while how transfers ended, and sweeps what is over."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from nbferry.model.roles import Role
from nbferry.storage.records.claim import Claim, Here
from nbferry.storage.records.ledger import DAY, KEEP_ENDED, Ended, Ledger
from unit.storage.records.ledger_setup import NOW, RECEIVE, SECRET, SEND, files


def test_ended(ledger: Ledger) -> None:
    """The ledger replaces the record of an ended transfer by how it ended, without secrets."""
    ledger.save(SEND)
    ledger.save(RECEIVE)
    Claim.take(ledger.folder_of(SEND.id))
    ledger.end(SEND, "failed", "The disk\nis full. " + "x" * 1000)
    assert ledger.records() == [RECEIVE]
    assert ledger.load(SEND.id) is None
    ended = ledger.ended(SEND.id)
    assert ended == Ended(
        id=SEND.id,
        role=Role.SEND,
        state="failed",
        reason=("The disk\nis full. " + "x" * 1000)[:500],
        at=NOW,
        names=SEND.names,
        total=SEND.total,
    )
    assert ledger.ended(RECEIVE.id) is None
    assert f"{SEND.id}" not in files(ledger)
    for path in (ledger.folder / "ended").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert SECRET not in path.read_text()
        assert (b"r" * 32).hex() not in path.read_text()


def test_staged_data_stay(ledger: Ledger) -> None:
    """Ending a transfer leaves a sink's data in its folder, as when the destination is the notebook's folder."""
    ledger.save(RECEIVE)
    data = ledger.folder_of(RECEIVE.id) / "data"
    data.mkdir()
    (ledger.folder_of(RECEIVE.id) / "record.json.0123456789abcdef.tmp").write_bytes(b"left by a crash")
    ledger.end(RECEIVE, "done")
    assert [path.name for path in ledger.folder_of(RECEIVE.id).iterdir()] == ["data"]


def test_ended_twice_and_without_a_folder(ledger: Ledger) -> None:
    """A transfer may end twice, also without its folder; the last end counts."""
    ledger.save(SEND)
    shutil.rmtree(ledger.folder_of(SEND.id))
    ledger.end(SEND, "failed")
    ledger.end(SEND, "cancelled")
    assert (ledger.ended(SEND.id) or RECEIVE).id == SEND.id
    assert ledger.ended(SEND.id) == Ended(
        id=SEND.id, role=Role.SEND, state="cancelled", at=NOW, names=SEND.names, total=SEND.total
    )


def test_a_crash_while_it_ends(ledger: Ledger) -> None:
    """A transfer that is noted as ended is over although its record remains; the next sweep removes it."""
    ledger.save(SEND)
    record = (ledger.folder_of(SEND.id) / "record.json").read_bytes()
    ledger.end(SEND, "done")
    ledger.folder_of(SEND.id).mkdir(mode=0o700)
    (ledger.folder_of(SEND.id) / "record.json").touch(mode=0o600)
    (ledger.folder_of(SEND.id) / "record.json").write_bytes(record)
    assert ledger.records() == []
    assert ledger.sweep(NOW) == []
    assert not ledger.folder_of(SEND.id).exists()


def test_saved_after_it_ended(ledger: Ledger) -> None:
    """A record that is saved after its end has not ended."""
    ledger.save(SEND)
    ledger.end(SEND, "failed")
    ledger.save(SEND)
    assert ledger.records() == [SEND]
    assert ledger.ended(SEND.id) is None


def back(path: Path, seconds: float) -> None:
    """Make everything in a folder this many seconds old."""
    for each in path.iterdir():
        os.utime(each, (NOW - seconds, NOW - seconds))


def test_expired_offers(ledger: Ledger) -> None:
    """An expired offer without a receiver is over; one with a receiver is not, nor is a receiver's record."""
    unpaired = replace(SEND, id="0" * 12, pairings=())
    for saved in (SEND, unpaired, RECEIVE):
        ledger.save(saved)
        back(ledger.folder_of(saved.id), 0)
    assert ledger.sweep(NOW + 3599) == []
    assert ledger.sweep(NOW + 3600) == [unpaired]
    assert unpaired in ledger.records()


def test_idle_transfers(ledger: Ledger, tmp_path: Path) -> None:
    """A record that is idle for its time to live is over; a journal at the destination counts as activity."""
    send = replace(SEND, ttl=DAY)
    receive = replace(RECEIVE, to=str(tmp_path / "to"), ttl=DAY)
    for saved in (send, receive):
        ledger.save(saved)
        back(ledger.folder_of(saved.id), DAY + 1)
    assert ledger.sweep(NOW) == [send, receive]
    staging = tmp_path / "to/.nbferry" / receive.id
    staging.mkdir(parents=True)
    (staging / "have.0123456789abcdef.log").write_bytes(b"")
    back(staging, 5)
    assert ledger.sweep(NOW) == [send]


def test_claimed_transfers_are_not_over(ledger: Ledger) -> None:
    """A sweep does not end a transfer that a process has claimed."""
    unpaired = replace(SEND, pairings=())
    ledger.save(unpaired)
    claim = Claim.take(ledger.folder_of(SEND.id), here=Here(host="far"))
    assert ledger.sweep(NOW * 2) == []
    claim.release()
    assert ledger.sweep(NOW * 2) == [unpaired]


def test_ends_are_forgotten(ledger: Ledger) -> None:
    """The ledger forgets an end after thirty days, and one whose time is far in the future."""
    ledger.save(SEND)
    ledger.end(SEND, "done")
    for now in (NOW, NOW - DAY / 2, NOW + KEEP_ENDED - 1):
        ledger.sweep(now)
        assert ledger.ended(SEND.id)
    ledger.sweep(NOW + KEEP_ENDED)
    assert ledger.ended(SEND.id) is None
    ledger.end(SEND, "done")
    ledger.sweep(NOW - 2 * DAY)
    assert ledger.ended(SEND.id) is None


def test_damaged_ends(ledger: Ledger) -> None:
    """The ledger ignores an end that is damaged or has another id."""
    ledger.save(SEND)
    ended = ledger.folder / "ended"
    ended.mkdir(mode=0o700)
    fields = {"version": 1, "role": "send", "id": SEND.id, "state": "done", "at": NOW}
    for data in (
        b"",
        b"{",
        json.dumps({**fields, "at": 1e11 * 9}).encode(),
        json.dumps({**fields, "id": RECEIVE.id}).encode(),
    ):
        (ended / f"{SEND.id}.json").touch(mode=0o600)
        (ended / f"{SEND.id}.json").write_bytes(data)
        assert ledger.ended(SEND.id) is None
        assert ledger.records() == [SEND]
