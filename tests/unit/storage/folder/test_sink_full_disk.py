"""A sink on a disk that is full or that fails."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.errors import DiskFull, StorageError
from nbferry.limits import GiB
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.sink import RESERVE
from offers import CHUNK, DIGEST, FILES, PUBLISHED, chunks, manifest, sink_to, visible


def is_data(fd: int) -> bool:
    """Whether this is a file of the offer, not of our own state."""
    return "/data/" in str(Path(f"/proc/self/fd/{fd}").readlink())


def test_no_room_to_begin_with(to: Path) -> None:
    """Without room the sink makes nothing, not even the destination; the error says how much is missing."""
    free = RESERVE
    sink = sink_to(to, disk=replace(REAL_DISK, free=lambda _: free), prepared=False)
    with pytest.raises(DiskFull) as caught:
        sink.prepare()
    assert caught.value.needed == sink.missing_space() > sum(map(len, FILES.values()))
    assert not to.parent.exists()
    free = GiB
    sink.prepare()
    assert sink.missing_space() == 0
    sink.discard()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_disk_fills_up(to: Path, number: int) -> None:
    """A full disk or quota is an error that says what is missing; later the same chunks can be stored."""
    room = GiB

    def write(fd: int, data: memoryview, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(number, os.strerror(number))
        count = os.pwrite(fd, data[: min(room, 3000)], offset)
        room -= count
        return count

    sink = sink_to(to, disk=replace(REAL_DISK, write=write, free=lambda _: room + RESERVE))
    room = 5000
    with pytest.raises(DiskFull) as caught:
        sink.store(chunks(sink.manifest))
    assert caught.value.needed > 0
    assert not sink.have
    room = 1 << 40
    sink.store(chunks(sink.manifest))
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_room_is_needed_for_what_is_missing_only(to: Path) -> None:
    """StoredChunks chunks need no more room."""
    files = {"large": bytes(64 * CHUNK)}
    offer = manifest(files)
    free = GiB
    sink = sink_to(to, offer, disk=replace(REAL_DISK, free=lambda _: free))
    free = 0
    everything_missing = sink.missing_space()
    sink.store(chunks(offer, files)[:32])
    assert sink.missing_space() == everything_missing - 32 * CHUNK
    sink.store(chunks(offer, files))
    assert sink.missing_space() == 0
    sink.discard()


def test_full_while_folders_are_made(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while preparing removes everything that was made."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nbferry.storage.folder.staged_files.StagedFiles.make_folders", full)
    sink = sink_to(to, prepared=False)
    with pytest.raises(DiskFull):
        sink.prepare()
    assert not to.parent.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EFBIG])
def test_writing_fails(to: Path, number: int) -> None:
    """Any other failed write is an error with a hint; only EIO is tried once more."""
    tried = []

    def write(fd: int, data: memoryview, offset: int) -> int:
        if not is_data(fd):
            return os.pwrite(fd, data, offset)
        tried.append(offset)
        raise OSError(number, os.strerror(number))

    sink = sink_to(to, disk=replace(REAL_DISK, write=write))
    with pytest.raises(StorageError, match=rf'Writing in "{to}" failed') as caught:
        sink.store(chunks(sink.manifest))
    assert caught.value.hint
    assert not caught.value.retryable
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    assert tried == ([0, 0] if number == errno.EIO else [0])
    sink.discard()
