"""What the command says at the end of a transfer; what it shows meanwhile is tested in tests/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.cli.screens import Terminal
from nbferry.model.roles import Role
from nbferry.status import Result, Snapshot, State

DONE = Snapshot(id="ba9876543210", role=Role.RECEIVE, state=State.DONE, names=("x.bin",), files=1)


def result(seconds: float, via: str) -> Result:
    """Five megabytes."""
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
    """A rate is of this process: where an earlier one did it all there is none, and a path only if there was one."""
    Terminal().done(result(seconds, via), DONE)
    assert capsys.readouterr().out.splitlines()[0] == said
