"""The relay's memory: connections, rooms, channels, and rooms that have ended. Nothing is stored on disk."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Protocol, TypeAlias

from nbferry.relay.limits import RelayLimits
from nbferry.relay.wire import Refusal, is_code


class Socket(Hashable, Protocol):
    """A WebSocket, as far as the core knows it."""

    @property
    def unsent(self) -> int:
        """Bytes that were sent to it and are still in our memory."""


@dataclass(eq=False, slots=True)
class Connection:
    """A socket and its part in a room. The log names it by its number."""

    socket: Socket
    number: int
    address: str
    may_create: bool
    part: Part = None
    heard: bool = True  # since the last ping
    closing: bool = False
    allowance: int = 0  # bytes of messages that a member may still exchange


@dataclass(eq=False, slots=True)
class Budget:
    """Bytes that the channels of a room may still carry."""

    left: float


@dataclass(eq=False, slots=True)
class Meter:
    """Counts the bytes of one channel and subtracts them from its room's budget."""

    budget: Budget
    bytes: int = 0

    def add(self, count: int) -> bool:
        """Count bytes that are about to pass; return whether they may."""
        self.bytes += count
        self.budget.left -= count
        return self.budget.left >= 0


@dataclass(eq=False, slots=True)
class Channel:
    """Two data sockets, or one that waits for the second."""

    room: Room
    name: str
    ends: list[Connection]
    meter: Meter

    @property
    def paired(self) -> bool:
        """Whether bytes may pass."""
        return len(self.ends) == 2


@dataclass(eq=False, slots=True)
class Room:
    """A host, members, and the channels that they opened. ``key`` is the digest of the host's key."""

    name: str
    key: bytes
    ends: float
    budget: Budget
    host: Connection | None = None
    members: dict[int, Connection] = field(default_factory=dict)
    channels: dict[str, Channel | None] = field(default_factory=dict)  # None: used up
    kept: list[tuple[int, str, int]] = field(default_factory=list)  # member, body, size
    admitted: int = 0

    @classmethod
    def of(cls, name: str, key: bytes, *, ends: float, limits: RelayLimits) -> Room:
        """Make an empty room."""
        budget = math.inf if limits.channel_bytes is None else limits.channel_bytes
        return cls(name, key, ends, Budget(budget))

    @property
    def is_code(self) -> bool:
        """Whether it is known by a nameplate."""
        return is_code(self.name)

    @property
    def kind(self) -> str:
        """The log's word for it."""
        return "code" if self.is_code else "capability"

    @property
    def kept_bytes(self) -> int:
        """Size of the messages that wait for the host."""
        return sum(size for _, _, size in self.kept)

    def admit(self, connection: Connection, limits: RelayLimits) -> int:
        """Add a member and return its number, which is never used again. Raises ``Refusal("room-full")``."""
        limit = limits.max_code_members if self.is_code else limits.max_members
        if len(self.members) >= limit:
            raise Refusal("room-full", retry_after=limits.first_word)
        self.admitted += 1
        self.members[self.admitted] = connection
        connection.part = Member(self, self.admitted)
        connection.allowance = limits.member_bytes
        return self.admitted

    def keep(self, member: int, body: str, size: int, limits: RelayLimits) -> None:
        """Keep a message until the host is back. Raises ``Refusal("mailbox-full")``."""
        if len(self.kept) >= limits.kept_messages or self.kept_bytes + size > limits.kept_bytes:
            raise Refusal("mailbox-full", retry_after=limits.ping_interval)
        self.kept.append((member, body, size))

    def dismiss(self, member: int) -> None:
        """Forget a member and its kept messages: an answer would reach no one."""
        del self.members[member]
        self.kept = [message for message in self.kept if message[0] != member]

    def take_kept(self) -> Iterator[tuple[int, str]]:
        """Return the messages that waited for the host, oldest first, and forget them."""
        kept, self.kept = self.kept, []
        return ((member, body) for member, body, _ in kept)

    def present(self) -> list[Connection]:
        """The connections that learn of the room's end. Paired channels outlive it."""
        waiting = (channel.ends[0] for channel in self.channels.values() if channel and not channel.paired)
        return [*([self.host] if self.host else []), *self.members.values(), *waiting]


@dataclass(frozen=True, slots=True)
class RoomHost:
    """The part of a socket that hosts a room."""

    room: Room


@dataclass(frozen=True, slots=True)
class Member:
    """The part of a socket that joined a room."""

    room: Room
    number: int


Part: TypeAlias = RoomHost | Member | Channel | None
"""What a socket is; None before its first message and after it has left."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An ended room: why it ended, the key that may open it again, and how long it is remembered."""

    reason: str
    key: bytes
    until: float

    def check(self, key: bytes) -> None:
        """Raise the reason as a refusal. The host itself may return to a room that ended by its absence."""
        if self.reason != "left" or not compare_digest(self.key, key):
            raise self.refusal()

    def refusal(self) -> Refusal:
        """The refusal that late-comers get."""
        return Refusal(f"room-{'closed' if self.reason == 'left' else self.reason}")


class Graveyard:
    """The ended rooms, at most ``limit`` of them, each for ``seconds``."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._stones: dict[str, Tombstone] = {}  # in the order in which they are forgotten

    def bury(self, room: Room, reason: str, now: float) -> Tombstone:
        """Remember why a room ended: one of ``END_REASONS``, or "left" if its host did not come back."""
        self._stones.pop(room.name, None)
        tombstone = self._stones[room.name] = Tombstone(reason, room.key, now + self._seconds)
        if len(self._stones) > self._limit:
            del self._stones[next(iter(self._stones))]
        return tombstone

    def find(self, name: str, now: float) -> Tombstone | None:
        """Look up the tombstone of a room, if it is remembered."""
        while self._stones and next(iter(self._stones.values())).until <= now:
            del self._stones[next(iter(self._stones))]
        return self._stones.get(name)

    def open(self, name: str) -> None:
        """Forget that a room ended."""
        self._stones.pop(name, None)
