"""The ledger keeps what transfers need to go on, durable and whole, and believes nothing that was planted."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import LocalProtocolError, StorageError, TransferUnknown, UnsafePath
from nbferry.model.ice_servers import ice_servers
from nbferry.model.manifest import Entry
from nbferry.model.overwrite import Overwrite
from nbferry.model.roles import Role
from nbferry.storage.records import record as record_module
from nbferry.storage.records.claim import Claim, Here
from nbferry.storage.records.ledger import (
    DAY,
    KEEP_ENDED,
    Ended,
    Ledger,
    Pairing,
    ReceiveRecord,
    Record,
    RelayNote,
    SendRecord,
)
from nbferry.storage.records.record import AnyRecord, UploadRecord
from nbferry.storage.records.record_mac import sealed

NOW = 1_700_000_000.0
SECRET = "acid-acorn-tiger"

SEND = SendRecord(
    id="0123456789ab",
    created=NOW,
    names=("trips", "lone\udcff.csv"),
    total=1 << 40,
    relay=RelayNote(url="ws://127.0.0.1:8888/", public_url="https://hub.example/user/anna/", port=8888),
    via="relay",
    paths=("/home/anna/trips", "/home/anna/lone\udcff.csv"),
    follow_symlinks=True,
    chunk_size=1 << 20,
    receivers=None,
    invitation=SECRET,
    room="17",
    key="ab" * 16,
    wrong_guesses=2,
    expires_at=NOW + 3600,
    pairings=(Pairing(root=b"r" * 32), Pairing(root=b"q" * 32, state="done")),
)
RECEIVE = ReceiveRecord(
    id="ba9876543210",
    created=NOW + 1,
    code=f"17-{SECRET}",
    root=b"s" * 32,
    to="/home/bert/in",
    overwrite=Overwrite.RENAME,
    allow_hidden=False,
    paired=True,
    accepted=True,
    durable=1 << 30,
    digest="cd" * 32,
    reason="The relay is gone.",
)


UPLOAD = UploadRecord(
    id="ca9876543210",
    created=NOW + 2,
    to="/home/bert/in",
    overwrite=Overwrite.REPLACE,
    allow_hidden=True,
    accepted=True,
    entries=(
        Entry("trips", mtime_ns=-5, folder=True),
        Entry("trips/lone\udcff.csv", 1 << 40, 1_700_000_000_123_000_000),
        Entry("trips/empty"),
    ),
    chunk_size=1 << 20,
)
FROM_PAGE = replace(SEND, paths=(), entries=UPLOAD.entries)


KEY = bytes(range(32))


def no_sync(_: int) -> None:
    """Leave it to the system."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Open a ledger in a folder that is not there yet."""
    return Ledger(tmp_path / ".nbferry", key=KEY, clock=lambda: NOW, sync=no_sync)


def files(ledger: Ledger) -> list[str]:
    """Everything in the state folder."""
    return sorted(str(path.relative_to(ledger.folder)) for path in ledger.folder.rglob("*"))


# ------------------------------------------------------------------ kept
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


@pytest.mark.parametrize(
    "entry",
    [
        ["a", 1],
        ["a", 1, 1, 1],
        {"path": "a"},
        ["", 1, 1],
        ["a\0", 1, 1],
        ["a" * 5_000, 1, 1],
        ["a", -1, 1],
        ["a", True, 1],
        ["a", 1 << 60, 1],
        ["a", 1, 1 << 70],
        ["a", 1, 0.5],
        [1, 1, 1],
    ],
    ids=str,
)
def test_entries_that_cannot_be(entry: object) -> None:
    """A memo with one of these is none."""
    fields = json.loads(record_module.encode(UPLOAD))
    fields["entries"] = json.dumps([entry])
    assert read(json.dumps(fields).encode()) is None


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


def test_secrets_are_not_shown() -> None:
    """A memo in a log or a traceback tells no secret."""
    shown = repr((SEND, RECEIVE))
    for secret in (SECRET, "ab" * 16, "rrrr", "ssss", (b"r" * 32).hex()):
        assert secret not in shown


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


# ------------------------------------------------------------------ found
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


# ------------------------------------------------------------------ ended
def test_ended(ledger: Ledger) -> None:
    """What has ended is no memo any more; how it ended is known, and no secret of it."""
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


def test_staging_data_stay(ledger: Ledger) -> None:
    """Where the destination is the notebook's folder, what a sink keeps there stays."""
    ledger.save(RECEIVE)
    data = ledger.folder_of(RECEIVE.id) / "data"
    data.mkdir()
    (ledger.folder_of(RECEIVE.id) / "memo.json.0123456789abcdef.tmp").write_bytes(b"left by a crash")
    ledger.end(RECEIVE, "done")
    assert [path.name for path in ledger.folder_of(RECEIVE.id).iterdir()] == ["data"]


