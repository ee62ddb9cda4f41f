"""What the tests with a hostile side share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nbferry.engine import portal


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine for one test, on the loopback interface."""
    for name in ("NBFERRY_RELAY", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    # on a busy machine it takes longer to close all sockets than a person would wait
    monkeypatch.setattr(portal, "STOP_TIMEOUT", 60)
    yield
    portal.stop()
