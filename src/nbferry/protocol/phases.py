"""The phases of a transfer and the steps between them: one table, for both sides.

Being connected and being paused are no phases: both come and go in any phase.
"""

from __future__ import annotations

from enum import StrEnum

from nbferry.errors import LocalProtocolError
from nbferry.status import State


class Step(StrEnum):
    """What can happen to a transfer."""

    OFFER = "offer"
    ACCEPT = "accept"
    REJECT = "reject"
    RECEIVED = "received"  # every chunk is stored
    DAMAGED = "damaged"  # a file failed its digest, or a flush lost something: chunks are wanted again
    VERIFIED = "verified"  # every file has its digest
    PUBLISHED = "published"  # everything is in its place
    CANCEL = "cancel"
    FAIL = "fail"
    EXPIRE = "expire"


_ENDINGS = {Step.CANCEL: State.CANCELLED, Step.FAIL: State.FAILED, Step.EXPIRE: State.EXPIRED}

# The sender learns of the last steps from the receiver, after a reconnect perhaps of several at once.
TRANSITIONS: dict[State, dict[Step, State]] = {
    State.CONNECTING: {Step.OFFER: State.OFFERED, **_ENDINGS},
    State.OFFERED: {Step.ACCEPT: State.TRANSFERRING, Step.REJECT: State.REJECTED, **_ENDINGS},
    State.TRANSFERRING: {
        Step.RECEIVED: State.VERIFYING,
        Step.VERIFIED: State.WRITING,
        Step.PUBLISHED: State.DONE,
        **_ENDINGS,
    },
    State.VERIFYING: {
        Step.DAMAGED: State.TRANSFERRING,
        Step.VERIFIED: State.WRITING,
        Step.PUBLISHED: State.DONE,
        **_ENDINGS,
    },
    State.WRITING: {Step.DAMAGED: State.TRANSFERRING, Step.PUBLISHED: State.DONE, **_ENDINGS},
}


def after(state: State, step: Step) -> State:
    """The state that follows; an impossible step is our own mistake."""
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise LocalProtocolError(f"A transfer that is {state} cannot {step}.") from None


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation, without the endings that every phase has."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.CONNECTING}"]
    for state, steps in TRANSITIONS.items():
        lines += [f"    {state} --> {to}: {step}" for step, to in steps.items() if step not in _ENDINGS]
    lines += [f"    {state} --> [*]" for state in State if state.final and state not in _ENDINGS.values()]
    return "\n".join(lines)
