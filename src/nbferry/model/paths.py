"""The paths that a transfer can take. What is said of one is said here alone: lists and choices derive from it."""

from __future__ import annotations

from enum import StrEnum


class Via(StrEnum):
    """A path, or the wish for one. Its value stands in snapshots, records, ``via=`` and ``--via``."""

    label: str
    """What a person reads of a transfer that takes it."""
    can_be_asked: bool
    """Whether ``via=`` takes it."""
    weight: float
    """What its rate is worth beside that of others: a relay carries at somebody else's cost."""

    def __new__(cls, value: str, label: str, can_be_asked: bool = True, weight: float = 1.0) -> Via:
        """Make a member of a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label, member.can_be_asked, member.weight = label, can_be_asked, weight
        return member

    AUTO = "auto", "by the best path"
    DIRECT = "direct", "direct"
    WEBRTC = "webrtc", "direct by WebRTC"
    RELAY = "relay", "through a relay", True, 0.8
    BROWSER = "browser", "from the browser", False

    @classmethod
    def choices(cls) -> tuple[Via, ...]:
        """What ``via=`` takes."""
        return tuple(via for via in cls if via.can_be_asked)

    def allows(self, path: Via) -> bool:
        """Whether this wish leaves that path open."""
        return self in (Via.AUTO, path)
