"""The receiver's activity: enter with a code, decide on the offer, take it in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activity import Activity, file_progress, state_of
from nbferry.engine.connect import Caller, Surroundings
from nbferry.engine.link import Lease
from nbferry.engine.pairing import join
from nbferry.engine.session import Session
from nbferry.engine.slots import Slots
from nbferry.engine.storing import Storing
from nbferry.engine.threads import Threads
from nbferry.errors import NbferryError
from nbferry.limits import Limits
from nbferry.manifest import Manifest
from nbferry.protocol.events import Event, Offered, Publish, Store, Sync
from nbferry.protocol.machine import Machine
from nbferry.protocol.receiver import Receiver
from nbferry.rendezvous import Mailbox
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Sink
from nbferry.ticket import Code, Ticket

Decide = Callable[[Manifest], "bool | str"]
"""Judges an offer in a worker thread: True to accept, or False or the reason why not."""


@dataclass(frozen=True)
class Intake:
    """What a receiver brings: the code, what opens a sink, and who decides (None: a person)."""

    ticket: Code | Ticket
    open_sink: Callable[[Manifest], Sink]
    decide: Decide | None
    agent: str
    allow_hidden: bool = False


class Receiving(Activity):
    """See :class:`Activity`."""

    role = "receive"

    def __init__(
        self,
        intake: Intake,
        surroundings: Callable[[], Awaitable[Surroundings]],
        slots: Slots,
        executor: concurrent.futures.Executor,
        limits: Limits,
    ) -> None:
        super().__init__(limits)
        self._intake = intake
        self._surroundings = surroundings
        self._slots = slots
        self._threads = Threads(executor)
        self._receiver = Receiver(limits, agent=intake.agent, allow_hidden=intake.allow_hidden)
        self._session: Session | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._storing: Storing | None = None
        self._offer: asyncio.Future[Manifest]
        self._verdict: asyncio.Future[bool | str]
        self._queued = False

    # ---------------------------------------------------------------- running
    async def _run(self) -> Result:
        loop = asyncio.get_running_loop()
        self._offer, self._verdict = loop.create_future(), loop.create_future()
        around = await self._surroundings()
        keys = await self._pair(around)
        self._session = Session(
            self._receiver,
            Caller(around, keys),
            self.limits,
            handle=self._handle,
            changed=self.changed,
        )
        self._session_task = asyncio.create_task(self._session.run(self._work))
        await self._session.final.wait()
        if self._receiver.error:
            raise self._receiver.error
        return self._result()

    async def _pair(self, around: Surroundings) -> SessionKeys:
        transport = await around.relay.dial(self.limits)
        try:
            async with asyncio.timeout(self.limits.dead_after):
                within, ticket = self.limits.connect_timeout, self._intake.ticket
                return await join(await Mailbox.join(transport, ticket.room, within=within), ticket)
        except TimeoutError:
            raise NbferryError(
                "The sender does not answer.", hint="Check that it is still running."
            ) from None
        finally:
            await transport.aclose()

    def _result(self) -> Result:
        assert self._receiver.manifest and self._storing and self._session  # noqa: PT018  # it is done
        assert self._receiver.digest
        return Result(
            files=self._storing.files,
            bytes=self._receiver.manifest.total_bytes,
            seconds=self._seconds,
            digest=self._receiver.digest.hex(),
            via=self._session.via or "",
        )

    async def _settle(self) -> None:
        if self._storing:
            await self._threads.settle()
            if self._receiver.state is not State.DONE:
                await self._storing.discard()
        if self._session_task:
            await self._session_task

    # ---------------------------------------------------------------- the machine's events
    def _handle(self, event: Event, lease: Lease | None) -> None:
        match event:
            case Offered(manifest):
                self._offer.set_result(manifest)
            case Store() if self._storing:
                self._storing.store(event, lease)
            case Sync() | Publish() if self._storing:
                self._storing.finish(event)

    async def _work(self) -> None:
        """Decide, queue, prepare, then store what arrives."""
        assert self._session  # this is its worker
        manifest = await self._offer
        verdict = await self._decide(manifest)
        if verdict is not True:
            self._receiver.reject(verdict or "", time.monotonic())
            self._session.pump()
            return
        self._queue(self._slots.receiving.is_full(self.limits.max_active))
        async with self._slots.receiving.turn(self.limits.max_active):
            self._queue(False)
            self._started_now()
            await self._take_in(manifest, self._session)

    async def _take_in(self, manifest: Manifest, session: Session) -> None:
        sink = await self._threads.call(lambda: self._intake.open_sink(manifest))
        self._storing = Storing(self._receiver, sink, self._threads, self.limits)
        await self._storing.prepare(session)
        self._receiver.accept(time.monotonic())
        session.pump()
        await self._storing.run(session)

    async def _decide(self, manifest: Manifest) -> bool | str:
        if self._intake.decide is None:
            if manifest.total_bytes <= self.limits.auto_accept:
                return True
            return await self._verdict
        decide = self._intake.decide
        return await self._threads.call(lambda: decide(manifest))

    def _queue(self, queued: bool) -> None:
        self._queued = queued
        self.changed()

    # ---------------------------------------------------------------- wishes
    def accept(self) -> None:
        """Take the offer that waits for a decision."""
        if not self._verdict.done():
            self._verdict.set_result(True)

    def reject(self, reason: str = "") -> None:
        """Decline the offer that waits for a decision."""
        if not self._verdict.done():
            self._verdict.set_result(reason or False)

    # ---------------------------------------------------------------- views
    @property
    def waits_for_decision(self) -> bool:
        """Whether somebody has to say yes or no to the offer."""
        offer = self.offer
        return (
            self._intake.decide is None
            and offer is not None
            and offer.total_bytes > self.limits.auto_accept
            and not self._verdict.done()
            and not self._receiver.state.final
        )

    @property
    def offer(self) -> Manifest | None:
        """What is offered, once the whole list is here."""
        return self._receiver.manifest

    def machines(self) -> list[Machine]:
        """See :meth:`Activity.machines`."""
        return [self._receiver] if self._session else []

    def pump(self) -> None:
        """See :meth:`Activity.pump`."""
        if self._session:
            self._session.pump()

    def files(self) -> tuple[FileProgress, ...]:
        """See :meth:`Activity.files`."""
        return file_progress(self._receiver.manifest, self._receiver) if self._receiver.manifest else ()

    def _condition(self) -> tuple[State, str]:
        if self._session is None:
            return State.CONNECTING, ""
        if self._queued:
            return State.WAITING, "waiting in the queue"
        return state_of(self._receiver), self._session.trouble or self._receiver.pause_reason

    def _view(self) -> Snapshot:
        state, reason = self._condition()
        view = self.snapshot.evolve(
            state=state, reason=reason, via=self._session.via if self._session else None
        )
        manifest = self._receiver.manifest
        if manifest is None:
            return view
        verified = manifest.bytes_in(self._receiver.verified)
        return view.evolve(
            files=manifest.file_count,
            names=manifest.top_names,
            total=manifest.total_bytes,
            sent=verified,
            verified=verified,
            durable=manifest.bytes_in(self._receiver.durable),
        )
