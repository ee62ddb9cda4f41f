"""Fixtures for transfers within one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nbferry.engine import portal
from nbferry.storage.folder.sink import FolderSink

# Seconds after which a transfer counts as hung.
PATIENCE = 60


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    monkeypatch.delenv("NBFERRY_RELAY", raising=False)
    yield
    portal.stop()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Blocks every write to the disk until the event is set."""
    opened = threading.Event()
    store = FolderSink.store

    def held(self, chunks):
        assert opened.wait(PATIENCE)
        return store(self, chunks)

    monkeypatch.setattr(FolderSink, "store", held)
    yield opened
    opened.set()
