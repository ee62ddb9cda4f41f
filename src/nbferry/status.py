"""What a face shows: frozen views of a transfer at one instant. They hold no secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from nbferry.model.paths import Via
from nbferry.model.roles import Role


class State(StrEnum):
    """Where a transfer is. The last five are final."""

    WAITING = "waiting"  # for the other side, or in the queue
    CONNECTING = "connecting"  # the other side is known; a path is sought
    OFFERED = "offered"  # the receiver is deciding
    HASHING = "hashing"  # the sender reads what need not travel
    TRANSFERRING = "transferring"
    PAUSED = "paused"  # by a person, a full disk or a closed page: see Snapshot.reason
    VERIFYING = "verifying"  # every byte is there; the files' digests are compared
    WRITING = "writing"  # made durable and moved to its place
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in _FINAL


_FINAL = {State.DONE, State.FAILED, State.REJECTED, State.CANCELLED, State.EXPIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A transfer at one instant.

    ``total``, ``sent``, ``verified`` and ``durable`` are bytes: on the wire towards the receiver, checked against
    their digest there, and on its disk. ``rate`` is bytes per second, ``eta`` seconds or None while unknown. ``via`` is
    the path or None, ``via_since`` when it was changed to that (seconds since
    1970; None if it is the first). ``reused`` are bytes of an older copy at the destination, which did not travel.
    ``reason`` says in words why it waits, stalls or failed.
    """

    id: str
    role: Role
    state: State = State.WAITING
    reason: str = ""
    files: int = 0
    total: int = 0
    sent: int = 0
    verified: int = 0
    durable: int = 0
    reused: int = 0
    rate: float = 0.0
    eta: float | None = None
    via: Via | None = None
    via_since: float | None = None
    names: tuple[str, ...] = ()
    wrong_guesses: int = 0

    def evolve(self, **changes: object) -> Snapshot:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # names are checked at run time


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file of a transfer: bytes in all, verified and durable."""

    path: str
    size: int
    verified: int
    durable: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished transfer amounts to.

    ``files`` are the paths that now exist on a receiver, the paths sent on a sender; ``bytes`` the size of all
    files; ``seconds`` from acceptance to the end, in this process; ``digest`` names the whole content (hex), the
    same on both sides; ``via`` the path that was used last; ``reused`` the bytes of an older copy at the
    destination that did not have to travel (0 on a sender).
    """

    files: tuple[Path, ...]
    bytes: int
    seconds: float
    digest: str
    via: str
    reused: int = 0
