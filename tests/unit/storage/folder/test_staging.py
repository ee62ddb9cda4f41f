"""The staging folder is private, and nothing is followed on the way to it (T04)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from nbferry.errors import UnsafePath
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.staging import Staging, remove_staging


@pytest.fixture
def to(tmp_path: Path) -> Iterator[Directory]:
    """Open a destination, beside which there is a victim."""
    (tmp_path / "to").mkdir()
    (tmp_path / "victim" / "t1" / "data").mkdir(parents=True)
    (tmp_path / "victim" / "t1" / "data" / "file").write_bytes(b"innocent")
    with Directory.open(tmp_path / "to") as folder:
        yield folder


def victim(to: Directory) -> list[str]:
    """Everything at the victim's."""
    return sorted(str(path.relative_to(to.path.parent)) for path in (to.path.parent / "victim").rglob("*"))


def modes(to: Directory) -> list[int]:
    """Who may do what with the folders of the state."""
    paths = (to.path / ".nbferry", to.path / ".nbferry/t1", to.path / ".nbferry/t1/data")
    return [path.stat().st_mode & 0o777 for path in paths]


def test_made_private(to: Directory) -> None:
    """The folders are made for their owner alone, and kept out of repositories."""
    with Staging.open(to, "t1", resume=False) as opened:
        assert opened.data.path == to.path / ".nbferry/t1/data"
        assert opened.root.path == to.path / ".nbferry/t1"
        assert opened.data.names() == []
    assert modes(to) == [0o700] * 3
    assert (to.path / ".nbferry/.gitignore").read_text() == "*\n"


def test_found_open_to_others(to: Directory) -> None:
    """Folders that are there already are closed to others."""
    (to.path / ".nbferry/t1/data").mkdir(parents=True)
    for path in (to.path / ".nbferry", to.path / ".nbferry/t1"):
        path.chmod(0o777)
    Staging.open(to, "t1", resume=True).close()
    assert modes(to) == [0o700] * 3


def test_beginning_afresh(to: Directory) -> None:
    """What an earlier run left under the same id goes, unless it is to be resumed."""
    with Staging.open(to, "t1", resume=False) as opened:
        opened.data.make("left")
    with Staging.open(to, "t1", resume=True) as opened:
        assert opened.data.names() == ["left"]
    with Staging.open(to, "t1", resume=False) as opened:
        assert opened.data.names() == []


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("planted", "target"),
    [(".nbferry", "../victim"), (".nbferry/t1", "../../victim/t1"), (".nbferry", "nowhere")],
)
def test_a_planted_link(to: Directory, planted: str, target: str, resume: bool) -> None:
    """T04: a link in the place of one of the folders is refused and left, its target is not touched."""
    before = victim(to)
    (to.path / planted).parent.mkdir(exist_ok=True)
    (to.path / planted).symlink_to(target)
    with pytest.raises(UnsafePath, match="link"):
        Staging.open(to, "t1", resume=resume)
    remove_staging(to, "t1")
    assert (to.path / planted).is_symlink()
    assert victim(to) == before


def test_a_planted_link_to_the_data(to: Directory) -> None:
    """T04: a link inside of the staging folder is refused as well."""
    before = victim(to)
    Staging.open(to, "t1", resume=False).close()
    (to.path / ".nbferry/t1/data").rmdir()
    (to.path / ".nbferry/t1/data").symlink_to("../../../victim/t1/data")
    with pytest.raises(UnsafePath, match='"data"'):
        Staging.open(to, "t1", resume=True)
    remove_staging(to, "t1")
    assert victim(to) == before
    assert to.names() == []


