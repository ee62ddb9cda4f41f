"""Files of a browser's machine that go into a folder of this kernel: a sender and a receiver in one process.

An upload is a receive whose sender runs here too. So its data are verified, recorded and published in the same way, and
it resumes after a restart as soon as a page lends the same files.
"""

from __future__ import annotations

import asyncio

from typing_extensions import override

from nbferry._version import AGENT
from nbferry.connections.connector import Connector
from nbferry.connections.link import AnyLink, Lease, PlainLink
from nbferry.connections.settings import Settings
from nbferry.engine.activities.activity import Resources
from nbferry.engine.activities.lent_pages import LentPages
from nbferry.engine.activities.receive import IncomingActivity
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.sessions.serving import LARGEST, Serving
from nbferry.engine.sessions.session import Session
from nbferry.errors import NbferryError
from nbferry.model.manifest import Manifest
from nbferry.model.paths import Via
from nbferry.model.roles import Role
from nbferry.protocol.events import Event
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import Sender
from nbferry.status import State
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.record import UploadRecord
from nbferry.storage.sources.pages import PageFiles, PageSource
from nbferry.transports.memory import memory_pair


class NearConnector(Connector):
    """Makes pairs of links within this process, and leaves one end of each to :class:`FarConnector`."""

    def __init__(self) -> None:
        self.others: asyncio.Queue[AnyLink] = asyncio.Queue()

    @override
    async def connect(self) -> AnyLink:
        ours, theirs = memory_pair()
        self.others.put_nowait(PlainLink(theirs, Via.BROWSER))
        return PlainLink(ours, Via.BROWSER)

    @override
    async def aclose(self, *, over: bool) -> None:
        """Nothing is kept between two connections."""


class FarConnector(Connector):
    """Takes the links that :class:`NearConnector` leaves.

    Each end learns when the other is closed, so a newer link never has to replace an older one.
    """

    def __init__(self, near: NearConnector) -> None:
        self._near = near

    @override
    async def connect(self) -> AnyLink:
        return await self._near.others.get()

    @override
    async def aclose(self, *, over: bool) -> None:
        """Nothing is kept between two connections."""


class UploadActivity(IncomingActivity):
    """One upload: a sender whose files a page lends, and a receiver, in this process."""

    role = Role.UPLOAD
    _store: RecordStore[UploadRecord]

    def __init__(
        self,
        store: RecordStore[UploadRecord],
        settings: Settings,
        resources: Resources,
        destination: Destination,
        files: PageFiles,
    ) -> None:
        self._files = files
        super().__init__(store, settings, resources, destination)
        self.pages = LentPages(self.id, files, resources.tell)
        self._source = PageSource(files, self.limits)
        self._sender = Sender(files.manifest, self.limits, agent=AGENT)
        self._sender.held = True
        self._serving = Serving(self._sender, self._source, self._threads, frame_size=LARGEST)
        self._sending: asyncio.Task[None] | None = None
        self._source_failed: NbferryError | None = None

    @property
    @override
    def offer(self) -> Manifest:
        """What is uploaded, known from the start."""
        return self._files.manifest

    # ---------------------------------------------------------------- the two ends
    @override
    def _new_receiver(self, known: tuple[str, Manifest] | None) -> Receiver:
        # The receiver knows the list already, so the sender need not send it. The sink still checks it.
        manifest = self._files.manifest
        return super()._new_receiver(known or (manifest.id, manifest))

    @override
    async def _meet(self) -> Connector:
        manifest = self._files.manifest
        await self._store.update_in(self._threads, names=manifest.top_names, total=manifest.total_bytes)
        near = NearConnector()
        session = Session(
            self._sender,
            FarConnector(near),
            self.limits,
            handle=self._sender_did,
            changed=self._serving.more_to_do,
            frame_sent=lambda _link, _seconds: self._serving.more_to_do(),
        )

        async def serve() -> None:
            lane, most = self._slots.receiving, self.limits.max_active
            await self._serving.run_in_turn(session, lane, most, self._queue)

        self._sending = asyncio.create_task(session.run(serve))
        return near

    def _sender_did(self, event: Event, lease: Lease | None) -> None:
        if self._sender.phase is Phase.FAILED and not self._receiver.phase.final:
            self._source_failed = self._sender.error

    @override
    def _what_went_wrong(self) -> NbferryError | None:
        """The error of the end where it arose, not the one that the other end was told."""
        return self._source_failed or super()._what_went_wrong()

    @override
    def _must_ask(self, manifest: Manifest) -> bool:
        # The person who picked the files has decided.
        return False

    @override
    async def _take_in_turn(self, manifest: Manifest, session: Session) -> None:
        # The sender of an upload takes the turn. So an upload whose page is closed does not hold one.
        await self._take_in(manifest, session)

    @override
    async def _say_that_it_is_done(self) -> None:
        """No other side needs to be told."""

    # ---------------------------------------------------------------- the end
    @override
    async def _close_sessions(self) -> None:
        await super()._close_sessions()
        if self._sending:
            if not self._sender.finished:
                self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    @override
    def _interrupt(self) -> None:
        self._source.interrupt()

    @override
    def _clean_up(self) -> None:
        self._source.close()
        super()._clean_up()

    @override
    def _can_go_on(self, state: State) -> bool:
        return self._left is not None or (state is State.FAILED and self.accepted)

    @property
    @override
    def _is_told(self) -> bool:
        return True
