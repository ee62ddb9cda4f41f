"""A held folder follows no link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbferry.storage.disk import system
from nbferry.storage.disk.directory import Directory


@pytest.fixture(params=["held", "by path"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    """Open a folder, by descriptor and as on Windows, with a folder, a file and links in it."""
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("inner")
    (tmp_path / "nowhere").symlink_to("missing")
    with Directory.open(tmp_path) if request.param == "held" else Directory(tmp_path, None) as opened:
        yield opened


def test_children(folder: Directory) -> None:
    """A folder below is opened by its parts; the empty path is the folder itself."""
    for path, names in (("inner", ["deep"]), ("inner/deep", []), ("", ["file", "inner", "link", "nowhere"])):
        with folder.descend(path) as child:
            assert sorted(child.names()) == names
            assert child.path == folder.path / path


@pytest.mark.parametrize("path", ["link", "file", "nowhere", "link/deep", "inner/../link"])
def test_links_are_not_followed(folder: Directory, path: str) -> None:
    """T04: what is a link, or no folder, is not opened, nor anything behind it."""
    with pytest.raises(NotADirectoryError):
        folder.descend(path)


def test_looking(folder: Directory) -> None:
    """Looking sees links themselves, and nothing where nothing is."""
    assert folder.look("missing") is None
    assert [folder.is_folder(name) for name in ("inner", "link", "file", "missing")] == [
        True,
        False,
        False,
        False,
    ]
    found = folder.look("nowhere")
    assert found
    assert stat.S_ISLNK(found.st_mode)


def test_making_and_removing(folder: Directory) -> None:
    """What is made can be removed again; what has the name of something else is not touched."""
    folder.make("new")
    with pytest.raises(FileExistsError):
        folder.make("link")
    folder.rmdir("new")
    for name in ("inner", "link", "file", "missing"):
        folder.remove_tree(name)
    assert sorted(folder.names()) == ["file", "link", "nowhere"]
    folder.unlink("link")
    assert sorted(folder.names()) == ["file", "nowhere"]


def test_files(folder: Directory) -> None:
    """A file is created once, never through a link, and renamed over another."""
    for taken in ("file", "link", "nowhere"):
        with pytest.raises(FileExistsError):
            folder.file(taken, system.CREATE)
    fd = folder.file("other", system.CREATE)
    os.write(fd, b"more")
    os.close(fd)
    folder.replace("other", folder, "file")
    assert (folder.path / "file").read_bytes() == b"more"
    with pytest.raises(OSError, match="symbolic"):
        folder.file("nowhere", system.WRITE | os.O_CREAT)
    assert not (folder.path / "missing").exists()


def test_itself(folder: Directory) -> None:
    """A folder has a time, room, and can be flushed; a file system that cannot flush folders is forgiven."""
    folder.set_mtime(10**18)
    assert folder.path.stat().st_mtime_ns == 10**18
    assert folder.free(system.REAL_DISK.free) > 0
    folder.sync(os.fsync)

    def unable(_: int) -> None:
        raise OSError(22, "Invalid argument")

    folder.sync(unable)
    folder.close()
    folder.close()


def test_a_flush_that_fails(tmp_path: Path) -> None:
    """A folder that cannot be written to the disk is an error."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with Directory.open(tmp_path) as folder, pytest.raises(OSError, match="Input/output"):
        folder.sync(broken)


def test_moved_meanwhile(tmp_path: Path) -> None:
    """T04: a folder that is held stays the one it was, whatever takes its name."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "victim").mkdir()
    with Directory.open(tmp_path / "mine") as folder:
        (tmp_path / "mine").rename(tmp_path / "moved")
        (tmp_path / "mine").symlink_to("victim")
        folder.make("new")
    assert (tmp_path / "moved" / "new").is_dir()
    assert not list((tmp_path / "victim").iterdir())


def test_junctions(tmp_path: Path) -> None:
    """A folder that Windows tags as a link is one."""
    from nbferry.storage.disk.directory import _is_junction  # noqa: PLC0415  # cannot be made here, only be asked

    class Tagged:
        st_reparse_tag = 0xA0000003

    assert _is_junction(Tagged())  # type: ignore[arg-type]
    assert not _is_junction(tmp_path.stat())


def test_removing_anything(folder: Directory) -> None:
    """A folder goes with all that is in it, a file and a link by themselves."""
    for name in ("link", "inner", "file", "nowhere"):
        folder.remove(name)
    assert folder.names() == []
    with pytest.raises(FileNotFoundError):
        folder.remove("missing")


def test_lost_and_opened_again(tmp_path: Path) -> None:
    """A folder that a network drive has lost is opened again by its path, if it is still the same one."""
    (tmp_path / "mine").mkdir()
    with Directory.open(tmp_path / "mine") as folder:
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            folder.renew()
        folder.note_identity()
        number = folder.fd
        folder.renew()
        assert folder.fd == number
        folder.make("new")
        (tmp_path / "mine").rename(tmp_path / "moved")
        (tmp_path / "mine").mkdir()
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            folder.renew()
    bare = Directory(tmp_path, None)
    bare.note_identity()
    bare.renew()
    assert bare.identity is None


def test_used_after_it_was_closed(tmp_path: Path) -> None:
    """Nothing falls back on a path, on which somebody may have put a link: every use fails."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    folder = Directory.open(tmp_path)
    folder.close()
    folder.close()
    for use in (
        lambda: folder.child("sub"),
        lambda: folder.descend("sub"),
        lambda: folder.make("new"),
        folder.names,
        lambda: folder.look("file"),
        lambda: folder.file("file", os.O_RDONLY),
        lambda: folder.unlink("file"),
        lambda: folder.rmdir("sub"),
        lambda: folder.sync(os.fsync),
        lambda: folder.set_mtime(0),
        lambda: folder.replace("file", folder, "new"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            use()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sub"]


def test_a_link_as_macos_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ELOOP in the place of a folder is no folder, as on Linux."""

    def looping(*_: object, **__: object) -> int:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    with Directory.open(tmp_path) as folder:
        monkeypatch.setattr(os, "open", looping)
        with pytest.raises(NotADirectoryError):
            folder.child("link")
        monkeypatch.undo()
