"""What a person can do now, as a card is told."""

from __future__ import annotations

from typing import Any, cast

import pytest

from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.sources.pages import PageFiles
from nbferry.transfer.handle import Transfer
from nbferry.widget import view


class Played:
    """A transfer that is what a test says."""

    def __init__(self, state: State, role: Role = Role.SEND, **facts: Any) -> None:
        self.snapshot = Snapshot(id="0123456789ab", role=role, state=state, names=("a",), files=1, total=5)
        self.page_files = self.outcome = None
        self.has_code = self.is_over = self.is_held = self.is_parked = False
        self.accepted = self.waits_for_decision = False
        vars(self).update(facts)

    def files_from(self, *_: int) -> tuple[FileProgress, ...]:
        """One."""
        return (FileProgress("a\u202e", 5, 3, 2),)


def of(state: State, role: Role = Role.SEND, **facts: Any) -> dict[str, Any]:
    """What is seen of it."""
    return view.of_transfer(cast("Transfer", Played(state, role, **facts)))


@pytest.mark.parametrize(
    ("facts", "can"),
    [
        ({"state": State.WAITING}, ["cancel"]),
        ({"state": State.TRANSFERRING, "accepted": True}, ["pause", "cancel"]),
        ({"state": State.PAUSED, "accepted": True}, ["pause", "cancel"]),
        ({"state": State.PAUSED, "accepted": True, "is_held": True}, ["resume", "cancel"]),
        ({"state": State.OFFERED, "accepted": True}, ["cancel"]),
        ({"state": State.OFFERED, "waits_for_decision": True}, ["accept", "reject"]),
        ({"state": State.DONE, "is_over": True}, []),
        ({"state": State.DONE, "is_over": True, "role": Role.RECEIVE}, ["save"]),
        ({"state": State.DONE, "is_over": True, "role": Role.UPLOAD}, []),
        ({"state": State.FAILED, "is_over": True, "role": Role.RECEIVE}, []),
    ],
)
def test_what_can_be_done(facts: dict[str, Any], can: list[str]) -> None:
    """As many buttons as make sense, and no more."""
    assert of(**facts)["can"] == can


@pytest.mark.parametrize(
    ("facts", "needed"),
    [
        ({"state": State.PAUSED}, True),
        ({"state": State.PAUSED, "is_parked": True}, False),
        ({"state": State.DONE, "is_over": True}, False),
    ],
)
def test_when_files_are_needed(facts: dict[str, Any], needed: bool) -> None:
    """While it is to move and no page has them; one that rests is resumed first."""
    lent = PageFiles(Manifest.of([Entry("a", 5)], MiB))
    assert of(**facts, page_files=lent)["needs_files"] is needed
    assert of(**facts)["needs_files"] is False


def test_what_a_finished_one_was() -> None:
    """How long it took, and what names its content; before that, nothing."""
    done = of(State.DONE, is_over=True, outcome=Result((), 5, 1.5, "00", ""))
    assert (done["seconds"], done["digest"]) == (1.5, "00")
    before = of(State.TRANSFERRING)
    assert (before["seconds"], before["digest"]) == (0.0, "")


def test_names_can_be_printed() -> None:
    """They come from somebody else."""
    (name, *sizes) = of(State.TRANSFERRING)["rows"][0]
    assert name.isprintable()
    assert sizes == [5, 3, 2]
