"""The sender's activity: offer files, let receivers in, serve each with a session of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from typing_extensions import override

from nbferry._version import AGENT
from nbferry.connections.connector import Answerer
from nbferry.connections.invitation import Invitation, InvitationListener, Inviter
from nbferry.connections.link import Lease
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activities.activity import UNTAKEN, Activity, Resources, file_progress, state_of
from nbferry.engine.activities.lent_pages import LentPages
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.sessions.serving import Serving
from nbferry.engine.sessions.session import Session
from nbferry.errors import Expired
from nbferry.model.codes import Code, Ticket
from nbferry.model.manifest import Manifest
from nbferry.model.roles import Role
from nbferry.protocol.events import Event
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.protocol.sender import Sender
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.base import Skipped, Source
from nbferry.storage.records.record import ACCEPTED, RelayNote, SendRecord
from nbferry.storage.sources.pages import PageFiles


class _Enough(Exception):
    """All expected receivers have been served. This is no error: it ends a wait."""


@dataclass
class _Service:
    """One receiver being served."""

    number: int
    """The index of its pairing in the record."""
    sender: Sender
    session: Session
    serving: Serving
    resumed: bool
    """Whether it accepted the offer of an earlier process."""
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    queued: bool = False


class SendActivity(Activity):
    """One send: it invites receivers, and serves each in a session of its own."""

    role = Role.SEND
    _store: RecordStore[SendRecord]

    def __init__(
        self,
        store: RecordStore[SendRecord],
        settings: Settings,
        resources: Resources,
        open_source: Callable[[], Source],
        files: PageFiles | None = None,
    ) -> None:
        """``files`` are those of a browser's machine, if the source reads such files."""
        super().__init__(store, settings, resources)
        self.pages = LentPages(self.id, files, resources.tell) if files else None
        self._code = ""
        self._open_source = open_source
        self._receivers = store.record.receivers
        self._source: Source | None = None
        # Found before a receiver is invited.
        self._relay: RelayAddress
        self._services: list[_Service] = []
        self._sessions: list[asyncio.Task[None]] = []
        self._served = asyncio.Semaphore(0)
        self._expires_at = time.monotonic() + store.record.expires_at - time.time()
        self._trouble = ""

    # ---------------------------------------------------------------- running
    @override
    async def _run(self) -> Result:
        self._source = await self._threads.call(self._open)
        self._show_now()
        self._relay = await self._find_relay()
        await self._resume_sessions()
        if self._receivers == 1 and self._services:
            await self._served.acquire()
        else:
            await self._invite()
        return await self._outcome()

    def _open(self) -> Source:
        source = self._open_source()
        # With very many files the id takes seconds to compute. This is a worker thread.
        assert source.manifest.id
        return source

    async def _resume_sessions(self) -> None:
        """Serve the receivers of an earlier process that are not done."""
        unfinished = []
        for number, pairing in enumerate(self._store.record.pairings):
            if pairing.is_open:
                unfinished.append(self._serve(number, SessionKeys(pairing.root)))
            elif pairing.state == State.DONE:
                self._served.release()
        await asyncio.gather(*unfinished)
        if self._services and (ticket := Invitation.of(self._store.record).ticket):
            self._code = str(ticket.with_url(self._relay.share_url))
            self._show_now()

    async def _invite(self) -> None:
        """Let receivers in until all expected ones are served, or the offer expires."""
        listener = InvitationListener(self._issued, self._guessed, self._troubled, self._pair)
        seconds = max(0.0, self._expires_at - time.monotonic())
        invitation = Invitation.of(self._store.record)
        inviter = Inviter(invitation, self._relay, max(1, seconds), self.limits, listener)
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
            if self._left:
                # Another process may resume.
                inviter.ending = None
            elif self._services:
                inviter.ending = "used"
            for task in (inviting, serving):
                task.cancel()
            (failed, _) = await asyncio.gather(inviting, serving, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed

    async def _all_served(self) -> None:
        """Raise :class:`_Enough` when all expected receivers have everything."""
        for _ in count() if self._receivers is None else range(self._receivers):
            await self._served.acquire()
        raise _Enough

    async def _issued(self, ticket: Code | Ticket) -> None:
        if self._code:
            return
        # Opened before a receiver is invited.
        assert self._source is not None
        manifest = self._source.manifest
        await self._store.update_in(
            self._threads,
            room=ticket.room,
            relay=RelayNote(
                url=self._relay.url, public_url=self._relay.public_url, port=self._relay.own_port
            ),
            names=manifest.top_names,
            total=manifest.total_bytes,
        )
        self._code = str(ticket)
        self._show_now()

    async def _guessed(self, times: int) -> None:
        await self._store.update_in(self._threads, wrong_guesses=times)
        self._show_now()

    def _troubled(self, why: str) -> None:
        self._trouble = why
        self.changed()

    # ---------------------------------------------------------------- serving
    async def _pair(self, keys: SessionKeys) -> None:
        """Record that a receiver has proved that it knows the code, then serve it."""
        await self._threads.call(self._store.change, lambda record: record.with_pairing(keys.root))
        await self._serve(len(self._store.record.pairings) - 1, keys)

    def _note_state(self, number: int, state: str) -> None:
        """Record the state of a pairing. A final state stays: "accepted" may arrive here later."""

        def noted(record: SendRecord) -> SendRecord:
            return record.in_state(number, state) if record.pairings[number].is_open else record

        self._store.change(noted)

    async def _serve(self, number: int, keys: SessionKeys) -> None:
        """Start a session with a receiver. Its room is open when this returns, if the relay can be reached."""
        # Opened before a receiver is let in.
        assert self._source is not None
        resumed = self._store.record.pairings[number].state == ACCEPTED
        sender = Sender(
            self._source.manifest,
            self.limits,
            agent=AGENT,
            expires_at=self._expires_at if self._receivers == 1 and not resumed else None,
        )
        sender.held = True
        serving = Serving(sender, self._source, self._threads)

        def handle(event: Event, lease: Lease | None) -> None:
            if not sender.phase.final:
                if sender.phase not in (Phase.CONNECTING, Phase.OFFERED):
                    service.accepted.set()
            elif sender.phase is not Phase.FAILED:
                # The record is saved before the last message is sent.
                self._note_state(number, str(sender.phase))

        answerer = Answerer(self._relay, self._settings, keys, seconds=self.limits.keep_unfinished)
        session = Session(
            sender,
            answerer,
            self.limits,
            handle=handle,
            changed=lambda: self._session_changed(service),
            frame_sent=serving.frame_sent,
        )
        service = _Service(number, sender, session, serving, resumed)
        self._services.append(service)
        await answerer.host()
        self._sessions.append(asyncio.create_task(self._run_session(service)))

    async def _run_session(self, service: _Service) -> None:
        async def work() -> None:
            await service.accepted.wait()
            await self._threads.call(self._note_state, service.number, ACCEPTED)
            self._started_now()

            def queued(waits: bool) -> None:
                service.queued = waits
                self.changed()

            await service.serving.run_in_turn(
                service.session, self._slots.sending, self.limits.max_active, queued
            )

        running = asyncio.create_task(service.session.run(work))
        try:
            await service.session.final.wait()
            if service.sender.phase is Phase.DONE or self._receivers == 1:
                self._served.release()
            await running
        finally:
            # It still runs if this process leaves early.
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _session_changed(self, service: _Service) -> None:
        service.serving.more_to_do()
        self.changed()

    async def _outcome(self) -> Result:
        """The outcome of the one receiver. With several: what is done, once no session runs that was accepted."""
        if self._receivers == 1:
            only = self._only()
            await only.session.final.wait()
            if only.sender.error:
                raise only.sender.error
        else:
            accepted = [each for each in self._services if each.accepted.is_set() or each.resumed]
            await asyncio.gather(*(service.session.final_or_away() for service in accepted))
        done = [service for service in self._services if service.sender.phase is Phase.DONE]
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
    @override
    def accepted(self) -> bool:
        return self._store.record.accepted

    @property
    @override
    def offer(self) -> Manifest | None:
        if self.pages:
            return self.pages.files.manifest
        return self._source.manifest if self._source else None

    @override
    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "code": self._code, "invites": self._store.record.invites}

    @override
    def _interrupt(self) -> None:
        if self._source:
            self._source.interrupt()

    @property
    @override
    def skipped(self) -> tuple[Skipped, ...]:
        """What was found in the folders and is not sent; known once there is a code."""
        return self._source.skipped if self._source else ()

    def _only(self) -> _Service:
        """The service that counts. A receiver that loses the relay while it pairs has to pair again."""
        done = [service for service in self._services if service.sender.phase is Phase.DONE]
        return (done or self._services)[-1]

    def _paths(self) -> list[Path]:
        assert self._source is not None
        return [Path(entry.path) for entry in self._source.manifest.entries if not entry.folder]

    @override
    async def _close_sessions(self) -> None:
        for service in self._services:
            if not service.sender.phase.final and not self._left:
                service.sender.cancel("the sender has ended", time.monotonic())
                service.session.pump()
        if self._left:
            for task in self._sessions:
                task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    @override
    def _clean_up(self) -> None:
        # The record keeps the pairings, and a code that still works, for another process.
        if self._source:
            self._source.close()
        if self.error and (self._left or (self.accepted and self.snapshot.state is State.FAILED)):
            self._store.release(self.error.message)
        else:
            self._store.finish(self.snapshot.state, self.snapshot.reason)

    # ---------------------------------------------------------------- views
    @override
    def _ends_with(self, running: list[Machine]) -> bool:
        # With several receivers, others may still come.
        return bool(running) and self._receivers == 1

    @override
    def machines(self) -> list[Machine]:
        return [service.sender for service in self._services]

    @override
    def pump(self) -> None:
        for service in self._services:
            service.session.pump()

    @override
    def files(self, first: int = 0, count: int | None = None) -> tuple[FileProgress, ...]:
        # These are the files of the receiver that came last.
        if not self._source:
            return ()
        counted = self._services[-1].sender if self._services else UNTAKEN
        return file_progress(self._source.manifest, counted, first, count)

    @override
    def _condition(self) -> tuple[State, str]:
        current = self._current()
        if current is None:
            return State.WAITING, self._trouble
        state = state_of(current.sender, away=current.session.away, hashing=current.sender.hashing)
        if state.final and self._receivers != 1:
            # It waits for more receivers.
            return State.WAITING, self._trouble
        if state is State.TRANSFERRING and current.queued:
            return State.WAITING, "waiting in the queue"
        return state, current.session.trouble or current.sender.pause_reason

    def _current(self) -> _Service | None:
        """The newest receiver that is still served; if none is, the newest of all."""
        running = [service for service in self._services if not service.sender.phase.final] or self._services
        return running[-1] if running else None

    @override
    def _view(self) -> Snapshot:
        state, reason = self._condition()
        view = self.snapshot.evolve(
            state=state, reason=reason, wrong_guesses=self._store.record.wrong_guesses
        )
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
            via_since=current.session.via_since if current else None,
        )