def test_ended_twice_and_without_a_folder(ledger: Ledger) -> None:
    """A sink may have removed the folder; the last word counts."""
    ledger.save(SEND)
    shutil.rmtree(ledger.folder_of(SEND.id))
    ledger.end(SEND, "failed")
    ledger.end(SEND, "cancelled")
    assert (ledger.ended(SEND.id) or RECEIVE).id == SEND.id
    assert ledger.ended(SEND.id) == Ended(
        id=SEND.id, role=Role.SEND, state="cancelled", at=NOW, names=SEND.names, total=SEND.total
    )


def test_a_crash_while_it_ends(ledger: Ledger) -> None:
    """What was noted as ended is over, though its memo is still there; the next sweep removes that."""
    ledger.save(SEND)
    record = (ledger.folder_of(SEND.id) / "memo.json").read_bytes()
    ledger.end(SEND, "done")
    ledger.folder_of(SEND.id).mkdir(mode=0o700)
    (ledger.folder_of(SEND.id) / "memo.json").touch(mode=0o600)
    (ledger.folder_of(SEND.id) / "memo.json").write_bytes(record)
    assert ledger.records() == []
    assert ledger.sweep(NOW) == []
    assert not ledger.folder_of(SEND.id).exists()


def test_begun_again(ledger: Ledger) -> None:
    """A memo that is saved after it ended has not ended."""
    ledger.save(SEND)
    ledger.end(SEND, "failed")
    ledger.save(SEND)
    assert ledger.records() == [SEND]
    assert ledger.ended(SEND.id) is None


# ------------------------------------------------------------------ swept
def back(path: Path, seconds: float) -> None:
    """Let everything in a folder be as old as that."""
    for each in path.iterdir():
        os.utime(each, (NOW - seconds, NOW - seconds))


def test_expired_offers(ledger: Ledger) -> None:
    """An offer that expired before anybody took it is over; one that somebody took is not, nor is a receiver."""
    nobody = replace(SEND, id="0" * 12, pairings=())
    for saved in (SEND, nobody, RECEIVE):
        ledger.save(saved)
        back(ledger.folder_of(saved.id), 0)
    assert ledger.sweep(NOW + 3599) == []
    assert ledger.sweep(NOW + 3600) == [nobody]
    assert nobody in ledger.records()


def test_without_a_sign_of_life(ledger: Ledger, tmp_path: Path) -> None:
    """What nobody touched for long is over; a journal at the destination is a sign of life."""
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


def test_what_runs_is_not_over(ledger: Ledger) -> None:
    """Whoever runs a transfer ends it himself."""
    nobody = replace(SEND, pairings=())
    ledger.save(nobody)
    claim = Claim.take(ledger.folder_of(SEND.id), here=Here(host="far"))
    assert ledger.sweep(NOW * 2) == []
    claim.release()
    assert ledger.sweep(NOW * 2) == [nobody]


def test_what_ended_is_forgotten(ledger: Ledger) -> None:
    """After thirty days nobody asks any more, and a time far ahead is none."""
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


# ------------------------------------------------------------------ planted and damaged
def plant(ledger: Ledger, name: str, data: bytes, *, mode: int = 0o600, key: bytes = KEY) -> Path:
    """Put a memo there that was not saved, and yet is sealed, so that what is in it is judged."""
    path = ledger.folder / name / "memo.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(sealed(data, key))
    path.chmod(mode)
    return path


def test_a_memo_of_somebody_else(ledger: Ledger) -> None:
    """One that came with an archive names files to send, and to whom: without our seal it is not obeyed."""
    planted = plant(ledger, SEND.id, record_module.encode(SEND), key=bytes(32))
    assert ledger.records() == []
    planted.write_bytes(record_module.encode(SEND))
    assert ledger.records() == []
    plant(ledger, SEND.id, record_module.encode(SEND))
    assert ledger.records() == [SEND]


def changed(**changes: Any) -> bytes:
    """What a memo looks like after somebody edited it."""
    fields = json.loads(record_module.encode(SEND))
    return json.dumps({**fields, **changes}).encode()


def without(name: str) -> bytes:
    """A memo without one field."""
    fields = json.loads(record_module.encode(SEND))
    del fields[name]
    return json.dumps(fields).encode()


