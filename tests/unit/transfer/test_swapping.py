"""What is behind a handle is swapped while others look, click, fail or leave; none of it moves a byte."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from nbferry import api
from nbferry.engine import portal
from nbferry.engine.engine import Engine
from nbferry.errors import Cancelled, Interrupted, NbferryError, TransferBusy
from nbferry.model.manifest import Manifest
from nbferry.status import State
from nbferry.storage.records.claim import Claim
from nbferry.storage.records.ledger import StateFolders
from nbferry.transfer import unfinished
from nbferry.transfer.handle import Transfer
from nbferry.transfer.lending import Lending
from unit.transfer.notebook_setup import LIMITS, NAME, OFFER, PATIENCE, RESULT, Stage, outcome, receive, shown


def taken_over(stage: Stage, *, accepted: bool = True) -> Transfer:
    """One that another process took from this one, and that can be resumed."""
    transfer = stage.start()
    stage.played._store.update(accepted=accepted)
    portal.portal().ask(lambda: stage.played.leave(TransferBusy("Taken.")))
    assert outcome(transfer) is TransferBusy
    transfer.wait_until_closed()
    return transfer


# ------------------------------------------------------------------ a start that fails
def test_what_is_busy_can_be_taken_over_later(stage: Stage) -> None:
    """A start that failed leaves the handle as it was, so that the next one does not wait for its end."""
    transfer = taken_over(stage)
    claim = Claim.take(stage.ledger.folder_of(NAME))
    with pytest.raises(TransferBusy):
        stage.notebook.resume(NAME, LIMITS)
    assert stage.notebook.resume(NAME, LIMITS, take_over=True) is transfer
    assert stage.end(transfer) == RESULT
    claim.release()


def test_a_wrong_environment_leaves_no_handle(stage: Stage) -> None:
    """Once it is put right the transfer can be resumed."""
    stage.leave()
    good = stage.notebook._settings

    def wrong(*_: object) -> Any:
        raise ValueError("NBFERRY_HOST")

    stage.notebook._settings = wrong
    with pytest.raises(ValueError, match="NBFERRY_HOST"):
        stage.notebook.transfers(LIMITS)
    with pytest.raises(ValueError, match="NBFERRY_HOST"):
        stage.notebook.resume(NAME, LIMITS)
    stage.notebook._settings = good
    assert stage.end(stage.notebook.resume(NAME, LIMITS)) == RESULT


def test_an_unexpected_fault_leaves_no_handle(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an error with a sentence, and what was wrong is logged."""
    stage.leave()

    def full(*_: object) -> Any:
        raise RuntimeError("can't start new thread")

    executor = stage.notebook._engine._engine._executor
    with monkeypatch.context() as patch:
        patch.setattr(executor, "submit", full)
        with pytest.raises(NbferryError, match="unexpected"):
            stage.notebook.resume(NAME, LIMITS)
    assert "can't start new thread" in caplog.text
    assert stage.end(stage.notebook.resume(NAME, LIMITS)) == RESULT


def test_a_process_that_ends_while_something_starts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told, and the claim is free for the next process."""
    stage.leave()
    inside, may_go_on, released = threading.Event(), threading.Event(), threading.Event()
    prepared, release = Engine._prepared, Claim.release

    def slowly(engine: Engine, start: Any) -> Any:
        done = prepared(engine, start)
        inside.set()
        assert may_go_on.wait(PATIENCE)
        return done

    def noted(claim: Claim) -> None:
        release(claim)
        released.set()

    monkeypatch.setattr(Engine, "_prepared", slowly)
    monkeypatch.setattr(Claim, "release", noted)
    with ThreadPoolExecutor(1) as caller:
        resumed = caller.submit(stage.notebook.resume, NAME, LIMITS)
        assert inside.wait(PATIENCE)
        stopping = threading.Thread(target=portal.stop)
        stopping.start()
        may_go_on.set()
        assert isinstance(resumed.exception(PATIENCE), Interrupted)
        stopping.join()
    assert released.wait(PATIENCE)
    assert not stage.ledger.is_claimed(NAME)


# ------------------------------------------------------------------ at the same time
def test_a_command_follows_a_start_however_busy_the_loop_is(stage: Stage) -> None:
    """It is not lost between the call and the first step."""
    transfer = stage.parked()
    gate = threading.Event()
    portal.portal().call(lambda: gate.wait(PATIENCE))
    transfer.resume()
    transfer.cancel("never mind")
    gate.set()
    assert outcome(transfer) is Cancelled


def test_of_two_that_resume_at_once_one_starts_it(stage: Stage) -> None:
    """The other has the same handle, or is told that it runs."""
    transfer = stage.parked()
    barrier = threading.Barrier(2)

    def resume() -> None:
        barrier.wait(PATIENCE)
        try:
            assert stage.notebook.resume(NAME, LIMITS) is transfer
        except TransferBusy:
            assert not transfer.is_parked

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(resume) for _ in range(2)]:
            done.result()
    assert not transfer.is_parked
    assert [*stage.notebook.transfers(LIMITS)] == [transfer]
    assert stage.end(transfer) == RESULT


def test_a_click_while_it_is_listed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was resumed meanwhile is not parked again."""
    transfer = stage.parked()
    report_of = unfinished.report_of

    def clicked(*about: Any) -> Any:
        report = report_of(*about)
        transfer.resume()
        shown(transfer, lambda view: view.state is State.CONNECTING)
        return report

    monkeypatch.setattr(unfinished, "report_of", clicked)
    stage.notebook.transfers(LIMITS)
    assert not transfer.is_parked
    transfer.cancel()
    assert outcome(transfer) is Cancelled


