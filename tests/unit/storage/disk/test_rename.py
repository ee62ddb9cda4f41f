"""No way of moving overwrites anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbferry.storage.disk import rename
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.rename import (
    RENAME_METHODS,
    RenameMethod,
    by_link,
    by_path,
    by_placeholder,
    by_rename,
    rename_without_replacing,
)

FILE_WAYS = [by_rename, by_link, by_placeholder]
FOLDER_WAYS = [by_rename, by_placeholder]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Directory, Directory]]:
    """Open two folders: from one, which has a file and a folder, to the other, which is empty."""
    (tmp_path / "from" / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "from" / "file").write_bytes(b"new")
    (tmp_path / "from" / "folder" / "a").write_bytes(b"new")
    (tmp_path / "to").mkdir()
    with Directory.open(tmp_path / "from") as source, Directory.open(tmp_path / "to") as to:
        yield source, to


@pytest.mark.parametrize("way", FILE_WAYS)
def test_a_file_to_a_free_name(folders: tuple[Directory, Directory], way: RenameMethod) -> None:
    """A file is moved whole, and is no longer where it was."""
    source, to = folders
    assert way(source, "file", to, "there")
    assert (to.path / "there").read_bytes() == b"new"
    assert (to.path / "there").stat().st_nlink == 1
    assert source.names() == ["folder"]


@pytest.mark.parametrize("way", FOLDER_WAYS)
def test_a_folder_to_a_free_name(folders: tuple[Directory, Directory], way: RenameMethod) -> None:
    """A folder is moved with all that is in it."""
    source, to = folders
    assert way(source, "folder", to, "there")
    assert sorted(path.name for path in (to.path / "there").iterdir()) == ["a", "sub"]
    assert source.names() == ["file"]


@pytest.mark.parametrize("taken", ["file", "folder", "empty folder", "link", "dangling link", "fifo"])
@pytest.mark.parametrize(
    ("way", "name"), [*((way, "file") for way in FILE_WAYS), *((way, "folder") for way in FOLDER_WAYS)]
)
def test_never_onto_anything(
    folders: tuple[Directory, Directory], way: RenameMethod, name: str, taken: str
) -> None:
    """T07: whatever has the name keeps it, and what was to be moved stays."""
    source, to = folders
    there = to.path / "there"
    match taken:
        case "file":
            there.write_bytes(b"old")
        case "folder":
            (there / "old").mkdir(parents=True)
        case "empty folder":
            there.mkdir()
        case "link":
            there.symlink_to(source.path)
        case "dangling link":
            there.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(there)
    before = there.lstat()
    with pytest.raises(FileExistsError):
        way(source, name, to, "there")
    assert there.lstat() == before
    assert sorted(source.names()) == ["file", "folder"]


def test_folders_have_no_second_name(folders: tuple[Directory, Directory]) -> None:
    """A folder cannot be linked, so that way is not taken."""
    assert not by_link(folders[0], "folder", folders[1], "there")
    assert folders[1].names() == []


def test_without_descriptors(folders: tuple[Directory, Directory], tmp_path: Path) -> None:
    """Where folders are not held, names are made to paths."""
    bare = Directory(tmp_path / "from", None), Directory(tmp_path / "to", None)
    assert not by_rename(bare[0], "file", bare[1], "there")
    assert by_link(bare[0], "file", bare[1], "there")
    assert by_placeholder(bare[1], "there", bare[0], "again")
    assert by_path(bare[0], "again", bare[1], "there")
    assert (tmp_path / "to" / "there").read_bytes() == b"new"
    assert folders[0].names() == ["folder"]


class Racing(Directory):
    """A folder in which somebody acts just before something is renamed into it."""

    def replace(self, name: str, to: Directory, new: str) -> None:
        """Put something into the place that was taken, then go on."""
        (to.path / new / "theirs").write_bytes(b"old")
        super().replace(name, to, new)


def test_a_folder_that_is_filled_meanwhile(folders: tuple[Directory, Directory]) -> None:
    """A file that appears in the folder that holds the place is not lost."""
    source, to = folders
    with Racing.open(source.path) as held, pytest.raises(FileExistsError):
        by_placeholder(held, "folder", to, "there")
    assert (to.path / "there" / "theirs").read_bytes() == b"old"
    assert "folder" in source.names()


@pytest.mark.parametrize("name", ["file", "folder"])
def test_the_place_is_given_back(folders: tuple[Directory, Directory], name: str) -> None:
    """If the rename fails, what held the place goes."""

    class Failing(Directory):
        def replace(self, name: str, to: Directory, new: str) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    source, to = folders
    failing = Failing(source.path, source.fd)
    with pytest.raises(OSError, match="Input/output"):
        by_placeholder(failing, name, to, "there")
    assert to.names() == []


def test_a_link_that_fails(folders: tuple[Directory, Directory]) -> None:
    """An error that is not "cannot be done here" ends the move."""
    source, to = folders
    with pytest.raises(FileNotFoundError):
        by_link(source, "missing", to, "there")


def test_ways_are_tried_in_turn(folders: tuple[Directory, Directory]) -> None:
    """What cannot be done in one way is done in the next; without any there is an error."""
    tried = []

    def unable(source: Directory, name: str, to: Directory, new: str, *, resume: bool = False) -> bool:
        del source, name, to, new, resume
        tried.append("unable")
        return False

    source, to = folders
    rename_without_replacing(source, "file", to, "there", methods=[unable, by_link])
    assert tried == ["unable"]
    assert to.names() == ["there"]
    with pytest.raises(OSError, match=r"not supported|supported"):
        rename_without_replacing(source, "folder", to, "elsewhere", methods=[unable])
    assert rename.RENAME_METHODS is RENAME_METHODS


# ------------------------------------------------------------------ going on after a crash
def test_stopped_between_linking_and_unlinking(folders: tuple[Directory, Directory]) -> None:
    """A file that has both names already loses the old one; nothing is overwritten or doubled."""
    source, to = folders
    (to.path / "there").hardlink_to(source.path / "file")
    rename_without_replacing(source, "file", to, "there", resume=True)
    assert source.names() == ["folder"]
    assert (to.path / "there").read_bytes() == b"new"
    assert (to.path / "there").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["file", "folder"])
def test_stopped_after_taking_the_place(folders: tuple[Directory, Directory], name: str) -> None:
    """What an earlier run put into the place, empty, is ours again; without that knowledge it is not."""
    source, to = folders
    (to.path / "there").touch() if name == "file" else (to.path / "there").mkdir()
    with pytest.raises(FileExistsError):
        rename_without_replacing(source, name, to, "there", methods=[by_placeholder])
    rename_without_replacing(source, name, to, "there", resume=True, methods=[by_placeholder])
    assert name not in source.names()
    assert (to.path / "there").is_dir() == (name == "folder")


@pytest.mark.parametrize("taken", ["file", "folder", "link", "dangling link", "fifo", "linked file"])
@pytest.mark.parametrize("name", ["file", "folder"])
@pytest.mark.parametrize("way", [by_rename, by_placeholder])
def test_going_on_overwrites_nothing(
    folders: tuple[Directory, Directory], name: str, taken: str, way: RenameMethod
) -> None:
    """T07: whatever is not as empty as what we put there is somebody's, even when going on."""
    source, to = folders
    there = to.path / "there"
    match taken:
        case "file":
            there.write_bytes(b"old")
        case "folder":
            (there / "old").mkdir(parents=True)
        case "link":
            there.symlink_to(source.path)
        case "dangling link":
            there.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(there)
        case "linked file":
            there.touch()
            (to.path / "second name").hardlink_to(there)
    before = there.lstat()
    with pytest.raises(FileExistsError):
        rename_without_replacing(source, name, to, "there", resume=True, methods=[way])
    assert there.lstat() == before
    assert sorted(source.names()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["file", "folder"])
