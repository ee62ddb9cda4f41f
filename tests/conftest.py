"""What tests in several folders share."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from running import Commands

# A slow machine is no failure of a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def _states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state folder for each test. A folder is made only when something is stored in it."""
    base = tmp_path_factory.mktemp("states")
    return (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def _state_apart(_states: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests store state neither in the folder that they run in nor in the user's own."""
    state = next(_states)
    monkeypatch.setenv("NBFERRY_STATE", str(state))
    monkeypatch.setenv("XDG_STATE_HOME", str(state / "own"))


@pytest.fixture(autouse=True)
def _no_public_stun_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a public STUN server."""
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "")


@pytest.fixture
def ordinary_rights() -> Iterator[None]:
    """Take from root the rights that modes deny to other users. In Linux these are two capabilities of a thread."""
    if os.name == "nt" or os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # <linux/capability.h>: version 3, this thread
    granted = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, granted) == 0
    reduced = type(granted)(*granted)
    reduced[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, reduced) == 0
    yield
    assert libc.capset(header, granted) == 0


@pytest.fixture
def nbferry(tmp_path: Path) -> Iterator[Commands]:
    """The command ``nbferry``, in processes that end with the test."""
    commands = Commands(tmp_path.resolve())
    yield commands
    commands.close()
