"""Incoming transfers: connect to the sender, decide about its offer, store the data, publish them."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

from typing_extensions import override

from nbferry._version import AGENT
from nbferry.connections.connector import Caller, Connector
from nbferry.connections.link import Lease
from nbferry.connections.settings import Settings
from nbferry.engine.activities.activity import Activity, Resources, file_progress, state_of
from nbferry.engine.activities.joining import obtain_keys
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.sessions.session import Session, Worker
from nbferry.engine.sessions.storing import Storing
from nbferry.errors import NbferryError
from nbferry.model.codes import parse
from nbferry.model.manifest import Manifest
from nbferry.model.roles import Role
from nbferry.protocol.events import Compare, Event, Offered, Publish, Store, Sync
from nbferry.protocol.machine import Machine
from nbferry.protocol.receiver import Receiver
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Sink
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.receipts import Receipt
from nbferry.storage.records.record import ReceiveRecord

log = logging.getLogger("nbferry")


class IncomingActivity(Activity):
    """A transfer into a folder of this computer."""

    def __init__(
        self,
        store: RecordStore[Any],
        settings: Settings,
        resources: Resources,
        destination: Destination,
    ) -> None:
        super().__init__(store, settings, resources)
        self._destination = destination
        self._receiver = self._new_receiver(None)
        self._session: Session | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._sink: Sink | None = None
        self._storing: Storing | None = None
        self._receipt: Receipt | None = None
        loop = asyncio.get_running_loop()
        self._offer: asyncio.Future[Manifest] = loop.create_future()
        self._verdict: asyncio.Future[bool | str] = loop.create_future()
        self._queued = False
        # What an earlier process accepted, and how many bytes of it are on the disk.
        self._known: Manifest | None = None
        self._there = store.record.durable

    # ---------------------------------------------------------------- running
    @override
    async def _run(self) -> Result:
        if self._store.record.accepted:
            await self._threads.call(self._recover)
        if self._receipt:
            await self._say_that_it_is_done()
            return self._result_of(self._receipt)
        session, _ = self._begin_session(await self._meet(), self._work)
        await session.final.wait()
        if error := self._what_went_wrong():
            raise error
        # Everything is published.
        assert self._receipt
        return self._result_of(self._receipt)

    @abstractmethod
    async def _meet(self) -> Connector:
        """Return the connector that leads to the sender."""

    def _what_went_wrong(self) -> NbferryError | None:
        return self._receiver.error

    def _begin_session(self, connector: Connector, work: Worker) -> tuple[Session, asyncio.Task[None]]:
        session = Session(self._receiver, connector, self.limits, handle=self._handle, changed=self.changed)
        self._session, self._session_task = session, asyncio.create_task(session.run(work))
        return session, self._session_task

    def _new_receiver(self, known: tuple[str, Manifest] | None) -> Receiver:
        hidden = self._store.record.allow_hidden
        return Receiver(self.limits, agent=AGENT, allow_hidden=hidden, known=known)

    def _recover(self) -> None:
        """Resume from what an earlier process left on the disk."""
        left = self._destination.recover()
        self._receipt, self._there = left.receipt, left.durable
        self._known = left.offer[1] if left.offer else None
        if self._receipt:
            self._store.update(digest=self._receipt.digest)
            digest = bytes.fromhex(self._receipt.digest)
            self._receiver = Receiver.already_done(self.limits, digest, time.monotonic(), agent=AGENT)
        else:
            self._receiver = self._new_receiver(left.offer)

    @abstractmethod
    async def _say_that_it_is_done(self) -> None:
        """Tell the sender that an earlier process has published everything, unless it knows."""

    def _result_of(self, receipt: Receipt) -> Result:
        to = Path(self._store.record.to)
        return Result(
            files=tuple(to / file.path for file in receipt.files),
            bytes=receipt.bytes,
            seconds=self._seconds,
            digest=receipt.digest,
            via=receipt.via,
            reused=receipt.reused,
        )

    @override
    async def _close_sessions(self) -> None:
        if self._session_task:
            if self._left and not self._receiver.phase.final:
                self._session_task.cancel()
            await asyncio.gather(self._session_task, return_exceptions=True)

    @override
    def _clean_up(self) -> None:
        # What has arrived, and the keys, stay if another process can resume. Otherwise what is not published goes.
        state = self.snapshot.state
        if self._sink:
            self._sink.close()
        if self.error and self._can_go_on(state):
            self._store.release(self.error.message)
            return
        self._discard_parts()
        if state is State.DONE and not self._is_told:
            # The sender may still connect and ask.
            self._store.release()
        else:
            self._store.finish(state, self.snapshot.reason)

    @abstractmethod
    def _can_go_on(self, state: State) -> bool:
        """Whether another process can resume the transfer, which has failed or stopped in this one."""

    @property
    @abstractmethod
    def _is_told(self) -> bool:
        """Whether the sender knows how it ended."""

    def _discard_parts(self) -> None:
        """Remove what is not published. A failure is logged and does not change the outcome."""
        try:
            self._destination.discard()
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
        """Decide, wait in the queue, prepare, then store what arrives. This is the session's worker."""
        assert self._session
        manifest = await self._offer
        verdict = True if self._store.record.accepted else await self._decide(manifest)
        if verdict is not True:
            self._receiver.reject(verdict or "", time.monotonic())
            self._session.pump()
            return
        await self._take_in_turn(manifest, self._session)

    async def _take_in_turn(self, manifest: Manifest, session: Session) -> None:
        self._queue(self._slots.receiving.is_full(self.limits.max_active))
        async with self._slots.receiving.turn(self.limits.max_active):
            self._queue(False)
            await self._take_in(manifest, session)

    async def _take_in(self, manifest: Manifest, session: Session) -> None:
        self._started_now()
        resume = self._store.record.accepted
        sink = await self._threads.call(lambda: self._destination.open(manifest, resume=resume))
        self._sink = sink
        self._storing = Storing(self._receiver, sink, self._threads, self.limits, self._published)
        await self._storing.prepare(session)
        await self._store.update_in(
            self._threads, accepted=True, names=manifest.top_names, total=manifest.total_bytes
        )
        self._receiver.accept(time.monotonic(), sink.have, sink.leaves(), sink.candidates)
        session.pump()
        await self._storing.run(session)

    @property
    @override
    def accepted(self) -> bool:
        # It is over once the sender knows that everything is published.
        over = self._receipt is not None and self._is_told
        return bool(self._store.record.accepted) and not over

    def _published(self, files: tuple[Path, ...]) -> None:
        receiver, session = self._receiver, self._session
        assert receiver.manifest and receiver.digest and session  # noqa: PT018  # it has published them
        self._receipt = self._destination.leave_receipt(
            receiver.manifest,
            files,
            receiver.digest,
            receiver.file_digests(),
            reused=receiver.manifest.bytes_in(receiver.reused),
            via=session.via or "",
        )
        self._store.update(digest=self._receipt.digest)

    async def _decide(self, manifest: Manifest) -> bool | str:
        if self._must_ask(manifest):
            return await self._verdict
        return True

    def _must_ask(self, manifest: Manifest) -> bool:
        """Whether the caller or a person must decide about an offer."""
        return self._settings.asks or manifest.total_bytes > self.limits.auto_accept

    def _queue(self, queued: bool) -> None:
        self._queued = queued
        self.changed()

    # ---------------------------------------------------------------- commands
    @override
    def _ends_with(self, running: list[Machine]) -> bool:
        # What is published cannot be cancelled; the sender is only told of it.
        return bool(running) or self._receiver.phase.final

    @override
    def decide(self, verdict: bool | str | NbferryError, offer: str) -> None:
        # the first answer counts, and only for the offer that was judged
        if self._verdict.done() or (offer and (self.offer is None or offer != self.offer.id)):
            return
        if isinstance(verdict, NbferryError):
            self._verdict.set_exception(verdict)
        else:
            self._verdict.set_result(verdict)
        self.changed()

    # ---------------------------------------------------------------- views
    @override
    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "asks": self._question(), "folder": self._destination.to}

    def _question(self) -> str:
        """The id of the offer that waits for a decision."""
        offer = self.offer
        waits = (
            offer is not None
            and not self._store.record.accepted
            and not self._verdict.done()
            and not self._receiver.phase.final
            and self._must_ask(offer)
        )
        return offer.id if offer and waits else ""

    @property
    @override
    def offer(self) -> Manifest | None:
        """What is offered, once the whole list has arrived."""
        return self._receiver.manifest

    @override
    def machines(self) -> list[Machine]:
        return [self._receiver] if self._session else []

    @override
    def pump(self) -> None:
        if self._session:
            self._session.pump()

    @override
    def files(self, first: int = 0, count: int | None = None) -> tuple[FileProgress, ...]:
        manifest = self._receiver.manifest
        return file_progress(manifest, self._receiver, first, count) if manifest else ()

    @override
    def _condition(self) -> tuple[State, str]:
        if self._session is None:
            return State.CONNECTING, ""
        if self._queued:
            return State.WAITING, "waiting in the queue"
        away = self._session.away
        return state_of(self._receiver, away=away), self._session.trouble or self._receiver.pause_reason

    @override
    def _view(self) -> Snapshot:
        state, reason = self._condition()
        record, manifest = self._store.record, self._receiver.manifest or self._known
        view = self.snapshot.evolve(state=state, reason=reason, names=record.names, total=record.total)
        if self._session:
            view = view.evolve(via=self._session.via, via_since=self._session.via_since)
        if manifest:
            view = view.evolve(
                files=manifest.file_count, names=manifest.top_names, total=manifest.total_bytes
            )
        if self._receipt:
            there = self._receipt.bytes
            files, reused = len(self._receipt.files), self._receipt.reused
            return view.evolve(files=files, sent=there, verified=there, durable=there, reused=reused)
        if manifest is None or self._storing is None:
            return view.evolve(sent=self._there, verified=self._there, durable=self._there)
        verified = manifest.bytes_in(self._receiver.verified)
        return view.evolve(
            sent=verified,
            verified=verified,
            durable=manifest.bytes_in(self._receiver.durable),
            reused=manifest.bytes_in(self._receiver.reused),
        )


