"""What this side of a transfer does. What is said of a role here is said nowhere else."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role. Its value stands in snapshots, records and ``--json``, and is what a card is for."""

    doing: str
    """What it does, for the middle of a sentence."""
    done: str
    """What it has done, at the start of one."""
    takes_in: bool
    """Whether its files go into a folder of this computer."""
    from_pages: bool
    """Whether its files may be those of a browser's machine."""
    unbegun: str
    """What is said of a card in which nothing was chosen."""

    def __new__(cls, value: str, words: tuple[str, str, str], takes_in: bool, from_pages: bool) -> Role:
        """Make a member of a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.doing, member.done, member.unbegun = words
        member.takes_in, member.from_pages = takes_in, from_pages
        return member

    SEND = "send", ("sending", "Sent", "nothing was sent from here; files can be chosen"), False, True
    RECEIVE = (
        "receive",
        ("receiving", "Received", "nothing was received here; a code is asked for"),
        True,
        False,
    )
    UPLOAD = (
        "upload",
        ("uploading", "Uploaded", "nothing was uploaded from here; files can be chosen"),
        True,
        True,
    )
