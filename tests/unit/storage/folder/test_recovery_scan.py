"""What is found in the staging data. Most of it is seen through a sink, in test_staged_offer.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

import pytest

from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.recovery_scan import scan_staging

CHUNK = 4 * KiB
OFFER = Manifest.of(
    [Entry("d", folder=True), Entry("d/f", 3 * CHUNK + 5), Entry("d/none"), Entry("g", 1)], CHUNK
)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Directory]:
    """Open a staging folder in which all files are whole."""
    data = tmp_path / "data"
    (data / "d").mkdir(parents=True)
    (data / "d/f").write_bytes(b"x" * (3 * CHUNK + 5))
    (data / "d/none").touch()
    (data / "g").write_bytes(b"x")
    with Directory.open(data) as opened:
        yield opened


def test_all_is_as_the_journal_says(data: Directory) -> None:
    """What is vouched for and there is left alone, and nothing is unsure."""
    every = RangeSet.span(0, OFFER.chunk_count)
    assert scan_staging(OFFER, data, every) == (every, RangeSet())


def test_nobody_vouches(data: Directory) -> None:
    """What is there and not vouched for is unsure."""
    assert scan_staging(OFFER, data, RangeSet.of(0)) == (RangeSet.of(0), RangeSet.of(1, 2, 3, 5))


def test_what_does_not_belong(data: Directory) -> None:
    """What the offer does not name goes, whatever it is; links go, not what they lead to."""
    (data.path / "x/y").mkdir(parents=True)
    (data.path / "d/z").symlink_to(data.path / "g")
    (data.path / "d/\udcff").touch()
    every = RangeSet.span(0, OFFER.chunk_count)
    assert scan_staging(OFFER, data, every).have == every
    assert sorted(path.relative_to(data.path).as_posix() for path in data.path.rglob("*")) == [
        "d",
        "d/f",
        "d/none",
        "g",
    ]


def test_a_system_that_writes_names_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a listing has letters and accents apart, as on macOS, what has such a name is ours all the same."""
    offer = Manifest.of([Entry("d\xe9", folder=True), Entry("d\xe9/f\xe9", 3)], CHUNK)
    (tmp_path / "d\xe9").mkdir()
    (tmp_path / "d\xe9/f\xe9").write_bytes(b"abc")
    (tmp_path / "d\xe9/alien\xe9").touch()
    names, look, remove = Directory.names, Directory.look, Directory.remove
    monkeypatch.setattr(Directory, "names", lambda folder: [normalize("NFD", name) for name in names(folder)])
    monkeypatch.setattr(Directory, "look", lambda folder, name: look(folder, normalize("NFC", name)))
    monkeypatch.setattr(Directory, "remove", lambda folder, name: remove(folder, normalize("NFC", name)))
    monkeypatch.setattr(
        Directory, "unlink", lambda folder, name: (folder.path / normalize("NFC", name)).unlink()
    )
    with Directory.open(tmp_path) as data:
        assert scan_staging(offer, data, RangeSet.of(0)) == (RangeSet.of(0), RangeSet())
    assert [path.name for path in (tmp_path / "d\xe9").iterdir()] == ["f\xe9"]


def test_what_is_being_placed(data: Directory) -> None:
    """What is being placed is not looked at: it may be half way."""
    (data.path / "d/f").unlink()
    (data.path / "d/extra").touch()
    every = RangeSet.span(0, OFFER.chunk_count)
    assert scan_staging(OFFER, data, every, {"d"}) == (every, RangeSet())
    assert (data.path / "d/extra").exists()
    (data.path / "g").rename(data.path.parent / "placed")
    assert scan_staging(OFFER, data, every, {"d", "g"}).have == every


@pytest.mark.parametrize("kind", ["gone", "file", "link"])
def test_a_folder_is_gone(data: Directory, kind: str) -> None:
    """Without its folder a file is not there; what took the folder's place goes."""
    (data.path / "d").rename(data.path.parent / "elsewhere")
    if kind == "file":
        (data.path / "d").touch()
    if kind == "link":
        (data.path / "d").symlink_to(data.path.parent / "elsewhere")
    every = RangeSet.span(0, OFFER.chunk_count)
    assert scan_staging(OFFER, data, every).have == RangeSet.of(5)
    assert os.listdir(data.path) == ["g"]  # noqa: PTH208
    assert sorted(path.name for path in (data.path.parent / "elsewhere").iterdir()) == ["f", "none"]


def test_a_hole(data: Directory) -> None:
    """A chunk that lies in a hole was never written, and one that touches a hole not wholly."""
    with (data.path / "d/f").open("r+b") as file:
        file.truncate(0)
        file.truncate(3 * CHUNK + 5)
        file.seek(2 * CHUNK)
        file.write(b"x" * CHUNK)
    assert scan_staging(OFFER, data, RangeSet()).unsure == RangeSet.of(2, 5)
