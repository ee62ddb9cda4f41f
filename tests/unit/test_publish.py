"""How names are found and places are taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbferry.errors import DestinationExists
from nbferry.storage.directory import Directory
from nbferry.storage.publish import Overwrite, numbered, publish


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Directory, Directory]]:
    """Open a staging folder with a tree and a file, and a destination."""
    (tmp_path / "staged/tree/sub").mkdir(parents=True)
    for path in ("tree/a", "tree/sub/b", "file.csv"):
        (tmp_path / "staged" / path).write_bytes(b"new")
    (tmp_path / "to").mkdir()
    with Directory.open(tmp_path / "staged") as staged, Directory.open(tmp_path / "to") as to:
        yield staged, to


NAMES = ["file.csv", "tree"]


def move(
    folders: tuple[Directory, Directory], overwrite: Overwrite, placed: dict[str, str] | None = None
) -> dict[str, str]:
    """Publish the tree and the file; where they went."""
    placed = {} if placed is None else placed
    publish(*folders, NAMES, overwrite=overwrite, placed=placed, sync=os.fsync)
    return placed


def files(to: Directory) -> dict[str, bytes]:
    """Every file in a folder."""
    return {
        path.relative_to(to.path).as_posix(): path.read_bytes()
        for path in to.path.rglob("*")
        if path.is_file()
    }


FRESH = {"file.csv": b"new", "tree/a": b"new", "tree/sub/b": b"new"}


@pytest.mark.parametrize("overwrite", ["rename", "replace", "refuse"])
def test_nothing_in_the_way(folders: tuple[Directory, Directory], overwrite: Overwrite) -> None:
    """Into an empty folder everything goes under its own name."""
    assert move(folders, overwrite) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(folders[1]) == FRESH
    assert folders[0].names() == []


def test_rename(folders: tuple[Directory, Directory]) -> None:
    """Names that are taken get the next free number, before the suffix; what was there is untouched."""
    to = folders[1].path
    (to / "file.csv").write_bytes(b"old")
    (to / "file (1).csv").symlink_to("nowhere")
    (to / "tree").mkdir()
    assert move(folders, "rename") == {"file.csv": "file (2).csv", "tree": "tree (1)"}
    assert (to / "file.csv").read_bytes() == b"old"
    assert sorted(os.listdir(to)) == ["file (1).csv", "file (2).csv", "file.csv", "tree", "tree (1)"]  # noqa: PTH208


@pytest.mark.parametrize("taken", NAMES)
def test_refuse(folders: tuple[Directory, Directory], taken: str) -> None:
    """One name that is taken keeps everything where it is."""
    (folders[1].path / taken).symlink_to("nowhere")
    with pytest.raises(DestinationExists, match=taken):
        move(folders, "refuse")
    assert sorted(folders[0].names()) == NAMES
    assert folders[1].names() == [taken]


class Blind(Directory):
    """A destination where things appear just after one has looked."""

    def look(self, name: str) -> os.stat_result | None:
        """Look, see nothing, and be overtaken."""
        found = super().look(name)
        if name == "tree":
            (self.path / name).mkdir(exist_ok=True)
            return None
        return found


@pytest.mark.parametrize("overwrite", ["refuse", "replace"])
def test_something_appears_at_the_last_moment(
    folders: tuple[Directory, Directory], overwrite: Overwrite
) -> None:
    """What appears between the look and the move is not overwritten; what was moved before is complete."""
    staged, to = folders
    placed: dict[str, str] = {}
    with Blind.open(to.path) as blind, pytest.raises(DestinationExists, match="tree"):
        move((staged, blind), overwrite, placed)
    assert placed == {"file.csv": "file.csv"}
    assert files(to) == {"file.csv": b"new"}
    (to.path / "tree").rmdir()
    assert move(folders, overwrite, placed) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(to) == FRESH


def test_replace(folders: tuple[Directory, Directory]) -> None:
    """Files go over files, folders into folders; what has no counterpart stays."""
    to = folders[1].path
    (to / "tree/sub").mkdir(parents=True)
    for path in ("file.csv", "tree/sub/b", "tree/sub/other", "tree/c", "other"):
        (to / path).write_bytes(b"old")
    old = (to / "tree/sub/b").stat().st_ino
    assert move(folders, "replace") == {"file.csv": "file.csv", "tree": "tree"}
    assert files(folders[1]) == {**FRESH, "tree/sub/other": b"old", "tree/c": b"old", "other": b"old"}
    assert (to / "tree/sub/b").stat().st_ino != old


def test_replace_leaves_other_names_of_a_file(folders: tuple[Directory, Directory]) -> None:
    """T05: a file is replaced by a rename, so its hard links keep the old content."""
    to = folders[1].path
    (to / "file.csv").write_bytes(b"old")
    (to / "second name").hardlink_to(to / "file.csv")
    move(folders, "replace")
    assert files(folders[1]) == {**FRESH, "second name": b"old"}


@pytest.mark.parametrize("path", ["tree", "tree/sub", "file.csv", "tree/a", "tree/sub/b"])
@pytest.mark.parametrize("kind", ["other kind", "link to folder", "link to file", "dangling link", "fifo"])
def test_replace_what_cannot_be(folders: tuple[Directory, Directory], path: str, kind: str) -> None:
    """T04: links, pipes, and a file for a folder or the reverse stop it before anything is moved, by name."""
    staged, to = folders
    there = to.path / path
    (to.path.parent / "victim").mkdir()
    (to.path.parent / "victim/b").write_bytes(b"innocent")
    there.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "link to folder":
            there.symlink_to(to.path.parent / "victim")
        case "link to file":
            there.symlink_to(to.path.parent / "victim/b")
        case "dangling link":
            there.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(there)
        case "other kind" if path in ("tree", "tree/sub"):
            there.write_bytes(b"old")
        case "other kind":
            there.mkdir()
    before = there.lstat()
    with pytest.raises(DestinationExists, match=f'"{path}"'):
        move(folders, "replace")
    assert there.lstat() == before
    assert sorted(staged.names()) == NAMES
    assert [each.name for each in (to.path.parent / "victim").iterdir()] == ["b"]
    assert (to.path.parent / "victim/b").read_bytes() == b"innocent"


@pytest.mark.parametrize(
    ("name", "number", "new"),
    [
        ("trips.parquet", 0, "trips.parquet"),
        ("trips.parquet", 1, "trips (1).parquet"),
        ("trips.csv.gz", 2, "trips (2).csv.gz"),
        ("backup.tar.ZST", 1, "backup (1).tar.ZST"),
        ("a.gz", 1, "a (1).gz"),
        (".hidden.gz", 1, ".hidden (1).gz"),
        ("README", 10, "README (10)"),
        (".bashrc", 1, ".bashrc (1)"),
        ("v1.2 final version of it", 1, "v1.2 final version of it (1)"),
        ("a (1).txt", 1, "a (1) (1).txt"),
        ("x" * 255, 1, "x" * 251 + " (1)"),
        ("é" * 125 + ".csv", 3, "é" * 123 + " (3).csv"),
    ],
)
def test_numbers(name: str, number: int, new: str) -> None:
    """The number goes before the suffix, and a long name makes room for it."""
    assert numbered(name, number) == new
    assert len(new.encode()) <= 255


def test_numbers_of_folders() -> None:
    """A folder has no suffix."""
    assert numbered("store.zarr", 1, folder=True) == "store.zarr (1)"
