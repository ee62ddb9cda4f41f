"""One send or receive as the engine runs it; the user's handle is a view of it from another thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

from nbferry.connections.context import ConnectContext
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.rate import Rate, eta
from nbferry.engine.slots import Slots
from nbferry.engine.threads import Threads
from nbferry.errors import Cancelled, CodeExpired, Expired, NbferryError, Rejected, TransferBusy
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.model.roles import Role
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.sources.pages import PageFiles

Callback = Callable[[Snapshot], None]

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class Resources:
    """What the engine gives each activity to work with; ``connect_context`` finds the relay, which may take a while."""

    connect_context: Callable[[], Awaitable[ConnectContext]]
    slots: Slots
    executor: concurrent.futures.Executor
    limits: Limits


class Activity(ABC):
    """Everything but ``snapshot``, ``result`` and ``subscribe`` belongs to the engine's thread."""

    role: ClassVar[Role]

    def __init__(self, store: RecordStore[Any], means: Resources) -> None:
        self.id: str = store.record.id
        self.limits = means.limits
        self._store: RecordStore[Any] = store
        self._connect_context = means.connect_context
        self._slots = means.slots
        self._threads = Threads(means.executor)
        self.snapshot = Snapshot(id=self.id, role=self.role)
        self.result: concurrent.futures.Future[Result] = concurrent.futures.Future()
        self.settled = threading.Event()  # after the result: nothing of it is in use any more
        self.error: NbferryError | None = None
        self._subscribers: list[Callback] = []
        self._rate = Rate()
        self._publish_at: asyncio.TimerHandle | None = None
        self._started: float | None = None
        self._cancelled: str | None = None
        self._left: NbferryError | None = None  # why this process has let go of it
        self._task: asyncio.Task[None] | None = None
        self._start: Callable[[], None] | None = None  # while it rests
        self._discard: Callable[[], None] | None = None
        self._successor: Activity | None = None

    # ---------------------------------------------------------------- any thread
    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have ``callback`` called on the engine's thread with each new snapshot; returns what stops that."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    @property
    def latest(self) -> Activity:
        """This one, or the one that goes on in its place."""
        return self._successor.latest if self._successor else self

    # ---------------------------------------------------------------- resting
    def rest(self, view: Snapshot, start: Callable[[], None], discard: Callable[[], None]) -> None:
        """Show what an earlier process left, until ``resume`` starts it or ``cancel`` removes it."""
        self.snapshot, self._start, self._discard = view, start, discard

    @property
    def resting(self) -> bool:
        """Whether an earlier process left it, and nobody has gone on with it here."""
        return self._start is not None

    def go_on_as(self, other: Activity) -> None:
        """What rests here goes on as ``other``, not yet started: whoever holds this one follows that."""
        self._stir()
        self._successor, other._subscribers = other, self._subscribers
        other.result.add_done_callback(self._end_like)

    def _end_like(self, other: concurrent.futures.Future[Result]) -> None:
        if error := other.exception():
            self.result.set_exception(error)
        else:
            self.result.set_result(other.result())

    def discarded(self) -> None:
        """What rested here was removed."""
        self._stir()
        self._conclude(Cancelled())
        self.settled.set()

    def _wake(self, do: Callable[[], None]) -> bool:
        """Start what rests, or remove it; that another process is at it shows as the reason why not."""
        try:
            do()
        except NbferryError as error:
            self._show(self.snapshot.evolve(reason=error.message))
            return False
        self._stir()  # at once: the next wish may come before the first step of ``run``
        return True

    def _stir(self) -> None:
        self._start = self._discard = None

    # ---------------------------------------------------------------- running
    @property
    def page_files(self) -> PageFiles | None:
        """The files of a browser's machine that it reads, for a page to lend; None for files of this computer."""
        return None

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether the offer was accepted, and the transfer is not over: it can go on without a new code."""

    async def run(self) -> None:
        """From the start to the end; the outcome is in ``result``, never raised."""
        self._task = asyncio.current_task()
        watching = asyncio.create_task(
            self._store.watch(self._threads, lambda: self.snapshot.durable, self._taken_over)
        )
        try:
            result = await self._run_if_wanted()
        except* NbferryError as group:
            self._conclude(_first_error(group))
        except* asyncio.CancelledError:
            self._conclude(self._left or Cancelled(self._cancelled or "The transfer was cancelled."))
        except* Exception as group:  # a fault of ours must end the transfer, not the engine
            log.exception("transfer %s failed unexpectedly", self.id)
            message = f"Something unexpected went wrong ({_name_of(group)})."
            self._conclude(NbferryError(message, hint="Please report it."))
        else:
            self._finish(result)
        finally:
            try:
                await self._settle(watching)
            except Exception:  # the outcome stays what it is
                log.exception("transfer %s could not be put away", self.id)
            finally:
                self._store.rest()  # no other process is to wait for this one, whatever went wrong
                self.settled.set()

    async def _run_if_wanted(self) -> Result:
        """Run it, unless somebody cancelled it or let go of it before the first step."""
        if self._left:
            raise self._left
        if self._cancelled:
            raise Cancelled(self._cancelled)
        return await self._run()

    @abstractmethod
    async def _run(self) -> Result:
        """Do it; raise what went wrong."""

    async def _settle(self, watching: asyncio.Task[None]) -> None:
        """The outcome is known: tell the other side, let go of everything."""
        await self._part()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        self._interrupt()
        await self._threads.settle()
        await self._threads.call(self._put_away)

    @abstractmethod
    async def _part(self) -> None:
        """Tell the other side how it ended, unless this process leaves; no session runs any more then."""

    def _interrupt(self) -> None:  # noqa: B027  # nobody, where all files are of this computer
        """Have threads come back that wait for somebody who may not answer."""

    @abstractmethod
    def _put_away(self) -> None:
        """Keep what another process can go on with, remove everything else. In a worker thread; none else runs."""

    def _finish(self, result: Result) -> None:
        self._show_now(state=State.DONE, rate=0.0, eta=None, reason="")
        self.result.set_result(result)

    def _conclude(self, error: NbferryError) -> None:
        if self.result.done():
            return
        self.error = error
        match error:
            case Cancelled():
                state = State.CANCELLED
            case _ if self._left:
                state = State.PAUSED
            case Rejected():
                state = State.REJECTED
            case Expired() | CodeExpired():
                state = State.EXPIRED
            case _:
                state = State.FAILED
        self._show_now(state=state, rate=0.0, eta=None, reason=error.message)
        self.result.set_exception(error)

    def _taken_over(self) -> None:
        self.leave(TransferBusy("Another process goes on with this transfer, or has ended it.", hint=""))

    def _started_now(self) -> None:
        self._started = self._started or time.monotonic()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started if self._started is not None else 0.0

    # ---------------------------------------------------------------- wishes
    @abstractmethod
    def machines(self) -> list[Machine]:
        """Those that run now."""

    @abstractmethod
    def pump(self) -> None:
        """After a wish was passed to the machines."""

    def pause(self) -> None:
        """Hold it until ``resume``."""
        for machine in self.machines():
            machine.pause()
        self.pump()

    def resume(self) -> None:
        """Go on."""
        if self._start:
            self._wake(self._start)
        for machine in self.machines():
            machine.resume()
        self.pump()

    def cancel(self, reason: str = "") -> None:
        """End it here and there, and clean up."""
        if self._discard:
            if self._wake(self._discard):
                self.discarded()
            return
        again = self._cancelled is not None
        self._cancelled = f"The transfer was cancelled{': ' + reason if reason else ''}."
        running = [machine for machine in self.machines() if not machine.phase.final]
        for machine in running:
            machine.cancel(reason, time.monotonic())
        self.pump()
        if self._task and not again and not self.result.done() and not self._ends_with(running):
            self._task.cancel()

    def _ends_with(self, running: list[Machine]) -> bool:
        """Whether the end of these machines is the end of it all."""
        return bool(running)

    def leave(self, why: NbferryError) -> None:
        """Let go of everything at once, so that another process can go on; what is being cancelled still is."""
        for machine in self.machines():
            machine.part()
        self.pump()
        if self.result.done() or self._cancelled is not None:
            return
        self._left = why
        if self.resting:
            self._stir()
            self._conclude(why)
            self.settled.set()
        elif self._task:
            self._task.cancel()

    # ---------------------------------------------------------------- what is shown
    @abstractmethod
    def _condition(self) -> tuple[State, str]:
        """State and reason as they are now; asked after every input, so it must be quick."""

    @abstractmethod
    def _view(self) -> Snapshot:
        """The snapshot as it is now."""

    @abstractmethod
    def files(self, first: int = 0, count: int | None = None) -> tuple[FileProgress, ...]:
        """Progress of so many files from the first on; of all the others."""

    @property
    def folder(self) -> Path | None:
        """Where the files go; None on a sender."""
        return None

    def changed(self) -> None:
        """Something happened: a new state shows at once, progress a few times a second."""
        if self._is_over:
            return
        if self._condition() != (self.snapshot.state, self.snapshot.reason):
            self._show(self._view())
        elif self._publish_at is None:
            loop = asyncio.get_running_loop()
            self._publish_at = loop.call_later(self.limits.report_interval, self._show_later)

    def _show_later(self) -> None:
        self._publish_at = None
        if not self._is_over:
            self._show(self._view())

    @property
    def _is_over(self) -> bool:
        """Whether its last snapshot is there: a paused one, if this process has let go of it."""
        return self.snapshot.state.final or self.result.done()

    def _show_now(self, **changes: object) -> None:
        self._show(self._view().evolve(**changes))

    def _show(self, view: Snapshot) -> None:
        if self._publish_at:
            self._publish_at.cancel()
            self._publish_at = None
        if not view.state.final and view.state not in (State.WAITING, State.CONNECTING, State.OFFERED):
            rate = self._rate.update(view.verified, time.monotonic())
            left = view.total - view.verified
            view = view.evolve(rate=rate, eta=eta(left, rate) if view.state is State.TRANSFERRING else None)
        self.snapshot = view
        for callback in list(self._subscribers):
            self._call(callback, view)

    def _call(self, callback: Callback, view: Snapshot) -> None:
        try:
            callback(view)
        except Exception:  # a subscriber's fault is not the transfer's
            log.exception("a subscriber of transfer %s failed", self.id)


def state_of(machine: Machine, *, away: bool, hashing: bool = False) -> State:
    """What a face calls the state of a machine: being unconnected or paused shows before its phase."""
    moving = (Phase.OFFERED, Phase.TRANSFERRING, Phase.VERIFYING)
    if machine.phase in moving and machine.paused:
        return State.PAUSED
    if not machine.phase.final and not machine.is_connected:
        return State.PAUSED if away else State.CONNECTING
    if machine.phase is Phase.TRANSFERRING and hashing:
        return State.HASHING
    return State(machine.phase.value)


class Counted(Protocol):
    """What knows which chunks are verified, and which are durable: stored, and on the disk for good."""

    @property
    def verified(self) -> RangeSet: ...  # noqa: D102
    @property
    def durable(self) -> RangeSet: ...  # noqa: D102


class _Nothing:
    """Of an offer that nobody has taken."""

    verified = durable = RangeSet()


UNTAKEN = _Nothing()


def file_progress(
    manifest: Manifest, machine: Counted, first: int = 0, count: int | None = None
) -> tuple[FileProgress, ...]:
    """Files of a manifest, with what a machine knows of them; all, or so many from the first on."""
    rows = []
    stop = None if count is None else first + count
    for index in islice(manifest.files, first, stop):
        entry, span = manifest.entries[index], RangeSet.span(*manifest.chunks_of(index))
        verified = manifest.bytes_in(machine.verified & span)
        rows.append(FileProgress(entry.path, entry.size, verified, manifest.bytes_in(machine.durable & span)))
    return tuple(rows)


def _first_error(group: BaseExceptionGroup[NbferryError]) -> NbferryError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, NbferryError)  # the group was split by this type
    return error


def _name_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:200]