def test_what_is_no_longer_listed_can_be_resumed(stage: Stage) -> None:
    """A handle that is held hears of its transfer again."""
    transfer = stage.parked()
    folders = stage.folders
    stage.folders = StateFolders(folders.notebook.parent / "elsewhere", folders.own)
    assert stage.notebook.transfers(LIMITS) == []
    stage.folders = folders
    transfer.resume()
    shown(transfer, lambda view: view.state is State.CONNECTING)
    assert stage.end(transfer) == RESULT


def test_starting_where_snapshots_are_told(stage: Stage) -> None:
    """On the engine's thread a start does not wait, so that nothing stands still."""
    stage.leave()
    other = stage.start(replace(receive(), id="a" * 12, code="482914-amber-canyon-tulip@http://x/"))
    resumed: list[Transfer] = []
    other.subscribe(lambda _: resumed or resumed.append(stage.notebook.resume(NAME, LIMITS)))
    shown(resumed[0], lambda view: view.state is State.CONNECTING)
    assert stage.end(resumed[0]) == RESULT


def test_a_process_has_one_notebook() -> None:
    """Whichever of several threads asks first."""
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait(PATIENCE)
        return id(api.notebook())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    portal.stop()


# ------------------------------------------------------------------ outcomes and decisions
def test_listing_keeps_an_outcome(stage: Stage) -> None:
    """What has failed still raises its error; only resuming makes a new outcome."""
    transfer = taken_over(stage)
    assert [*stage.notebook.transfers(LIMITS)] == [transfer]
    assert transfer.is_parked
    assert outcome(transfer) is TransferBusy


def test_discarding_what_is_done_leaves_it_done(stage: Stage) -> None:
    """Only the sender had not been told."""
    transfer = stage.start()
    stage.played._store.update(accepted=True, digest="ab" * 32)
    assert stage.end(transfer) == RESULT
    transfer.wait_until_closed()
    stage.ledger.save(replace(receive(), accepted=True, digest="ab" * 32))
    stage.notebook.discard(NAME)
    assert transfer.snapshot.state is State.DONE


def test_a_late_verdict_reaches_no_other_run(stage: Stage) -> None:
    """It was about an offer that is not there any more."""
    asked, may_answer, answered = threading.Event(), threading.Event(), threading.Event()

    def slowly(_: Manifest) -> bool:
        asked.set()
        assert may_answer.wait(PATIENCE)
        answered.set()
        return True

    transfer = stage.start(decide=slowly)
    portal.portal().ask(stage.played.ask)
    assert asked.wait(PATIENCE)
    portal.portal().ask(lambda: stage.played.leave(TransferBusy("Taken.")))
    assert outcome(transfer) is TransferBusy
    transfer.wait_until_closed()
    stage.ledger.save(receive())
    stage.notebook.resume(NAME, LIMITS)
    may_answer.set()
    assert answered.wait(PATIENCE)
    judging = [each for each in threading.enumerate() if each.name == "nbferry-accept"]
    for each in judging:
        each.join(PATIENCE)
    assert portal.portal().ask(lambda: stage.played.decided_for) in ([], [OFFER.id])
    assert transfer._decide is None


def test_an_old_question_is_not_judged_again(stage: Stage) -> None:
    """The function of a new call waits for the new offer."""
    transfer = stage.start()
    portal.portal().ask(stage.played.ask)
    portal.portal().ask(lambda: stage.played.leave(TransferBusy("Taken.")))
    assert outcome(transfer) is TransferBusy
    transfer.wait_until_closed()
    stage.ledger.save(receive())
    judged: list[Manifest] = []
    stage.notebook.start(receive(), LIMITS, decide=lambda offer: bool(judged.append(offer)) or True)
    shown(transfer, lambda view: view.state is State.CONNECTING)
    assert judged == []


# ------------------------------------------------------------------ files that pages lend
class Noting:
    """An engine that takes note of commands."""

    def __init__(self) -> None:
        self.posted: list[object] = []

    def post(self, command: object) -> None:
        """Take note."""
        self.posted.append(command)


def test_a_page_lends_again_under_another_name() -> None:
    """A late answer to the activity before cannot be taken for one to the activity after."""
    engine = Noting()
    lending = Lending(NAME, OFFER, engine)  # type: ignore[arg-type]  # what of it is used
    lending.lend(reader := object())  # type: ignore[arg-type]  # as above
    lending.lend_again()
    lending.gone(reader)  # type: ignore[arg-type]  # as above
    first, second, gone = engine.posted
    assert first != second
    assert gone.page == second.page  # type: ignore[attr-defined]  # both name it
