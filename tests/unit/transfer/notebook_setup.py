"""A notebook whose transfers are played: none of them moves a byte."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbferry.connections.settings import Settings
from nbferry.engine import portal
from nbferry.engine.activities.activity import Activity, Resources
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.engine import Engine
from nbferry.errors import NbferryError
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.roles import Role
from nbferry.protocol.machine import Machine
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.records.ledger import Ledger, StateFolders
from nbferry.storage.records.record import AnyRecord, ReceiveRecord, SendRecord
from nbferry.transfer.face import FACELESS
from nbferry.transfer.handle import Transfer
from nbferry.transfer.notebook import Notebook

PATIENCE = 30
NAME = "ba9876543210"
LIMITS = Limits()
RESULT = Result(files=(), bytes=5, seconds=0.0, digest="", via="")
OFFER = Manifest.of([Entry("a", 5)], 4096)


class Played(Activity):
    """A transfer that a test plays."""

    role = Role.RECEIVE

    def __init__(self, store: RecordStore[Any], settings: Settings, resources: Resources) -> None:
        super().__init__(store, settings, resources)
        self.runs = threading.Event()
        # to the end
        self.go = threading.Event()
        self.may_clean_up = threading.Event()
        self.may_clean_up.set()
        self.fault: Exception | None = None
        self.asks = ""
        self.verdicts: list[object] = []
        self.decided_for: list[str] = []

    @property
    def accepted(self) -> bool:
        """As if it were."""
        return True

    @property
    def offer(self) -> Manifest:
        """What it is about."""
        return OFFER

    async def _run(self) -> Result:
        self.runs.set()
        self.changed()
        await self._threads.call(self.go.wait, PATIENCE)
        return RESULT

    async def _close_sessions(self) -> None:
        # as a session does that ends
        self.changed()
        self.go.set()

    def _clean_up(self) -> None:
        assert self.may_clean_up.wait(PATIENCE)
        if self.fault:
            raise self.fault

    def machines(self) -> list[Machine]:
        """None."""
        return []

    def pump(self) -> None:
        """It has nothing to say."""

    def decide(self, verdict: bool | str | NbferryError, offer: str) -> None:
        """Take note."""
        assert offer in ("", OFFER.id)
        self.verdicts.append(verdict)
        self.decided_for.append(offer)
        self.asks = ""
        self.changed()

    def ask(self) -> None:
        """Put an offer to the caller."""
        self.asks = OFFER.id
        self.changed()

    def files(self, first: int = 0, count: int | None = None) -> tuple[FileProgress, ...]:
        """None."""
        return ()

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "asks": self.asks}

    def _condition(self) -> tuple[State, str]:
        return State.CONNECTING, ""

    def _view(self) -> Snapshot:
        return self.snapshot.evolve(state=State.CONNECTING, reason="")


class Stage:
    """A notebook whose activities are played, and the last one of them."""

    def __init__(self, folder: Path) -> None:
        self.folders = StateFolders(folder / ".nbferry", folder / "own")
        self.made: list[Played] = []
        self.open()

    def open(self) -> None:
        """As a process that has just begun."""
        self.notebook = Notebook(
            portal.portal(), lambda _: None, lambda: self.folders, lambda: FACELESS, settings_for
        )

    @property
    def ledger(self) -> Ledger:
        """Where unfinished transfers are written down."""
        return self.folders.ledger()

    @property
    def played(self) -> Played:
        """The last one that was made."""
        return self.made[-1]

    def start(self, record: AnyRecord | None = None, **how: Any) -> Transfer:
        """One that runs."""
        transfer = self.notebook.start(record or receive(), LIMITS, **how)
        assert self.played.runs.wait(PATIENCE)
        return transfer

    def leave(self, record: AnyRecord | None = None) -> AnyRecord:
        """An earlier process left this one."""
        left = record or replace(receive(), accepted=True, durable=7)
        self.ledger.save(left)
        return left

    def parked(self) -> Transfer:
        """The only one that is listed, and that an earlier process left."""
        self.leave()
        (transfer,) = self.notebook.transfers(LIMITS)
        return transfer

    def end(self, transfer: Transfer) -> Result | type[BaseException]:
        """Let it end well."""
        self.played.go.set()
        return outcome(transfer)


def settings_for(_: AnyRecord, limits: Limits) -> Settings:
    """As if the environment said nothing."""
    return Settings(limits=limits)


def receive() -> ReceiveRecord:
    """What is to be received."""
    return ReceiveRecord(
        id=NAME,
        created=1.0,
        code="482913-amber-canyon-tulip@http://relay.example/",
        to="/to",
        overwrite=Overwrite.RENAME,
        allow_hidden=False,
    )


def send(name: str = "0123456789ab") -> SendRecord:
    """What is to be sent."""
    return SendRecord(
        id=name,
        created=2.0,
        paths=("/x",),
        follow_symlinks=False,
        chunk_size=1 << 20,
        receivers=1,
        invitation="amber-canyon-tulip",
        key="ab" * 16,
        expires_at=9e9,
    )


@contextmanager
def staged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A process without transfers."""
    stage = Stage(folder)

    def activity_of(
        engine: Engine, store: RecordStore[Any], settings: Settings, _: Ledger
    ) -> Callable[[], Activity]:
        def make() -> Played:
            stage.made.append(Played(store, settings, engine._resources))
            return stage.played

        return make

    monkeypatch.setattr(Engine, "_activity_of", activity_of)
    yield stage
    for activity in stage.made:
        activity.go.set()
        activity.may_clean_up.set()
    portal.stop()


def outcome(transfer: Transfer) -> Result | type[BaseException]:
    """The result, or the class of the error."""
    try:
        return transfer.wait(PATIENCE)
    except NbferryError as error:
        return type(error)


def shown(transfer: Transfer, expected: Callable[[Snapshot], bool]) -> None:
    """Wait until it shows itself like that."""
    seen = threading.Event()
    unsubscribe = transfer.subscribe(lambda view: seen.set() if expected(view) else None)
    assert seen.wait(PATIENCE)
    unsubscribe()
