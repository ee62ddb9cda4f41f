"""All transfers of this process: commands in, reports out (:mod:`nbferry.engine.messages`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nbferry.connections.addresses import local_addresses
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.engine.activities.activity import Activity, Resources
from nbferry.engine.activities.receive import ReceiveActivity
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.activities.send import SendActivity
from nbferry.engine.activities.upload import UploadActivity
from nbferry.engine.messages import (
    AnswerPage,
    Cancel,
    Command,
    Decide,
    EngineStopped,
    GetFiles,
    GetOffer,
    GetSkipped,
    LendFiles,
    Notice,
    Pause,
    Query,
    Resume,
    Start,
    WithdrawFiles,
)
from nbferry.engine.slots import Slots
from nbferry.errors import Interrupted, NbferryError, TransferBusy
from nbferry.model.manifest import Manifest
from nbferry.status import FileProgress
from nbferry.storage.base import Skipped
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import (
    AnyRecord,
    FolderRecord,
    ReceiveRecord,
    RelayNote,
    SendRecord,
    UploadRecord,
)
from nbferry.storage.sources.digest_cache import DigestCache
from nbferry.storage.sources.files import FileSource, offer_of
from nbferry.storage.sources.pages import PageFiles, PageSource

if TYPE_CHECKING:
    from nbferry.relay.app import RunningRelay

log = logging.getLogger("nbferry")

# threads for files: two for each of a few active transfers; they wait for disks, not for the processor
WORKERS = 16
# Ended transfers that still answer queries.
MAX_ENDED = 100

FindRelay = Callable[[RelayNote | None], RelayAddress | None]
"""Finds the relay that was used before, or this kernel's; None means one in this process. In a worker thread."""

Answer = tuple[FileProgress, ...] | Manifest | tuple[Skipped, ...] | None
"""The answer to a query."""


