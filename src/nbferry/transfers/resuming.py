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
from nbferry.transfers.registry import Begin

M = TypeVar("M", bound=AnyRecord)

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class How:
    """How a transfer is run in this process."""

    wishes: Wishes
    limits: Limits
    agent: str


# ------------------------------------------------------------------ from a memo to an activity
def sending(keeper: RecordStore[SendRecord], ledger: Ledger, how: How) -> Begin:
    """A send, new or gone on with."""
    memo = keeper.memo
    limits = replace(how.limits, chunk_size=memo.chunk_size, partials=memo.kept_for)
    if memo.entries:
        files = PageFiles(Manifest(memo.entries, memo.chunk_size))
        offering = Offering(lambda: PageSource(files, limits), keeper, how.agent, files)
    else:
        offering = Offering(lambda: _files_of(memo, ledger, limits), keeper, how.agent)
    return lambda engine: engine.sending(offering, how.wishes, limits)


def _files_of(memo: SendRecord, ledger: Ledger, limits: Limits) -> FileSource:
    return offer_of(
        [_as_named(Path(path)) for path in memo.paths],
        chunk_size=memo.chunk_size,
        follow_symlinks=memo.follow_symlinks,
        max_entries=limits.max_entries,
        cache=DigestCache(ledger.folder),
    )


def _accept(_: Manifest) -> bool:
    return True


def _as_named(path: Path) -> Path:
    """Shorten a path to what a person here would call it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def receiving(keeper: RecordStore[ReceiveRecord], how: How, decide: Decide | None = None) -> Begin:
    """A receive, new or gone on with."""
    memo = keeper.memo
    if decide is None and memo.willing:
        decide = _accept
    intake = Intake(destination_of(memo), keeper, decide, how.agent, parse(memo.code))
    limits = replace(how.limits, partials=memo.kept_for)
    return lambda engine: engine.receiving(intake, how.wishes, limits)


def uploading(keeper: RecordStore[UploadRecord], how: How) -> Begin:
    """An upload, new or gone on with; it begins when a page lends the activity's ``page_files``."""
    memo = keeper.memo
    intake = Intake(destination_of(memo), keeper, _accept, how.agent)
    limits = replace(how.limits, chunk_size=memo.chunk_size, partials=memo.kept_for)
    manifest = memo.manifest
    _ = manifest.id  # of very many files it takes a while: worked out here, not on the engine's thread
    return lambda engine: engine.uploading(intake, PageFiles(manifest), how.wishes, limits)


def again(keeper: RecordStore[Any], ledger: Ledger, how: How) -> Begin:
    """What an earlier process left, whichever it is."""
    match keeper.memo:
        case SendRecord():
            return sending(keeper, ledger, how)
        case UploadRecord():
            return uploading(keeper, how)
        case _:
            return receiving(keeper, how)


def destination_of(memo: FolderRecord) -> Destination:
    """Where the data go."""
    return Destination(Path(memo.to), memo.id, memo.overwrite, memo.allow_hidden)


def wishes_of(memo: AnyRecord, host: str | None) -> Wishes:
    """Connect as before: to the same relay, or as the same relay; STUN and TURN servers are yet to be said."""
    relay = memo.relay
    if relay is None or relay.port:
        return Wishes(lambda: None, memo.via, host, relay.port if relay else 0)
    return Wishes(partial(server.relay_again, relay.url, relay.public_url), memo.via, host)


# ------------------------------------------------------------------ finding
def same_send(ledger: Ledger, wanted: SendRecord, relay: str | None) -> SendRecord | None:
    """The unfinished send that the same cell began, if there is one: the newest."""

    def is_same(memo: SendRecord) -> bool:
        return (
            (memo.paths, memo.entries, memo.follow_symlinks, memo.receivers, memo.via)
            == (wanted.paths, wanted.entries, wanted.follow_symlinks, wanted.receivers, wanted.via)
            and _form(memo.invitation) == _form(wanted.invitation)
            and relay in (None, memo.relay and memo.relay.url)
            and not is_over(memo)
        )

    return next((memo for memo in _of_kind(ledger, SendRecord) if is_same(memo)), None)


