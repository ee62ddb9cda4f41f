"""The phases of a transfer and the steps between them: one table, for both sides.

Being connected and being paused are no phases: both come and go in any phase.
"""

from __future__ import annotations

from enum import StrEnum

from nbferry.errors import LocalProtocolError


class Phase(StrEnum):
    """Where a transfer is. The last five are final."""

    CONNECTING = "connecting"  # the offer has not arrived yet
    OFFERED = "offered"  # the receiver is deciding
    TRANSFERRING = "transferring"
    VERIFYING = "verifying"  # every chunk is stored; the files' digests are compared
    WRITING = "writing"  # everything is verified; it is made durable and moved to its place
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self not in TRANSITIONS


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


_ENDINGS = {Step.CANCEL: Phase.CANCELLED, Step.FAIL: Phase.FAILED, Step.EXPIRE: Phase.EXPIRED}

# The sender learns of the last steps from the receiver, after a reconnect perhaps of several at once.
TRANSITIONS: dict[Phase, dict[Step, Phase]] = {
    Phase.CONNECTING: {Step.OFFER: Phase.OFFERED, **_ENDINGS},
    Phase.OFFERED: {Step.ACCEPT: Phase.TRANSFERRING, Step.REJECT: Phase.REJECTED, **_ENDINGS},
    Phase.TRANSFERRING: {
        Step.RECEIVED: Phase.VERIFYING,
        Step.VERIFIED: Phase.WRITING,
        Step.PUBLISHED: Phase.DONE,
        **_ENDINGS,
    },
    Phase.VERIFYING: {
        Step.DAMAGED: Phase.TRANSFERRING,
        Step.VERIFIED: Phase.WRITING,
        Step.PUBLISHED: Phase.DONE,
        **_ENDINGS,
    },
    Phase.WRITING: {Step.DAMAGED: Phase.TRANSFERRING, Step.PUBLISHED: Phase.DONE, **_ENDINGS},
}


def after(phase: Phase, step: Step) -> Phase:
    """The phase that follows; an impossible step is our own mistake."""
    try:
        return TRANSITIONS[phase][step]
    except KeyError:
        raise LocalProtocolError(f"A transfer that is {phase} cannot {step}.") from None


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation, without the endings that every phase has."""
    lines = ["stateDiagram-v2", f"    [*] --> {Phase.CONNECTING}"]
    for phase, steps in TRANSITIONS.items():
        lines += [f"    {phase} --> {to}: {step}" for step, to in steps.items() if step not in _ENDINGS]
    lines += [f"    {phase} --> [*]" for phase in Phase if phase.final and phase not in _ENDINGS.values()]
    return "\n".join(lines)
