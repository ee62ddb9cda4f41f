"""The files of the kernel, for a person to choose from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbferry.errors import StorageError
from nbferry.widget import chooser
from nbferry.widget.chooser import list_folder


def test_folders_come_first_then_names(tmp_path: Path) -> None:
    """Whatever their case; hidden names are left out."""
    (tmp_path / "b").mkdir()
    (tmp_path / "c.txt").write_bytes(b"123")
    (tmp_path / "A.txt").touch()
    (tmp_path / ".hidden").touch()
    listed = list_folder(str(tmp_path))
    assert [entry["name"] for entry in listed["entries"]] == ["b", "A.txt", "c.txt"]
    assert [entry["folder"] for entry in listed["entries"]] == [True, False, False]
    assert listed["entries"][2]["size"] == 3
    assert listed["entries"][2]["path"] == str(tmp_path / "c.txt")
    assert listed["entries"][2]["mtime"] == (tmp_path / "c.txt").stat().st_mtime_ns // 1_000_000
    assert (listed["folder"], listed["parent"], listed["more"]) == (str(tmp_path), str(tmp_path.parent), 0)


def test_without_a_name_it_is_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel is."""
    monkeypatch.chdir(tmp_path)
    assert list_folder(None)["folder"] == str(tmp_path)


def test_what_cannot_be_sent_is_not_offered(tmp_path: Path) -> None:
    """Pipes, and links to nothing; a link to a file is one."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert [entry["name"] for entry in list_folder(str(tmp_path))["entries"]] == ["file", "link"]


def test_a_large_folder_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says how much it leaves out."""
    monkeypatch.setattr(chooser, "MAX_LISTED", 2)
    for name in "abc":
        (tmp_path / name).touch()
    listed = list_folder(str(tmp_path))
    assert (len(listed["entries"]), listed["more"]) == (2, 1)


def test_names_are_safe_to_show(tmp_path: Path) -> None:
    """What cannot be seen is written out; the path stays what it is."""
    (tmp_path / "a\u202eb").touch()
    (entry,) = list_folder(str(tmp_path))["entries"]
    assert (entry["name"], entry["path"]) == ("a\\u202eb", str(tmp_path / "a\u202eb"))


def test_the_root_has_no_parent() -> None:
    """It is the end of the way up."""
    assert list_folder("/")["parent"] is None


@pytest.mark.usefixtures("ordinary_rights")
def test_a_folder_that_is_closed_to_us_says_so(tmp_path: Path) -> None:
    """In a sentence, with a hint."""
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(StorageError, match="Permission denied"):
        list_folder(str(tmp_path / "closed"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """Nor is what is not there."""
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        with pytest.raises(StorageError, match="no folder"):
            list_folder(str(tmp_path / name))
