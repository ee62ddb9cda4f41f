"""One control message: bytes to checked fields and back. :mod:`nbferry.relay.core` says what they mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMEPLATE = re.compile(r"[0-9]{6}")
CAPABILITY = re.compile(r"[0-9a-f]{32}")

REFUSALS = {
    "bad-message": "The relay does not understand this message.",
    "not-authorized": "This relay creates rooms for its own users only.",
    "room-taken": "Another host has this room.",
    "room-unknown": "This room does not exist.",
    "room-full": "This room is full.",
    "room-used": "The code of this room has been used.",
    "room-burnt": "Too many wrong guesses closed this room.",
    "room-expired": "The time of this room is over.",
    "room-closed": "The host closed this room.",
    "mailbox-full": "The host has not yet taken the messages that wait for it.",
    "channel-taken": "This channel has, or had, two ends already.",
    "channel-timeout": "The other end of this channel did not connect in time.",
    "too-many-rooms": "The relay is full: it can open no more rooms.",
    "rate-limited": "Too many requests.",
    "quota": "This room has used up all the bytes that the relay carries for it.",
    "too-slow": "The client sent, or took, nothing for too long.",
}
"""Every code with which a socket can be refused, and its sentence for people."""

END_REASONS = ("used", "burnt", "expired", "closed")
"""Why a room can end."""


class Refusal(Exception):
    """The answer to a request that is not granted.

    ``code`` is a key of :data:`REFUSALS`; ``retry_after`` the seconds after which a retry may succeed.
    """

    def __init__(self, code: str, *, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after = retry_after

    def fields(self) -> dict[str, Any]:
        """The fields of the message that says so."""
        return {
            "type": "error",
            "code": self.code,
            "message": REFUSALS[self.code],
            "retry_after": self.retry_after,
        }


def is_code(room: str) -> bool:
    """Whether a room is known by a nameplate, which can be guessed."""
    return NAMEPLATE.fullmatch(room) is not None


def encode(fields: Mapping[str, Any]) -> bytes:
    """Make the bytes of a control message."""
    return json.dumps(fields, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A control message that arrived: its type, its fields, its size in bytes.

    Reading a field raises ``Refusal("bad-message")`` if it is not what it should be.
    """

    kind: str
    fields: Mapping[str, Any]
    size: int

    def body(self) -> str:
        """Read the text that goes to the other side."""
        return self._text("body")

    def room(self) -> str:
        """Read a nameplate or a capability."""
        room = self._text("room")
        return room if is_code(room) else self.capability("room")

    def capability(self, name: str) -> str:
        """Read 128 bits in hexadecimal, lower case."""
        text = self._text(name)
        if CAPABILITY.fullmatch(text) is None:
            raise Refusal("bad-message")
        return text

    def number(self, name: str) -> int:
        """Read a positive whole number."""
        value = self.fields.get(name)
        if type(value) is not int or value < 1:
            raise Refusal("bad-message")
        return value

    def reason(self) -> str:
        """Read why a room is to end."""
        reason = self._text("reason")
        if reason not in END_REASONS:
            raise Refusal("bad-message")
        return reason

    def _text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise Refusal("bad-message")
        return value


def parse(message: str | bytes, limit: int) -> ControlMessage:
    """Read a control message of at most ``limit`` bytes; anything else raises ``Refusal("bad-message")``."""
    data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    if len(data) > limit:
        raise Refusal("bad-message")
    try:
        fields = json.loads(str(data, "utf-8"))
        kind = fields["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refusal("bad-message") from None
    if not isinstance(fields, dict) or not isinstance(kind, str):
        raise Refusal("bad-message")
    return ControlMessage(kind, fields, len(data))
