"""Transfers that an earlier process left: which are the same, which are over, and how they are ended."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.errors import StorageError, TransferBusy
from nbferry.model.manifest import Entry
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via
from nbferry.storage.records.claim import CLAIM, Claim
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import Pairing, ReceiveRecord, RelayNote, SendRecord, UploadRecord
from nbferry.transfer import unfinished

DONE, OPEN = Pairing(root=b"r" * 32, state="done"), Pairing(root=b"q" * 32, state="accepted")
SEND = SendRecord(
    id="0123456789ab",
    created=1.0,
    relay=RelayNote(url="http://relay.example/"),
    paths=("/home/anna/trips",),
    follow_symlinks=False,
    chunk_size=1 << 20,
    receivers=1,
    invitation="amber-canyon-tulip",
    room="17",
    key="ab" * 16,
    expires_at=time.time() + 3600,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / ".nbferry", key=bytes(32), sync=lambda _: None)


def receive_into(to: Path) -> ReceiveRecord:
    """A receive into this folder."""
    return ReceiveRecord(
        id="ba9876543210",
        created=1.0,
        code="482913-amber-canyon-tulip@http://relay.example/",
        to=str(to),
        overwrite=Overwrite.RENAME,
        allow_hidden=False,
        accepted=True,
    )


def upload_into(to: Path) -> UploadRecord:
    """An upload into this folder."""
    return UploadRecord(
        id="cc9876543210",
        created=1.0,
        total=5,
        to=str(to),
        overwrite=Overwrite.RENAME,
        allow_hidden=False,
        accepted=True,
        entries=(Entry("trips", 5, 7),),
        chunk_size=1 << 20,
    )


def long_ago(ledger: Ledger) -> None:
    """Nothing was touched for years."""
    for path in ledger.folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


# ------------------------------------------------------------------ over
@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, False),
        ({"expires_at": 2.0}, True),
        ({"pairings": (DONE,)}, True),
        ({"pairings": (OPEN,), "expires_at": 2.0}, False),
        ({"pairings": (DONE,), "receivers": 2}, False),
        ({"pairings": (DONE,), "receivers": None, "expires_at": 2.0}, True),
        ({"pairings": (DONE, OPEN), "receivers": None, "expires_at": 2.0}, False),
    ],
    ids=str,
)
def test_when_a_send_is_over(changes: dict[str, object], over: bool) -> None:
    """When no receiver can come any more, and all who came have what they came for."""
    assert replace(SEND, **changes).is_over() is over  # type: ignore[arg-type]


@pytest.mark.parametrize(("digest", "state"), [("cd" * 32, "done"), ("", "expired")])
def test_how_an_untouched_receive_ended(ledger: Ledger, tmp_path: Path, digest: str, state: str) -> None:
    """It expired; but one that has everything is done, though the sender was never told."""
    ledger.save(replace(receive_into(tmp_path), digest=digest))
    long_ago(ledger)
    unfinished.sweep(ledger)
    assert ledger.records() == []
    ended = ledger.ended("ba9876543210")
    assert ended
    assert ended.state == state


def test_what_a_process_is_ending_is_left_to_it(ledger: Ledger) -> None:
    """A send that is over, and whose process still says goodbye, is swept when that has gone."""
    ledger.save(replace(SEND, pairings=(DONE,)))
    claim = Claim.take(ledger.folder_of(SEND.id))
    unfinished.sweep(ledger)
    assert len(ledger.records()) == 1
    claim.release()
    unfinished.sweep(ledger)
    assert ledger.records() == []


# ------------------------------------------------------------------ discarded
def test_discarding(ledger: Ledger, tmp_path: Path) -> None:
    """What is staged goes, and the record; what lies beside it stays."""
    record = receive_into(tmp_path / "to")
    ledger.save(record)
    staged = tmp_path / "to/.nbferry" / record.id / "data"
    staged.mkdir(parents=True)
    (tmp_path / "to/kept").touch()
    unfinished.discard(ledger, record)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["kept"]
    assert ledger.records() == []
    assert not list(ledger.folder.rglob(CLAIM))


def test_what_runs_is_not_discarded(ledger: Ledger, tmp_path: Path) -> None:
    """It is said who runs it, and nothing is removed."""
    record = receive_into(tmp_path)
    ledger.save(record)
    claim = Claim.take(ledger.folder_of(record.id))
    with pytest.raises(TransferBusy):
        unfinished.discard(ledger, record)
    assert claim.held()
    assert ledger.records() == [record]


def test_what_cannot_be_removed_can_be_discarded_later(ledger: Ledger, tmp_path: Path) -> None:
    """If that fails it is an error, and another process need not wait for this one."""
    (tmp_path / "file").touch()
    record = receive_into(tmp_path / "to")
    ledger.save(record)
    (tmp_path / "to").symlink_to(tmp_path / "to")
    with pytest.raises(StorageError):
        unfinished.discard(ledger, record)
    assert ledger.records() == [record]
    assert not ledger.is_claimed(record.id)


# ------------------------------------------------------------------ the same again
@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"invitation": "tulip-amber-canyon"}, True),
        ({"invitation": "tulip-amber-canyon-acid"}, False),
        ({"paths": ("/home/anna/other",)}, False),
        ({"receivers": 2}, False),
        ({"via": Via.DIRECT}, False),
        ({"follow_symlinks": True}, False),
        ({"paths": (), "entries": (Entry("trips"),)}, False),
    ],
    ids=str,
)
def test_the_same_send(ledger: Ledger, changes: dict[str, object], same: bool) -> None:
    """The same paths in the same way, with as many words; the words themselves are new with each call."""
    ledger.save(SEND)
    wanted = replace(SEND, id="f" * 12, **changes)  # type: ignore[arg-type]
    assert (unfinished.same_as(ledger, wanted) == SEND) is same


@pytest.mark.parametrize(
    ("relay", "same"), [("http://relay.example/", True), ("http://other.example/", False)]
)
def test_the_same_send_over_another_relay(ledger: Ledger, relay: str, same: bool) -> None:
    """A relay that is named must be the same."""
    ledger.save(SEND)
    wanted = replace(SEND, relay=RelayNote(url=relay))
    assert (unfinished.same_as(ledger, wanted) is not None) is same


def test_the_same_receive(ledger: Ledger, tmp_path: Path) -> None:
    """The same code, with or without the address, into the same folder."""
    record = receive_into(tmp_path)
    ledger.save(record)
    for code in (record.code, record.code.partition("@")[0]):
        assert unfinished.same_as(ledger, replace(record, code=code)) == record
    assert unfinished.same_as(ledger, receive_into(tmp_path / "other")) is None
    other = replace(record, code="482914-amber-canyon-tulip@http://x/")
    assert unfinished.same_as(ledger, other) is None


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"overwrite": Overwrite.REPLACE}, False),
        ({"to": "/elsewhere"}, False),
        ({"entries": (Entry("trips", 6, 7),)}, False),
        ({"entries": (Entry("trips", 5, 8),)}, False),
        ({"chunk_size": 1 << 16}, False),
    ],
    ids=str,
)
def test_the_same_upload(ledger: Ledger, tmp_path: Path, changes: dict[str, object], same: bool) -> None:
    """The same files, as large and as old, into the same folder, in the same way."""
    record = upload_into(tmp_path)
    ledger.save(record)
    wanted = replace(record, id="f" * 12, **changes)  # type: ignore[arg-type]
    assert (unfinished.same_as(ledger, wanted) == record) is same


def test_an_upload_is_listed_and_discarded(ledger: Ledger, tmp_path: Path) -> None:
    """Like a receive: it is paused, and what is staged goes with it."""
    record = upload_into(tmp_path / "to")
    ledger.save(record)
    staged = tmp_path / "to/.nbferry" / record.id / "data"
    staged.mkdir(parents=True)
    view = unfinished.report_of(ledger, record).snapshot
    assert (view.role, str(view.state), view.total) == ("upload", "paused", 5)
    unfinished.discard(ledger, record)
    assert not staged.exists()
    assert ledger.records() == []


def test_an_untouched_upload_expires(ledger: Ledger, tmp_path: Path) -> None:
    """It expires, with its parts."""
    ledger.save(upload_into(tmp_path))
    long_ago(ledger)
    unfinished.sweep(ledger)
    assert ledger.records() == []
    ended = ledger.ended("cc9876543210")
    assert ended
    assert (ended.role, ended.state) == ("upload", "expired")
