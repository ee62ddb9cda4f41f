"""A few of the points of ``make crash``: kill -9 at an I/O call, restart, compare everything."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")

Report = dict[str, Any]


def test_every_transfer_survives_the_kill(report: Report) -> None:
    """After every kill the receiver has exactly the files that were sent, and all chunks that it reported durable."""
    assert [f"{each['point']}: {each['failure']}" for each in report["failures"]] == []
    assert report["identical"] == report["points"]


@pytest.mark.parametrize("victim", ["sender", "receiver", "relay"])
def test_each_role_is_killed(report: Report, victim: str) -> None:
    """Each role dies at several points. A few points kill no process, because thread schedules differ."""
    assert sum(row["deaths"] for row in report["kinds"] if row["victim"] == victim) >= 6


def test_some_receivers_resume_from_their_journal(report: Report) -> None:
    """Some killed receivers had stored chunks, and resume from them."""
    assert report["resumed"] >= 1


def test_every_kind_of_call_is_counted(report: Report) -> None:
    """Opening, writing, syncing and renaming are all counted."""
    names = {name for calls in report["calls"].values() for name in calls}
    assert {"open", "pwrite", "preadv", "fsync", "mkdir", "replace", "unlink", "utime", "ftruncate"} <= names
    assert {"rename", "renameat2", "link"} & names
