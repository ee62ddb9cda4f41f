"""What a sender writes down of its receivers; transfers as a whole are tested in tests/faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.engine.activities.activity import Resources
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.activities.send import SendActivity
from nbferry.engine.slots import Slots
from nbferry.storage.base import Source
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import ACCEPTED, Pairing, RelayNote, SendRecord


@pytest.fixture
def sending(tmp_path: Path) -> SendActivity:
    """A send to two receivers, of whom one has come."""
    record = SendRecord(
        id="0123456789ab",
        created=1.0,
        paths=(),
        follow_symlinks=False,
        chunk_size=1 << 20,
        receivers=2,
        invitation="acid-acorn-tiger",
        key="ab" * 16,
        expires_at=2.0,
        pairings=(Pairing(root=b"r" * 32),),
    )

    def no_source() -> Source:
        raise AssertionError

    async def nowhere(_known: RelayNote | None, _settings: Settings) -> RelayAddress:
        raise AssertionError

    store = RecordStore(record, Ledger(tmp_path / ".nbferry", key=bytes(32)))
    resources = Resources(nowhere, Slots(), ThreadPoolExecutor(1), lambda _: None)
    return SendActivity(store, Settings(), resources, no_source)


def test_how_it_ended_is_written_for_good(sending: SendActivity) -> None:
    """That a receiver has accepted is written in a thread, perhaps after it was done: then it stays done."""
    assert not sending.accepted
    sending._note_state(0, ACCEPTED)
    assert sending.accepted
    sending._note_state(0, "done")
    sending._note_state(0, ACCEPTED)
    assert not sending.accepted
    assert sending._store.record.pairings[0].state == "done"
    sending._store.release()


def test_who_can_still_come(sending: SendActivity) -> None:
    """As many as were meant, whatever became of them."""
    assert sending._facts()["invites"]
    sending._store.change(lambda record: record.with_pairing(b"q" * 32))
    assert not sending._facts()["invites"]
    sending._store.release()
