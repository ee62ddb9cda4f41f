"""What a card shows, as plain data: the widget's one synced trait, which is saved in the notebook with it.

    seq       grows with each view
    kind      send, receive, upload or download
    phase     "pick" while nothing has begun, then "transfer"
    agent     the name and version of nbferry
    what      of a download: the names of what can be saved
    transfer  null, or the fields of :func:`of_transfer`

A view has no code and no key. It has no address and no path, except in ``reason``: a person needs the host of a relay
that cannot be reached, and the folder that cannot be written to. There ``~`` stands for the home folder. Names are made
safe to print.
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
# Files in a view; a page asks for more.
ROWS = 20

# Data are moving, or may move soon: the other side or a failure has paused the transfer.
_MOVING = {
    State.WAITING,
    State.CONNECTING,
    State.HASHING,
    State.TRANSFERRING,
    State.VERIFYING,
    State.WRITING,
    State.PAUSED,
}


def of_transfer(transfer: Transfer) -> dict[str, Any]:
    """Describe a transfer at this instant: the fields of its snapshot, and these.

    title        its title in words
    wrong        number of wrong guesses of the code
    has_code     whether a receiver can still come with the code, which a page may then request
    needs_files  whether it waits for files of a browser's machine
    can          what a person can do now: pause resume cancel accept reject save
    rows         name, size, bytes verified and bytes durable of the first files
    seconds, digest    of a finished transfer: how long it took, and the digest of its content
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
    """A reason without the path of the home folder: others may read the saved notebook."""
    return display_name(reason.replace(str(Path.home()), "~"), 400)


def row(file: FileProgress) -> list[Any]:
    """The row of one file."""
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
