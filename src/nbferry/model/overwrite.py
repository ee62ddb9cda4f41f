"""What happens to existing files at the destination."""

from __future__ import annotations

from enum import StrEnum


class Overwrite(StrEnum):
    """The values of ``overwrite=`` and ``--overwrite``."""

    RENAME = "rename"
    """The new file gets a number."""
    REPLACE = "replace"
    """The new file replaces the old one."""
    REFUSE = "refuse"
    """The transfer fails before anything is written."""
