"""A small file is there whole or as it was before, and is read only if it is what it should be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbferry.storage.disk.atomic_file import (
    belongs_to,
    read_whole,
    remove_quietly,
    write_temporary,
    write_whole,
)
from nbferry.storage.disk.directory import Directory


@pytest.fixture(params=["held", "by path"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    """Open a private folder, with a descriptor and without, as on Windows."""
    (tmp_path / "folder").mkdir(mode=0o700)
    with Directory.open(tmp_path / "folder") as held:
        yield held if request.param == "held" else Directory(held.path, None)


def no_sync(_: int) -> None:
    """Leave it to the system."""


def test_written_and_read(folder: Directory) -> None:
    """What was written is read; what replaces it as well; nothing else is left."""
    assert read_whole(folder, "a", 10) is None
    for data in (b"", b"one", b"three"):
        write_whole(folder, "a", data, sync=no_sync)
        assert read_whole(folder, "a", 5, private=True) == data
    assert folder.names() == ["a"]
    assert (folder.path / "a").stat().st_mode & 0o777 == 0o600


def test_too_large(folder: Directory) -> None:
    """A file that is larger than it may be is not read."""
    write_whole(folder, "a", b"123456", sync=no_sync)
    with pytest.raises(ValueError, match="too large"):
        read_whole(folder, "a", 5)


def test_made_durable_before_it_is_renamed(folder: Directory) -> None:
    """The bytes are durable before the name leads to them, and the name before it returns."""
    seen: list[object] = []

    def sync(fd: int) -> None:
        inode = os.fstat(fd).st_ino
        seen.append(
            "folder" if inode == folder.path.stat().st_ino else (os.fstat(fd).st_size, "a" in folder.names())
        )

    write_whole(folder, "a", b"123", sync=sync)
    assert seen == [(3, False), "folder"][: 1 if folder.fd is None else 2]


def test_what_fails_leaves_nothing(folder: Directory) -> None:
    """If it cannot be made durable, or not be put into its place, what was there is still there."""
    write_whole(folder, "a", b"old", sync=no_sync)

    def failing(_: int) -> None:
        raise OSError(5, "dying")

    with pytest.raises(OSError, match="dying"):
        write_whole(folder, "a", b"new", sync=failing)
    (folder.path / "full/inside").mkdir(parents=True)
    with pytest.raises(OSError, match="full"):
        write_whole(folder, "full", b"new", sync=no_sync)
    assert sorted(folder.names()) == ["a", "full"]
    assert read_whole(folder, "a", 10) == b"old"


def test_a_link_is_replaced(folder: Directory, tmp_path: Path) -> None:
    """T04: a link is neither read nor written through."""
    (tmp_path / "victim").write_bytes(b"innocent")
    (folder.path / "a").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        read_whole(folder, "a", 10)
    write_whole(folder, "a", b"new", sync=no_sync)
    assert not (folder.path / "a").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"innocent"


def test_no_file(folder: Directory) -> None:
    """A folder or a pipe is not read, and nobody waits for it."""
    (folder.path / "folder").mkdir()
    os.mkfifo(folder.path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises((ValueError, OSError)):
            read_whole(folder, name, 10)


def test_private_files(tmp_path: Path) -> None:
    """What others may read is not ours where files have modes; where they have none it may be."""
    (tmp_path / "folder").mkdir(mode=0o700)
    with Directory.open(tmp_path / "folder") as folder:
        write_whole(folder, "a", b"1", mode=0o644, sync=no_sync)
        with pytest.raises(ValueError, match="others may read"):
            read_whole(folder, "a", 10, private=True)
        assert read_whole(folder, "a", 10) == b"1"
        folder.path.chmod(0o777)
        assert read_whole(folder, "a", 10, private=True) == b"1"


def test_what_a_crash_leaves(folder: Directory) -> None:
    """What was written beside a file is known as its own, and goes quietly."""
    left = write_temporary(folder, "a", b"1", sync=no_sync)
    assert folder.names() == [left]
    assert belongs_to(left, "b", "a")
    assert belongs_to("a", "a")
    assert not belongs_to(left, "b")
    assert not belongs_to(f"{left}.x", "a")
    assert not belongs_to("a.tmp", "a")
    remove_quietly(folder, left)
    remove_quietly(folder, left)
    assert folder.names() == []
