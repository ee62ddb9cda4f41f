"""What tests of records share."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.storage.records.ledger import Ledger
from unit.storage.records.ledger_setup import KEY, NOW, no_sync


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Open a ledger in a folder that is not there yet."""
    return Ledger(tmp_path / ".nbferry", key=KEY, clock=lambda: NOW, sync=no_sync)
