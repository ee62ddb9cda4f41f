"""The transfers of a notebook: started, parked, resumed, ended, from any thread; none of them moves a byte."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from nbferry.engine import portal
from nbferry.errors import Cancelled, Interrupted, NbferryError, TransferBusy, TransferUnknown
from nbferry.model.manifest import Manifest
from nbferry.status import State
from nbferry.storage.records.claim import Claim
from nbferry.storage.records.record import AnyRecord
from unit.transfer.notebook_setup import (
    LIMITS,
    NAME,
    OFFER,
    PATIENCE,
    RESULT,
    Stage,
    outcome,
    receive,
    send,
    shown,
)


# ------------------------------------------------------------------ running
def test_what_runs_is_listed_also_when_it_has_ended(stage: Stage) -> None:
    """By one handle, which is the same in every list."""
    transfer = stage.start()
    assert [*stage.notebook.transfers(LIMITS)] == [transfer]
    assert stage.end(transfer) == RESULT
    (listed,) = stage.notebook.transfers(LIMITS)
    assert listed is transfer
    assert (listed.snapshot.state, listed.is_over, listed.outcome) == (State.DONE, True, RESULT)


def test_looking_waits_until_all_is_cleaned_up(stage: Stage) -> None:
    """Between its result and the end of it a record may still lie there: it is looked for again after that."""
    transfer = stage.start()
    stage.played.may_clean_up.clear()
    stage.end(transfer)
    looks: list[bool] = []

    def find() -> AnyRecord | None:
        looks.append(transfer.is_closed)
        stage.played.may_clean_up.set()
        return receive() if len(looks) == 1 else None

    assert stage.notebook._find(find) is None
    assert looks == [False, True]


def test_of_ended_ones_the_last_are_listed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is not forgotten."""
    monkeypatch.setattr("nbferry.transfer.notebook.MAX_ENDED", 2)
    running = stage.start(send())
    for number in range(4):
        transfer = stage.start(
            replace(receive(), id=f"{number:012}", code=f"{number}-amber-canyon-tulip@http://x/")
        )
        assert stage.end(transfer) == RESULT
        transfer.wait_until_closed()
    listed = [each.id for each in stage.notebook.transfers(LIMITS)]
    assert listed == [running.id, f"{2:012}", f"{3:012}"]


# ------------------------------------------------------------------ the same call again
def test_the_same_receive_while_it_runs_is_the_same(stage: Stage) -> None:
    """The same handle, and a yes of the second call counts."""
    stage.leave()
    transfer = stage.start()
    again = stage.notebook.start(replace(receive(), id="f" * 12), LIMITS, decide=lambda _: True)
    assert again is transfer
    stage.played.ask()
    assert stage.end(transfer) == RESULT


def test_the_same_send_while_it_runs_is_another(stage: Stage) -> None:
    """It gets a code of its own."""
    stage.leave(send())
    transfer = stage.start(send("c" * 12))
    assert transfer.id == send().id
    other = stage.start(send("d" * 12))
    assert other.id == "d" * 12


def test_the_same_call_resumes_what_an_earlier_process_left(stage: Stage) -> None:
    """Under the id that it had."""
    stage.leave()
    transfer = stage.start(replace(receive(), id="f" * 12))
    assert transfer.id == NAME
    assert stage.ledger.is_claimed(NAME)


def test_resuming_all_leaves_others_what_they_run(stage: Stage) -> None:
    """One of two runs elsewhere."""
    stage.leave()
    stage.leave(send())
    claim = Claim.take(stage.ledger.folder_of(NAME))
    (resumed,) = stage.notebook.resume_all(LIMITS)
    assert resumed.id == send().id
    with pytest.raises(TransferBusy):
        stage.notebook.resume(NAME, LIMITS)
    claim.release()
    assert stage.notebook.resume(NAME[:4], LIMITS).id == NAME


