"""How names are found and places are taken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nbferry.errors import DestinationExists
from nbferry.model.overwrite import Overwrite
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.journal import Intent
from nbferry.storage.folder.publish import begun, moved, numbered, publish, where_placed


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


class Record:
    """Intents, without a disk; ``others`` are what another process has recorded."""

    def __init__(self) -> None:
        self.intents: dict[str, list[Intent]] = {}
        self.others: dict[str, list[Intent]] = {}
        self.calls = 0

    def place(self, intents: Mapping[str, Intent]) -> None:
        """Record."""
        self.calls += 1
        for name, intent in intents.items():
            self.intents.setdefault(name, []).append(intent)

    def refresh_intents(self) -> None:
        """See what others have recorded."""
        self.intents = {
            name: self.intents.get(name, []) + self.others.get(name, [])
            for name in {**self.intents, **self.others}
        }


def move(
    folders: tuple[Directory, Directory], overwrite: Overwrite, record: Record | None = None
) -> dict[str, str]:
    """Publish the tree and the file; where they went."""
    return publish(*folders, NAMES, overwrite=overwrite, journal=record or Record(), sync=os.fsync)


def files(to: Directory) -> dict[str, bytes]:
    """Every file in a folder."""
    return {
        path.relative_to(to.path).as_posix(): path.read_bytes()
        for path in to.path.rglob("*")
        if path.is_file()
    }


FRESH = {"file.csv": b"new", "tree/a": b"new", "tree/sub/b": b"new"}


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
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
    assert move(folders, Overwrite.RENAME) == {"file.csv": "file (2).csv", "tree": "tree (1)"}
    assert (to / "file.csv").read_bytes() == b"old"
    assert sorted(os.listdir(to)) == ["file (1).csv", "file (2).csv", "file.csv", "tree", "tree (1)"]  # noqa: PTH208


@pytest.mark.parametrize("taken", NAMES)
def test_refuse(folders: tuple[Directory, Directory], taken: str) -> None:
    """One name that is taken keeps everything where it is."""
    (folders[1].path / taken).symlink_to("nowhere")
    with pytest.raises(DestinationExists, match=taken):
        move(folders, Overwrite.REFUSE)
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


@pytest.mark.parametrize("overwrite", [Overwrite.REFUSE, Overwrite.REPLACE])
def test_something_appears_at_the_last_moment(
    folders: tuple[Directory, Directory], overwrite: Overwrite
) -> None:
    """What appears between the look and the move is not overwritten; what was moved before is complete."""
    staged, to = folders
    record = Record()
    with Blind.open(to.path) as blind, pytest.raises(DestinationExists, match="tree"):
        move((staged, blind), overwrite, record)
    assert files(to) == {"file.csv": b"new"}
    (to.path / "tree").rmdir()
    assert move(folders, overwrite, record) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(to) == FRESH


def test_replace(folders: tuple[Directory, Directory]) -> None:
    """Files go over files, folders into folders; what has no counterpart stays."""
    to = folders[1].path
    (to / "tree/sub").mkdir(parents=True)
    for path in ("file.csv", "tree/sub/b", "tree/sub/other", "tree/c", "other"):
        (to / path).write_bytes(b"old")
    old = (to / "tree/sub/b").stat().st_ino
    assert move(folders, Overwrite.REPLACE) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(folders[1]) == {**FRESH, "tree/sub/other": b"old", "tree/c": b"old", "other": b"old"}
    assert (to / "tree/sub/b").stat().st_ino != old


def test_replace_leaves_other_names_of_a_file(folders: tuple[Directory, Directory]) -> None:
    """T05: a file is replaced by a rename, so its hard links keep the old content."""
    to = folders[1].path
    (to / "file.csv").write_bytes(b"old")
    (to / "second name").hardlink_to(to / "file.csv")
    move(folders, Overwrite.REPLACE)
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
        move(folders, Overwrite.REPLACE)
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


# ------------------------------------------------------------------ going on
def inode(folder: Directory, name: str) -> int:
    """By what something is known."""
    return (folder.path / name).lstat().st_ino


def test_all_is_recorded_before_anything_moves(folders: tuple[Directory, Directory]) -> None:
    """Intents are recorded in one go, with the inodes of what is to be moved, while all is still staged."""
    staged, to = folders
    (to.path / "file.csv").write_bytes(b"old")
    seen: list[tuple[list[str], dict[str, Intent]]] = []

    class Watched(Record):
        def place(self, intents: Mapping[str, Intent]) -> None:
            super().place(intents)
            seen.append((sorted(staged.names()), dict(intents)))

    expected = {
        "file.csv": Intent("file (1).csv", inode(staged, "file.csv")),
        "tree": Intent("tree", inode(staged, "tree")),
    }
    move(folders, Overwrite.RENAME, Watched())
    assert seen == [(NAMES, expected)]


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
@pytest.mark.parametrize("moved", [[], ["file.csv"], ["tree"], NAMES])
def test_going_on(folders: tuple[Directory, Directory], overwrite: Overwrite, moved: list[str]) -> None:
    """What an earlier run has moved is found where it said; the rest follows, and the names are the same."""
    staged, to = folders
    record = Record()
    record.place({name: Intent(name, inode(staged, name)) for name in NAMES})
    for name in moved:
        staged.replace(name, to, name)
    assert begun(staged, to, record.intents) == set(NAMES)
    assert move(folders, overwrite, record) == {"file.csv": "file.csv", "tree": "tree"}
    assert move(folders, overwrite, record) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(to) == FRESH
    assert record.calls == 1


def test_a_name_that_was_taken_meanwhile(folders: tuple[Directory, Directory]) -> None:
    """If somebody took the name that an earlier run was about to use, another is found and recorded."""
    staged, to = folders
    record = Record()
    record.place({name: Intent(name, inode(staged, name)) for name in NAMES})
    (to.path / "file.csv").write_bytes(b"theirs")
    assert move(folders, Overwrite.RENAME, record) == {"file.csv": "file (1).csv", "tree": "tree"}
    assert record.intents["file.csv"][-1].new == "file (1).csv"
    assert files(to) == {**FRESH, "file.csv": b"theirs", "file (1).csv": b"new"}


def test_what_has_moved(folders: tuple[Directory, Directory]) -> None:
    """An intent alone has moved nothing; a rename has, and a folder at the destination may be merged with."""
    staged, to = folders
    intents = {name: [Intent(name, inode(staged, name))] for name in NAMES}
    assert moved(staged, to, intents) == frozenset()
    (to.path / "tree").mkdir()
    assert moved(staged, to, intents) == {"tree"}
    staged.replace("file.csv", to, "file.csv")
    assert moved(staged, to, intents) == set(NAMES)


def test_in_the_middle_of_a_merge(folders: tuple[Directory, Directory]) -> None:
    """A folder of which a part has been merged already is merged to its end."""
    staged, to = folders
    (to.path / "tree").mkdir()
    record = Record()
    record.place({name: Intent(name, inode(staged, name)) for name in NAMES})
    (staged.path / "tree/a").rename(to.path / "tree/a")
    assert move(folders, Overwrite.REPLACE, record) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(to) == FRESH


def test_another_process_is_quicker(folders: tuple[Directory, Directory]) -> None:
    """What another process has moved meanwhile is found by what that recorded, under the name that that chose."""
    staged, to = folders
    (to.path / "file.csv").write_bytes(b"old")
    record = Record()
    record.others = {"file.csv": [Intent("file (7).csv", inode(staged, "file.csv"))]}

    class Slow(Directory):
        def look(self, name: str) -> os.stat_result | None:
            if name == "file (1).csv" and (staged.path / "file.csv").exists():
                (staged.path / "file.csv").rename(to.path / "file (7).csv")
            return super().look(name)

    with Slow.open(to.path) as slow:
        assert move((staged, slow), Overwrite.RENAME, record) == {"file.csv": "file (7).csv", "tree": "tree"}
    assert files(to) == {**FRESH, "file.csv": b"old", "file (7).csv": b"new"}


def test_another_process_merges_the_same(folders: tuple[Directory, Directory]) -> None:
    """A file that another process has merged meanwhile is where it belongs."""
    staged, to = folders
    (to.path / "tree").mkdir()
    (to.path / "file.csv").touch()

    class Quick(Directory):
        def child(self, name: str) -> Directory:
            found = super().child(name)
            if name == "tree" and (staged.path / "tree/a").exists() and (to.path / "file.csv").stat().st_size:
                names = found.names()
                found.names = lambda: names  # type: ignore[method-assign]
                (staged.path / "tree/a").rename(to.path / "tree/a")
            return found

    with Quick.open(staged.path) as quick:
        assert move((quick, to), Overwrite.REPLACE) == {"file.csv": "file.csv", "tree": "tree"}
    assert files(to) == FRESH


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
def test_what_is_nowhere(folders: tuple[Directory, Directory], overwrite: Overwrite) -> None:
    """What is neither staged nor at its place is an error, not something published."""
    staged, to = folders
    record = Record()
    record.place({"file.csv": Intent("file.csv", inode(staged, "file.csv"))})
    (staged.path / "file.csv").unlink()
    assert begun(staged, to, record.intents) == frozenset()
    with pytest.raises(FileNotFoundError):
        move(folders, overwrite, record)


def test_a_name_alone_proves_nothing(folders: tuple[Directory, Directory]) -> None:
    """Something else under the name that was meant is not what we placed."""
    staged, to = folders
    (to.path / "file.csv").write_bytes(b"theirs")
    assert where_placed(to, [Intent("file.csv", inode(staged, "file.csv"))]) is None
    assert where_placed(to, [Intent("file.csv", inode(to, "file.csv"))]) == "file.csv"


def test_two_names_that_would_meet(tmp_path: Path) -> None:
    """A name that gets a number does not take that of another top-level name of the offer."""
    for folder in ("staged", "to"):
        (tmp_path / folder).mkdir()
    for name in ("a.txt", "a (1).txt"):
        (tmp_path / "staged" / name).write_bytes(name.encode())
    (tmp_path / "to/a.txt").write_bytes(b"old")
    with Directory.open(tmp_path / "staged") as staged, Directory.open(tmp_path / "to") as to:
        placed = publish(
            staged, to, ["a.txt", "a (1).txt"], overwrite=Overwrite.RENAME, journal=Record(), sync=os.fsync
        )
        assert placed == {"a.txt": "a (1).txt", "a (1).txt": "a (1) (1).txt"}
        assert files(to) == {"a.txt": b"old", "a (1).txt": b"a.txt", "a (1) (1).txt": b"a (1).txt"}


def test_a_file_vanishes_while_it_is_merged(folders: tuple[Directory, Directory]) -> None:
    """A staged file that is gone, and is not at its place either, is an error."""
    staged, to = folders
    (to.path / "tree").mkdir()
    (to.path / "file.csv").touch()

    class Losing(Directory):
        def child(self, name: str) -> Directory:
            found = super().child(name)
            if name == "tree" and (to.path / "file.csv").stat().st_size:
                names = found.names()
                found.names = lambda: names  # type: ignore[method-assign]
                (staged.path / "tree/a").unlink()
            return found

    with Losing.open(staged.path) as losing, pytest.raises(FileNotFoundError):
        move((losing, to), Overwrite.REPLACE)