def test_another_process_moves_the_same(folders: tuple[Directory, Directory], name: str) -> None:
    """What another process has moved onto the place that we took is not removed, though ours is gone."""

    class Overtaken(Directory):
        def replace(self, name: str, to: Directory, new: str) -> None:
            super().replace(name, to, new)
            super().replace(name, to, new)

    source, to = folders
    with Overtaken.open(source.path) as overtaken, pytest.raises(FileNotFoundError):
        by_placeholder(overtaken, name, to, "there")
    assert (to.path / "there" / "a" if name == "folder" else to.path / "there").read_bytes() == b"new"


def test_what_is_gone_takes_no_place(folders: tuple[Directory, Directory]) -> None:
    """Nothing is put at the destination for what is no longer staged."""
    with pytest.raises(FileNotFoundError):
        by_placeholder(folders[0], "missing", folders[1], "there")
    assert folders[1].names() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_something_empty_of_somebody_else(folders: tuple[Directory, Directory]) -> None:
    """An empty file that belongs to somebody else is not what we put there."""
    source, to = folders
    (to.path / "there").touch()
    os.chown(to.path / "there", 12345, 12345)
    with pytest.raises(FileExistsError):
        rename_without_replacing(source, "file", to, "there", resume=True, methods=[by_placeholder])


def test_a_file_system_without_links(folders: tuple[Directory, Directory]) -> None:
    """Where there are no hard links that way is not taken, and nothing is done."""
    source, to = folders

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert not by_link(source, "file", to, "there")
    assert to.names() == []
