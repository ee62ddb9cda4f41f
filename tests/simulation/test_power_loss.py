"""The power fails at any point of a transfer; nothing that was promised is lost, and the transfer goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.model.overwrite import Overwrite
from simulation.power import Disks, Files, Op, Recorder
from simulation.receiving import Receiving, survives
from simulation.trees import fast_folder

MOST = 20  # states for each crash point; bench/simulation.py tries many more


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
@pytest.mark.parametrize("step", [2, 9])
def test_whatever_a_power_failure_leaves_is_gone_on_with(overwrite: Overwrite, step: int) -> None:
    """At every crash point: complete or older files, a journal that is right, and a good end after it."""
    with fast_folder() as work:
        tally = survives(Receiving(overwrite, step), work, most=MOST)
    assert tally.points > 50
    assert tally.states > 500


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
def test_the_power_may_fail_again(overwrite: Overwrite) -> None:
    """Going on with what a failure of the power has left survives another one."""
    with fast_folder() as work:
        survives(Receiving(overwrite), work, most=3, twice=6)


# ------------------------------------------------------------------ the disks themselves
ROOT = 1


class Scripted(Recorder):
    """Operations that a test makes up."""

    def __init__(self, *ops: Op) -> None:
        self.ops, self.before = list(ops), list[Op]()
        self.now = Files(ROOT)


def possible(*ops: Op) -> set[tuple[tuple[str, bytes | None], ...]]:
    """The trees that may be left when all of these have happened."""
    states = Disks(Scripted(*ops)).at(len(ops))
    return {tuple((path, state.content(inode)) for path, inode in state.walk()) for state in states}


MADE = Op("make", 2, ((ROOT, "a"),))
WRITTEN = Op("write", 2, data=b"xy")
MOVED = Op("move", names=((ROOT, "a"), (ROOT, "b")))
FLUSHED, NAMED = Op("flush", 2), Op("flush", ROOT)


def test_what_is_flushed_stays() -> None:
    """A file whose bytes and whose folder were flushed is there."""
    assert possible(MADE, WRITTEN, FLUSHED, NAMED) == {(("a", b"xy"),)}


def test_a_flushed_file_may_lose_its_name() -> None:
    """Flushing a file alone does not keep its name."""
    assert possible(MADE, WRITTEN, FLUSHED) == {(), (("a", b"xy"),)}


def test_a_name_may_stay_without_the_bytes() -> None:
    """Flushing a folder alone does not keep what is in its files."""
    assert possible(MADE, WRITTEN, NAMED) == {(("a", b""),), (("a", b"xy"),)}


def test_a_rename_is_kept_or_lost_as_a_whole() -> None:
    """A file has its old name or its new one, never both and never none."""
    assert possible(MADE, WRITTEN, FLUSHED, NAMED, MOVED) == {(("a", b"xy"),), (("b", b"xy"),)}


def test_a_later_name_presupposes_the_earlier_one() -> None:
    """A rename cannot be kept of a file that was never there."""
    assert possible(MADE, MOVED) == {(), (("a", b""),), (("b", b""),)}


def test_what_happens_is_recorded(tmp_path: Path) -> None:
    """Files, folders, links and renames are recorded, and nothing is missed."""
    (tmp_path / "old").write_bytes(b"old")
    recorder = Recorder(tmp_path)
    with recorder.recording():
        (tmp_path / "folder").mkdir()
        (tmp_path / "old").rename(tmp_path / "folder" / "new")
        (tmp_path / "folder" / "new").write_bytes(b"longer than it was")
        (tmp_path / "folder" / "second").hardlink_to(tmp_path / "folder" / "new")
        (tmp_path / "folder" / "new").unlink()
    recorder.close()
    kinds = [op.kind for op in recorder.ops]
    assert kinds == ["folder", "move", "write", "write", "link", "remove"]
