"""What earlier processes of this notebook left unfinished: matched, described, ended."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, TypeVar

from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.engine import destination_of
from nbferry.engine.messages import Report
from nbferry.errors import NbferryError
from nbferry.status import Snapshot, State
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import AnyRecord, FolderRecord, SendRecord

M = TypeVar("M", bound=AnyRecord)

log = logging.getLogger("nbferry")


def same_as(ledger: Ledger, wanted: AnyRecord) -> AnyRecord | None:
    """The newest unfinished transfer that the same call began; None if there is none."""
    return next((each for each in reversed(ledger.records()) if each.is_same_call(wanted)), None)


def report_of(ledger: Ledger, record: AnyRecord) -> Report:
    """A report on a transfer that does not run in this process."""
    elsewhere = ledger.is_claimed(record.id)
    view = Snapshot(
        id=record.id,
        role=record.role,
        state=State.WAITING if elsewhere else State.PAUSED,
        reason="another process runs it" if elsewhere else record.reason or "not running; resume it",
        names=record.names,
        files=len(record.names),
        total=record.total,
        durable=record.durable,
        verified=record.durable,
    )
    if isinstance(record, SendRecord):
        return Report(snapshot=view, accepted=record.accepted, invites=record.invites)
    if there := destination_of(record).progress():
        manifest, have = there
        count = manifest.bytes_in(have)
        view = view.evolve(
            files=manifest.file_count, total=manifest.total_bytes, sent=count, verified=count, durable=count
        )
    return Report(snapshot=view, accepted=record.accepted, folder=Path(record.to))


def discard(ledger: Ledger, record: AnyRecord) -> None:
    """End a transfer that no process runs. Published files stay; everything else is removed.

    Raises the errors of :meth:`RecordStore.claim`, and :class:`StorageError` for what cannot be removed.
    """
    store: RecordStore[Any] = RecordStore(record, ledger)
    store.claim()
    try:
        end(ledger, store.record, State.CANCELLED, "discarded")
    finally:
        store.release()


def end(ledger: Ledger, record: AnyRecord, state: State, reason: str = "") -> None:
    """Remove everything that is kept of a transfer, and note how it ended."""
    if isinstance(record, FolderRecord):
        destination_of(record).discard()
    ledger.end(record, str(state), reason)


def sweep(ledger: Ledger) -> None:
    """Remove what has expired. A failure is logged, and the next call tries again."""
    over = ledger.sweep(time.time())
    served = [each for each in ledger.records() if each.is_over() and not ledger.is_claimed(each.id)]
    for record in [*over, *(each for each in served if each not in over)]:
        try:
            end(ledger, record, State.DONE if record.is_done else State.EXPIRED)
        except NbferryError as error:
            log.warning("transfer %s has expired, but cannot be removed: %s", record.id, error.message)
