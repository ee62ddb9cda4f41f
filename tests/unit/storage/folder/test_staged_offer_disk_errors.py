"""Disks that fail: only what is certainly on the disk is recorded."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.errors import DiskFull, StorageError
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK
from offers import DIGEST, PUBLISHED, chunks, manifest, sink_to, visible
from unit.storage.folder.failing_disk import Failing
from unit.storage.folder.staged_offer_setup import EVERY, OFFER, OFFERED, damage, part, resumed


def test_one_failed_write(to: Path) -> None:
    """The sink repeats a write that failed with EIO once; after it every chunk is in doubt."""
    failing = Failing()
    sink = sink_to(to, OFFER, disk=failing.disk)
    failing.writes = [errno.EIO]
    assert sink.store(OFFERED) == EVERY
    sink.sync()
    sink.close()
    damage(to, 0)
    sink = resumed(to)
    assert sink.check() == RangeSet.of(0)
    sink.discard()


def test_a_disk_that_fails(to: Path) -> None:
    """G23: after failed flushes no chunk that they may have lost counts, and the others are read again."""
    failing = Failing()
    sink = sink_to(to, OFFER, disk=failing.disk)
    sink.store(OFFERED[:1])
    sink.sync()
    for _ in range(2):
        sink.store(OFFERED[1:3])
        failing.syncs = [errno.EIO]
        with pytest.raises(StorageError) as caught:
            sink.sync()
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EIO
        assert sink.have == RangeSet.of(0)
    damage(to, 0)
    assert sink.check() == RangeSet.of(0)
    sink.store(OFFERED)
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_the_journal_cannot_be_written(to: Path, kind: str) -> None:
    """The next flush records durable chunks that could not be recorded; they are not fetched again."""
    failing = Failing("have.")
    sink = sink_to(to, OFFER, disk=failing.disk)
    sink.store(OFFERED[:2])
    if kind == "write":
        failing.writes = [errno.ENOSPC]
        with pytest.raises(DiskFull):
            sink.sync()
    else:
        failing.syncs = [errno.EIO]
        with pytest.raises(StorageError):
            sink.sync()
    assert sink.have == RangeSet.of(0, 1)
    sink.store(OFFERED[2:3])
    sink.sync()
    sink.close()
    assert resumed(to).have == RangeSet.of(0, 1, 2)


def test_stored_while_a_flush_fails(to: Path) -> None:
    """The sink repeats a write during which a flush failed: the flush may have lost it."""
    failing = Failing()
    written: list[int] = []

    def write(fd: int, data: memoryview, offset: int) -> int:
        written.append(offset)
        if len(written) == 1:
            with pytest.raises(StorageError):
                sink.sync()
        return os.pwrite(fd, data, offset)

    sink = sink_to(to, OFFER, disk=replace(failing.disk, write=write))
    failing.syncs = [errno.EIO]
    assert sink.store(OFFERED[:1]) == RangeSet.of(0)
    assert [offset for offset in written if offset == 0][:2] == [0, 0]
    assert sink.have == RangeSet.of(0)
    sink.discard()


def test_one_flush_hears_of_every_failed_write(to: Path) -> None:
    """The descriptor for whole flushes is open before the first write, so that it reports every later error."""
    used: list[int] = []
    # More folders than the sink keeps open.
    folders = {f"{number}/f": b"x" for number in range(100)}
    offer = manifest(folders)
    sink = sink_to(to, offer, disk=replace(REAL_DISK, sync_whole=lambda fd: bool(used.append(fd)) or True))
    assert sink._staged
    opened = sink._staged._staging.data.fd
    for _ in range(2):
        sink.store(chunks(offer, folders))
        sink.sync()
    assert set(used) == {opened}
    sink.discard()


def test_a_network_drive_that_loses_a_file(to: Path) -> None:
    """On ESTALE the sink opens the file again by its path, once, and only if it is the same file."""
    failing = Failing()
    sink = sink_to(to, OFFER, disk=failing.disk)
    first = OFFER.chunks_of(3)[0]
    sink.store(OFFERED[first : first + 1])
    failing.writes = [errno.ESTALE]
    assert sink.store(OFFERED[first + 1 : first + 2]) == RangeSet.of(first + 1)
    failing.writes = [errno.ESTALE, errno.ESTALE]
    with pytest.raises(StorageError, match=os.strerror(errno.ESTALE)):
        sink.store(OFFERED[first + 2 : first + 3])
    part(to, "data/b/c").rename(part(to, "data/b/moved"))
    part(to, "data/b/c").write_bytes(b"")
    failing.writes = [errno.ESTALE]
    with pytest.raises(StorageError, match=os.strerror(errno.ESTALE)):
        sink.store(OFFERED[first + 2 : first + 3])
    assert part(to, "data/b/c").read_bytes() == b""
    sink.discard()


def test_a_folder_that_cannot_be_written_to(to: Path) -> None:
    """EROFS and EACCES are errors before the transfer begins, and leave no file behind."""
    failing = Failing(".nbferry")
    for number in (errno.EROFS, errno.EACCES):
        failing.syncs = [number]
        with pytest.raises(StorageError, match="Preparing") as caught:
            sink_to(to, OFFER, disk=failing.disk)
        assert "choose another folder" in caught.value.hint
        assert not to.exists()


def test_files_are_flushed_before_they_are_recorded(to: Path) -> None:
    """Before the journal is written, every written file and the folders of new files are flushed."""
    dirty: set[str] = set()
    seen: set[str] = set()
    recorded = 0

    def name_of(fd: int) -> str:
        return str(Path(f"/proc/self/fd/{fd}").readlink())

    def write(fd: int, data: memoryview, offset: int) -> int:
        nonlocal recorded
        name = name_of(fd)
        if "/data/" in name:
            dirty.update((name,) if name in seen else (name, str(Path(name).parent)))
            seen.add(name)
        elif "have." in name:
            recorded += 1
            assert not dirty
        return os.pwrite(fd, data, offset)

    def sync(fd: int) -> None:
        dirty.discard(name_of(fd))

    sink = sink_to(to, OFFER, disk=replace(REAL_DISK, write=write, sync=sync, sync_whole=lambda _: False))
    for chunk in OFFERED:
        sink.store([chunk])
        if chunk.chunk % 2:
            sink.sync()
    sink.publish(DIGEST)
    assert recorded >= len(OFFERED) // 2
    sink.discard()
