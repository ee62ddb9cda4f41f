"""What tests of the folder share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Name a destination that does not exist, two levels below anything that does."""
    return tmp_path / "new" / "to"
