"""Transfers that an earlier process left: found in the ledger beside the notebook, and made ready to go on.

Also where a new transfer gets its memo, so that there is one way from a memo to an activity.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nbferry.connections.invitation import secret_of
from nbferry.engine.activities.receive import Decide, Intake
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.activities.send import Offering
from nbferry.engine.engine import Wishes
from nbferry.errors import CodeInvalid, NbferryError
from nbferry.jupyter import server
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, parse
from nbferry.model.manifest import Manifest
from nbferry.status import Snapshot, State
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import AnyRecord, FolderRecord, ReceiveRecord, SendRecord, UploadRecord
from nbferry.storage.sources.digest_cache import DigestCache
from nbferry.storage.sources.files import FileSource, offer_of
from nbferry.storage.sources.pages import PageFiles, PageSource
from nbferry.transfer.registry import Begin

M = TypeVar("M", bound=AnyRecord)

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class How:
    """How a transfer is run in this process."""

    wishes: Wishes
    limits: Limits
    agent: str


# ------------------------------------------------------------------ from a memo to an activity
def sending(store: RecordStore[SendRecord], ledger: Ledger, how: How) -> Begin:
    """A send, new or gone on with."""
    record = store.record
    limits = replace(how.limits, chunk_size=record.chunk_size, keep_unfinished=record.ttl)
    if record.entries:
        files = PageFiles(Manifest(record.entries, record.chunk_size))
        offering = Offering(lambda: PageSource(files, limits), store, how.agent, files)
    else:
        offering = Offering(lambda: _files_of(record, ledger, limits), store, how.agent)
    return lambda engine: engine.sending(offering, how.wishes, limits)


def _files_of(record: SendRecord, ledger: Ledger, limits: Limits) -> FileSource:
    return offer_of(
        [_as_named(Path(path)) for path in record.paths],
        chunk_size=record.chunk_size,
        follow_symlinks=record.follow_symlinks,
        max_entries=limits.max_entries,
        cache=DigestCache(ledger.folder),
    )


def _accept(_: Manifest) -> bool:
    return True


def _as_named(path: Path) -> Path:
    """Shorten a path to what a person here would call it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def receiving(store: RecordStore[ReceiveRecord], how: How, decide: Decide | None = None) -> Begin:
    """A receive, new or gone on with."""
    record = store.record
    if decide is None and record.accept_all:
        decide = _accept
    intake = Intake(destination_of(record), store, decide, how.agent, parse(record.code))
    limits = replace(how.limits, keep_unfinished=record.ttl)
    return lambda engine: engine.receiving(intake, how.wishes, limits)


def uploading(store: RecordStore[UploadRecord], how: How) -> Begin:
    """An upload, new or gone on with; it begins when a page lends the activity's ``page_files``."""
    record = store.record
    intake = Intake(destination_of(record), store, _accept, how.agent)
    limits = replace(how.limits, chunk_size=record.chunk_size, keep_unfinished=record.ttl)
    manifest = record.manifest
    _ = manifest.id  # of very many files it takes a while: worked out here, not on the engine's thread
    return lambda engine: engine.uploading(intake, PageFiles(manifest), how.wishes, limits)


def again(store: RecordStore[Any], ledger: Ledger, how: How) -> Begin:
    """What an earlier process left, whichever it is."""
    match store.record:
        case SendRecord():
            return sending(store, ledger, how)
        case UploadRecord():
            return uploading(store, how)
        case _:
            return receiving(store, how)


def destination_of(record: FolderRecord) -> Destination:
    """Where the data go."""
    return Destination(Path(record.to), record.id, record.overwrite, record.allow_hidden)


def wishes_of(record: AnyRecord, host: str | None) -> Wishes:
    """Connect as before: to the same relay, or as the same relay; STUN and TURN servers are yet to be said."""
    relay = record.relay
    if relay is None or relay.port:
        return Wishes(lambda: None, record.via, host, relay.port if relay else 0)
    return Wishes(partial(server.relay_again, relay.url, relay.public_url), record.via, host)


# ------------------------------------------------------------------ finding
def same_send(ledger: Ledger, wanted: SendRecord, relay: str | None) -> SendRecord | None:
    """The unfinished send that the same cell began, if there is one: the newest."""

    def is_same(record: SendRecord) -> bool:
        return (
            (record.paths, record.entries, record.follow_symlinks, record.receivers, record.via)
            == (wanted.paths, wanted.entries, wanted.follow_symlinks, wanted.receivers, wanted.via)
            and _form(record.invitation) == _form(wanted.invitation)
            and relay in (None, record.relay and record.relay.url)
            and not is_over(record)
        )

    return next((record for record in _of_kind(ledger, SendRecord) if is_same(record)), None)


def _of_kind(ledger: Ledger, kind: type[M]) -> list[M]:
    """The newest first."""
    return [record for record in reversed(ledger.records()) if isinstance(record, kind)]


def _form(invitation: str) -> int:
    """Tell codes by their number of words, and a ticket from them."""
    secret = secret_of(invitation)
    return 0 if isinstance(secret, Ticket) else len(secret)


def same_receive(ledger: Ledger, ticket: Code | Ticket, to: Path) -> ReceiveRecord | None:
    """The unfinished receive that the same cell began, if there is one."""

    def is_same(record: ReceiveRecord) -> bool:
        with suppress(CodeInvalid):  # somebody edited it
            return Path(record.to) == to and parse(record.code).with_url(None) == ticket.with_url(None)
        return False

    return next((record for record in _of_kind(ledger, ReceiveRecord) if is_same(record)), None)


def same_upload(ledger: Ledger, wanted: UploadRecord) -> UploadRecord | None:
    """The unfinished upload of the same files into the same folder in the same way, if there is one."""

    def place(record: UploadRecord) -> tuple[object, ...]:
        return record.to, record.overwrite, record.allow_hidden, record.manifest

    return next((record for record in _of_kind(ledger, UploadRecord) if place(record) == place(wanted)), None)


def is_over(record: AnyRecord) -> bool:
    """Whether nobody can come any more, and all who came have what they came for."""
    if isinstance(record, FolderRecord):
        return False
    done = sum(pairing.state == State.DONE for pairing in record.pairings)
    open_ = any(pairing.is_open for pairing in record.pairings)
    full = record.receivers is not None and done >= record.receivers
    return full or (record.expires_at <= time.time() and not open_)


# ------------------------------------------------------------------ showing and ending
def snapshot_of(ledger: Ledger, record: AnyRecord) -> Snapshot:
    """What is known of a transfer that nobody runs in this process."""
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
    there = destination_of(record).progress() if isinstance(record, FolderRecord) else None
    if there is None:
        return view
    manifest, have = there
    count = manifest.bytes_in(have)
    return view.evolve(
        files=manifest.file_count, total=manifest.total_bytes, sent=count, verified=count, durable=count
    )


def discard(ledger: Ledger, record: AnyRecord) -> None:
    """End a transfer that no process runs: what is published stays, everything else goes.

    Raises like :meth:`RecordStore.take`, and :class:`StorageError` if something cannot be removed.
    """
    store: RecordStore[Any] = RecordStore(record, ledger)
    store.take()
    try:
        end(ledger, store.record, State.CANCELLED, "discarded")
    finally:
        store.rest()


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
    """Whether anybody has everything; perhaps the other side was never told."""
    if isinstance(record, FolderRecord):
        return bool(record.digest)
    return any(pairing.state == State.DONE for pairing in record.pairings)
