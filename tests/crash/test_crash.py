"""A few of the points of ``make crash``: kill -9 at an I/O call, start again, compare everything."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")

Report = dict[str, Any]


def test_no_byte_time_or_name_differs_and_nothing_reported_durable_is_missing(report: Report) -> None:
    """Whoever dies at whichever call: the receiver gets exactly what was sent, and loses nothing it had promised."""
    assert [f"{each['point']}: {each['failure']}" for each in report["failures"]] == []
    assert report["identical"] == report["points"]


@pytest.mark.parametrize("victim", ["sender", "receiver", "relay"])
def test_the_victims_do_die(report: Report, victim: str) -> None:
    """Each of the three is killed at several points; a few die of no call, because threads differ in their turns."""
    assert sum(row["deaths"] for row in report["kinds"] if row["victim"] == victim) >= 6


def test_a_receiver_goes_on_with_its_journal(report: Report) -> None:
    """Some of the receivers that die have stored chunks by then, and go on with them."""
    assert report["resumed"] >= 1


def test_every_kind_of_call_is_counted(report: Report) -> None:
    """Opening, writing, syncing and renaming are among the calls: none of them goes past the count."""
    names = {name for calls in report["calls"].values() for name in calls}
    assert {"open", "pwrite", "preadv", "fsync", "mkdir", "replace", "unlink", "utime", "ftruncate"} <= names
    assert {"rename", "renameat2", "link"} & names