def test_what_runs_here_is_not_resumed_twice(stage: Stage) -> None:
    """The same handle is given again."""
    stage.leave()
    transfer = stage.notebook.resume(NAME, LIMITS)
    assert stage.notebook.resume(NAME, LIMITS) is transfer
    assert [*stage.notebook.resume_all(LIMITS)] == [transfer]
    assert len(stage.made) == 1


# ------------------------------------------------------------------ parked
def test_what_is_parked_can_be_resumed(stage: Stage) -> None:
    """It shows what is known of it, and is claimed once."""
    transfer = stage.parked()
    assert (transfer.is_parked, transfer.is_held, transfer.accepted) == (True, True, True)
    assert (transfer.snapshot.state, transfer.snapshot.durable) == (State.PAUSED, 7)
    transfer.resume()
    transfer.resume()
    shown(transfer, lambda view: view.state is State.CONNECTING)
    assert not transfer.is_parked
    assert stage.end(transfer) == RESULT
    assert len(stage.made) == 1


def test_what_is_parked_is_listed_once(stage: Stage) -> None:
    """Listed again it is the same handle, as the transfer stands now; one that runs is left alone."""
    first = stage.parked()
    stage.leave(replace(receive(), accepted=True, durable=8))
    (second,) = stage.notebook.transfers(LIMITS)
    assert second is first
    assert first.snapshot.durable == 8
    first.resume()
    shown(first, lambda view: view.state is State.CONNECTING)
    assert [*stage.notebook.transfers(LIMITS)] == [first]
    assert not first.is_parked


@pytest.mark.parametrize("command", ["resume", "cancel"])
def test_what_another_process_runs_is_left_to_it(stage: Stage, command: str) -> None:
    """It says so, stays parked, and can be had later."""
    transfer = stage.parked()
    claim = Claim.take(stage.ledger.folder_of(NAME))
    getattr(transfer, command)()
    shown(transfer, lambda view: "process" in view.reason)
    assert (transfer.is_parked, transfer.snapshot.state) == (True, State.PAUSED)
    claim.release()
    transfer.resume()
    shown(transfer, lambda view: view.state is State.CONNECTING)


def test_what_is_parked_can_be_removed(stage: Stage) -> None:
    """Cancelled, it is removed and has ended; nothing can wake it."""
    transfer = stage.parked()
    transfer.cancel()
    assert outcome(transfer) is Cancelled
    transfer.resume()
    transfer.cancel()
    assert transfer.snapshot.state is State.CANCELLED
    assert stage.ledger.records() == []
    assert not stage.made


def test_who_holds_what_was_discarded_is_told(stage: Stage) -> None:
    """What was parked has ended; what runs is cancelled."""
    transfer = stage.parked()
    stage.notebook.discard(NAME[:5])
    assert outcome(transfer) is Cancelled
    stage.leave()
    running = stage.notebook.resume(NAME, LIMITS)
    stage.notebook.discard(NAME)
    assert outcome(running) is Cancelled
    with pytest.raises(TransferUnknown):
        stage.notebook.discard("ffff")


def test_who_waits_for_what_is_parked_waits_for_what_is_resumed(stage: Stage) -> None:
    """Resumed by the same call in a cell, for instance: there is one handle, and one result."""
    parked = stage.parked()
    seen: list[State] = []
    parked.subscribe(lambda view: seen.append(view.state))
    with ThreadPoolExecutor(1) as waiting:
        waited = waiting.submit(outcome, parked)
        transfer = stage.start(replace(receive(), id="f" * 12))
        assert transfer is parked
        assert stage.end(transfer) == waited.result() == RESULT
    assert (seen[0], seen[-1]) == (State.PAUSED, State.DONE)


def test_what_was_ended_elsewhere_is_no_longer_listed(stage: Stage) -> None:
    """Another process has ended what was parked here."""
    stage.parked()
    stage.ledger.forget(receive())
    assert stage.notebook.transfers(LIMITS) == []


