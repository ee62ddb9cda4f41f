"""The state folder goes when nothing is kept in it, and is whole when it stays. Most is seen through the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.state import IGNORE, README, insist, made_state, remove_if_unused, remove_unused


class Busy(Directory):
    """A folder in which another transfer begins whenever one wants to remove something."""

    def rmdir(self, name: str) -> None:
        """Be overtaken, then fail."""
        (self.path / name / "t2").mkdir()
        super().rmdir(name)


def test_overtaken_while_removing(tmp_path: Path) -> None:
    """A transfer that begins at the last moment finds what keeps its secrets out of a repository."""
    with made_state(tmp_path / ".nbferry") as state, Busy.open(tmp_path) as parent:
        remove_if_unused(parent, state)
        assert sorted(state.names()) == [IGNORE, README, "t2"]
    assert (tmp_path / ".nbferry" / IGNORE).read_text() == "*\n"


def test_removing(tmp_path: Path) -> None:
    """An unused state folder goes; one in which something is kept stays; none is no error."""
    folder = tmp_path / ".nbferry"
    remove_unused(folder)
    with made_state(folder) as state:
        state.make("t1")
    remove_unused(folder)
    assert sorted(path.name for path in folder.iterdir()) == [IGNORE, README, "t1"]
    (folder / "t1").rmdir()
    remove_unused(folder)
    assert not folder.exists()


def test_insisting() -> None:
    """What fails because a folder has just gone is tried again, though not for ever."""
    left = 3

    def step() -> int:
        nonlocal left
        left -= 1
        if left:
            raise FileNotFoundError
        return 7

    assert insist(step) == 7
    left = 0
    with pytest.raises(FileNotFoundError):
        insist(step)
