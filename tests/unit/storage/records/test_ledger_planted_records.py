"""The ledger believes no record that was damaged, edited or planted."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbferry.errors import UnsafePath
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import RelayNote, encode
from nbferry.storage.records.record_mac import sealed
from unit.storage.records.ledger_setup import KEY, RECEIVE, SEND


def plant(ledger: Ledger, name: str, data: bytes, *, mode: int = 0o600, key: bytes = KEY) -> Path:
    """Plant bytes as a record with a valid seal, so that the ledger checks what is in them."""
    path = ledger.folder / name / "record.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(sealed(data, key))
    path.chmod(mode)
    return path


def test_a_record_without_the_seal(ledger: Ledger) -> None:
    """The ledger ignores a record without its seal: one from an archive could name files to send, and to whom."""
    planted = plant(ledger, SEND.id, encode(SEND), key=bytes(32))
    assert ledger.records() == []
    planted.write_bytes(encode(SEND))
    assert ledger.records() == []
    plant(ledger, SEND.id, encode(SEND))
    assert ledger.records() == [SEND]


def changed(**changes: Any) -> bytes:
    """A record with edited fields."""
    fields = json.loads(encode(SEND))
    return json.dumps({**fields, **changes}).encode()


def without(name: str) -> bytes:
    """A record without one field."""
    fields = json.loads(encode(SEND))
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
    encode(SEND)[:-10],
    # the record of another id
    encode(RECEIVE),
    without("paths"),
    without("version"),
    without("role"),
    changed(version=1),
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
    """The ledger leaves out a damaged or edited record with a warning, and reads the others."""
    ledger.save(RECEIVE)
    plant(ledger, SEND.id, data)
    with caplog.at_level(logging.WARNING):
        assert ledger.records() == [RECEIVE]
    assert SEND.id in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert ledger.load(SEND.id) is None


def test_unknown_fields_are_left_out(ledger: Ledger) -> None:
    """The ledger ignores fields that a later version added."""
    plant(ledger, SEND.id, changed(colour="red", relay={"url": "ws://x/", "colour": "red"}))
    assert ledger.load(SEND.id) == replace(SEND, relay=RelayNote(url="ws://x/"))


def test_foreign_names_are_left_out(ledger: Ledger) -> None:
    """The ledger reads only folders that are named like a transfer."""
    ledger.save(RECEIVE)
    for name in ("digests", "receipts", "0123", "0123456789AB", "x" * 12):
        plant(ledger, name, encode(SEND))
    assert ledger.records() == [RECEIVE]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_record_that_others_may_read(ledger: Ledger, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    """The ledger ignores a record that others may read: nbferry did not write it."""
    plant(ledger, SEND.id, encode(SEND), mode=mode)
    ledger.folder.chmod(0o755)
    assert ledger.records() == []
    assert "others may read it" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_records_of_another_owner(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """The ledger ignores a record, or a whole folder, of another owner."""
    os.chown(plant(ledger, SEND.id, encode(SEND)), 12345, 12345)
    assert ledger.records() == []
    os.chown(ledger.folder, 12345, 12345)
    assert ledger.records() == []
    assert "UnsafePath" in caplog.text
    with pytest.raises(UnsafePath):
        ledger.save(RECEIVE)


@pytest.mark.parametrize("linked", [".nbferry", ".nbferry/0123456789ab", ".nbferry/0123456789ab/record.json"])
def test_links_are_not_followed(ledger: Ledger, tmp_path: Path, linked: str) -> None:
    """The ledger follows no link in place of its folder, a transfer's folder or a record."""
    ledger.save(SEND)
    moved = (tmp_path / linked).rename(tmp_path / "moved")
    before = {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]}
    (tmp_path / linked).symlink_to(moved)
    assert ledger.records() == []
    if linked.endswith("record.json"):
        ledger.save(replace(SEND, wrong_guesses=1))
        assert ledger.records() == [replace(SEND, wrong_guesses=1)]
    else:
        with pytest.raises(UnsafePath):
            ledger.save(SEND)
    assert {path: path.stat().st_mtime_ns for path in [moved, *moved.rglob("*")]} == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_no_file_in_its_place(ledger: Ledger, make: Callable[[Path], object]) -> None:
    """The ledger leaves out what is not a file, without waiting for it."""
    path = plant(ledger, SEND.id, b"")
    path.unlink()
    make(path)
    assert ledger.records() == []
    (ledger.folder / "ended").mkdir(mode=0o700)
    make(ledger.folder / f"ended/{SEND.id}.json")
    assert ledger.ended(SEND.id) is None


def test_a_huge_record(ledger: Ledger) -> None:
    """The ledger does not read a file that is larger than any record."""
    os.truncate(plant(ledger, SEND.id, b""), 1 << 40)
    assert ledger.records() == []