@pytest.mark.parametrize("planted", [".nbferry", ".nbferry/t1"])
def test_a_file_in_the_way(to: Directory, planted: str) -> None:
    """A file where a folder is needed is refused and left."""
    (to.path / planted).parent.mkdir(exist_ok=True)
    (to.path / planted).write_bytes(b"mine")
    with pytest.raises(UnsafePath, match="not a folder"):
        Staging.open(to, "t1", resume=False)
    assert (to.path / planted).read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder(to: Directory) -> None:
    """T04: a state folder that belongs to somebody else is refused, and no probe stays in it."""
    (to.path / ".nbferry").mkdir()
    os.chown(to.path / ".nbferry", 12345, 12345)
    with pytest.raises(UnsafePath, match="belongs to another user"):
        Staging.open(to, "t1", resume=False)
    assert list((to.path / ".nbferry").iterdir()) == []


class Busy(Directory):
    """A folder in which another transfer begins whenever one wants to remove something."""

    def rmdir(self, name: str) -> None:
        """Be overtaken, then fail."""
        (self.path / name / "t2").mkdir()
        super().rmdir(name)


def test_overtaken_while_removing(to: Directory) -> None:
    """A transfer that begins at the last moment finds the state folder as it should be."""
    Staging.open(to, "t1", resume=False).close()
    with Busy.open(to.path) as busy:
        remove_staging(busy, "t1")
    assert sorted(path.name for path in (to.path / ".nbferry").iterdir()) == [".gitignore", "t2"]


def test_removing(to: Directory) -> None:
    """The last transfer takes the state folder with it; others stay; nothing to remove is no error."""
    remove_staging(to, "t1")
    for transfer in ("t1", "t2"):
        with Staging.open(to, transfer, resume=False) as opened:
            opened.data.make("folder")
    remove_staging(to, "t1")
    assert sorted(path.name for path in (to.path / ".nbferry").iterdir()) == [".gitignore", "t2"]
    remove_staging(to, "t1")
    remove_staging(to, "t2")
    assert to.names() == []


def test_something_else_in_the_state_folder(to: Directory) -> None:
    """What nbferry did not put there stays."""
    Staging.open(to, "t1", resume=False).close()
    (to.path / ".nbferry/notes").write_bytes(b"mine")
    remove_staging(to, "t1")
    assert sorted(path.name for path in (to.path / ".nbferry").iterdir()) == [".gitignore", "notes"]


def test_transfers_that_begin_and_end_together(to: Directory) -> None:
    """A transfer that ends never takes the folder of one that begins away."""
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(100):
                with Staging.open(to, name, resume=False) as opened:
                    opened.data.make("folder")
                remove_staging(to, name)
        except BaseException as error:  # noqa: BLE001  # reported below
            failures.append(error)

    threads = [Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert to.names() in ([], [".nbferry"])


def test_only_what_was_staged(to: Directory) -> None:
    """Beginning afresh, and undoing that, takes the data, the manifest and the journal; the rest is others'."""
    ours = ["data", f"have.{'0' * 16}.log", "manifest.json", f"manifest.json.{'0' * 16}.tmp"]
    theirs = ["claim", "have.log", "manifest.json.bak", "record.json"]
    root = to.path / ".nbferry/t1"
    for undo in (False, True):
        (root / "data/sub").mkdir(parents=True)
        for name in (*ours[1:], *theirs):
            (root / name).touch()
        if undo:
            remove_staging(to, "t1", everything=False)
            assert sorted(path.name for path in root.iterdir()) == theirs
        else:
            with Staging.open(to, "t1", resume=False) as opened:
                assert sorted(opened.root.names()) == sorted([*theirs, "data"])
            (root / "data").rmdir()
    for name in theirs:
        (root / name).unlink()
    remove_staging(to, "t1", everything=False)
    assert to.names() == []
    remove_staging(to, "t1", everything=False)


def test_undoing_what_is_not_ours(to: Directory) -> None:
    """T04: a link in the place of the staging folder is left when it is undone."""
    before = victim(to)
    (to.path / ".nbferry").mkdir()
    (to.path / ".nbferry/t1").symlink_to("../../victim/t1")
    remove_staging(to, "t1", everything=False)
    assert victim(to) == before
    assert (to.path / ".nbferry/t1").is_symlink()
