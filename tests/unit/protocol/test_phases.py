"""The table of phases, and the picture that the documentation has of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.errors import LocalProtocolError
from nbferry.protocol.phases import TRANSITIONS, Phase, Step, after, diagram

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"
ENDINGS = {Step.CANCEL: Phase.CANCELLED, Step.FAIL: Phase.FAILED, Step.EXPIRE: Phase.EXPIRED}


def test_the_ordinary_way() -> None:
    """An offer that is accepted, received, verified and published is done."""
    phase = Phase.CONNECTING
    for step in (Step.OFFER, Step.ACCEPT, Step.RECEIVED, Step.VERIFIED, Step.PUBLISHED):
        phase = after(phase, step)
    assert phase is Phase.DONE


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase in TRANSITIONS])
@pytest.mark.parametrize("step", ENDINGS)
def test_it_can_end_at_any_time(phase: Phase, step: Step) -> None:
    """A transfer that has not ended can be cancelled, can fail and can expire."""
    assert after(phase, step) is ENDINGS[step]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.final])
@pytest.mark.parametrize("step", Step)
def test_nothing_follows_an_end(phase: Phase, step: Step) -> None:
    """A step from a final phase is our own mistake, and the error says which."""
    with pytest.raises(LocalProtocolError, match=f"{phase} cannot {step}"):
        after(phase, step)


def test_impossible_steps_are_refused() -> None:
    """What the table does not have is our own mistake, too."""
    with pytest.raises(LocalProtocolError):
        after(Phase.CONNECTING, Step.PUBLISHED)


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
