"""One send, receive or upload as the engine runs it. It takes commands and makes reports."""

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

    ``find_relay`` finds the relay of a record, or another one; it may take seconds. ``tell`` passes reports and
    questions to the handles.
    """

    find_relay: Callable[[RelayNote | None, Settings], Awaitable[RelayAddress]]
    slots: Slots
    executor: Executor
    tell: Callable[[Report | PageQuestion], None]


class Activity(ABC):
    """Runs on the engine's thread, and does in worker threads what blocks."""

    role: ClassVar[Role]

    def __init__(self, store: RecordStore[Any], settings: Settings, resources: Resources) -> None:
        self.id: str = store.record.id
        self.error: NbferryError | None = None
        self.snapshot = Snapshot(id=self.id, role=self.role)
        # None if the files are on the kernel's machine.
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
        # Why this process has released the transfer.
        self._left: NbferryError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether its outcome in this process is known."""
        return self._result is not None or self.error is not None

    # ---------------------------------------------------------------- running
    async def run(self) -> None:
        """Run it from start to end. The outcome is reported, never raised."""
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
        # A bug must end the transfer, not the engine.
        except* Exception as group:
            log.exception("transfer %s failed unexpectedly", self.id)
            message = f"Something unexpected went wrong ({_name_of(group)})."
            self._fail(NbferryError(message, hint="Please report it."))
        else:
            self._finish(result)
        finally:
            await self._close(beating)

    async def _close(self, beating: asyncio.Task[None]) -> None:
        """Close everything. A failure is logged and does not change the outcome."""
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
            # Another process must not have to wait.
            self._store.release()
            self._closed = True
            self._tell()

    async def _run_if_wanted(self) -> Result:
        """Run it, unless it was cancelled or released before its first step."""
        if self._left:
            raise self._left
        if self._cancelled:
            raise Cancelled(self._cancelled)
        return await self._run()

    @abstractmethod
    async def _run(self) -> Result:
        """Do the work, and return its result. Raises what went wrong."""

    @abstractmethod
    async def _close_sessions(self) -> None:
        """End the sessions. They tell the peer how it ended, unless this process leaves."""

    def _interrupt(self) -> None:  # noqa: B027  # files of this computer keep no thread waiting
        """Interrupt the threads that wait for a page."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Keep what another process can resume, and remove everything else. No other worker thread runs by then."""

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
        """Find the relay of this transfer. May take seconds."""
        return await self._resources.find_relay(self._store.record.relay, self._settings)

    # ---------------------------------------------------------------- commands
    @abstractmethod
    def machines(self) -> list[Machine]:
        """The state machines of its sessions."""

    @abstractmethod
    def pump(self) -> None:
        """Have the sessions send what the machines have to say."""

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
        """End it on both sides, and remove what was kept for it."""
        again = self._cancelled is not None
        self._cancelled = f"The transfer was cancelled{': ' + reason if reason else ''}."
        running = [machine for machine in self.machines() if not machine.phase.final]
        for machine in running:
            machine.cancel(reason, time.monotonic())
        self.pump()
        if self._task and not again and not self.is_over and not self._ends_with(running):
            self._task.cancel()

    def _ends_with(self, running: list[Machine]) -> bool:
        """Whether the transfer ends when these machines end."""
        return bool(running)

    def decide(self, verdict: bool | str | NbferryError, offer: str) -> None:  # noqa: B027  # a sender has no offer to decide about
        """Answer the question that an offer puts; ``offer`` is the id of the one that was judged, "" for any."""

    def leave(self, why: NbferryError) -> None:
        """Release the transfer at once, so that another process can resume it. A cancellation is still completed."""
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
        """The present state and its reason. Called after every input, so it must be quick."""

    @abstractmethod
    def _view(self) -> Snapshot:
        """The present snapshot."""

    @abstractmethod
    def files(self, first: int = 0, count: int | None = None) -> tuple[FileProgress, ...]:
        """The progress of ``count`` files from the first on; without ``count``, of all that follow."""

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
        """Whether the offer was accepted and the transfer is not over. Then it can be resumed without a new code."""

    def _facts(self) -> dict[str, Any]:
        """Fields of the report beside the snapshot. Called after every input, so it must be quick."""
        return {
            "accepted": self.accepted,
            "held": any(machine.paused_here for machine in self.machines()),
            "has_pages": self.pages.present if self.pages else None,
        }

    def changed(self) -> None:
        """Report a change: a new state at once, progress a few times a second."""
        if self._shows_its_end:
            return
        if (*self._condition(), *self._facts().values()) != self._told:
            self._show(self._view())
        elif self._publish_at is None:
            loop = asyncio.get_running_loop()
            self._publish_at = loop.call_later(self.limits.report_interval, self._show_later)

    def announce(self) -> None:
        """Report the snapshot before its first step."""
        self._tell()

    def _show_later(self) -> None:
        self._publish_at = None
        if not self._shows_its_end:
            self._show(self._view())

    @property
    def _shows_its_end(self) -> bool:
        """Whether its last snapshot was reported: a paused one, if this process has released it."""
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
    """The state that a person sees: a lost connection and a pause take precedence over the machine's phase."""
    moving = (Phase.OFFERED, Phase.TRANSFERRING, Phase.VERIFYING)
    if machine.phase in moving and machine.paused:
        return State.PAUSED
    if not machine.phase.final and not machine.is_connected:
        return State.PAUSED if away else State.CONNECTING
    if machine.phase is Phase.TRANSFERRING and hashing:
        return State.HASHING
    return State(machine.phase.value)


class Counted(Protocol):
    """Knows which chunks are verified, and which are durable: they survive a power failure."""

    @property
    def verified(self) -> RangeSet: ...  # noqa: D102
    @property
    def durable(self) -> RangeSet: ...  # noqa: D102


class _Untaken:
    """Counts for an offer that no receiver has accepted."""

    verified = durable = RangeSet()


UNTAKEN = _Untaken()


def file_progress(
    manifest: Manifest, machine: Counted, first: int = 0, count: int | None = None
) -> tuple[FileProgress, ...]:
    """The progress of ``count`` files of a manifest from the first on; without ``count``, of all that follow."""
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
    # The group was split by this type.
    assert isinstance(error, NbferryError)
    return error


def _name_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:200]
