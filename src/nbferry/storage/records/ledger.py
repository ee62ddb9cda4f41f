"""The ledger: all records of a state folder, so that another process can resume what one has begun.

    <state folder>/<id>/record.json    what is needed to resume a transfer; secret, 0600
    <state folder>/ended/<id>.json     how it ended, for 30 days; no secret

Every change is durable and atomic: a crash leaves the record as it was before or as it is after. The folder may also
hold the staging data of a receiver, which the ledger does not touch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from nbferry.errors import LocalProtocolError, NbferryError, TransferUnknown
from nbferry.model.names import STATE_FOLDER, display_name
from nbferry.storage.disk.atomic_file import belongs_to, read_whole, remove_quietly, write_whole
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.private import private_folder
from nbferry.storage.disk.state import existing_state, insist, made_state, remove_unused
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.records.claim import CLAIM, is_claimed
from nbferry.storage.records.record import (
    ID,
    MAX_RECORD,
    AnyRecord,
    Ended,
    FolderRecord,
    SendRecord,
    decode,
    decode_ended,
    encode,
)
from nbferry.storage.records.record_mac import sealed, unsealed, user_key

RECORD = "record.json"
# The record of nbferry 0.1. It is recognised and refused, never read.
OLD_RECORD = "memo.json"
ENDED = "ended"
# Seconds.
DAY = 24 * 3600.0
KEEP_ENDED = 30 * DAY
# Characters.
LONGEST_REASON = 500

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class StateFolders:
    """The state folders: the one beside the notebook, and the user's own, which has the key of the records."""

    notebook: Path
    own: Path

    def ledger(self) -> Ledger:
        """The ledger beside the notebook."""
        return Ledger(self.notebook, key=user_key(self.own))


