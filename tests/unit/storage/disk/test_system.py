"""The system calls, and what stands in for them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from nbferry.limits import MiB
from nbferry.storage.disk import system
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import (
    REAL_DISK,
    Disk,
    boot_id,
    extents,
    forget_cached,
    read_into,
    sync_whole,
    write_all,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Make a file of a hundred bytes."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    return path


def views(*lengths: int) -> Sequence[memoryview]:
    """Buffers of these lengths."""
    return [memoryview(bytearray(length)) for length in lengths]


@pytest.mark.parametrize("lengths", [(30,), (10, 20), (0, 10, 0, 20, 0), (1,) * 30])
def test_read_into(file: Path, lengths: tuple[int, ...]) -> None:
    """The views are filled one after the other, empty ones too."""
    fd = os.open(file, system.READ)
    found = views(*lengths)
    assert read_into(fd, found, 5) == 30
    assert b"".join(found) == bytes(range(5, 35))
    os.close(fd)


def test_read_into_more_views_than_one_call_takes(tmp_path: Path) -> None:
    """A thousand views and more take several calls."""
    data = bytes(range(250)) * 20
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", system.READ)
    found = views(*[1] * 5000)
    assert read_into(fd, found, 0) == 5000
    assert b"".join(found) == data
    os.close(fd)


@pytest.mark.parametrize(("offset", "count"), [(90, 10), (100, 0), (1000, 0)])
def test_read_into_at_the_end(file: Path, offset: int, count: int) -> None:
    """At the end of the file there is less."""
    fd = os.open(file, system.READ)
    assert read_into(fd, views(20, 20), offset) == count
    os.close(fd)


def test_seeking_where_there_is_no_positioned_read_or_write(file: Path) -> None:
    """On Windows the file is positioned first; the bytes are the same."""
    fd = os.open(file, os.O_RDWR)
    found = views(10, 10)
    assert system._seek_and_read(fd, found, 5) == 10
    assert found[0] == bytes(range(5, 15))
    assert system._seek_and_write(fd, memoryview(b"xyz"), 98) == 3
    os.close(fd)
    assert file.read_bytes()[97:] == b"axyz"


def test_write_all_goes_on_after_short_writes(file: Path) -> None:
    """A write that takes only a part is followed by others."""
    fd = os.open(file, os.O_RDWR)
    write_all(lambda fd, data, offset: os.pwrite(fd, data[:3], offset), fd, memoryview(b"0123456789"), 50)
    write_all(os.pwrite, fd, memoryview(b""), 0)
    os.close(fd)
    assert file.read_bytes() == bytes(range(50)) + b"0123456789" + bytes(range(60, 100))


def test_write_all_ends_when_nothing_is_written() -> None:
    """A write that takes nothing is an error, not an endless loop."""
    with pytest.raises(OSError, match="nothing was written") as caught:
        write_all(lambda *_: 0, 0, memoryview(b"x"), 0)
    assert caught.value.errno == errno.EIO


def test_sync_whole(tmp_path: Path) -> None:
    """A whole file system can be flushed; a descriptor that is closed cannot."""
    with Directory.open(tmp_path) as folder:
        assert folder.fd is not None
        assert sync_whole(folder.fd) in (True, False)
        gone = folder.fd
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_whole(gone)


def test_the_file_system_is_recognised(tmp_path: Path) -> None:
    """A file system has a magic number; what cannot be asked has none, and is flushed file by file."""
    with Directory.open(tmp_path) as folder:
        assert folder.fd is not None
        assert system._file_system(folder.fd) > 0
    assert system._file_system(-1) == 0
    assert system._kernel() > (2, 6)


def test_the_real_disk(tmp_path: Path) -> None:
    """By default the calls are those of the system."""
    disk = Disk()
    fd = os.open(tmp_path / "file", system.CREATE)
    assert disk.write(fd, memoryview(b"abc"), 0) == 3
    disk.sync(fd)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"abc"
    assert disk.free(str(tmp_path)) > MiB


def test_extents(tmp_path: Path) -> None:
    """A file is data and holes; an empty one, and what is beyond its end, is neither."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(4 * MiB)
        file.seek(MiB)
        file.write(b"x" * MiB)
    fd = os.open(tmp_path / "file", system.READ)
    assert list(extents(fd, 4 * MiB)) == [(MiB, 2 * MiB)]
    assert list(extents(fd, 0)) == []
    os.ftruncate(wr := os.open(tmp_path / "file", os.O_RDWR), 0)
    assert list(extents(fd, 4 * MiB)) == []
    os.close(fd)
    os.close(wr)


def test_extents_where_they_cannot_be_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system or the file system cannot tell, all of a file is data."""
    fd = os.open(file, system.READ)
    monkeypatch.setattr(system, "SEEK_DATA", 99)
    monkeypatch.setattr(system, "SEEK_HOLE", 99)
    assert list(extents(fd, 100)) == [(0, 100)]
    monkeypatch.setattr(system, "SEEK_DATA", None)
    monkeypatch.setattr(system, "SEEK_HOLE", None)
    assert list(extents(fd, 100)) == [(0, 100)]
    os.close(fd)
    monkeypatch.setattr(system, "SEEK_DATA", os.SEEK_DATA)
    with pytest.raises(OSError, match="Bad file descriptor"):
        list(extents(fd, 100))


def test_forgetting_what_is_cached(file: Path) -> None:
    """A file reads the same, from the disk."""
    fd = os.open(file, system.READ)
    forget_cached(fd)
    assert read_into(fd, views(100), 0) == 100
    os.close(fd)


def test_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for as long as the computer runs; nothing where the system does not tell."""
    assert boot_id() == boot_id() == REAL_DISK.boot()
    assert len(boot_id()) == 36

    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert boot_id() == ""
