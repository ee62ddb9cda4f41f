"""What a card shows, as plain data: the widget's one synced trait, which is saved in the notebook with it.

    seq       grows with each view
    kind      send, receive, upload or download
    phase     "pick" while nothing has begun, then "transfer"
    agent     which nbferry
    what      of a download: what can be saved
    transfer  null, or the fields of :func:`of_transfer`

No code and no key in it, and no address or path but in ``reason``: it names the host of a relay that cannot be reached,
and a folder that cannot be written to, as a person needs both, with ``~`` for one's own. Names are made safe to print.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from nbferry.model.names import display_name
from nbferry.model.roles import Role
from nbferry.status import FileProgress, State
from nbferry.text import rendering
from nbferry.transfer.handle import Transfer

CardKind = Role | Literal["download"]
"""What a card is for: a transfer of that role, or saving files of the kernel."""
ROWS = 20  # files with a bar of their own; a page asks for more

_MOVING = {  # or it may move soon: paused by the other side, or by what went wrong
    State.WAITING,
    State.CONNECTING,
    State.HASHING,
    State.TRANSFERRING,
    State.VERIFYING,
    State.WRITING,
    State.PAUSED,
}


def of_transfer(transfer: Transfer) -> dict[str, Any]:
    """Describe a transfer at this instant: the fields of its snapshot, and some more.

    title        what it is about, in words
    wrong        wrong guesses of the code
    has_code     whether somebody can still come with a code, which a page may ask for
    needs_files  whether it waits for files of a browser's machine
    can          what a person can do now: pause resume cancel accept reject save
    rows         name, size, bytes verified and durable of the first files
    seconds, digest    of a finished one: how long it took, and what names its content
    """
    snapshot, files = transfer.snapshot, transfer.page_files
    outcome = transfer.outcome
    return {
        "id": snapshot.id,
        "role": snapshot.role,
        "state": str(snapshot.state),
        "reason": to_be_saved(snapshot.reason),
        "title": rendering.title(snapshot),
        "files": snapshot.files,
        "total": snapshot.total,
        "sent": snapshot.sent,
        "verified": snapshot.verified,
        "durable": snapshot.durable,
        "reused": snapshot.reused,
        "rate": snapshot.rate,
        "eta": snapshot.eta,
        "via": snapshot.via or "",
        "via_since": snapshot.via_since,
        "wrong": snapshot.wrong_guesses,
        "has_code": transfer.has_code,
        "needs_files": bool(
            files and not files.present and not transfer.is_parked and not snapshot.state.final
        ),
        "can": _can(transfer),
        "rows": [row(file) for file in transfer.files_from(0, ROWS)],
        "seconds": outcome.seconds if outcome else 0.0,
        "digest": outcome.digest if outcome else "",
    }


def to_be_saved(reason: str) -> str:
    """Why it stands as it does, in a notebook that others may read: without the name of one's home."""
    return display_name(reason.replace(str(Path.home()), "~"), 400)


def row(file: FileProgress) -> list[Any]:
    """One file's line."""
    return [display_name(file.path, 200), file.size, file.verified, file.durable]


def _can(transfer: Transfer) -> list[str]:
    """What a person can do now."""
    state = transfer.snapshot.state
    if transfer.is_over:
        return ["save"] if state is State.DONE and transfer.snapshot.role is Role.RECEIVE else []
    if transfer.waits_for_decision:
        return ["accept", "reject"]
    if transfer.is_held:
        return ["resume", "cancel"]
    return ["pause", "cancel"] if transfer.accepted and state in _MOVING else ["cancel"]