class Ledger:
    """The records in ``folder``, which is made when the first is saved. Only records sealed under ``key`` are used.

    ``clock`` gives seconds since 1970; ``sync`` makes a file or folder durable. Methods raise :class:`StorageError` for
    what cannot be read or written, and :class:`UnsafePath` for a folder that is a link or another user's, unless they
    say otherwise.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: bytes,
        clock: Callable[[], float] = time.time,
        sync: Callable[[int], None] = REAL_DISK.sync,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._key, self._clock, self._sync = key, clock, sync

    def folder_of(self, transfer: str) -> Path:
        """Where the record of a transfer lies, and its claim."""
        return self.folder / _checked(transfer)

    # -------------------------------------------------------------- what is there
    def records(self) -> list[AnyRecord]:
        """All unfinished transfers, oldest first. Damaged and foreign records are left out. Raises nothing."""
        try:
            with existing_state(self.folder) as state:
                found = [self._read(state, name) for name in _ids(state)]
        except (OSError, NbferryError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning('the transfers in "%s" cannot be read: %s', self._shown, type(error).__name__)
            return []
        return sorted(filter(None, found), key=lambda record: (record.created, record.id))

    def load(self, transfer: str) -> AnyRecord | None:
        """Read the record of a transfer; None if there is none that can be read."""
        with self._translated("Reading a transfer"):
            try:
                with existing_state(self.folder) as state:
                    return self._read(state, _checked(transfer))
            except FileNotFoundError:
                return None

    def find(self, prefix: str) -> AnyRecord:
        """Find a transfer by the beginning of its id. Raises :class:`TransferUnknown` if none or several match."""
        found = [record for record in self.records() if prefix and record.id.startswith(prefix)]
        if len(found) > 1:
            ids = ", ".join(record.id for record in found[:10])
            raise TransferUnknown("Several transfers begin like that.", hint=f"Say which: {ids}.")
        if not found:
            raise self._unknown(prefix)
        return found[0]

    def _unknown(self, prefix: str) -> TransferUnknown:
        if old := [name for name in self._left_by_old_versions() if prefix and name.startswith(prefix)]:
            return TransferUnknown(
                f"Transfer {old[0]} was left by nbferry 0.1, and this version cannot resume it.",
                hint=f'Start it again. Its folder "{display_name(str(self.folder / old[0]))}" can be removed.',
            )
        ended = [] if not prefix else [each for each in self._all_ended() if each.id.startswith(prefix)]
        if len(ended) != 1:
            return TransferUnknown(f'There is no unfinished transfer "{display_name(prefix)}" here.')
        when = datetime.fromtimestamp(ended[0].at).astimezone().strftime("%Y-%m-%d at %H:%M")
        why = f" ({display_name(ended[0].reason, LONGEST_REASON).rstrip('.')})" if ended[0].reason else ""
        return TransferUnknown(f"Transfer {ended[0].id} ended on {when}: {ended[0].state}{why}.", hint="")

    def _left_by_old_versions(self) -> list[str]:
        try:
            with existing_state(self.folder) as state:
                return [name for name in _ids(state) if _has_file(state, name, OLD_RECORD)]
        except (OSError, NbferryError):
            return []

    def _read(self, state: Directory, transfer: str) -> AnyRecord | None:
        """Read a record. None if it is missing or damaged, or the transfer has ended."""
        try:
            with state.child(transfer) as folder:
                data = read_whole(folder, RECORD, MAX_RECORD, private=True)
            if data is None or self._read_ended(state, transfer):
                return None
            return _decoded(unsealed(data, self._key), transfer)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            # Other errors quote the file, which another user may have written.
            why = error if type(error) is ValueError else type(error).__name__
            log.warning("the record of transfer %s is left out: %s", transfer, why)
            return None

    # -------------------------------------------------------------- changes
    def save(self, record: AnyRecord) -> None:
        """Make a record durable. It replaces an earlier one of its id, and the note of how that ended."""
        record = replace(record, reason=record.reason[:LONGEST_REASON])
        try:
            data = sealed(encode(record), self._key)
        except ValueError as error:
            raise LocalProtocolError(f"A record cannot be kept: {error}.") from error
        _checked(record.id)
        with self._translated("Keeping a transfer"):
            insist(lambda: self._save(record.id, data))

    def _save(self, transfer: str, data: bytes) -> None:
        with made_state(self.folder, self._sync) as state:
            with private_folder(state, transfer) as folder:
                write_whole(folder, RECORD, data, sync=self._sync)
            self._forget_ended(state, transfer)
            state.sync(self._sync)

    def end(self, record: AnyRecord, state: str, reason: str = "") -> None:
        """Note how a transfer ended, then remove its record and claim. Its sink removes the staging data."""
        ended = Ended(
            id=_checked(record.id),
            role=record.role,
            state=state,
            reason=reason[:LONGEST_REASON],
            at=self._clock(),
            names=record.names,
            total=record.total,
        )
        with self._translated("Ending a transfer"), made_state(self.folder, self._sync) as folder:
            with private_folder(folder, ENDED) as inside:
                write_whole(inside, f"{record.id}.json", encode(ended), sync=self._sync)
            folder.sync(self._sync)
            _remove_record(folder, record.id)
            folder.sync(self._sync)

    def forget(self, record: AnyRecord) -> None:
        """Remove the record and claim of a transfer whose end need not be noted."""
        with self._translated("Ending a transfer"), suppress(FileNotFoundError):
            with existing_state(self.folder) as state:
                _remove_record(state, record.id)
                state.sync(self._sync)
            remove_unused(self.folder)

    def ended(self, transfer: str) -> Ended | None:
        """How a transfer ended; None if that is not known."""
        try:
            with existing_state(self.folder) as state:
                return self._read_ended(state, _checked(transfer))
        except (OSError, NbferryError):
            return None

    def is_claimed(self, transfer: str) -> bool:
        """Whether a living process runs this transfer. False if its folder cannot be read."""
        try:
            with existing_state(self.folder) as state, state.child(_checked(transfer)) as folder:
                return is_claimed(folder)
        except (OSError, NbferryError):
            return False

    # -------------------------------------------------------------- what is over
    def sweep(self, now: float) -> list[AnyRecord]:
        """Find the expired transfers that no process runs. The caller removes their data and ends them.

        They are offers that expired before a receiver came, and transfers that no process has used for their ``ttl``.
        ``now`` is seconds since 1970. Also forgets transfers that ended 30 days ago. Raises nothing.
        """
        with suppress(OSError, NbferryError), existing_state(self.folder) as state:
            self._prune(state, now)
        return [record for record in self.records() if self._is_over(record, now)]

    def _is_over(self, record: AnyRecord, now: float) -> bool:
        expired = isinstance(record, SendRecord) and not record.pairings and record.expires_at <= now
        try:
            with existing_state(self.folder) as state, state.child(record.id) as folder:
                return (expired or now - _last_sign(record, folder) > record.ttl) and not is_claimed(folder)
        except (OSError, NbferryError):
            return False

    def _prune(self, state: Directory, now: float) -> None:
        """Forget what ended long ago, and remove records that a crash left after their end was noted."""
        for ended in self._all_ended():
            _remove_record(state, ended.id)
            # A clock may have been set back, so a time may lie up to a day ahead.
            if not -DAY <= now - ended.at < KEEP_ENDED:
                self._forget_ended(state, ended.id)

    # -------------------------------------------------------------- how they ended
    def _all_ended(self) -> list[Ended]:
        try:
            with existing_state(self.folder) as state, state.child(ENDED) as folder:
                ids = [name.removesuffix(".json") for name in folder.names()]
            with existing_state(self.folder) as state:
                found = [self._read_ended(state, each) for each in ids if ID.fullmatch(each)]
        except (OSError, NbferryError):
            return []
        return [each for each in found if each]

    def _read_ended(self, state: Directory, transfer: str) -> Ended | None:
        try:
            with state.child(ENDED) as folder:
                data = read_whole(folder, f"{transfer}.json", MAX_RECORD, private=True)
            ended = decode_ended(data) if data is not None else None
        except (OSError, ValueError):
            return None
        return ended if ended and ended.id == transfer else None

    def _forget_ended(self, state: Directory, transfer: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), state.child(ENDED) as folder:
            folder.unlink(f"{transfer}.json")
            # Otherwise it may come back after a power failure, and hide a record.
            folder.sync(self._sync)

    # -------------------------------------------------------------- the folder
    @property
    def _shown(self) -> str:
        return display_name(str(self.folder))

    def _translated(self, doing: str) -> AbstractContextManager[None]:
        return translated(f'{doing} in "{self._shown}"')


def _remove_record(state: Directory, transfer: str) -> None:
    """Remove the ledger's files from a transfer's folder, and the folder if it is empty then."""
    with suppress(FileNotFoundError, NotADirectoryError), state.child(transfer) as folder:
        for name in folder.names():
            if belongs_to(name, RECORD, CLAIM):
                remove_quietly(folder, name)
    # The folder may have staging data, or be gone.
    with suppress(OSError):
        state.rmdir(transfer)


def _last_sign(record: AnyRecord, folder: Directory) -> float:
    """When the record, the claim or the journal of a transfer was last written."""
    last = _newest(folder)
    if isinstance(record, FolderRecord):
        with (
            suppress(OSError),
            Directory.open(Path(record.to)) as to,
            to.descend(f"{STATE_FOLDER}/{record.id}") as staging,
        ):
            last = max(last, _newest(staging))
    return last


def _newest(folder: Directory) -> float:
    found = (folder.look(name) for name in folder.names())
    return max((info.st_mtime for info in found if info), default=0.0)


def _ids(state: Directory) -> list[str]:
    return [name for name in state.names() if ID.fullmatch(name)]


def _has_file(state: Directory, transfer: str, name: str) -> bool:
    with suppress(OSError), state.child(transfer) as folder:
        return folder.look(name) is not None
    return False


def _checked(transfer: str) -> str:
    if not ID.fullmatch(transfer):
        raise LocalProtocolError(f'"{display_name(transfer)}" cannot name a transfer.')
    return transfer


def _decoded(data: bytes, transfer: str) -> AnyRecord:
    record = decode(data)
    if record.id != transfer:
        raise ValueError("it is that of another transfer")
    return record
