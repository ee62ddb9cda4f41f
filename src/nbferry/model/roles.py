"""What this side of a transfer does. This is the only table of roles."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role. Its value appears in snapshots, records and ``--json``."""

    doing: str
    """The verb for the middle of a sentence."""
    done: str
    """The past participle, for the start of a sentence."""
    takes_in: bool
    """Whether it writes files into a folder of this computer."""

    def __new__(cls, value: str, doing: str, done: str, takes_in: bool) -> Role:
        """Make a member from a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.doing, member.done, member.takes_in = doing, done, takes_in
        return member

    SEND = "send", "sending", "Sent", False
    RECEIVE = "receive", "receiving", "Received", True
    UPLOAD = "upload", "uploading", "Uploaded", True
