"""One send, receive or upload as the engine runs it. Faces learn of it by reports, and reach it by commands."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.engine.activities.lent_pages import LentPages
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.messages import PageQuestion, Report
from nbferry.engine.rate import Rate, eta
from nbferry.engine.slots import Slots
from nbferry.engine.threads import Threads
from nbferry.errors import Cancelled, CodeExpired, Expired, NbferryError, Rejected, TransferBusy
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.model.roles import Role
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Skipped
from nbferry.storage.records.record import RelayNote

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class Resources:
    """What all activities of an engine share.

    ``find_relay`` finds the relay of a record, or one that fits; that may take a while. ``tell`` passes reports and
    questions to the faces.
    """

    find_relay: Callable[[RelayNote | None, Settings], Awaitable[RelayAddress]]
    slots: Slots
    executor: Executor
    tell: Callable[[Report | PageQuestion], None]


class Activity(ABC):
    """Everything here happens on the engine's thread."""

    role: ClassVar[Role]

    def __init__(self, store: RecordStore[Any], settings: Settings, resources: Resources) -> None:
        self.id: str = store.record.id
        self.error: NbferryError | None = None
        self.snapshot = Snapshot(id=self.id, role=self.role)
        # of a browser's machine, where the files are there
        self.pages: LentPages | None = None
        self._store: RecordStore[Any] = store
        self._settings = settings
        self.limits = settings.limits
        self._resources = resources
        self._slots = resources.slots
        self._threads = Threads(resources.executor)
        self._result: Result | None = None
        self._closed = False
        self._told: tuple[object, ...] = ()
        self._rate = Rate()
        self._publish_at: asyncio.TimerHandle | None = None
        self._started: float | None = None
        self._cancelled: str | None = None
        # why this process has let go of it
        self._left: NbferryError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether its outcome in this process is known."""
        return self._result is not None or self.error is not None

    # ---------------------------------------------------------------- running
    async def run(self) -> None:
        """From the start to the end; the outcome is reported, never raised."""
        self._task = asyncio.current_task()
        beating = asyncio.create_task(
            self._store.heartbeat(self._threads, lambda: self.snapshot.durable, self._taken_over)
        )
        try:
            result = await self._run_if_wanted()
        except* NbferryError as group:
            self._fail(_first_error(group))
        except* asyncio.CancelledError:
            self._fail(self._left or Cancelled(self._cancelled or "The transfer was cancelled."))
        # a fault of ours must end the transfer, not the engine
        except* Exception as group:
            log.exception("transfer %s failed unexpectedly", self.id)
            message = f"Something unexpected went wrong ({_name_of(group)})."
            self._fail(NbferryError(message, hint="Please report it."))
        else:
            self._finish(result)
        finally:
            await self._close(beating)

    async def _close(self, beating: asyncio.Task[None]) -> None:
        """Let go of everything; the outcome stays what it is."""
        try:
            await self._close_sessions()
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            self._interrupt()
            await self._threads.settle()
            await self._threads.call(self._clean_up)
        except Exception:
            log.exception("transfer %s could not be cleaned up", self.id)
        finally:
            # no other process is to wait for this one
            self._store.release()
            self._closed = True
            self._tell()

    async def _run_if_wanted(self) -> Result:
        """Run it, unless it was cancelled or let go of before the first step."""
        if self._left:
            raise self._left
        if self._cancelled:
            raise Cancelled(self._cancelled)
        return await self._run()

    @abstractmethod
    async def _run(self) -> Result:
        """Do it; raise what went wrong."""

    @abstractmethod
    async def _close_sessions(self) -> None:
        """Tell the peer how it ended, unless this process leaves; no session runs any more then."""

    def _interrupt(self) -> None:  # noqa: B027  # files of this computer keep no thread waiting
        """Make threads return that wait for a page."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Keep what another process can resume, remove everything else. In a worker thread, the only one by then."""

    def _finish(self, result: Result) -> None:
        self._result = result
        self._show_now(state=State.DONE, rate=0.0, eta=None, reason="")

    def _fail(self, error: NbferryError) -> None:
        if self.is_over:
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

    def _taken_over(self) -> None:
        self.leave(TransferBusy("Another process has resumed this transfer, or ended it.", hint=""))

    def _started_now(self) -> None:
        self._started = self._started or time.monotonic()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started if self._started is not None else 0.0

    async def _find_relay(self) -> RelayAddress:
        """The relay of this transfer. May take a while."""
        return await self._resources.find_relay(self._store.record.relay, self._settings)

    # ---------------------------------------------------------------- commands
    @abstractmethod
    def machines(self) -> list[Machine]:
        """Those that run now."""

    @abstractmethod
    def pump(self) -> None:
        """Have the sessions act on what the machines were told."""

    def pause(self) -> None:
        """Hold it until ``resume``."""
        for machine in self.machines():
            machine.pause()
        self.pump()

    def resume(self) -> None:
        """Continue after ``pause``."""
        for machine in self.machines():
            machine.resume()
        self.pump()

    def cancel(self, reason: str = "") -> None:
        """End it on both sides, and clean up."""
        again = self._cancelled is not None
        self._cancelled = f"The transfer was cancelled{': ' + reason if reason else ''}."
        running = [machine for machine in self.machines() if not machine.phase.final]
        for machine in running:
            machine.cancel(reason, time.monotonic())
        self.pump()
        if self._task and not again and not self.is_over and not self._ends_with(running):
            self._task.cancel()

    def _ends_with(self, running: list[Machine]) -> bool:
        """Whether the end of these machines is the end of it all."""
        return bool(running)

    def decide(self, verdict: bool | str | NbferryError, offer: str) -> None:  # noqa: B027  # a sender has no offer to decide about
        """Answer the question that an offer puts; ``offer`` is the id of the one that was judged, "" for any."""

    def leave(self, why: NbferryError) -> None:
        """Let go of everything at once, so that another process can resume it. A cancellation is still completed."""
        for machine in self.machines():
            machine.part()
        self.pump()
        if self.is_over or self._cancelled is not None:
            return
        self._left = why
        if self._task:
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
    def offer(self) -> Manifest | None:
        """What is sent or received, once that is known."""
        return None

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was found in the folders and is not sent."""
        return ()

    @property
    @abstractmethod
    def accepted(self) -> bool:
        """Whether the offer was accepted and the transfer is not over: it can be resumed without a new code."""

    def _facts(self) -> dict[str, Any]:
        """Fields of the report beside the snapshot; asked after every input, so it must be quick."""
        return {
            "accepted": self.accepted,
            "held": any(machine.paused_here for machine in self.machines()),
            "has_pages": self.pages.present if self.pages else None,
        }

    def changed(self) -> None:
        """Something happened: a new state shows at once, progress a few times a second."""
        if self._shows_its_end:
            return
        if (*self._condition(), *self._facts().values()) != self._told:
            self._show(self._view())
        elif self._publish_at is None:
            loop = asyncio.get_running_loop()
            self._publish_at = loop.call_later(self.limits.report_interval, self._show_later)

    def announce(self) -> None:
        """Report how it stands before its first step."""
        self._tell()

    def _show_later(self) -> None:
        self._publish_at = None
        if not self._shows_its_end:
            self._show(self._view())

    @property
    def _shows_its_end(self) -> bool:
        """Whether its last snapshot was reported: a paused one, if this process has let go of it."""
        return self.snapshot.state.final or self.is_over

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
        self._tell()

    def _tell(self) -> None:
        facts = self._facts()
        self._told = (self.snapshot.state, self.snapshot.reason, *facts.values())
        self._resources.tell(self._report(facts))

    def _report(self, facts: dict[str, Any]) -> Report:
        return Report(
            snapshot=self.snapshot, result=self._result, error=self.error, closed=self._closed, **facts
        )


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


class _Untaken:
    """Of an offer that no receiver has taken."""

    verified = durable = RangeSet()


UNTAKEN = _Untaken()


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
