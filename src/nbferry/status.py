"""What a face shows: frozen snapshots of a transfer. They contain no secret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from nbferry.model.paths import Via
from nbferry.model.roles import Role


class State(StrEnum):
    """Where a transfer is. The last five are final."""

    WAITING = "waiting"
    """For the other side, or in the queue."""
    CONNECTING = "connecting"
    """The other side is known; nbferry looks for a path to it."""
    OFFERED = "offered"
    """The receiver is deciding."""
    HASHING = "hashing"
    """The sender hashes data that the receiver may already have."""
    TRANSFERRING = "transferring"
    PAUSED = "paused"
    """By a person, a full disk or a closed page; see :attr:`Snapshot.reason`."""
    VERIFYING = "verifying"
    """Every byte has arrived; the files' digests are compared."""
    WRITING = "writing"
    """The files are made durable and moved into place."""
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether the transfer stays in this state."""
        return self in _FINAL


_FINAL = {State.DONE, State.FAILED, State.REJECTED, State.CANCELLED, State.EXPIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A transfer at one instant.

    ``total``, ``sent``, ``verified``, ``durable`` and ``reused`` are bytes. ``sent`` bytes were given to the network,
    ``verified`` bytes match their digest at the receiver, ``durable`` bytes are on its disk. ``reused`` bytes come
    from an older copy at the destination and were not sent. ``rate`` is bytes per second; ``eta`` is seconds, or None
    while unknown. ``via`` is the current path or None. ``via_since`` is when the transfer switched to it, in seconds
    since 1970; None if it is the first path. ``reason`` says in words why the transfer waits, stalls or failed.
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
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # checked at run time


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file of a transfer: its size, and how many bytes are verified and durable."""

    path: str
    size: int
    verified: int
    durable: int


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a finished transfer.

    ``files`` are the paths that a receiver wrote or a sender sent, ``bytes`` is their total size. ``seconds`` is the
    time from acceptance to the end, in this process. ``digest`` (hex) identifies the whole content and is the same on
    both sides. ``via`` is the path used last. ``reused`` counts bytes that were already at the destination and were
    not sent (0 on a sender).
    """

    files: tuple[Path, ...]
    bytes: int
    seconds: float
    digest: str
    via: str
    reused: int = 0
