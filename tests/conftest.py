"""What tests in several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Commands


@pytest.fixture
def nbferry(tmp_path: Path) -> Iterator[Commands]:
    """The command ``nbferry``, in processes that end with the test."""
    commands = Commands(tmp_path.resolve())
    yield commands
    commands.close()
