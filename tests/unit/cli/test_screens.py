"""The command's output at the end of a transfer. Its output during a transfer is tested in tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.cli.screens import Terminal
from nbferry.model.roles import Role
from nbferry.status import Result, Snapshot, State

DONE = Snapshot(id="ba9876543210", role=Role.RECEIVE, state=State.DONE, names=("x.bin",), files=1)


def result(seconds: float, via: str) -> Result:
    """A result of five megabytes."""
    return Result(files=(Path("x.bin"),), bytes=5_000_000, seconds=seconds, digest="", via=via)


@pytest.mark.parametrize(
    ("seconds", "via", "said"),
    [
        (2.0, "direct", "Received x.bin: 5.0 MB in 2 s (2.5 MB/s, direct), every byte verified."),
        (2.0, "", "Received x.bin: 5.0 MB in 2 s (2.5 MB/s), every byte verified."),
        (0.0, "direct", "Received x.bin: 5.0 MB, every byte verified."),
    ],
)
def test_how_long_it_took(capsys: pytest.CaptureFixture[str], seconds: float, via: str, said: str) -> None:
    """The rate is that of this process. Without bytes of its own it has none, and a path shows only if one was used."""
    Terminal().done(result(seconds, via), DONE)
    assert capsys.readouterr().out.splitlines()[0] == said
