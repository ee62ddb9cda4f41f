"""What earlier processes of this notebook left unfinished: matched, described, ended."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from nbferry.connections.invitation import secret_of
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.engine import destination_of
from nbferry.engine.messages import Report
from nbferry.errors import CodeInvalid, NbferryError
from nbferry.model.codes import Code, Ticket, parse
from nbferry.status import Snapshot, State
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import AnyRecord, FolderRecord, ReceiveRecord, SendRecord, UploadRecord

M = TypeVar("M", bound=AnyRecord)

log = logging.getLogger("nbferry")


# ------------------------------------------------------------------ the same one
def same_as(ledger: Ledger, wanted: AnyRecord) -> AnyRecord | None:
    """The unfinished transfer that the same call began, if there is one: the newest."""
    match wanted:
        case SendRecord():
            return next((each for each in _of_kind(ledger, SendRecord) if _is_same_send(each, wanted)), None)
        case ReceiveRecord():
            found = _of_kind(ledger, ReceiveRecord)
            return next((each for each in found if _is_same_receive(each, wanted)), None)
        case UploadRecord():
            return next(
                (each for each in _of_kind(ledger, UploadRecord) if _place(each) == _place(wanted)), None
            )


def _of_kind(ledger: Ledger, kind: type[M]) -> list[M]:
    """The newest first."""
    return [record for record in reversed(ledger.records()) if isinstance(record, kind)]


def _is_same_send(record: SendRecord, wanted: SendRecord) -> bool:
    return (
        (record.paths, record.entries, record.follow_symlinks, record.receivers, record.via)
        == (wanted.paths, wanted.entries, wanted.follow_symlinks, wanted.receivers, wanted.via)
        and _words_in(record.invitation) == _words_in(wanted.invitation)
        and (wanted.relay is None or (record.relay is not None and record.relay.url == wanted.relay.url))
        and not is_over(record)
    )


def _words_in(invitation: str) -> int:
    """Tell codes by their number of words, and a ticket from them."""
    secret = secret_of(invitation)
    return 0 if isinstance(secret, Ticket) else len(secret)


def _is_same_receive(record: ReceiveRecord, wanted: ReceiveRecord) -> bool:
    # the code of a record may have been edited by hand
    with suppress(CodeInvalid):
        return record.to == wanted.to and _bare(record.code) == _bare(wanted.code)
    return False


def _bare(code: str) -> Code | Ticket:
    """A code without the address of a relay."""
    return parse(code).with_url(None)


def _place(record: UploadRecord) -> tuple[object, ...]:
    """The same files into the same folder in the same way."""
    return record.to, record.overwrite, record.allow_hidden, record.manifest


def is_over(record: AnyRecord) -> bool:
    """Whether no receiver can come any more, and all who came have what they came for."""
    if isinstance(record, FolderRecord):
        return False
    done = sum(pairing.state == State.DONE for pairing in record.pairings)
    open_ = any(pairing.is_open for pairing in record.pairings)
    full = record.receivers is not None and done >= record.receivers
    return full or (record.expires_at <= time.time() and not open_)


# ------------------------------------------------------------------ showing and ending
def report_of(ledger: Ledger, record: AnyRecord) -> Report:
    """What is known of a transfer that does not run in this process."""
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
    """End a transfer that no process runs: what is published stays, everything else goes.

    Raises like :meth:`RecordStore.claim`, and :class:`StorageError` if something cannot be removed.
    """
    store: RecordStore[Any] = RecordStore(record, ledger)
    store.claim()
    try:
        end(ledger, store.record, State.CANCELLED, "discarded")
    finally:
        store.release()


def end(ledger: Ledger, record: AnyRecord, state: State, reason: str = "") -> None:
    """Remove everything that is kept of a transfer, but for a line on how it ended."""
    if isinstance(record, FolderRecord):
        destination_of(record).discard()
    ledger.end(record, str(state), reason)


def sweep(ledger: Ledger) -> None:
    """Remove what has expired. What cannot be removed now is tried again next time."""
    over = ledger.sweep(time.time())
    served = [
        record
        for record in _of_kind(ledger, SendRecord)
        if is_over(record) and not ledger.is_claimed(record.id)
    ]
    for record in [*over, *(record for record in served if record not in over)]:
        try:
            end(ledger, record, State.DONE if _is_done(record) else State.EXPIRED)
        except NbferryError as error:
            log.warning("transfer %s has expired, but cannot be removed: %s", record.id, error.message)


def _is_done(record: AnyRecord) -> bool:
    """Whether a receiver has everything; perhaps the peer was never told."""
    if isinstance(record, FolderRecord):
        return bool(record.digest)
    return any(pairing.state == State.DONE for pairing in record.pairings)
