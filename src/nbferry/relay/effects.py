"""What the core wants done, and how it describes itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from nbferry.relay.rooms import Meter, Socket


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message to a socket."""

    socket: Socket
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ping:
    """Ping a socket, and report its pong to ``heard``."""

    socket: Socket


@dataclass(frozen=True, slots=True)
class Splice:
    """From now on pass the messages of each socket to the other; ask ``meter`` before each."""

    first: Socket
    second: Socket
    meter: Meter


@dataclass(frozen=True, slots=True)
class Close:
    """Close a socket after it has taken what was sent to it."""

    socket: Socket
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """Close a socket at once: it does not take what was sent to it."""

    socket: Socket


Effect: TypeAlias = Send | Ping | Splice | Close | Abort


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """A relay at one instant.

    ``bytes`` is what channels carried since the start; ``kept`` and ``unsent`` are the bytes in mailboxes and
    those that sockets have not taken yet.
    """

    sockets: int
    rooms: int
    members: int
    channels: int
    bytes: int
    kept: int
    unsent: int
