"""Who owns what, on drives that say so in their own way. The rest is seen through the staging folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbferry.storage.disk import private
from nbferry.storage.disk.directory import Directory


@pytest.fixture
def to(tmp_path: Path) -> Iterator[Directory]:
    """Open an empty folder."""
    with Directory.open(tmp_path) as folder:
        yield folder


class Sealed(Directory):
    """A folder in which nothing can be created."""

    def file(self, name: str, flags: int) -> int:
        """Refuse."""
        raise PermissionError


def test_file_systems_that_map_owners(to: Directory) -> None:
    """Where the file system says that our files are somebody else's, that somebody is us."""
    me = os.geteuid()
    assert private._owner_of_new_files(to, me + 1) == me
    assert private._owner_of_new_files(to, me) == me
    assert private._owner_of_new_files(Sealed(to.path, to.fd), me + 1) == me
    assert to.names() == []
