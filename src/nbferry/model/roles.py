"""What this side of a transfer does. This is the only table of roles."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role. Its value appears in snapshots, records and ``--json``, and says what a card is for."""

    doing: str
    """The verb for the middle of a sentence."""
    done: str
    """The past participle, for the start of a sentence."""
    takes_in: bool
    """Whether it writes files into a folder of this computer."""
    from_pages: bool
    """Whether a page may lend its files."""
    unbegun: str
    """The words of an unused card."""

    def __new__(cls, value: str, words: tuple[str, str, str], takes_in: bool, from_pages: bool) -> Role:
        """Make a member from a row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.doing, member.done, member.unbegun = words
        member.takes_in, member.from_pages = takes_in, from_pages
        return member

    SEND = "send", ("sending", "Sent", "choose files to send here"), False, True
    RECEIVE = (
        "receive",
        ("receiving", "Received", "enter a code here to receive files"),
        True,
        False,
    )
    UPLOAD = (
        "upload",
        ("uploading", "Uploaded", "choose files to upload here"),
        True,
        True,
    )
