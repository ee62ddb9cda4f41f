"""The transfers of one notebook: running, ended, and left unfinished by earlier processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from nbferry.connections.settings import Settings
from nbferry.engine.client import EngineClient
from nbferry.engine.engine import FindRelay
from nbferry.engine.messages import AnswerPage, EngineStopped, Notice, PageQuestion, Report, Start
from nbferry.engine.portal import Portal
from nbferry.errors import Cancelled, Interrupted, NbferryError, SourceAway, TransferBusy, TransferUnknown
from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer
from nbferry.storage.records.ledger import Ledger, StateFolders
from nbferry.storage.records.record import AnyRecord, FolderRecord, SendRecord
from nbferry.transfer import unfinished
from nbferry.transfer.face import Face
from nbferry.transfer.handle import Decider, Transfer, Transfers

R = TypeVar("R", bound=AnyRecord | None)

# Ended transfers that are still listed.
MAX_ENDED = 100


class Notebook:
    """Owns the ledger, the engine and the faces. Keeps one handle for each transfer, running or not.

    A handle is *parked* if an earlier process left its transfer and none runs it. Then it stands for a record, and
    ``resume`` has the engine run it. ``folders`` finds the state folders, ``face`` the face that fits, and ``settings``
    how this process runs a transfer.
    """

    def __init__(
        self,
        portal: Portal,
        find_relay: FindRelay,
        folders: Callable[[], StateFolders],
        face: Callable[[], Face],
        settings: Callable[[AnyRecord, Limits], Settings],
    ) -> None:
        self._engine = EngineClient(portal, find_relay, self._hear)
        self._folders = folders
        self._face = face
        self._settings = settings
        self._handles: dict[str, Transfer] = {}
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- starting
    def start(
        self,
        record: AnyRecord,
        limits: Limits,
        *,
        decide: Decider | None = None,
        interactive: bool = False,
    ) -> Transfer:
        """Resume the unfinished transfer that the same call began, or start a new one.

        ``decide`` judges its offer; with ``interactive`` a person who waits is asked instead.
        """
        folders, ledger = self._open()
        same = self._find(lambda: unfinished.same_as(ledger, record))
        if same is None:
            return self._run(record, limits, folders, decide=decide, interactive=interactive)
        if isinstance(record, SendRecord):
            # While the unfinished one runs, or if it has just ended, this call starts another one.
            with suppress(TransferBusy, TransferUnknown):
                return self._run(same, limits, folders, resume=True, ice=record.ice, interactive=True)
            return self._run(record, limits, folders)
        running = self._running(same.id)
        if running is None:
            return self._run(
                same, limits, folders, resume=True, ice=record.ice, decide=decide, interactive=interactive
            )
        running.meet(self._face(), interactive=interactive, decide=decide)
        return running

    def resume(self, id: str, limits: Limits, *, take_over: bool = False) -> Transfer:  # noqa: A002  # what it is
        """Resume a transfer by the beginning of its id. Raises :class:`TransferUnknown` and :class:`TransferBusy`."""
        folders, ledger = self._open()
        return self._resume(self._find(lambda: ledger.find(id)), limits, folders, take_over=take_over)

    def resume_all(self, limits: Limits, *, take_over: bool = False) -> Transfers:
        """Resume all that no other process runs."""
        folders, ledger = self._open()
        resumed = Transfers([], self._face())
        for each in ledger.records():
            # One may have ended meanwhile.
            if record := self._find(partial(ledger.load, each.id)):
                with suppress(TransferBusy, TransferUnknown):
                    resumed.append(self._resume(record, limits, folders, take_over=take_over))
        return resumed

    def _resume(
        self, record: AnyRecord, limits: Limits, folders: StateFolders, *, take_over: bool
    ) -> Transfer:
        if running := self._running(record.id):
            running.meet(self._face(), interactive=True)
            return running
        return self._run(record, limits, folders, resume=True, take_over=take_over, interactive=True)

    def _run(
        self,
        record: AnyRecord,
        limits: Limits,
        folders: StateFolders,
        *,
        resume: bool = False,
        take_over: bool = False,
        ice: tuple[IceServer, ...] | None = None,
        decide: Decider | None = None,
        interactive: bool = False,
    ) -> Transfer:
        """Put the engine behind the handle of a transfer. Raises what keeps it from starting."""
        # servers that are named now go before those of the record, and both before the environment
        settings = self._settings(record if ice is None else replace(record, ice=ice), limits)
        start = Start(
            record=record,
            settings=replace(settings, asks=decide is not None),
            folders=folders,
            resume=resume,
            take_over=take_over,
            ice=ice,
        )
        transfer = self._handle_for(record)
        transfer.meet(self._face(), interactive=interactive)
        try:
            transfer.run(lambda: self._engine.start(start), decide)
        except NbferryError:
            self._forget_if_new(transfer)
            raise
        return transfer

    # ---------------------------------------------------------------- listing and ending
    def transfers(self, limits: Limits) -> Transfers:
        """The unfinished ones first, parked if none runs them; then the others of this process. The oldest first."""
        folders, ledger = self._open()
        records = [each for each in ledger.records() if not (isinstance(each, FolderRecord) and each.digest)]
        for record in records:
            self._park_unless_here(record, limits, folders, ledger)
        ids = [record.id for record in records]
        with self._lock:
            # Another process has ended the other parked ones.
            for each in [each for each in self._handles.values() if each.is_parked and each.id not in ids]:
                del self._handles[each.id]
            here = [each for each in self._handles.values() if each.id not in ids]
            listed = [self._handles[each] for each in ids if each in self._handles]
        for each in (*listed, *here):
            each.meet(self._face())
        return Transfers([*listed, *here], self._face())

    def discard(self, id: str) -> None:  # noqa: A002  # what it is
        """End an unfinished transfer: by a cancellation if it runs here. Raises like :meth:`resume`."""
        _, ledger = self._open()
        record = ledger.find(id)
        if running := self._running(record.id):
            running.cancel()
            return
        unfinished.discard(ledger, record)
        parked = self._handles.get(record.id)
        if parked and parked.is_parked:
            parked.end(Cancelled())

    def _park_unless_here(
        self, record: AnyRecord, limits: Limits, folders: StateFolders, ledger: Ledger
    ) -> None:
        there = self._handles.get(record.id)
        if there and (there.is_running or not (there.is_parked or there.is_closed)):
            return
        report = unfinished.report_of(ledger, record)
        start = Start(record=record, settings=self._settings(record, limits), folders=folders, resume=True)
        transfer = self._handle_for(record)
        transfer.meet(self._face(), interactive=True)

        def resume() -> Future[None]:
            # it may have been dropped from the list since
            with self._lock:
                self._handles[record.id] = transfer
            return self._engine.start(start)

        transfer.park(report, resume=resume, discard=lambda: unfinished.discard(ledger, record))

    # ---------------------------------------------------------------- handles
    def _open(self) -> tuple[StateFolders, Ledger]:
        """Open the ledger, and remove what has expired."""
        folders = self._folders()
        ledger = folders.ledger()
        unfinished.sweep(ledger)
        return folders, ledger

    def _find(self, find: Callable[[], R]) -> R:
        """Find a record. If its transfer is ending in this process, wait for that, and look again."""
        record = find()
        there = self._handles.get(record.id) if record is not None else None
        if there is None or there.is_parked or not there.is_over:
            return record
        there.wait_until_closed()
        return find()

    def _running(self, id: str) -> Transfer | None:  # noqa: A002  # what it is
        """The transfer of this id, if it runs in this process."""
        transfer = self._handles.get(id)
        return transfer if transfer and transfer.is_running else None

    def _handle_for(self, record: AnyRecord) -> Transfer:
        """The one handle of a transfer; it moves to the end of the list."""
        with self._lock:
            transfer = self._handles.pop(record.id, None) or Transfer(record, self._engine)
            ended = [each for each in self._handles.values() if each.is_closed]
            for each in ended[: max(0, len(ended) - MAX_ENDED + 1)]:
                del self._handles[each.id]
            self._handles[record.id] = transfer
        return transfer

    def _forget_if_new(self, transfer: Transfer) -> None:
        """Drop a handle that was made for a start which failed."""
        with self._lock:
            if transfer.is_new and self._handles.get(transfer.id) is transfer:
                del self._handles[transfer.id]

    def _hear(self, notice: Notice) -> None:
        """Pass on a notice of the engine. Reports come on its thread, questions on any."""
        match notice:
            case Report(snapshot=snapshot):
                if transfer := self._handles.get(snapshot.id):
                    transfer.hear(notice)
            case PageQuestion(id=name, page=page, number=number):
                transfer = self._handles.get(name)
                if not (transfer and transfer.ask_page(notice)):
                    self._engine.post(AnswerPage(name, page, number, SourceAway()))
            case EngineStopped():
                for transfer in [each for each in self._handles.values() if each.is_parked]:
                    transfer.end(Interrupted())