class ReceiveActivity(IncomingActivity):
    """One receive: a transfer that another kernel sends, found by its code."""

    role = Role.RECEIVE
    _store: RecordStore[ReceiveRecord]

    @override
    async def _meet(self) -> Connector:
        relay, ticket = await self._find_relay(), parse(self._store.record.code)
        keys = await obtain_keys(relay, ticket, self._store, self._threads, self.limits)
        return Caller(relay, self._settings, keys)

    @override
    def _must_ask(self, manifest: Manifest) -> bool:
        # what this call says goes before what an earlier one said
        return self._settings.asks or (not self._store.record.accept_all and super()._must_ask(manifest))

    @override
    async def _say_that_it_is_done(self) -> None:
        # If this fails within the session's timeouts, another process can do it later.
        _, telling = self._begin_session(await self._meet(), _nothing)
        await asyncio.wait({telling})

    @override
    def _can_go_on(self, state: State) -> bool:
        record = self._store.record
        if self._left:
            return bool(record.root)
        # The sender may have verified our proof, and may wait for us.
        half_met = bool(record.root) and not record.paired
        return state is State.FAILED and (half_met or self.accepted)

    @property
    @override
    def _is_told(self) -> bool:
        return self._receiver.understood


async def _nothing() -> None:
    """Store nothing."""
