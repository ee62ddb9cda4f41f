"""The user's handle on one send or receive, usable from any thread and any event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from nbferry.engine.client import EngineClient
from nbferry.engine.messages import (
    Cancel,
    Decide,
    GetFiles,
    GetOffer,
    GetSkipped,
    PageQuestion,
    Pause,
    Report,
    Resume,
)
from nbferry.errors import Cancelled, LocalProtocolError, NbferryError, TimedOut, TransferBusy
from nbferry.model.manifest import Manifest
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Skipped
from nbferry.storage.records.record import AnyRecord
from nbferry.text import rendering
from nbferry.transfer.face import FACELESS, Face
from nbferry.transfer.lending import Lending

# Seconds. On some systems Ctrl-C does not interrupt a wait, and takes effect between two.
SLICE = 0.2
# Seconds that a relay may take to give a number.
CODE_TIMEOUT = 30.0

Decider = Callable[[Manifest], "bool | str"]
"""Judges an offer, in a thread of its own: True to accept, or False or the reason why not."""

log = logging.getLogger("nbferry")


@dataclass(frozen=True)
class Parked:
    """What an earlier process left: how to resume it, and how to remove it, which blocks."""

    resume: Callable[[], Future[None]]
    discard: Callable[[], None]


class Transfer:
    """One send or receive. It runs even if no caller waits for it. There is one handle for each id."""

    def __init__(self, record: AnyRecord, engine: EngineClient) -> None:
        self._engine = engine
        self._role = record.role
        self._report = Report(snapshot=Snapshot(id=record.id, role=record.role))
        self._face = FACELESS
        self._interactive = False
        self._decide: Decider | None = None
        # the id of the offer that it judges now, or has judged
        self._judged = ""
        # what is behind it: nothing yet, a record, or the engine
        self._parked: Parked | None = None
        self._started = False
        self._swapping = threading.RLock()
        self._lending: Lending | None = None
        self._result: Future[Result] = Future()
        self._closed = threading.Event()
        self._news = threading.Condition()
        self._subscribers: list[Callable[[Snapshot], None]] = []

    # ---------------------------------------------------------------- views
    @property
    def id(self) -> str:
        """The name of this transfer, 12 hex digits; also what ``nbferry.resume`` takes, here or later."""
        return self._report.snapshot.id

    @property
    def code(self) -> str:
        """The code that the receiver needs. Waits until the relay has given a number, and raises what prevents that."""
        if self._role is not Role.SEND:
            raise LocalProtocolError("Only a transfer that sends has a code.")
        with self._news:
            self._news.wait_for(lambda: self._report.code or self._report.is_over, CODE_TIMEOUT)
        report = self._report
        if report.code:
            return self._face.public_code(report.code)
        raise report.error or TimedOut(f"The relay gave no code within {CODE_TIMEOUT:.0f} seconds.")

    @property
    def has_code(self) -> bool:
        """On a sender: whether a receiver can come with the code, and it is known already."""
        return bool(self._report.code) and self.code_works and not self.snapshot.state.final

    @property
    def code_works(self) -> bool:
        """On a sender: whether a receiver can still come with the code. A resumed transfer needs none."""
        return self._report.invites

    @property
    def accepted(self) -> bool:
        """Whether the offer was accepted: from then on ``nbferry.resume`` needs no new code."""
        return self._report.accepted

    @property
    def snapshot(self) -> Snapshot:
        """State and progress at this instant."""
        return self._report.snapshot

    @property
    def files(self) -> tuple[FileProgress, ...]:
        """The progress of each file at this instant; empty before an offer is known."""
        return self._engine.files(GetFiles(self.id))

    def files_from(self, first: int, count: int) -> tuple[FileProgress, ...]:
        """The progress of ``count`` files from ``first`` on. Quick, even if the transfer has very many files."""
        return self._engine.files(GetFiles(self.id, first, count))

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """On a sender: what was found in the folders and is not sent, such as links, each with the reason."""
        return self._engine.skipped(GetSkipped(self.id))

    @property
    def waits_for_decision(self) -> bool:
        """Whether ``accept`` or ``reject`` has to decide about the offer."""
        return bool(self._report.asks) and self._decide is None

    @property
    def offer(self) -> Manifest | None:
        """On a receiver: what is offered, once the whole list has arrived."""
        return self._engine.offer(GetOffer(self.id)) if self._role is Role.RECEIVE else None

    @property
    def outcome(self) -> Result | None:
        """The result of a transfer that went well."""
        return self._report.result

    @property
    def is_over(self) -> bool:
        """Whether it has ended in this process. It may be possible to resume it."""
        return self._report.is_over

    @property
    def is_parked(self) -> bool:
        """Whether an earlier process left it and none has resumed it here."""
        return self._parked is not None

    @property
    def is_held(self) -> bool:
        """Whether it waits for ``resume``: it is parked, or was paused here."""
        return self.is_parked or self._report.held

    @property
    def is_closed(self) -> bool:
        """Whether this process uses none of its files and connections any more."""
        return self._report.closed

    @property
    def page_files(self) -> Lending | None:
        """The files of a browser's machine that it sends or takes in; None if they are the kernel's."""
        if self._lending is None and self._report.has_pages is not None:
            # not while the lock is held: the engine's thread may want it
            manifest = self._engine.offer(GetOffer(self.id))
            with self._swapping:
                if self._lending is None and manifest:
                    self._lending = Lending(self.id, manifest, self._engine)
        return self._lending

    @property
    def folder(self) -> Path | None:
        """On a receiver: where the files go."""
        return self._report.folder

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Subscribe to snapshots, beginning with the current one. Returns a function that unsubscribes.

        ``callback`` is called in the engine's thread and must return quickly. State changes come at once, progress at
        most five times a second.
        """

        def begin() -> None:
            callback(self.snapshot)
            self._subscribers.append(callback)

        # On the thread that makes the snapshots, so that none is missed or comes out of order.
        self._engine.on_thread(begin)
        return lambda: self._unsubscribe(callback)

    def _unsubscribe(self, callback: Callable[[Snapshot], None]) -> None:
        if callback in self._subscribers:
            self._subscribers.remove(callback)

    # ---------------------------------------------------------------- commands
    def pause(self) -> None:
        """Hold the transfer on both sides."""
        self._engine.post(Pause(self.id))

    def resume(self) -> None:
        """Continue after ``pause``, or resume what an earlier process left."""
        if parked := self._parked:
            # another thread may be quicker
            with suppress(TransferBusy):
                self._run(parked.resume)
        else:
            self._engine.post(Resume(self.id))

    def cancel(self, reason: str = "") -> None:
        """End the transfer on both sides; part data are removed, and it cannot be resumed."""
        parked = self._parked
        if parked is None:
            self._engine.post(Cancel(self.id, reason))
            return
        try:
            parked.discard()
        except NbferryError as error:
            self._show_why_not(error)
        else:
            self.end(Cancelled())

    def accept(self) -> None:
        """Accept the offer that waits for a decision."""
        self._say(True)

    def reject(self, reason: str = "") -> None:
        """Reject the offer that waits for a decision. The sender is told the reason."""
        self._say(reason or False)

    def _say(self, verdict: bool | str | NbferryError, offer: str = "") -> None:
        if self._role is not Role.RECEIVE:
            raise LocalProtocolError("Only a transfer that receives can be accepted or rejected.")
        self._engine.post(Decide(self.id, verdict, offer or self._report.asks))

    # ---------------------------------------------------------------- waiting
    def wait(self, timeout: float | None = None) -> Result:
        """Wait for the result and return it. Raises the :class:`NbferryError` that ended the transfer otherwise.

        Raises :class:`TimedOut` after ``timeout`` seconds. Neither that nor Ctrl-C ends the transfer.
        """
        result = self._result
        until = None if timeout is None else time.monotonic() + timeout
        try:
            with self._followed():
                while True:
                    left = SLICE if until is None else min(SLICE, until - time.monotonic())
                    try:
                        return result.result(max(0.0, left))
                    except concurrent.futures.TimeoutError:
                        self._ask_if_needed()
                    if until is not None and time.monotonic() >= until:
                        raise TimedOut
        except KeyboardInterrupt:
            self._say_that_it_runs()
            raise

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Result:
        result, loop, news = self._result, asyncio.get_running_loop(), asyncio.Event()

        def wake(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        self._subscribers.append(wake)
        result.add_done_callback(wake)
        try:
            with self._followed():
                while not result.done():
                    news.clear()
                    self._ask_if_needed()
                    await news.wait()
                return result.result()
        except asyncio.CancelledError:
            if self._face.is_in_a_cell() and not result.done():
                self._say_that_it_runs()
            raise
        finally:
            self._unsubscribe(wake)

    def _followed(self) -> AbstractContextManager[object]:
        """Show the progress, unless it is over in this process."""
        return nullcontext() if self.is_over else self._face.following(self)

    def _say_that_it_runs(self) -> None:
        sys.stderr.write(f"\nThe transfer {self.id} is still running. To end it: transfer.cancel()\n")

    def _ask_if_needed(self) -> None:
        """Ask the person who waits, if an offer needs a decision."""
        if not (self._interactive and self.waits_for_decision):
            return
        if (offer := self.offer) is None:
            return
        self._interactive = False
        verdict = self._face.ask(self, offer)
        if verdict is not None:
            self._say(verdict)

    # ---------------------------------------------------------------- faces
    def save(self) -> Any:
        """Return a card with a button that saves what was received onto the browser's machine.

        Raises :class:`NoPage` where there is no notebook in a browser, and :class:`LocalProtocolError` before the
        transfer is done.
        """
        return self._face.saving(self)

    @override
    def __repr__(self) -> str:
        return rendering.line(self.snapshot)

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, Any]:
        card = self._face.card(self)
        if card is not None:
            return card
        code = self.code if self.has_code else None
        return {
            "text/plain": rendering.text(self.snapshot, code),
            "text/html": rendering.html(self.snapshot, code),
        }

    # ---------------------------------------------------------------- what is behind it: for the notebook
    def meet(self, face: Face, *, interactive: bool = False, decide: Decider | None = None) -> None:
        """Be shown by ``face``; the offer is judged by ``decide``, or by a person who waits."""
        self._face = face
        self._interactive = self._interactive or interactive
        if decide is not None:
            self._decide = decide
            self._decide_if_asked()

    @property
    def is_running(self) -> bool:
        """Whether the engine is behind it, and it is not over."""
        return self._started and not self._parked and not self.is_over

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever behind it."""
        return not self._started and not self._parked

    def run(self, start: Callable[[], Future[None]], decide: Decider | None = None) -> None:
        """Have the engine behind it from now on; ``decide`` judges its offer.

        Raises what keeps it from starting, and nothing has changed then. On the engine's thread, which must not wait,
        the handle shows it instead.
        """
        started = self._run(start, decide)
        if not self._engine.is_on_thread:
            started.result()

    def _run(self, start: Callable[[], Future[None]], decide: Decider | None = None) -> Future[None]:
        with self._swapping:
            if self.is_running:
                raise TransferBusy
            before = self._started, self._parked, self._report, self._result, self._decide
            self._started, self._parked, self._decide = True, None, decide
            self._judged = ""
            self._closed.clear()
            self._report = replace(self._report, result=None, error=None, closed=False, asks="", held=False)
            if self._result.done():
                self._result = Future()
        started = start()
        # done after the handle knows it, so that a caller that waits for it sees that
        ended: Future[None] = Future()
        started.add_done_callback(lambda done: self._has_started(done, before, ended))
        return ended

    def _has_started(self, started: Future[None], before: Any, ended: Future[None]) -> None:
        """It runs now; or else what was behind it is behind it again."""
        error = started.exception()
        if error is None:
            if self._lending:
                self._lending.lend_again()
            ended.set_result(None)
            return
        with self._swapping:
            new_result = self._result
            self._started, self._parked, self._report, self._result, self._decide = before
            if self._report.closed:
                self._closed.set()
        # who waits since then is told as well
        if new_result is not self._result:
            new_result.set_exception(error)
        if isinstance(error, NbferryError) and self._parked:
            self._show_why_not(error)
        ended.set_exception(error)

    def park(
        self, report: Report, *, resume: Callable[[], Future[None]], discard: Callable[[], None]
    ) -> None:
        """Have a record behind it, unless it runs: ``resume`` puts the engine there, ``discard`` removes it.

        A result that is there stays until it is resumed.
        """
        with self._swapping:
            if self._started and not self._parked and not self.is_closed:
                return
            self._parked = parked = Parked(resume, discard)
        # not while the lock is held: the engine's thread may want it
        self._engine.on_thread(lambda: self.hear(report) if self._parked is parked else None)

    def end(self, error: NbferryError) -> None:
        """What was parked was removed, or this process leaves."""
        state = State.CANCELLED if isinstance(error, Cancelled) else State.PAUSED
        snapshot = self.snapshot.evolve(state=state, reason=error.message)
        self._parked = None
        ended = replace(self._report, snapshot=snapshot, error=error, closed=True)
        self._engine.on_thread(lambda: self.hear(ended))

    def hear(self, report: Report) -> None:
        """The engine reports. On its thread."""
        self._report = report
        with self._news:
            self._news.notify_all()
        for callback in list(self._subscribers):
            self._call(callback, report.snapshot)
        if report.is_over and not self._result.done():
            self._settle(report)
        if report.closed:
            self._closed.set()
        self._decide_if_asked()

    def ask_page(self, question: PageQuestion) -> bool:
        """The engine wants something of a page that lends files; whether there is any."""
        lending = self.page_files
        if lending:
            lending.ask(question)
        return lending is not None

    def wait_until_closed(self) -> None:
        """Wait until this process uses none of its files and connections any more."""
        self._closed.wait()

    def _show_why_not(self, error: NbferryError) -> None:
        report = replace(self._report, snapshot=self.snapshot.evolve(reason=error.message))
        self._engine.on_thread(lambda: self.hear(report))

    def _settle(self, report: Report) -> None:
        if report.error:
            self._result.set_exception(report.error)
        elif report.result:
            self._result.set_result(report.result)

    def _call(self, callback: Callable[[Snapshot], None], view: Snapshot) -> None:
        try:
            callback(view)
        except Exception:
            # a subscriber's fault is not the transfer's
            log.exception("a subscriber of transfer %s failed", self.id)

    def _decide_if_asked(self) -> None:
        """Put an offer to the caller's function, once. It may take its time, so it gets a thread of its own."""
        question, decide = self._report.asks, self._decide
        with self._swapping:
            if not question or decide is None or question == self._judged:
                return
            self._judged = question
        judging = threading.Thread(
            target=self._judge, args=(decide, question), name="nbferry-accept", daemon=True
        )
        judging.start()

    def _judge(self, decide: Decider, question: str) -> None:
        try:
            offer = self.offer
            # it has ended meanwhile, or another one has come
            if offer is None or offer.id != question:
                return
            verdict: bool | str | NbferryError = decide(offer)
        except NbferryError as error:
            verdict = error
        except BaseException as error:
            log.exception("the function accept= of transfer %s failed", self.id)
            message = f"Something unexpected went wrong ({type(error).__name__})."
            verdict = NbferryError(message, hint="Please report it.")
        self._say(verdict, question)


class Transfers(list[Transfer]):
    """Several transfers. A notebook shows a card for each."""

    def __init__(self, transfers: Iterable[Transfer], face: Face = FACELESS) -> None:
        super().__init__(transfers)
        self._face = face

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, Any]:
        return self._face.cards(self) or {"text/plain": repr(self)}

    @override
    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "There are no unfinished transfers here."
