"""The transfers of this process: started, at rest, gone on with, ended, from any thread; none of them moves a byte."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbferry.connections.context import ConnectContext
from nbferry.engine import portal
from nbferry.engine.activities.activity import Activity, Resources
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.engine import Engine
from nbferry.engine.slots import Slots
from nbferry.errors import Cancelled, Interrupted, NbferryError, TransferBusy
from nbferry.limits import Limits
from nbferry.model.roles import Role
from nbferry.protocol.machine import Machine
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import ReceiveRecord
from nbferry.transfer import registry
from nbferry.transfer.handle import FACELESS, Transfer

PATIENCE = 30
NAME = "ba9876543210"
RESULT = Result(files=(), bytes=5, seconds=0.0, digest="", via="")
PAUSED = Snapshot(id=NAME, role=Role.RECEIVE, state=State.PAUSED, reason="not running", durable=7)


async def _nowhere() -> ConnectContext:
    raise AssertionError


class Played(Activity):
    """A transfer that a test plays."""

    role = "receive"

    def __init__(self, store: RecordStore[Any], means: Resources) -> None:
        super().__init__(store, means)
        self.runs = threading.Event()
        self.go = threading.Event()  # to the end
        self.put_away = threading.Event()
        self.put_away.set()
        self.fault: Exception | None = None

    @property
    def begun(self) -> bool:
        """As if it were accepted."""
        return True

    async def _run(self) -> Result:
        self.runs.set()
        self.changed()
        await self._threads.call(self.go.wait, PATIENCE)
        return RESULT

    async def _part(self) -> None:
        self.changed()  # as a session does that ends
        self.go.set()

    def _put_away(self) -> None:
        assert self.put_away.wait(PATIENCE)
        if self.fault:
            raise self.fault

    def machines(self) -> list[Machine]:
        """None."""
        return []

    def pump(self) -> None:
        """There is nothing to say."""

    def files(self) -> tuple[FileProgress, ...]:
        """None."""
        return ()

    def _condition(self) -> tuple[State, str]:
        return State.CONNECTING, ""

    def _view(self) -> Snapshot:
        return self.snapshot.evolve(state=State.CONNECTING, reason="")


class Stage:
    """Makes activities, and knows the last one."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.executor = ThreadPoolExecutor(4)
        self.made: list[Played] = []
        self.taken = 0
        self.given_up = 0
        self.busy: NbferryError | None = None

    def begin(self, _: Engine) -> Played:
        """Make one."""
        record = ReceiveRecord(
            id=NAME, created=1.0, code="", to="/to", overwrite="rename", allow_hidden=False
        )
        means = Resources(_nowhere, Slots(), self.executor, Limits())
        self.made.append(Played(RecordStore(record, self.ledger), means))
        return self.made[-1]

    def start(self) -> tuple[Transfer, Played]:
        """One that runs."""
        transfer = registry.start(self.begin)
        assert self.made[-1].runs.wait(PATIENCE)
        return transfer, self.made[-1]

    def rest(self, view: Snapshot = PAUSED) -> Transfer:
        """One that an earlier process left."""
        return registry.rest(self.begin, view, FACELESS, take=self._take, give_up=self._give_up)

    def _take(self) -> None:
        if self.busy:
            raise self.busy
        self.taken += 1

    def _give_up(self) -> None:
        if self.busy:
            raise self.busy
        self.given_up += 1


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A process without transfers."""
    stage = Stage(Ledger(tmp_path / ".nbferry", key=bytes(32)))
    yield stage
    for activity in stage.made:
        activity.go.set()
        activity.put_away.set()
    portal.stop()
    stage.executor.shutdown()


def outcome(transfer: Transfer) -> Result | type[BaseException]:
    """The result, or the class of the error."""
    try:
        return transfer.wait(PATIENCE)
    except NbferryError as error:
        return type(error)


def shown(transfer: Transfer, wanted: Callable[[Snapshot], bool]) -> None:
    """Wait until it shows itself like that."""
    seen = threading.Event()
    end = transfer.subscribe(lambda view: seen.set() if wanted(view) else None)
    assert seen.wait(PATIENCE)
    end()


# ------------------------------------------------------------------ running
def test_what_runs_is_found_until_it_has_ended(stage: Stage) -> None:
    """By its id, and among all; once it has a result it runs no more, but is still listed."""
    assert registry.transfer(NAME) is None
    transfer, played = stage.start()
    assert [each.id for each in registry.transfers()] == [NAME]
    assert registry.transfer(NAME) is not None
    played.go.set()
    assert outcome(transfer) == RESULT
    assert registry.transfer(NAME) is None
    assert [each.snapshot.state for each in registry.transfers()] == [State.DONE]


def test_looking_waits_until_all_is_put_away(stage: Stage) -> None:
    """Between its result and the end of it a memo may still lie there: it is looked for again after that."""
    transfer, played = stage.start()
    played.put_away.clear()
    played.go.set()
    assert outcome(transfer) == RESULT
    record = played._store.record
    looks: list[bool] = []

    def find() -> ReceiveRecord | None:
        looks.append(played.settled.is_set())
        played.put_away.set()
        return record if len(looks) == 1 else None

    assert registry.settled(find) is None
    assert looks == [False, True]


# ------------------------------------------------------------------ resting
def test_what_rests_goes_on(stage: Stage) -> None:
    """It shows what is known of it, is not among what runs, and is taken once when it is resumed."""
    transfer = stage.rest()
    assert transfer.snapshot == PAUSED
    assert registry.transfer(NAME) is None
    transfer.resume()
    transfer.resume()
    assert stage.made[0].runs.wait(PATIENCE)
    stage.made[0].go.set()
    assert outcome(transfer) == RESULT
    assert stage.taken == 1


def test_what_rests_is_listed_once(stage: Stage) -> None:
    """Listed again it is the same transfer, as it stands now; one that runs is left alone."""
    first = stage.rest()
    second = stage.rest(PAUSED.evolve(durable=8))
    assert first.snapshot == second.snapshot == PAUSED.evolve(durable=8)
    first.resume()
    assert stage.made[0].runs.wait(PATIENCE)
    assert stage.rest().snapshot.state is State.CONNECTING
    assert len(stage.made) == 1


@pytest.mark.parametrize("wish", ["resume", "cancel"])
def test_what_another_process_runs_is_left_to_it(stage: Stage, wish: str) -> None:
    """It says so, goes on resting, and can be had later."""
    transfer = stage.rest()
    stage.busy = TransferBusy("Process 5 runs this transfer.")
    getattr(transfer, wish)()
    shown(transfer, lambda view: "Process 5" in view.reason)
    assert transfer.snapshot.state is State.PAUSED
    assert registry.settled(lambda: stage.made[0]._store.record) is not None
    stage.busy = None
    transfer.resume()
    assert stage.made[0].runs.wait(PATIENCE)


def test_what_rests_is_removed(stage: Stage) -> None:
    """Cancelled, it is removed and has ended; nothing can wake it."""
    transfer = stage.rest()
    transfer.cancel()
    assert outcome(transfer) is Cancelled
    transfer.resume()
    transfer.cancel()
    assert transfer.snapshot.state is State.CANCELLED
    assert (stage.taken, stage.given_up) == (0, 1)
    assert registry.settled(lambda: stage.made[0]._store.record) is not None


def test_whoever_holds_what_was_discarded_is_told(stage: Stage) -> None:
    """What rests here and was removed in another way has ended, too; what runs is not touched."""
    transfer = stage.rest()
    registry.discarded(NAME)
    assert outcome(transfer) is Cancelled
    _, played = stage.start()
    registry.discarded(NAME)
    assert not played.result.done()


def test_whoever_holds_what_rests_follows_what_goes_on(stage: Stage) -> None:
    """If it goes on as another one, of the same call in a cell for instance, both handles are of that."""
    held = stage.rest()
    seen: list[State] = []
    held.subscribe(lambda view: seen.append(view.state))
    waiting = ThreadPoolExecutor(1)
    waited = waiting.submit(outcome, held)
    transfer, played = stage.start()
    assert held.snapshot.state is State.CONNECTING
    played.go.set()
    assert outcome(transfer) == outcome(held) == waited.result() == RESULT
    assert seen[0] is State.PAUSED
    assert seen[-1] is State.DONE
    waiting.shutdown()


def test_what_is_known_no_more_is_forgotten(stage: Stage) -> None:
    """Another process has ended it: it is no longer listed."""
    stage.rest()
    registry.forget_resting([NAME])
    assert len(registry.transfers()) == 1
    registry.forget_resting([])
    assert registry.transfers() == []


# ------------------------------------------------------------------ wishes that cross
def test_what_is_resumed_and_cancelled_at_once_is_cancelled(stage: Stage) -> None:
    """Even before its first step, in the same turn of the loop."""
    transfer = stage.rest()
    (played,) = stage.made
    portal.portal().ask(lambda: (played.resume(), played.cancel("never mind")))
    assert outcome(transfer) is Cancelled
    assert "never mind" in transfer.snapshot.reason
    assert not played.runs.is_set()
    assert (stage.taken, stage.given_up) == (1, 0)


def test_what_is_resumed_in_a_process_that_ends_is_let_go_of(stage: Stage) -> None:
    """It is paused again, for the next process."""
    transfer = stage.rest()
    (played,) = stage.made
    portal.portal().ask(lambda: (played.resume(), played.leave(Interrupted())))
    assert outcome(transfer) is Interrupted
    assert transfer.snapshot.state is State.PAUSED
    assert not played.runs.is_set()


def test_a_process_that_ends(stage: Stage) -> None:
    """What runs is let go of and shows itself as paused; who waits for what rests is told as well."""
    transfer, _ = stage.start()
    portal.stop()
    assert outcome(transfer) is Interrupted
    assert transfer.snapshot.state is State.PAUSED
    resting = stage.rest()
    portal.stop()
    assert outcome(resting) is Interrupted
    assert resting.snapshot.state is State.PAUSED


def test_what_is_cancelled_when_the_process_ends_is_cancelled(stage: Stage) -> None:
    """It is not kept for another process: a person has said so."""
    transfer, _ = stage.start()
    transfer.cancel()
    portal.stop()
    assert outcome(transfer) is Cancelled
    assert transfer.snapshot.state is State.CANCELLED


def test_what_cannot_be_put_away_has_ended_all_the_same(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault at the very end is logged; nobody waits for ever, and the claim is free."""
    transfer, played = stage.start()
    played._store.update(accepted=True)
    played.fault = OSError("The drive is away.")
    played.go.set()
    assert outcome(transfer) == RESULT
    assert played.settled.wait(PATIENCE)
    assert "The drive is away." in caplog.text
    assert not stage.ledger.is_claimed(NAME)


def test_handles_on_the_same_transfer_are_equal(stage: Stage) -> None:
    """Also when what rested goes on; not when another one runs under the same id."""
    resting = stage.rest()
    assert resting == stage.rest()
    going_on, activity = stage.start()
    assert resting == going_on == registry.transfer(NAME)
    assert len({resting, going_on}) == 1
    activity.go.set()
    assert outcome(going_on) == RESULT
    activity.settled.wait(PATIENCE)
    again, _ = stage.start()
    assert again != going_on
    assert again != NAME
