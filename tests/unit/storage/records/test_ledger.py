"""The ledger keeps records, durable and private, and finds them again."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbferry.errors import LocalProtocolError, StorageError, TransferUnknown
from nbferry.model.ice_servers import ice_servers
from nbferry.model.manifest import Entry
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import AnyRecord
from unit.storage.records.ledger_setup import FROM_PAGE, KEY, NOW, RECEIVE, SEND, UPLOAD, files, no_sync


def test_saved_records_are_found(ledger: Ledger) -> None:
    """Another process finds the saved records, oldest first."""
    ledger.save(RECEIVE)
    ledger.save(SEND)
    reopened = Ledger(ledger.folder, key=KEY)
    assert reopened.records() == [SEND, RECEIVE]
    assert reopened.load(SEND.id) == SEND
    assert reopened.load(RECEIVE.id) == RECEIVE
    assert reopened.load("0" * 12) is None


def test_credentials_of_a_turn_server_are_kept_and_end_with_the_transfer(ledger: Ledger) -> None:
    """The record has the credentials, its representation does not, and its end removes them."""
    servers = ice_servers("turn:anna:hush-hush@turn.example?transport=tcp,stun:stun.example")
    record = replace(SEND, ice=servers)
    ledger.save(record)
    assert ledger.load(record.id) == record
    assert "hush-hush" not in repr(record)
    ledger.end(record, "cancelled")
    left = [path.read_bytes() for path in ledger.folder.rglob("*") if path.is_file()]
    assert left
    assert not any(b"hush-hush" in each for each in left)


@pytest.mark.parametrize("record", [UPLOAD, FROM_PAGE], ids=lambda record: record.role)
def test_files_of_a_browsers_machine_are_kept(ledger: Ledger, record: AnyRecord) -> None:
    """The record has the list of the offer, so that the same files can be told from others."""
    ledger.save(record)
    assert ledger.records() == [record]
    ledger.end(record, "cancelled")
    ended = ledger.ended(record.id)
    assert ended
    assert ended.role == record.role


def test_an_executable_file_of_a_browsers_machine(ledger: Ledger) -> None:
    """The ledger refuses what the list cannot hold: a browser does not know about executable files."""
    with pytest.raises(LocalProtocolError):
        ledger.save(replace(UPLOAD, entries=(Entry("a", executable=True),)))


def test_reading_creates_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """Reading an absent ledger creates nothing."""
    assert ledger.records() == []
    assert ledger.load(SEND.id) is None
    assert ledger.ended(SEND.id) is None
    assert ledger.sweep(NOW) == []
    with pytest.raises(TransferUnknown):
        ledger.find("0")
    assert list(tmp_path.iterdir()) == []


def test_private(ledger: Ledger) -> None:
    """Only the owner can read the folder; it is kept out of repositories and has a README of five lines."""
    ledger.save(SEND)
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/record.json", "README.txt"]
    assert ledger.folder.stat().st_mode & 0o777 == 0o700
    assert ledger.folder_of(SEND.id).stat().st_mode & 0o777 == 0o700
    assert (ledger.folder_of(SEND.id) / "record.json").stat().st_mode & 0o777 == 0o600
    assert (ledger.folder / ".gitignore").read_text() == "*\n"
    assert len((ledger.folder / "README.txt").read_text().splitlines()) == 5


def test_saved_again(ledger: Ledger) -> None:
    """A record replaces the earlier one of its id."""
    ledger.save(SEND)
    ledger.save(replace(SEND, wrong_guesses=3))
    assert ledger.records() == [replace(SEND, wrong_guesses=3)]
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/record.json", "README.txt"]


def test_durable(tmp_path: Path) -> None:
    """The ledger makes the record, its folder and the folders above it durable."""
    synced: list[int] = []
    ledger = Ledger(tmp_path / ".nbferry", key=KEY, sync=lambda fd: synced.append(os.fstat(fd).st_ino))
    ledger.save(SEND)
    folder = ledger.folder_of(SEND.id)
    for path in (folder / "record.json", folder, ledger.folder, tmp_path):
        assert path.stat().st_ino in synced
    assert synced.index((folder / "record.json").stat().st_ino) < synced.index(folder.stat().st_ino)


def test_saved_again_after_its_end(tmp_path: Path) -> None:
    """After a power failure, a record that was saved again is not hidden by its earlier end."""
    synced: list[int] = []
    ledger = Ledger(tmp_path / ".nbferry", key=KEY, sync=lambda fd: synced.append(os.fstat(fd).st_ino))
    ledger.save(SEND)
    ledger.end(SEND, "failed")
    synced.clear()
    ledger.save(SEND)
    assert (ledger.folder / "ended").stat().st_ino in synced
    assert ledger.load(SEND.id) == SEND


@pytest.mark.parametrize("failing", range(4))
def test_a_dying_disk(tmp_path: Path, failing: int) -> None:
    """A record that cannot be made durable is an error, and is either the old or the new one."""
    Ledger(tmp_path / ".nbferry", key=KEY, sync=no_sync).save(SEND)
    calls: list[int] = []

    def sync(_: int) -> None:
        calls.append(1)
        if len(calls) == failing + 1:
            raise OSError(5, "dying")

    ledger = Ledger(tmp_path / ".nbferry", key=KEY, sync=sync)
    with pytest.raises(StorageError):
        ledger.save(replace(SEND, wrong_guesses=3))
    assert ledger.records() in ([SEND], [replace(SEND, wrong_guesses=3)])
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/record.json", "README.txt"]


@pytest.mark.parametrize(
    "changes",
    [
        {"paths": ("relative",)},
        {"paths": ["/list"]},
        {"names": ("x",) * 11},
        {"expires_at": float("inf")},
        {"id": "../x"},
    ],
    ids=str,
)
def test_records_that_could_not_be_read(ledger: Ledger, changes: dict[str, Any]) -> None:
    """The ledger refuses to save a record that it could not read."""
    with pytest.raises(LocalProtocolError):
        ledger.save(replace(SEND, **changes))
    assert not ledger.folder.exists()


def test_a_long_reason_is_cut(ledger: Ledger) -> None:
    """A record with a very long reason is kept."""
    ledger.save(replace(SEND, reason="x" * 10_000))
    assert ledger.records() == [replace(SEND, reason="x" * 500)]


def test_a_folder_that_is_removed_meanwhile(ledger: Ledger) -> None:
    """Saving survives another process that removes the folder at the same moment."""
    gone: list[bool] = []

    def sync(_: int) -> None:
        if not gone:
            gone.append(True)
            shutil.rmtree(ledger.folder_of(SEND.id))

    ledger.save(RECEIVE)
    Ledger(ledger.folder, key=KEY, sync=no_sync).save(SEND)
    slow = Ledger(
        ledger.folder,
        key=KEY,
        sync=lambda fd: sync(fd) if SEND.id in str(Path(f"/proc/self/fd/{fd}").readlink()) else None,
    )
    slow.save(replace(SEND, wrong_guesses=1))
    assert gone
    assert ledger.load(SEND.id) == replace(SEND, wrong_guesses=1)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder that cannot be made is an error with a hint."""
    (tmp_path / "file").write_bytes(b"")
    ledger = Ledger(tmp_path / "file/.nbferry", key=KEY)
    with pytest.raises(StorageError) as caught:
        ledger.save(SEND)
    assert caught.value.hint
    assert ledger.records() == []


