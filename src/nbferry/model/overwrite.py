"""What becomes of names that exist where files are to go."""

from __future__ import annotations

from enum import StrEnum


class Overwrite(StrEnum):
    """What ``overwrite=`` and ``--overwrite`` take."""

    RENAME = "rename"
    """The new file gets a number."""
    REPLACE = "replace"
    """The new file takes the place of the old one."""
    REFUSE = "refuse"
    """The transfer ends before anything is written."""
