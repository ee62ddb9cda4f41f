"""What tests in several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from running import Commands


@pytest.fixture(autouse=True)
def _state_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transfers keep lies neither in the folder that the tests are run from, nor in the user's own."""
    monkeypatch.setenv("NBFERRY_STATE", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("own")))


@pytest.fixture
def nbferry(tmp_path: Path) -> Iterator[Commands]:
    """The command ``nbferry``, in processes that end with the test."""
    commands = Commands(tmp_path.resolve())
    yield commands
    commands.close()