def test_what_failed_and_is_resumed_has_the_same_handle(stage: Stage) -> None:
    """Its old outcome is not its outcome any more."""
    transfer = stage.start()
    stage.played._store.update(accepted=True)
    portal.portal().ask(lambda: stage.played.leave(TransferBusy("Taken.")))
    assert outcome(transfer) is TransferBusy
    transfer.wait_until_closed()
    assert stage.notebook.resume(NAME, LIMITS) is transfer
    assert not transfer.is_over
    assert stage.end(transfer) == RESULT


# ------------------------------------------------------------------ questions
@pytest.mark.parametrize("verdict", [True, False, "too large"])
def test_a_function_judges_the_offer(stage: Stage, verdict: bool | str) -> None:
    """In a thread of its own, once; the engine hears what it said, and no face asks meanwhile."""
    offers: list[Manifest] = []

    def decide(offer: Manifest) -> bool | str:
        assert threading.current_thread().name == "nbferry-accept"
        offers.append(offer)
        return verdict

    transfer = stage.start(decide=decide)
    assert stage.played._settings.asks
    portal.portal().ask(stage.played.ask)
    assert not transfer.waits_for_decision
    shown(transfer, lambda _: bool(stage.played.verdicts))
    assert (offers, stage.played.verdicts) == ([OFFER], [verdict])


def test_a_function_that_fails_fails_the_transfer(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """With a sentence; what went wrong is logged."""

    def decide(_: Manifest) -> bool:
        raise ZeroDivisionError

    stage.start(decide=decide)
    told = threading.Event()
    stage.played.decide = lambda verdict, _: (stage.played.verdicts.append(verdict), told.set())  # type: ignore[method-assign,assignment,func-returns-value]
    portal.portal().ask(stage.played.ask)
    assert told.wait(PATIENCE)
    (error,) = stage.played.verdicts
    assert isinstance(error, NbferryError)
    assert "ZeroDivisionError" in caplog.text


def test_without_a_function_it_waits_for_a_decision(stage: Stage) -> None:
    """Until somebody accepts or rejects."""
    transfer = stage.start()
    portal.portal().ask(stage.played.ask)
    assert transfer.waits_for_decision
    transfer.reject("no room")
    shown(transfer, lambda _: not transfer.waits_for_decision)
    assert stage.played.verdicts == ["no room"]


# ------------------------------------------------------------------ commands that cross
def test_what_is_resumed_and_cancelled_at_once_is_cancelled(stage: Stage) -> None:
    """Even while it is being started."""
    transfer = stage.parked()
    transfer.resume()
    transfer.cancel("never mind")
    assert outcome(transfer) is Cancelled
    assert "never mind" in transfer.snapshot.reason


def test_a_process_that_ends(stage: Stage) -> None:
    """What runs is let go of and shows itself as paused; who waits for what is parked is told as well."""
    transfer = stage.start()
    portal.stop()
    assert outcome(transfer) is Interrupted
    assert transfer.snapshot.state is State.PAUSED
    stage.open()
    parked = stage.parked()
    portal.stop()
    assert outcome(parked) is Interrupted
    assert parked.snapshot.state is State.PAUSED


def test_what_is_cancelled_when_the_process_ends_is_cancelled(stage: Stage) -> None:
    """It is not kept for another process: a person has said so."""
    transfer = stage.start()
    transfer.cancel()
    portal.stop()
    assert outcome(transfer) is Cancelled
    assert transfer.snapshot.state is State.CANCELLED


def test_what_cannot_be_cleaned_up_has_ended_all_the_same(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault at the very end is logged; nothing waits for ever, and the claim is free."""
    transfer = stage.start()
    stage.played._store.update(accepted=True)
    stage.played.fault = OSError("The drive is away.")
    assert stage.end(transfer) == RESULT
    transfer.wait_until_closed()
    assert "The drive is away." in caplog.text
    assert not stage.ledger.is_claimed(NAME)
