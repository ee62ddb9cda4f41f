"""The power fails at any point of a transfer. No promised data are lost, and the transfer resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.model.overwrite import Overwrite
from simulation.power import Disks, Files, Op, Recorder
from simulation.receiving import Receiving, survives
from simulation.trees import fast_folder

# States for each crash point; bench/simulation.py tries many more.
MOST = 20


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
@pytest.mark.parametrize("step", [2, 9])
def test_a_transfer_resumes_after_a_power_failure(overwrite: Overwrite, step: int) -> None:
    """After every crash point files are new or old as a whole, the journal is right, and the transfer completes."""
    with fast_folder() as work:
        tally = survives(Receiving(overwrite, step), work, most=MOST)
    assert tally.points > 50
    assert tally.states > 500


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
def test_a_recovery_survives_another_power_failure(overwrite: Overwrite) -> None:
    """The power fails at any point of a recovery, which then completes."""
    with fast_folder() as work:
        survives(Receiving(overwrite), work, most=3, twice=6)


# ------------------------------------------------------------------ the disks themselves
ROOT = 1


class Scripted(Recorder):
    """Invented operations."""

    def __init__(self, *ops: Op) -> None:
        self.ops, self.before = list(ops), list[Op]()
        self.now = Files(ROOT)


def possible(*ops: Op) -> set[tuple[tuple[str, bytes | None], ...]]:
    """The possible trees after all of these operations."""
    states = Disks(Scripted(*ops)).at(len(ops))
    return {tuple((path, state.content(inode)) for path, inode in state.walk()) for state in states}


MADE = Op("make", 2, ((ROOT, "a"),))
WRITTEN = Op("write", 2, data=b"xy")
MOVED = Op("move", names=((ROOT, "a"), (ROOT, "b")))
FLUSHED, NAMED = Op("flush", 2), Op("flush", ROOT)


def test_a_flushed_file_stays() -> None:
    """A file exists if its bytes and its folder were flushed."""
    assert possible(MADE, WRITTEN, FLUSHED, NAMED) == {(("a", b"xy"),)}


def test_a_flushed_file_may_lose_its_name() -> None:
    """Flushing a file alone does not keep its name."""
    assert possible(MADE, WRITTEN, FLUSHED) == {(), (("a", b"xy"),)}


def test_a_name_may_stay_without_the_bytes() -> None:
    """Flushing a folder alone does not keep its files' bytes."""
    assert possible(MADE, WRITTEN, NAMED) == {(("a", b""),), (("a", b"xy"),)}


def test_a_rename_is_kept_or_lost_as_a_whole() -> None:
    """A renamed file has its old name or its new one, never both and never none."""
    assert possible(MADE, WRITTEN, FLUSHED, NAMED, MOVED) == {(("a", b"xy"),), (("b", b"xy"),)}


def test_a_later_name_presupposes_the_earlier_one() -> None:
    """A rename is kept only if the file's creation was."""
    assert possible(MADE, MOVED) == {(), (("a", b""),), (("b", b""),)}


def test_operations_are_recorded(tmp_path: Path) -> None:
    """The recorder sees files, folders, links and renames, and misses none."""
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