DAMAGED: list[bytes] = [
    b"",
    b"\xff",
    b"{",
    b"null",
    b"[]",
    b"[" * 100_000,
    b"9" * 5000,
    record_module.encode(SEND)[:-10],
    record_module.encode(RECEIVE),  # the id of another
    without("paths"),
    without("version"),
    without("role"),
    changed(version=2),
    changed(role="relay"),
    changed(role=[]),
    changed(id="../../../etc"),
    changed(id=SEND.id + "\n"),
    changed(created="now"),
    changed(created=1e300),
    changed(created=True),
    changed(expires_at=float("nan")),
    changed(expires_at=float("inf")),
    changed(expires_at=-1),
    changed(paths="/etc"),
    changed(paths=["etc"]),
    changed(paths=["/etc\0"]),
    changed(paths=["/" * 40_000]),
    changed(paths=[7]),
    changed(chunk_size=1),
    changed(chunk_size=1 << 60),
    changed(receivers=0),
    changed(receivers=1.5),
    changed(key="zz"),
    changed(room="1/../2"),
    changed(wrong_guesses=-1),
    changed(via="carrier pigeon"),
    changed(ice="stun:stun.example"),
    changed(ice=["http://stun.example"]),
    changed(ice=[{"urls": "turn:turn.example"}]),
    changed(ice=[{"urls": "stun:stun.example"}] * 21),
    changed(follow_symlinks=1),
    changed(relay="ws://x/"),
    changed(relay={}),
    changed(relay={"url": "ws://x/", "port": 65_536}),
    changed(relay={"url": "ws://x/ \nInjected: yes"}),
    changed(pairings=[{"root": "00"}]),
    changed(pairings=[{"root": "z" * 64}]),
    changed(pairings={"root": "00" * 32}),
    changed(pairings=[{"root": "00" * 32, "state": "\x1b[2J"}]),
    changed(names=["x" * 300]),
    changed(names=["x"] * 11),
    changed(total=-1),
    changed(reason=["x"]),
]


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged(ledger: Ledger, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A memo that is torn or was edited is left out with a warning, and others are read."""
    ledger.save(RECEIVE)
    plant(ledger, SEND.id, data)
    with caplog.at_level(logging.WARNING):
        assert ledger.records() == [RECEIVE]
    assert SEND.id in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert ledger.load(SEND.id) is None


def test_unknown_fields_are_left_out(ledger: Ledger) -> None:
    """What a later version adds is not taken in."""
    plant(ledger, SEND.id, changed(colour="red", relay={"url": "ws://x/", "colour": "red"}))
    assert ledger.load(SEND.id) == replace(SEND, relay=RelayNote(url="ws://x/"))


def test_foreign_names_are_left_out(ledger: Ledger) -> None:
    """Only what is named like a transfer is looked at."""
    ledger.save(RECEIVE)
    for name in ("digests", "receipts", "0123", "0123456789AB", "x" * 12):
        plant(ledger, name, record_module.encode(SEND))
    assert ledger.records() == [RECEIVE]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_memo_from_a_repository(ledger: Ledger, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """What others may read was not written by nbferry: nobody is made to go on with a transfer of another's making."""
    plant(ledger, SEND.id, record_module.encode(SEND), mode=mode)
    ledger.folder.chmod(0o755)
    assert ledger.records() == []
    assert "others may read it" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """A memo, or a whole folder, of somebody else is not believed."""
    os.chown(plant(ledger, SEND.id, record_module.encode(SEND)), 12345, 12345)
    assert ledger.records() == []
    os.chown(ledger.folder, 12345, 12345)
    assert ledger.records() == []
    assert "UnsafePath" in caplog.text
    with pytest.raises(UnsafePath):
        ledger.save(RECEIVE)


@pytest.mark.parametrize("linked", [".nbferry", ".nbferry/0123456789ab", ".nbferry/0123456789ab/memo.json"])
def test_links_are_not_followed(ledger: Ledger, tmp_path: Path, linked: str) -> None:
    """A link in the place of the folder, a transfer's folder or a memo is not read through, nor written through."""
    ledger.save(SEND)
    moved = (tmp_path / linked).rename(tmp_path / "moved")
    before = {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]}
    (tmp_path / linked).symlink_to(moved)
    assert ledger.records() == []
    if linked.endswith("memo.json"):
        ledger.save(replace(SEND, wrong_guesses=1))
        assert ledger.records() == [replace(SEND, wrong_guesses=1)]
    else:
        with pytest.raises(UnsafePath):
            ledger.save(SEND)
    assert {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]} == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_no_file_in_its_place(ledger: Ledger, make: Callable[[Path], object]) -> None:
    """What is no file is left out, and nobody waits for it."""
    path = plant(ledger, SEND.id, b"")
    path.unlink()
    make(path)
    assert ledger.records() == []
    (ledger.folder / "ended").mkdir(mode=0o700)
    make(ledger.folder / f"ended/{SEND.id}.json")
    assert ledger.ended(SEND.id) is None


def test_a_huge_memo(ledger: Ledger) -> None:
    """A file larger than any memo is not read."""
    os.truncate(plant(ledger, SEND.id, b""), 1 << 40)
    assert ledger.records() == []


def test_damaged_endings(ledger: Ledger) -> None:
    """How a transfer ended is not believed either if it is damaged, or another's."""
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


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["send", "/a", "00" * 32]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def read(data: bytes) -> Record | None:
    """A memo, or None for what is none; nothing else may happen."""
    try:
        return record_module.decode(data)
    except ValueError:
        return None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Whatever bytes there are, they are a memo or they are not."""
    read(data)


@pytest.mark.parametrize("record", [SEND, RECEIVE, UPLOAD], ids=lambda record: record.role)
@given(data=st.data())
def test_any_field(record: AnyRecord, data: st.DataObject) -> None:
    """Whatever is in a field, the memo is left out or can be kept again."""
    fields = json.loads(record_module.encode(record))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    found = read(json.dumps(fields).encode())
    if found is not None:
        assert record_module.decode(record_module.encode(found)) == found
