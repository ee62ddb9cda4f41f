"""The sender's activity: offer files, let receivers in, serve each with a session of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activity import Activity, file_progress, state_of
from nbferry.engine.connect import Answerer, Surroundings
from nbferry.engine.inviting import Invitation, Inviter, Reception
from nbferry.engine.link import Lease
from nbferry.engine.serving import Serving
from nbferry.engine.session import Session
from nbferry.engine.slots import Slots
from nbferry.engine.threads import Threads
from nbferry.errors import Expired, NbferryError
from nbferry.limits import Limits
from nbferry.protocol.events import Event
from nbferry.protocol.machine import Machine
from nbferry.protocol.sender import Sender
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Skipped, Source

KEPT_FOR = 7 * 24 * 3600.0  # seconds that a pair's room may live: a receiver may come back after days


@dataclass(frozen=True)
class Offering:
    """What is sent, under which secret, to how many (None: to anybody), for how many seconds."""

    open_source: Callable[[], Source]
    invitation: Invitation
    receivers: int | None
    expires: float
    agent: str


class _Enough(Exception):  # no error: it ends a wait
    """As many receivers as were meant have been served."""


@dataclass
class _Service:
    """One receiver being served."""

    sender: Sender
    session: Session
    serving: Serving
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    queued: bool = False


class Sending(Activity):
    """See :class:`Activity`."""

    role = "send"

    def __init__(
        self,
        offering: Offering,
        surroundings: Callable[[], Awaitable[Surroundings]],
        slots: Slots,
        executor: concurrent.futures.Executor,
        limits: Limits,
    ) -> None:
        super().__init__(limits)
        self.code: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._offering = offering
        self._surroundings = surroundings
        self._slots = slots
        self._threads = Threads(executor)
        self._source: Source | None = None
        self._services: list[_Service] = []
        self._sessions: list[asyncio.Task[None]] = []
        self._served = asyncio.Semaphore(0)
        self._offer_id = secrets.token_hex(8)
        self._wrong_guesses = 0
        self._expires_at = time.monotonic() + offering.expires
        self._trouble = ""

    # ---------------------------------------------------------------- running
    async def _run(self) -> Result:
        self._source = await self._threads.call(self._offering.open_source)
        self._show_now()
        await self._invite(await self._surroundings())
        return await self._outcome()

    def _conclude(self, error: NbferryError) -> None:
        super()._conclude(error)
        if not self.code.done():
            self.code.set_exception(error)

    async def _invite(self, around: Surroundings) -> None:
        """Let receivers in until as many as were meant are served, or the offer expires."""

        async def serve(keys: SessionKeys) -> None:
            await self._serve(keys, around)

        reception = Reception(self._issued, self._guessed, self._troubled, serve)
        seconds = self._offering.expires
        inviter = Inviter(self._offering.invitation, around.relay, seconds, self.limits, reception)
        inviting = asyncio.create_task(inviter.run())
        serving = asyncio.create_task(self._all_served())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait({inviting, serving}, return_when=asyncio.FIRST_EXCEPTION)
        except TimeoutError:
            if not self._services:
                inviter.ending = "expired"
                raise Expired from None
        finally:
            if self._services:
                inviter.ending = "used"
            for task in (inviting, serving):
                task.cancel()
            (failed, _) = await asyncio.gather(inviting, serving, return_exceptions=True)
        if isinstance(failed, NbferryError):
            raise failed

    async def _all_served(self) -> None:
        """Raise :class:`_Enough` when as many receivers as were meant have what they came for."""
        for _ in count() if self._offering.receivers is None else range(self._offering.receivers):
            await self._served.acquire()
        raise _Enough

    def _issued(self, code: str) -> None:
        if not self.code.done():
            self.code.set_result(code)
            self._show_now()

    def _guessed(self, times: int) -> None:
        self._wrong_guesses = times
        self._show_now()

    def _troubled(self, why: str) -> None:
        self._trouble = why
        self.changed()

    # ---------------------------------------------------------------- serving
    async def _serve(self, keys: SessionKeys, around: Surroundings) -> None:
        """Start a session with a receiver that knows the code."""
        assert self._source is not None  # opened before anybody is let in
        many = self._offering.receivers != 1
        sender = Sender(
            self._source.manifest,
            self.limits,
            offer_id=self._offer_id,
            agent=self._offering.agent,
            expires_at=None if many else self._expires_at,
        )
        sender.held = True
        serving = Serving(sender, self._source, self._threads)

        def handle(event: Event, lease: Lease | None) -> None:
            if sender.state is not State.OFFERED and sender.state is not State.CONNECTING:
                service.accepted.set()

        answerer = Answerer(around, keys, seconds=KEPT_FOR)
        await answerer.host()
        session = Session(
            sender,
            answerer,
            self.limits,
            handle=handle,
            changed=lambda: self._session_changed(service),
            frame_sent=serving.frame_sent,
        )
        service = _Service(sender, session, serving)
        self._services.append(service)
        self._sessions.append(asyncio.create_task(self._run_session(service)))

    async def _run_session(self, service: _Service) -> None:
        async def work() -> None:
            await service.accepted.wait()
            self._started_now()
            service.queued = self._slots.sending.is_full(self.limits.max_active)
            self.changed()
            async with self._slots.sending.turn(self.limits.max_active):
                service.sender.held = service.queued = False
                await service.serving.run(service.session)

        running = asyncio.create_task(service.session.run(work))
        await service.session.final.wait()
        if service.sender.state is State.DONE or self._offering.receivers == 1:
            self._served.release()
        await running

    def _session_changed(self, service: _Service) -> None:
        service.serving.more_to_do()
        self.changed()

    async def _outcome(self) -> Result:
        """Of one receiver: how its session ended; of many: what was served in all, with what is under way now."""
        only = self._only() if self._offering.receivers == 1 else None
        under_way = [only] if only else [service for service in self._services if service.sender.is_connected]
        for service in under_way:
            await service.session.final.wait()
        if only and only.sender.error:
            raise only.sender.error
        done = [service for service in self._services if service.sender.state is State.DONE]
        assert self._source is not None
        manifest = self._source.manifest
        return Result(
            files=tuple(self._paths()),
            bytes=manifest.total_bytes,
            seconds=self._seconds,
            digest=(done[-1].sender.digest or b"").hex() if done else "",
            via=(done[-1].session.via or "") if done else "",
        )

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was found in the folders and is not sent; known once there is a code."""
        return self._source.skipped if self._source else ()

    def _only(self) -> _Service:
        """The one service that counts: a receiver that lost the relay while it came in had to come in again."""
        done = [service for service in self._services if service.sender.state is State.DONE]
        return (done or self._services)[-1]

    def _paths(self) -> list[Path]:
        assert self._source is not None
        return [Path(entry.path) for entry in self._source.manifest.entries if not entry.folder]

    async def _settle(self) -> None:
        for service in self._services:
            if not service.sender.state.final:
                service.sender.cancel("the sender has ended", time.monotonic())
                service.session.pump()
        await asyncio.gather(*self._sessions)
        await self._threads.settle()
        if self._source:
            await self._threads.call(self._source.close)

    # ---------------------------------------------------------------- views
    def _ends_with(self, running: list[Machine]) -> bool:
        """See :meth:`Activity._ends_with`: with several receivers others may come."""
        return bool(running) and self._offering.receivers == 1

    def machines(self) -> list[Machine]:
        """See :meth:`Activity.machines`."""
        return [service.sender for service in self._services]

    def pump(self) -> None:
        """See :meth:`Activity.pump`."""
        for service in self._services:
            service.session.pump()

    def files(self) -> tuple[FileProgress, ...]:
        """Each file's progress, at the receiver that came last."""
        if not self._services or not self._source:
            return ()
        return file_progress(self._source.manifest, self._services[-1].sender)

    def _condition(self) -> tuple[State, str]:
        current = self._current()
        if current is None:
            return State.WAITING, self._trouble
        state = state_of(current.sender, hashing=current.sender.hashing)
        if state.final and self._offering.receivers != 1:
            return State.WAITING, self._trouble  # for more receivers
        if state is State.TRANSFERRING and current.queued:
            return State.WAITING, "waiting in the queue"
        return state, current.session.trouble or current.sender.pause_reason

    def _current(self) -> _Service | None:
        """The receiver that came last, of those still served if there are any."""
        running = [service for service in self._services if not service.sender.state.final] or self._services
        return running[-1] if running else None

    def _view(self) -> Snapshot:
        state, reason = self._condition()
        view = self.snapshot.evolve(state=state, reason=reason, wrong_guesses=self._wrong_guesses)
        if not self._source:
            return view
        manifest, current = self._source.manifest, self._current()
        senders = [service.sender for service in self._services]
        return view.evolve(
            files=manifest.file_count,
            names=manifest.top_names,
            total=manifest.total_bytes * max(1, len(senders)),
            sent=sum(manifest.bytes_in(sender.sent) for sender in senders),
            verified=sum(manifest.bytes_in(sender.verified) for sender in senders),
            durable=sum(manifest.bytes_in(sender.durable) for sender in senders),
            via=current.session.via if current else None,
        )