def _of_kind(ledger: Ledger, kind: type[M]) -> list[M]:
    """The newest first."""
    return [memo for memo in reversed(ledger.memos()) if isinstance(memo, kind)]


def _form(invitation: str) -> int:
    """Tell codes by their number of words, and a ticket from them."""
    secret = secret_of(invitation)
    return 0 if isinstance(secret, Ticket) else len(secret)


def same_receive(ledger: Ledger, ticket: Code | Ticket, to: Path) -> ReceiveRecord | None:
    """The unfinished receive that the same cell began, if there is one."""

    def is_same(memo: ReceiveRecord) -> bool:
        with suppress(CodeInvalid):  # somebody edited it
            return Path(memo.to) == to and parse(memo.code).with_url(None) == ticket.with_url(None)
        return False

    return next((memo for memo in _of_kind(ledger, ReceiveRecord) if is_same(memo)), None)


def same_upload(ledger: Ledger, wanted: UploadRecord) -> UploadRecord | None:
    """The unfinished upload of the same files into the same folder in the same way, if there is one."""

    def place(memo: UploadRecord) -> tuple[object, ...]:
        return memo.to, memo.overwrite, memo.allow_hidden, memo.manifest

    return next((memo for memo in _of_kind(ledger, UploadRecord) if place(memo) == place(wanted)), None)


def is_over(memo: AnyRecord) -> bool:
    """Whether nobody can come any more, and all who came have what they came for."""
    if isinstance(memo, FolderRecord):
        return False
    done = sum(pairing.state == State.DONE for pairing in memo.pairings)
    open_ = any(pairing.is_open for pairing in memo.pairings)
    full = memo.receivers is not None and done >= memo.receivers
    return full or (memo.expires_at <= time.time() and not open_)


# ------------------------------------------------------------------ showing and ending
def snapshot_of(ledger: Ledger, memo: AnyRecord) -> Snapshot:
    """What is known of a transfer that nobody runs in this process."""
    elsewhere = ledger.is_claimed(memo.id)
    view = Snapshot(
        id=memo.id,
        role=memo.role,
        state=State.WAITING if elsewhere else State.PAUSED,
        reason="another process runs it" if elsewhere else memo.reason or "not running; resume it",
        names=memo.names,
        files=len(memo.names),
        total=memo.total,
        durable=memo.durable,
        verified=memo.durable,
    )
    there = destination_of(memo).progress() if isinstance(memo, FolderRecord) else None
    if there is None:
        return view
    manifest, have = there
    count = manifest.bytes_in(have)
    return view.evolve(
        files=manifest.file_count, total=manifest.total_bytes, sent=count, verified=count, durable=count
    )


def discard(ledger: Ledger, memo: AnyRecord) -> None:
    """End a transfer that no process runs: what is published stays, everything else goes.

    Raises like :meth:`RecordStore.take`, and :class:`StorageError` if something cannot be removed.
    """
    keeper: RecordStore[Any] = RecordStore(memo, ledger)
    keeper.take()
    try:
        end(ledger, keeper.memo, State.CANCELLED, "discarded")
    finally:
        keeper.rest()


def end(ledger: Ledger, memo: AnyRecord, state: State, reason: str = "") -> None:
    """Remove everything that is kept of a transfer, but for a line on how it ended."""
    if isinstance(memo, FolderRecord):
        destination_of(memo).discard()
    ledger.end(memo, str(state), reason)


def sweep(ledger: Ledger) -> None:
    """Remove what has expired. What cannot be removed now is tried again next time."""
    over = ledger.sweep(time.time())
    served = [
        memo for memo in _of_kind(ledger, SendRecord) if is_over(memo) and not ledger.is_claimed(memo.id)
    ]
    for memo in [*over, *(memo for memo in served if memo not in over)]:
        try:
            end(ledger, memo, State.DONE if _is_done(memo) else State.EXPIRED)
        except NbferryError as error:
            log.warning("transfer %s has expired, but cannot be removed: %s", memo.id, error.message)


def _is_done(memo: AnyRecord) -> bool:
    """Whether anybody has everything; perhaps the other side was never told."""
    if isinstance(memo, FolderRecord):
        return bool(memo.digest)
    return any(pairing.state == State.DONE for pairing in memo.pairings)
