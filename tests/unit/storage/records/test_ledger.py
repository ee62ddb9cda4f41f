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
from nbferry.storage.records.ledger import (
    Ledger,
)
from nbferry.storage.records.record import AnyRecord
from unit.storage.records.ledger_setup import FROM_PAGE, KEY, NOW, RECEIVE, SEND, UPLOAD, files, no_sync


def test_kept(ledger: Ledger) -> None:
    """What was saved is found by another process, oldest first."""
    ledger.save(RECEIVE)
    ledger.save(SEND)
    again = Ledger(ledger.folder, key=KEY)
    assert again.records() == [SEND, RECEIVE]
    assert again.load(SEND.id) == SEND
    assert again.load(RECEIVE.id) == RECEIVE
    assert again.load("0" * 12) is None


def test_credentials_of_a_turn_server_are_kept_and_end_with_the_transfer(ledger: Ledger) -> None:
    """They are in the memo, as long as that is there, and in nothing that is shown of it."""
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
    """Their list is that of the offer, so that the same files can be told from others."""
    ledger.save(record)
    assert ledger.records() == [record]
    ledger.end(record, "cancelled")
    ended = ledger.ended(record.id)
    assert ended
    assert ended.role == record.role


def test_a_program_is_not_kept_as_a_file_of_a_browser(ledger: Ledger) -> None:
    """What the list does not hold is refused, not forgotten: a browser knows nothing of it."""
    with pytest.raises(LocalProtocolError):
        ledger.save(replace(UPLOAD, entries=(Entry("a", executable=True),)))


def test_nothing_is_made_before_something_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    """Looking leaves no trace."""
    assert ledger.records() == []
    assert ledger.load(SEND.id) is None
    assert ledger.ended(SEND.id) is None
    assert ledger.sweep(NOW) == []
    with pytest.raises(TransferUnknown):
        ledger.find("0")
    assert list(tmp_path.iterdir()) == []


def test_private(ledger: Ledger) -> None:
    """The folder is its owner's alone, kept out of repositories, and says what it is in five lines."""
    ledger.save(SEND)
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/memo.json", "README.txt"]
    assert ledger.folder.stat().st_mode & 0o777 == 0o700
    assert ledger.folder_of(SEND.id).stat().st_mode & 0o777 == 0o700
    assert (ledger.folder_of(SEND.id) / "memo.json").stat().st_mode & 0o777 == 0o600
    assert (ledger.folder / ".gitignore").read_text() == "*\n"
    assert len((ledger.folder / "README.txt").read_text().splitlines()) == 5


def test_saved_again(ledger: Ledger) -> None:
    """A memo replaces the earlier one of its id."""
    ledger.save(SEND)
    ledger.save(replace(SEND, wrong_guesses=3))
    assert ledger.records() == [replace(SEND, wrong_guesses=3)]
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/memo.json", "README.txt"]


def test_durable(tmp_path: Path) -> None:
    """The memo, its folder and every folder on the way are made durable."""
    synced: list[int] = []
    ledger = Ledger(tmp_path / ".nbferry", key=KEY, sync=lambda fd: synced.append(os.fstat(fd).st_ino))
    ledger.save(SEND)
    folder = ledger.folder_of(SEND.id)
    for path in (folder / "memo.json", folder, ledger.folder, tmp_path):
        assert path.stat().st_ino in synced
    assert synced.index((folder / "memo.json").stat().st_ino) < synced.index(folder.stat().st_ino)


def test_what_had_ended_goes_on_for_good(tmp_path: Path) -> None:
    """A memo that is saved again is not hidden, after a power failure, by how its transfer had ended."""
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
    """If a memo cannot be made durable that is an error, and the memo is as before or as it is to be."""
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
    assert files(ledger) == [".gitignore", SEND.id, f"{SEND.id}/memo.json", "README.txt"]


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
def test_what_could_not_be_read_again(ledger: Ledger, changes: dict[str, Any]) -> None:
    """A memo that would be left out later is refused at once: that is our own mistake."""
    with pytest.raises(LocalProtocolError):
        ledger.save(replace(SEND, **changes))
    assert not ledger.folder.exists()


def test_a_long_reason_is_cut(ledger: Ledger) -> None:
    """However much there is to say, the memo is kept."""
    ledger.save(replace(SEND, reason="x" * 10_000))
    assert ledger.records() == [replace(SEND, reason="x" * 500)]


def test_a_folder_that_goes_meanwhile(ledger: Ledger) -> None:
    """The end of another transfer that removes a folder at the same moment does not harm."""
    gone: list[bool] = []

    def sync(_: int) -> None:
        if not gone:
            gone.append(True)
            shutil.rmtree(ledger.folder_of(SEND.id))

    ledger.save(RECEIVE)
    again = Ledger(ledger.folder, key=KEY, sync=no_sync)
    again.save(SEND)
    slow = Ledger(
        ledger.folder,
        key=KEY,
        sync=lambda fd: sync(fd) if SEND.id in str(Path(f"/proc/self/fd/{fd}").readlink()) else None,
    )
    slow.save(replace(SEND, wrong_guesses=1))
    assert gone
    assert ledger.load(SEND.id) == replace(SEND, wrong_guesses=1)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A place that is none is an error of ours, with a hint."""
    (tmp_path / "file").write_bytes(b"")
    ledger = Ledger(tmp_path / "file/.nbferry", key=KEY)
    with pytest.raises(StorageError) as caught:
        ledger.save(SEND)
    assert caught.value.hint
    assert ledger.records() == []


def test_found_by_the_beginning(ledger: Ledger) -> None:
    """The beginning of an id is enough if no other begins so."""
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
    """Of what has ended it says how and when."""
    ledger.save(SEND)
    ledger.end(SEND, "rejected", "No, thank\nyou.")
    when = time.strftime("%Y-%m-%d at %H:%M", time.localtime(NOW))
    with pytest.raises(TransferUnknown) as caught:
        ledger.find("0123")
    assert str(caught.value) == f"Transfer 0123456789ab ended on {when}: rejected (No, thank\\x0ayou)."
