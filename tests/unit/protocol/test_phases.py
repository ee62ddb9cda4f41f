"""The table of phases, and the picture that the documentation has of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.errors import LocalProtocolError
from nbferry.protocol.phases import TRANSITIONS, Step, after, diagram
from nbferry.status import State

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"
ENDINGS = {Step.CANCEL: State.CANCELLED, Step.FAIL: State.FAILED, Step.EXPIRE: State.EXPIRED}


def test_the_ordinary_way() -> None:
    """An offer that is accepted, received, verified and published is done."""
    state = State.CONNECTING
    for step in (Step.OFFER, Step.ACCEPT, Step.RECEIVED, Step.VERIFIED, Step.PUBLISHED):
        state = after(state, step)
    assert state is State.DONE


@pytest.mark.parametrize("state", [state for state in State if state in TRANSITIONS])
@pytest.mark.parametrize("step", ENDINGS)
def test_it_can_end_at_any_time(state: State, step: Step) -> None:
    """Whatever is not over can be cancelled, can fail and can expire."""
    assert after(state, step) is ENDINGS[step]


@pytest.mark.parametrize("state", [state for state in State if state.final])
@pytest.mark.parametrize("step", Step)
def test_nothing_follows_an_end(state: State, step: Step) -> None:
    """A step from a final state is our own mistake, and the error says which."""
    with pytest.raises(LocalProtocolError, match=f"{state} cannot {step}"):
        after(state, step)


def test_impossible_steps_are_refused() -> None:
    """What the table does not have is our own mistake, too."""
    with pytest.raises(LocalProtocolError):
        after(State.CONNECTING, Step.PUBLISHED)


def test_the_diagram_is_drawn_from_the_table() -> None:
    """Every transition but the endings possible anywhere is an arrow, from the start to an end."""
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> connecting"]
    assert "    offered --> rejected: reject" in lines
    assert "    done --> [*]" in lines
    arrows = sum(len(steps.keys() - ENDINGS.keys()) for steps in TRANSITIONS.values())
    assert len(lines) == 2 + arrows + 2
    assert not any(str(step) in line for line in lines for step in ENDINGS)


def test_the_documentation_shows_this_diagram() -> None:
    """ARCHITECTURE.md has the diagram as it is drawn now."""
    assert f"```mermaid\n{diagram()}\n```" in ARCHITECTURE.read_text()