def test_found_by_the_beginning(ledger: Ledger) -> None:
    """The beginning of an id is enough if it is unique."""
    other = replace(SEND, id="01ffffffffff")
    for saved in (SEND, RECEIVE, other):
        ledger.save(saved)
    assert ledger.find("b") == RECEIVE
    assert ledger.find("012") == SEND
    assert ledger.find(SEND.id) == SEND
    with pytest.raises(TransferUnknown, match="Several") as caught:
        ledger.find("01")
    assert SEND.id in caught.value.hint
    for unknown in ("", "c", "../x", "0123456789abc", "\x1b"):
        with pytest.raises(TransferUnknown, match="no unfinished") as caught:
            ledger.find(unknown)
        assert str(caught.value).isprintable()


def test_found_ended(ledger: Ledger) -> None:
    """The error for a transfer that has ended says how and when."""
    ledger.save(SEND)
    ledger.end(SEND, "rejected", "No, thank\nyou.")
    when = time.strftime("%Y-%m-%d at %H:%M", time.localtime(NOW))
    with pytest.raises(TransferUnknown) as caught:
        ledger.find("0123")
    assert str(caught.value) == f"Transfer 0123456789ab ended on {when}: rejected (No, thank\\x0ayou)."


@pytest.mark.parametrize("content", [b'{"version": 1, "role": "send"}', b"\0torn", b""])
def test_what_an_old_version_left_is_refused(ledger: Ledger, content: bytes) -> None:
    """It is recognised by its name and never read; what this version keeps beside it is found."""
    ledger.save(SEND)
    folder = ledger.folder / "cc0000000000"
    folder.mkdir()
    (folder / "memo.json").write_bytes(content)
    assert ledger.records() == [SEND]
    with pytest.raises(TransferUnknown, match=r"nbferry 0\.1, and this version cannot resume it"):
        ledger.find("cc")
    assert (folder / "memo.json").read_bytes() == content
