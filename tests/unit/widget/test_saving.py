"""Files of the kernel on their way to the browser's machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import SourceChanged, StorageError
from nbferry.limits import MiB
from nbferry.widget import saving
from nbferry.widget.saving import Saving


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of five bytes."""
    path = tmp_path / "in" / "a b.txt"
    path.parent.mkdir()
    path.write_bytes(b"12345")
    return path


def test_a_file_is_saved_by_its_own_name(file: Path) -> None:
    """And the server's own download of it is where the server shows it."""
    listed = Saving([file]).listed(str(file.parent.parent))
    assert listed == [{"path": "a b.txt", "size": 5, "url": "files/in/a%20b.txt"}]


def test_a_folder_is_saved_with_its_name(file: Path) -> None:
    """Its files in order, without links and without what only holds files."""
    (file.parent / "sub").mkdir()
    (file.parent / "sub" / "c").touch()
    (file.parent / "link").symlink_to(file)
    assert [row["path"] for row in Saving([file.parent]).listed("")] == ["in/a b.txt", "in/sub/c"]


def test_what_was_received_keeps_its_folders(file: Path) -> None:
    """Paths are those of the offer: relative to the folder that it was received into."""
    listed = Saving([file], beside=file.parent.parent).listed("")
    assert [row["path"] for row in listed] == ["in/a b.txt"]


@pytest.mark.parametrize("root", ["", "/somewhere/else"])
def test_what_the_server_does_not_show_has_no_address(file: Path, root: str) -> None:
    """Nor has what is hidden."""
    assert Saving([file]).listed(root)[0]["url"] == ""
    hidden = file.rename(file.with_name(".a"))
    assert Saving([hidden]).listed(str(hidden.parent))[0]["url"] == ""


def test_a_slice_comes_with_its_digest(file: Path) -> None:
    """At the end it is shorter."""
    assert Saving([file]).fetch(0, 1, 3) == (chunk_digest(b"234").hex(), b"234")
    assert Saving([file]).fetch(0, 4, 3) == (chunk_digest(b"5").hex(), b"5")
    assert Saving([file]).fetch(0, 5, 3) == (chunk_digest(b"").hex(), b"")


@pytest.mark.parametrize("asked", [(1, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, MiB + 1), (0, 0, -1)])
def test_no_other_slice_can_be_asked_for(file: Path, asked: tuple[int, int, int]) -> None:
    """What a page says is judged."""
    with pytest.raises(StorageError, match="does not exist"):
        Saving([file]).fetch(*asked)


def test_a_file_that_changed_is_not_mixed(file: Path) -> None:
    """By another time, or another size."""
    kept = Saving([file])
    os.utime(file, ns=(0, 0))
    with pytest.raises(SourceChanged):
        kept.fetch(0, 0, 5)
    kept = Saving([file])
    file.write_bytes(b"1234")
    with pytest.raises(SourceChanged):
        kept.fetch(0, 0, 5)


def test_a_file_that_is_gone_says_so(file: Path) -> None:
    """Before the list is made, and after it."""
    kept = Saving([file])
    file.unlink()
    with pytest.raises(StorageError, match="No such file"):
        kept.fetch(0, 0, 5)
    with pytest.raises(StorageError, match="No such file"):
        Saving([file])


def test_a_list_has_bounds(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of thousands of save dialogs are no use."""
    monkeypatch.setattr(saving, "MAX_SAVED_FILES", 0)
    with pytest.raises(StorageError, match="more than 0"):
        Saving([file])


def test_what_is_no_file_cannot_be_saved(tmp_path: Path) -> None:
    """A pipe would never end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="not a file"):
        Saving([tmp_path / "pipe"])


def test_a_link_that_was_named_is_followed(file: Path) -> None:
    """Somebody wants what it leads to; one that leads nowhere is missing."""
    link = file.with_name("link")
    link.symlink_to(file)
    assert Saving([link]).listed("") == [{"path": "link", "size": 5, "url": ""}]
    file.unlink()
    with pytest.raises(StorageError, match="No such file"):
        Saving([link])


def test_nothing_to_save_is_said_at_once(tmp_path: Path) -> None:
    """A button that does nothing would be a riddle."""
    with pytest.raises(StorageError, match="no file"):
        Saving([tmp_path])


def test_a_list_that_is_too_long_is_not_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only counted, as far as it may go."""
    monkeypatch.setattr(saving, "MAX_SAVED_FILES", 1)
    monkeypatch.setattr(saving, "_saved", lambda *_: pytest.fail("looked at"))
    with pytest.raises(StorageError, match="more than 1"):
        Saving([file, file])
