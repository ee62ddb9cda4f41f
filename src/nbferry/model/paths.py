"""The paths that a transfer can take. This is the only table of them: lists and choices derive from it."""

from __future__ import annotations

from enum import StrEnum


class Via(StrEnum):
    """A path, or a preference for one. Its value appears in snapshots, records, ``via=`` and ``--via``."""

    label: str
    """What a card says of a transfer on this path."""
    can_be_asked: bool
    """Whether ``via=`` accepts it."""
    weight: float
    """The factor by which its rate is compared with other paths: a relay costs its owner bandwidth."""

    def __new__(cls, value: str, label: str, can_be_asked: bool = True, weight: float = 1.0) -> Via:
        """Make a member from a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label, member.can_be_asked, member.weight = label, can_be_asked, weight
        return member

    AUTO = "auto", "by the best path"
    DIRECT = "direct", "direct"
    WEBRTC = "webrtc", "direct by WebRTC"
    RELAY = "relay", "through a relay", True, 0.8
    BROWSER = "browser", "from this browser", False

    @classmethod
    def choices(cls) -> tuple[Via, ...]:
        """Return what ``via=`` accepts."""
        return tuple(via for via in cls if via.can_be_asked)

    def allows(self, path: Via) -> bool:
        """Whether this preference permits that path."""
        return self in (Via.AUTO, path)
