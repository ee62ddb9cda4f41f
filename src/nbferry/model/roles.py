"""What this side of a transfer does. What is said of a role here is said nowhere else."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role. Its value stands in snapshots, records and ``--json``."""

    doing: str
    """What it does, for the middle of a sentence."""
    done: str
    """What it has done, at the start of one."""
    takes_in: bool
    """Whether its files go into a folder of this computer."""

    def __new__(cls, value: str, doing: str, done: str, takes_in: bool) -> Role:  # noqa: FBT001  # rows of a table
        """Make a member of a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.doing, member.done, member.takes_in = doing, done, takes_in
        return member

    SEND = "send", "sending", "Sent", False
    RECEIVE = "receive", "receiving", "Received", True
    UPLOAD = "upload", "uploading", "Uploaded", True
