"""The receiver's activity: enter with a code, decide on the offer, take it in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activity import Activity, file_progress, state_of
from nbferry.engine.connect import Caller, Surroundings
from nbferry.engine.keeping import Keeper
from nbferry.engine.link import Lease
from nbferry.engine.pairing import join
from nbferry.engine.session import Session
from nbferry.engine.slots import Slots
from nbferry.engine.storing import Storing
from nbferry.engine.threads import Threads
from nbferry.errors import CodeNotFound, CodeUsed, ConnectFailed, DiskFull, NbferryError, TransportError
from nbferry.limits import Limits
from nbferry.manifest import Manifest
from nbferry.protocol.events import Compare, Event, Offered, Publish, Store, Sync
from nbferry.protocol.leaves import Leaves
from nbferry.protocol.machine import Machine
from nbferry.protocol.receiver import Receiver
from nbferry.rendezvous import Mailbox
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Sink
from nbferry.storage.destination import Destination
from nbferry.storage.memos import ReceiveMemo
from nbferry.storage.receipts import Receipt
from nbferry.ticket import Code, Ticket

log = logging.getLogger("nbferry")

Decide = Callable[[Manifest], "bool | str"]
"""Judges an offer in a worker thread: True to accept, or False or the reason why not."""


@dataclass(frozen=True)
class Intake:
    """What a receiver brings: the code, where its data go, and who decides (None: a person).

    ``keeper`` knows what an earlier process did.
    """

    ticket: Code | Ticket
    destination: Destination
    keeper: Keeper[ReceiveMemo]
    decide: Decide | None
    agent: str


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
        super().__init__(intake.keeper.memo.id, limits)
        self._intake = intake
        self._keeper = intake.keeper
        self._surroundings = surroundings
        self._slots = slots
        self._threads = Threads(executor)
        self._receiver = Receiver(limits, agent=intake.agent, allow_hidden=self._keeper.memo.allow_hidden)
        self._session: Session | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._sink: Sink | None = None
        self._storing: Storing | None = None
        self._receipt: Receipt | None = None
        self._offer: asyncio.Future[Manifest]
        self._verdict: asyncio.Future[bool | str]
        self._queued = False
        self._there = 0  # bytes that an earlier process made durable

    # ---------------------------------------------------------------- running
    async def _run(self) -> Result:
        loop = asyncio.get_running_loop()
        self._offer, self._verdict = loop.create_future(), loop.create_future()
        self._watching = asyncio.create_task(
            self._keeper.watch(self._threads, lambda: self.snapshot.durable, self.leave)
        )
        if self._keeper.memo.accepted:
            await self._threads.call(self._pick_up)
        if self._receipt:
            self._receiver = Receiver.already_done(
                self.limits, bytes.fromhex(self._receipt.digest), time.monotonic(), agent=self._intake.agent
            )
            self._session_task = asyncio.create_task(self._say_that_it_is_done())
            return self._result(self._receipt)
        around = await self._surroundings()
        keys = await self._meet(around)
        self._session = self._session_over(around, keys)
        self._session_task = asyncio.create_task(self._session.run(self._work))
        await self._session.final.wait()
        if self._receiver.error:
            raise self._receiver.error
        assert self._receipt  # everything is published
        return self._result(self._receipt)

    def _session_over(self, around: Surroundings, keys: SessionKeys) -> Session:
        caller = Caller(around, keys)
        return Session(self._receiver, caller, self.limits, handle=self._handle, changed=self.changed)

    def _pick_up(self) -> None:
        """See what an earlier process left: a finished transfer, a verified one, or a part of one."""
        destination = self._intake.destination
        self._receipt = destination.receipt()
        known = destination.known()
        if self._receipt or known is None:
            return
        manifest = known[1]
        sink = destination.open(manifest, resume=True)
        try:
            with suppress(DiskFull):  # then it lacks something
                sink.prepare()
            if sink.finished and not sink.check():
                leaves = Leaves(manifest)
                leaves.load_runs(sink.leaves())
                files = sink.publish(sink.finished)
                self._leave_receipt(manifest, files, sink.finished, leaves.files())
            self._there = manifest.bytes_in(sink.have)
        finally:
            sink.close()
        self._receiver = Receiver(
            self.limits, agent=self._intake.agent, allow_hidden=self._keeper.memo.allow_hidden, known=known
        )

    async def _say_that_it_is_done(self) -> None:
        """Only the sender does not know yet; if it cannot be told within a moment, that is its loss."""
        around = await self._surroundings()
        keys = SessionKeys(self._keeper.memo.root)
        self._session = self._session_over(around, keys)
        await self._session.run(_nothing)

    async def _meet(self, around: Surroundings) -> SessionKeys:
        """The keys of this pairing: those written down, unless the code was never used up by us."""
        memo = self._keeper.memo
        if memo.met:
            return SessionKeys(memo.root)
        try:
            keys = await self._pair(around)
        except (CodeUsed, CodeNotFound, TransportError):
            if not memo.root:
                raise
            return SessionKeys(memo.root)  # it was used up in the instant in which we were stopped
        await self._keeper.note(self._threads, met=True)
        return keys

    async def _pair(self, around: Surroundings) -> SessionKeys:
        transport = await around.relay.dial(self.limits)
        ticket = self._intake.ticket

        async def keep(keys: SessionKeys) -> None:
            await self._keeper.note(self._threads, root=keys.root)

        try:
            async with asyncio.timeout(self.limits.dead_after):
                within = self.limits.connect_timeout
                return await join(await Mailbox.join(transport, ticket.room, within=within), ticket, keep)
        except TimeoutError:
            raise ConnectFailed(
                "The sender does not answer.", hint="Check that it is still running."
            ) from None
        finally:
            await transport.aclose()

    def _result(self, receipt: Receipt) -> Result:
        to = Path(self._keeper.memo.to)
        return Result(
            files=tuple(to / file.path for file in receipt.files),
            bytes=receipt.bytes,
            seconds=self._seconds,
            digest=receipt.digest,
            via=receipt.via,
            reused=receipt.reused,
        )

    async def _settle(self) -> None:
        if self._session_task:
            if self._left and not self._receiver.state.final:
                self._session_task.cancel()
            await asyncio.gather(self._session_task, return_exceptions=True)
        if self._watching:
            self._watching.cancel()
        await self._threads.settle()
        await self._threads.call(self._put_away)

    def _put_away(self) -> None:
        """Keep what another process can go on with; remove everything else."""
        state = self.snapshot.state
        if self._sink:
            self._sink.close()
        if self.error and self.met and (self._left or state is State.FAILED):
            self._keeper.rest(self.error.message)
        elif state is State.DONE and not self._receiver.understood:
            self._keeper.rest()  # the sender may still come and ask
        else:
            self._discard_parts()
            self._keeper.end(state, self.snapshot.reason)

    def _discard_parts(self) -> None:
        """Remove what is not published; if that fails, the outcome stays what it is."""
        try:
            self._intake.destination.discard()
        except NbferryError as error:
            log.warning("what had arrived could not be removed: %s", error.message)

    # ---------------------------------------------------------------- the machine's events
    def _handle(self, event: Event, lease: Lease | None) -> None:
        match event:
            case Offered(manifest):
                self._offer.set_result(manifest)
            case Store() if self._storing:
                self._storing.store(event, lease)
            case Compare() if self._storing:
                self._storing.compare(event)
            case Sync() | Publish() if self._storing:
                self._storing.finish(event)

    async def _work(self) -> None:
        """Decide, queue, prepare, then store what arrives."""
        assert self._session  # this is its worker
        manifest = await self._offer
        verdict = True if self._keeper.memo.accepted else await self._decide(manifest)
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
        resume = self._keeper.memo.accepted
        sink = await self._threads.call(lambda: self._intake.destination.open(manifest, resume=resume))
        self._sink = sink
        self._storing = Storing(self._receiver, sink, self._threads, self.limits, self._published)
        await self._storing.prepare(session)
        await self._keeper.note(
            self._threads, accepted=True, names=manifest.top_names, total=manifest.total_bytes, reason=""
        )
        self._receiver.accept(time.monotonic(), sink.have, sink.leaves(), sink.candidates)
        session.pump()
        await self._storing.run(session)

    @property
    def met(self) -> bool:
        """See :attr:`Activity.met`: the sender knows us, and has not refused us."""
        memo = self._keeper.memo
        return memo.accepted or (memo.met and not self._receiver.state.final)

    def _published(self, files: tuple[Path, ...]) -> None:
        receiver, session = self._receiver, self._session
        assert receiver.manifest and receiver.digest and session  # noqa: PT018  # that is what was published
        reused = receiver.manifest.bytes_in(receiver.reused)
        digests, via = receiver.file_digests(), session.via or ""
        self._leave_receipt(receiver.manifest, files, receiver.digest, digests, reused=reused, via=via)

    def _leave_receipt(
        self,
        manifest: Manifest,
        files: tuple[Path, ...],
        digest: bytes,
        digests: Sequence[bytes | None],
        **how: Any,
    ) -> None:
        """Write down what was received, then that the sender alone does not know it yet."""
        self._receipt = self._intake.destination.leave_receipt(manifest, files, digest, digests, **how)
        self._keeper.note_now(digest=digest.hex())

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
        away = self._session.away
        return state_of(self._receiver, away=away), self._session.trouble or self._receiver.pause_reason

    def _view(self) -> Snapshot:
        state, reason = self._condition()
        memo, manifest = self._keeper.memo, self._receiver.manifest
        view = self.snapshot.evolve(
            state=state, reason=reason, via=self._session.via if self._session else None
        )
        if manifest is None or self._receiver.state in (State.CONNECTING, State.OFFERED):
            there = self._there
            view = view.evolve(names=memo.names, total=memo.total, sent=there, verified=there, durable=there)
        if manifest is None:
            return view
        view = view.evolve(
            files=manifest.file_count, names=manifest.top_names, total=manifest.total_bytes
        )
        if self._receiver.state in (State.CONNECTING, State.OFFERED):
            return view
        verified = manifest.bytes_in(self._receiver.verified)
        return view.evolve(
            sent=verified,
            verified=verified,
            durable=manifest.bytes_in(self._receiver.durable),
            reused=manifest.bytes_in(self._receiver.reused),
        )


async def _nothing() -> None:
    """There is nothing to store."""