class Engine:
    """Runs on the portal's thread, except where a method says otherwise."""

    def __init__(self, find_relay: FindRelay, tell: Callable[[Notice], None]) -> None:
        self._activities: dict[str, Activity] = {}
        # Commands for activities that are being made.
        self._early: dict[str, list[Command]] = {}
        self._find_relay = find_relay
        self._closing = False
        self._tell = tell
        self._executor = ThreadPoolExecutor(WORKERS, "nbferry-files")
        self._resources = Resources(self._relay_for, Slots(), self._executor, tell)
        self._running: set[asyncio.Task[None]] = set()
        self._own_relays: dict[int, RunningRelay] = {}
        self._starting_relay = asyncio.Lock()

    # ---------------------------------------------------------------- in
    def start(self, start: Start, started: Future[None]) -> None:
        """Run a transfer. ``started`` is done once it runs, or fails with what keeps it from that.

        Commands that follow reach it, however long its start takes.
        """
        name = start.record.id
        before = self._activities.get(name)
        if self._closing:
            started.set_exception(Interrupted())
        elif name in self._early or (before and not before.is_over):
            started.set_exception(TransferBusy())
        else:
            self._early[name] = []
            starting = asyncio.get_running_loop().create_task(self._start(start))
            self._running.add(starting)
            starting.add_done_callback(lambda task: self._started(task, started))

    async def _start(self, start: Start) -> None:
        name = start.record.id
        try:
            activity = await self._made(start)
        finally:
            early = self._early.pop(name)
        self._forget_oldest()
        self._activities.pop(name, None)
        self._activities[name] = activity
        activity.announce()
        task = asyncio.get_running_loop().create_task(activity.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        for command in early:
            self.post(command)

    async def _made(self, start: Start) -> Activity:
        """The activity of a record. Its claim is given up if nothing comes of it."""
        preparing = asyncio.get_running_loop().run_in_executor(self._executor, self._prepared, start)
        try:
            store, make = await asyncio.shield(preparing)
        except asyncio.CancelledError:
            preparing.add_done_callback(_release)
            raise
        if self._closing:
            store.release()
            raise Interrupted
        try:
            return make()
        except BaseException:
            store.release()
            raise

    def _started(self, task: asyncio.Task[None], started: Future[None]) -> None:
        self._running.discard(task)
        error = Interrupted() if task.cancelled() else task.exception()
        if error is None:
            started.set_result(None)
        elif isinstance(error, NbferryError):
            started.set_exception(error)
        else:
            log.error("a transfer could not be started", exc_info=error)
            message = f"Something unexpected went wrong ({type(error).__name__})."
            started.set_exception(NbferryError(message, hint="Please report it."))

    def post(self, command: Command) -> None:
        """Obey a command. One that comes too late for its transfer is ignored."""
        activity = self._activities.get(command.id)
        if activity is None or command.id in self._early:
            self._early.get(command.id, []).append(command)
            return
        match command:
            case Pause():
                activity.pause()
            case Resume():
                activity.resume()
            case Cancel(reason=reason):
                activity.cancel(reason)
            case Decide(verdict=verdict, offer=offer):
                activity.decide(verdict, offer)
            case LendFiles(page=page) if activity.pages:
                activity.pages.lend(page)
                activity.changed()
            case WithdrawFiles(page=page) if activity.pages:
                activity.pages.withdraw(page)
                activity.changed()
            case AnswerPage() if activity.pages:
                activity.pages.answer(command)

    def ask(self, query: Query) -> Answer:
        """Answer a query. For an unknown transfer the answer is empty."""
        activity = self._activities.get(query.id)
        match query:
            case GetFiles(first=first, count=count):
                return activity.files(first, count) if activity else ()
            case GetOffer():
                return activity.offer if activity else None
            case GetSkipped():
                return activity.skipped if activity else ()

    # ---------------------------------------------------------------- from a record to an activity
    def _prepared(self, start: Start) -> tuple[RecordStore[Any], Callable[[], Activity]]:
        """Do what takes a while, in a worker thread; the function makes the activity, on the loop's."""
        ledger = start.folders.ledger()
        store: RecordStore[Any] = RecordStore(start.record, ledger)
        if start.resume:
            _claim(store, start)
        try:
            return store, self._activity_of(store, start.settings, ledger)
        except BaseException:
            store.release()
            raise

    def _activity_of(
        self, store: RecordStore[Any], settings: Settings, ledger: Ledger
    ) -> Callable[[], Activity]:
        record: AnyRecord = store.record
        settings = _settings_for(record, settings)
        limits, resources = settings.limits, self._resources
        match record:
            case SendRecord(entries=()):
                source = partial(_files_of, record, settings, ledger)
                return lambda: SendActivity(store, settings, resources, source)
            case SendRecord():
                files = _page_files(Manifest(record.entries, record.chunk_size))
                return lambda: SendActivity(
                    store, settings, resources, lambda: PageSource(files, limits), files
                )
            case UploadRecord():
                files = _page_files(record.manifest)
                return lambda: UploadActivity(store, settings, resources, destination_of(record), files)
            case ReceiveRecord():
                return lambda: ReceiveActivity(store, settings, resources, destination_of(record))

    def _forget_oldest(self) -> None:
        ended = [key for key, activity in self._activities.items() if activity.is_over]
        for key in ended[: max(0, len(ended) - MAX_ENDED + 1)]:
            del self._activities[key]

    # ---------------------------------------------------------------- relays
    async def _relay_for(self, known: RelayNote | None, settings: Settings) -> RelayAddress:
        if known is None and settings.relay:
            known = RelayNote(url=settings.relay)
        found = await asyncio.get_running_loop().run_in_executor(self._executor, self._find_relay, known)
        return found or await self._relay_of_our_own(settings.host, known.port if known else 0)

    async def _relay_of_our_own(self, host: str | None, port: int) -> RelayAddress:
        """A relay in this process, enough for two people on one machine or in one network.

        ``port`` is not 0 if an earlier process had a relay at that port: the peer looks for us there.
        """
        # Loading tornado takes 50 ms, and this is seldom needed.
        from nbferry.relay.app import start_relay  # noqa: PLC0415

        async with self._starting_relay:
            any_of_them = next(iter(self._own_relays.values()), None)
            running = self._own_relays.get(port) if port else any_of_them
            if running is None:
                running = await start_relay(host or "", port)
                port = urlsplit(running.url).port or 0
                self._own_relays[port] = running
        others = [address for address in local_addresses(host) if ":" not in address]
        port = urlsplit(running.url).port or 0
        return RelayAddress(running.url, f"http://{others[-1]}:{port}/" if others else "", own_port=port)

    async def aclose(self) -> None:
        """Let go of what runs, so that another process can resume it, and stop."""
        self._closing = True
        for activity in self._activities.values():
            activity.leave(Interrupted())
        if self._running:
            await asyncio.wait(self._running, timeout=3)
        self._tell(EngineStopped())
        for relay in self._own_relays.values():
            await relay.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _release(preparing: asyncio.Future[tuple[RecordStore[Any], Callable[[], Activity]]]) -> None:
    if not preparing.cancelled() and not preparing.exception():
        preparing.result()[0].release()


def destination_of(record: FolderRecord) -> Destination:
    """Where the data of a transfer go."""
    return Destination(Path(record.to), record.id, record.overwrite, record.allow_hidden)


def _claim(store: RecordStore[Any], start: Start) -> None:
    """Claim what an earlier process left. STUN and TURN credentials may last for an hour only, so they are renewed."""
    store.claim(take_over=start.take_over)
    if start.ice not in (None, store.record.ice):
        store.update(ice=start.ice)


def _settings_for(record: AnyRecord, settings: Settings) -> Settings:
    """The settings of one transfer: the limits in its record take precedence."""
    limits = replace(settings.limits, keep_unfinished=record.ttl)
    if not isinstance(record, ReceiveRecord):
        limits = replace(limits, chunk_size=record.chunk_size)
    return replace(settings, limits=limits)


def _page_files(manifest: Manifest) -> PageFiles:
    # With very many files the id takes seconds to compute. This is a worker thread.
    assert manifest.id
    return PageFiles(manifest)


def _files_of(record: SendRecord, settings: Settings, ledger: Ledger) -> FileSource:
    return offer_of(
        [_as_named(Path(path)) for path in record.paths],
        chunk_size=record.chunk_size,
        follow_symlinks=record.follow_symlinks,
        max_entries=settings.limits.max_entries,
        cache=DigestCache(ledger.folder),
    )


def _as_named(path: Path) -> Path:
    """Shorten a path to what a person here would call it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
