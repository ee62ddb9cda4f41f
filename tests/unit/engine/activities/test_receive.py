"""Who decides about an offer; transfers as a whole are tested in tests/faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.engine.activities.activity import Resources
from nbferry.engine.activities.receive import ReceiveActivity
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.slots import Slots
from nbferry.limits import KiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.protocol.phases import Phase
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import ReceiveRecord, RelayNote

SMALL, LARGE = (Manifest.of([Entry("a", size)], 4 * KiB) for size in (5, 100))
LIMITS = Limits(auto_accept=10)


def received(
    tmp_path: Path, check: Callable[[ReceiveActivity], None], *, asks: bool = False, accept_all: bool = False
) -> None:
    """Look at a receive that has not begun."""

    async def nowhere(_known: RelayNote | None, _settings: Settings) -> RelayAddress:
        raise AssertionError

    async def scenario() -> None:
        record = ReceiveRecord(
            id="ba9876543210",
            created=1.0,
            code="482913-amber-canyon-tulip@http://relay.example/",
            to=str(tmp_path),
            overwrite=Overwrite.RENAME,
            allow_hidden=False,
            accept_all=accept_all,
        )
        store = RecordStore(record, Ledger(tmp_path / ".nbferry", key=bytes(32)))
        with ThreadPoolExecutor(1) as executor:
            resources = Resources(nowhere, Slots(), executor, lambda _: None)
            settings = Settings(limits=LIMITS, asks=asks)
            check(ReceiveActivity(store, settings, resources, Destination(tmp_path, record.id)))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("asks", "accept_all", "small", "large"),
    [
        (False, False, False, True),
        (False, True, False, False),
        (True, False, True, True),
        # a function of this call goes before a yes of an earlier one
        (True, True, True, True),
    ],
)
def test_when_an_offer_is_put_to_somebody(
    tmp_path: Path, asks: bool, accept_all: bool, small: bool, large: bool
) -> None:
    """A small one is taken unasked, unless the caller decides about all; a yes beforehand is for all."""

    def check(receiving: ReceiveActivity) -> None:
        assert (receiving._must_ask(SMALL), receiving._must_ask(LARGE)) == (small, large)

    received(tmp_path, check, asks=asks, accept_all=accept_all)


@pytest.mark.parametrize(("judged", "counts"), [("", True), (LARGE.id, True), (SMALL.id, False)])
def test_a_verdict_is_for_the_offer_that_was_judged(tmp_path: Path, judged: str, counts: bool) -> None:
    """Another offer, of a run before for instance, still waits for its own."""

    def check(receiving: ReceiveActivity) -> None:
        receiving._receiver = SimpleNamespace(manifest=LARGE, phase=Phase.OFFERED)  # type: ignore[assignment]  # what is looked at
        assert receiving._question() == LARGE.id
        receiving.changed = lambda: None  # type: ignore[method-assign]  # it has no session
        receiving.decide(True, judged)
        assert receiving._verdict.done() is counts
        assert bool(receiving._question()) is not counts

    received(tmp_path, check)


def test_a_verdict_for_an_offer_that_has_not_come_counts_not(tmp_path: Path) -> None:
    """It must be that of a run before."""

    def check(receiving: ReceiveActivity) -> None:
        receiving.decide(True, LARGE.id)
        assert not receiving._verdict.done()

    received(tmp_path, check)
