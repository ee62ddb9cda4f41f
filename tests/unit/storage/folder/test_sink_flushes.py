"""A sink flushes each file once, and stores again what a failed flush may have lost."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from nbferry.errors import DiskFull, LocalProtocolError, StorageError
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK, Disk
from offers import DIGEST, FILES, PUBLISHED, chunks, manifest, sink_to, visible
from unit.storage.folder.sink_setup import parts_of


class Flushes:
    """Records what was flushed, by inode, and can fail."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.failing = False

    def __call__(self, fd: int) -> None:
        """Flush one file or folder."""
        if self.failing:
            raise OSError(errno.EIO, "Input/output error")
        self.done.append(os.fstat(fd).st_ino)

    def disk(self) -> Disk:
        """A disk on which each flush is recorded."""
        return replace(REAL_DISK, sync=self, sync_whole=lambda _: False)


def test_each_file_is_flushed_once(to: Path) -> None:
    """sync() flushes files written since the last call, and the folders of new files."""
    flushes = Flushes()
    sink = sink_to(to, disk=flushes.disk())
    offered = chunks(sink.manifest)
    data = to / ".nbferry/t1/data"
    way = (to.parent.parent, to.parent, to, to / ".nbferry", to / ".nbferry/t1")
    assert {folder.stat().st_ino for folder in way} < set(flushes.done)
    sink.store(offered[:1])
    sink.sync()
    assert {data.stat().st_ino, (data / "data").stat().st_ino, (data / "data/a").stat().st_ino} <= set(
        flushes.done
    )
    flushes.done.clear()
    sink.sync()
    assert flushes.done == []
    sink.store(offered[1:2])
    sink.sync()
    (journal,) = (to / ".nbferry/t1").glob("have.*.log")
    written = [data / "data/b", data / "data/b/c", journal]
    assert sorted(flushes.done) == sorted(path.stat().st_ino for path in written)
    assert flushes.done[-1] == journal.stat().st_ino
    sink.discard()


def test_stored_while_a_flush_runs(to: Path) -> None:
    """Chunks that are stored while sync() runs are flushed by the next one."""
    entered, proceed = Event(), Event()
    flushed: list[int] = []

    def slow(fd: int) -> None:
        flushed.append(os.fstat(fd).st_ino)
        entered.set()
        proceed.wait(10)

    proceed.set()
    sink = sink_to(to, disk=replace(REAL_DISK, sync=slow))
    offered = chunks(sink.manifest)
    sink.store(offered[1:2])
    proceed.clear()
    entered.clear()
    flushing = Thread(target=sink.sync)
    flushing.start()
    assert entered.wait(10)
    sink.store(offered[2:3])
    proceed.set()
    flushing.join()
    flushed.clear()
    sink.sync()
    (journal,) = (to / ".nbferry/t1").glob("have.*.log")
    assert flushed == [(to / ".nbferry/t1/data/data/b/c").stat().st_ino, journal.stat().st_ino]
    sink.discard()


@pytest.mark.parametrize("trusted", [True, False])
def test_many_files_are_flushed_at_once(to: Path, trusted: bool) -> None:
    """Many files take one flush of the whole file system; where that is not enough, each is flushed too."""
    files = {f"f{number}": b"x" for number in range(100)}
    offer = manifest(files)
    flushes = Flushes()
    whole: list[int] = []

    def sync_whole(fd: int) -> bool:
        whole.append(fd)
        return trusted

    sink = sink_to(to, offer, disk=replace(flushes.disk(), sync_whole=sync_whole))
    sink.store(chunks(offer, files))
    flushes.done.clear()
    sink.sync()
    assert len(whole) == 1
    root = to / ".nbferry/t1"
    ours = [root.stat().st_ino, *(log.stat().st_ino for log in root.glob("*.log"))]
    assert len([inode for inode in flushes.done if inode not in ours]) == (0 if trusted else 101)
    sink.discard()


def test_a_failed_flush_loses_chunks(to: Path) -> None:
    """After a failed flush only durable chunks count; the others are stored again through new descriptors."""
    flushes = Flushes()
    sink = sink_to(to, disk=flushes.disk())
    offered = chunks(sink.manifest)
    sink.store(offered[:2])
    sink.sync()
    sink.store(offered)
    flushes.failing = True
    with pytest.raises(StorageError, match="failed: Input/output error"):
        sink.sync()
    assert sink.have == RangeSet.of(0, 1)
    with pytest.raises(LocalProtocolError):
        sink.publish(DIGEST)
    assert len(parts_of(sink)._files) == 0
    flushes.failing = False
    sink.store(offered[2:])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_failed_flush_of_everything(to: Path) -> None:
    """An error of a whole flush counts, wherever on the file system it happened."""

    def lost(_: int) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = {f"f{number}": b"x" for number in range(100)}
    offer = manifest(files)
    sink = sink_to(to, offer, disk=replace(REAL_DISK, sync_whole=lost))
    sink.store(chunks(offer, files))
    with pytest.raises(DiskFull):
        sink.sync()
    assert not sink.have
    sink.discard()


def test_an_error_of_close(to: Path) -> None:
    """A write error that appears only when the file is closed, as on NFS, fails the next flush."""
    sink = sink_to(to)
    sink.store(chunks(sink.manifest))
    closed = os.open(to, os.O_RDONLY)
    os.close(closed)
    parts_of(sink)._close(closed)
    with pytest.raises(StorageError, match="Bad file descriptor"):
        sink.sync()
    assert not sink.have
    sink.store(chunks(sink.manifest))
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_publishing_again_after_a_failure(to: Path) -> None:
    """A flush that fails after the move is an error; publishing again then succeeds."""
    failed: list[int] = []

    def sync(fd: int) -> None:
        if (to / "notes.txt").exists() and not failed:
            failed.append(fd)
            raise OSError(errno.EIO, "Input/output error")

    sink = sink_to(to, disk=replace(REAL_DISK, sync=sync))
    sink.store(chunks(sink.manifest))
    with pytest.raises(StorageError, match="Publishing"):
        sink.publish(DIGEST)
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
