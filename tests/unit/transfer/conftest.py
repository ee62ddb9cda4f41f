"""What tests of transfers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.transfer.notebook_setup import Stage, staged


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A process without transfers."""
    with staged(tmp_path, monkeypatch) as stage:
        yield stage
