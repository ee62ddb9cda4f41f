"""A log says what was appended, up to where a crash tore it, and nothing that somebody else wrote."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import LocalProtocolError
from nbferry.storage.disk import run_log
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.run_log import MAX_PAYLOAD, RunLog, is_foreign, log_names, read_log, read_logs

KEY = b"transfer\0manifest"
RECORDS = [(1, b""), (2, b"x"), (200, bytes(1000)), (2, b"x")]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Directory]:
    """Open an empty folder."""
    with Directory.open(tmp_path) as opened:
        yield opened


def written(folder: Directory, records: list[tuple[int, bytes]] = RECORDS, key: bytes = KEY) -> Path:
    """Write a log of these records; where it is."""
    before = set(log_names(folder, "have"))
    log = RunLog.create(folder, "have", key)
    log.append_all(records)
    log.sync()
    log.close()
    (name,) = set(log_names(folder, "have")) - before
    return folder.path / name


def read(folder: Directory, key: bytes = KEY) -> list[tuple[int, bytes]]:
    """Every record of every log."""
    return list(read_logs(folder, "have", key))


def test_what_is_appended_is_read(folder: Directory) -> None:
    """Records come back in order, one log after the other; each writer has a file of its own."""
    written(folder)
    written(folder, [(9, b"other")])
    assert sorted(read(folder)) == sorted([*RECORDS, (9, b"other")])
    assert len(log_names(folder, "have")) == 2
    assert list(read_logs(folder, "digests", KEY)) == []


def test_read_while_it_is_written(folder: Directory) -> None:
    """A log may be read at any time, and holds what was appended until then."""
    log = RunLog.create(folder, "have", KEY)
    assert read(folder) == []
    log.append(1, b"a")
    assert read(folder) == [(1, b"a")]
    log.append(2, b"b")
    assert read(folder) == [(1, b"a"), (2, b"b")]
    log.close()
    log.close()
    assert log.closed
    with pytest.raises(LocalProtocolError):
        log.append(3, b"c")


def test_torn_at_every_byte(folder: Directory) -> None:
    """Wherever a log ends, it holds the records that are whole, and nothing else."""
    path = written(folder)
    data = path.read_bytes()
    ends = [40]
    for _, payload in RECORDS:
        ends.append(ends[-1] + 9 + len(payload) + 16)
    assert ends[-1] == len(data)
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends[1:])
        assert read(folder) == RECORDS[:whole]
        assert is_foreign(folder, path.name, KEY) is False


def test_a_changed_byte_ends_a_log(folder: Directory) -> None:
    """A byte that is wrong ends the log before the record that it is in."""
    path = written(folder)
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 7):
        data[at] ^= 1
        path.write_bytes(data)
        data[at] ^= 1
        found = read(folder)
        assert found == RECORDS[: len(found)]
        assert len(found) < len(RECORDS)


def test_records_cannot_change_places(folder: Directory) -> None:
    """A record counts only where it was written: not twice, not in another log."""
    path = written(folder, [(1, b"a"), (1, b"b")])
    data = path.read_bytes()
    path.write_bytes(data[:40] + data[66:] + data[40:66])
    assert read(folder) == []
    path.write_bytes(data[:66] + data[40:66])
    assert read(folder) == [(1, b"a")]
    other = written(folder, [])
    path.unlink()
    other.write_bytes(other.read_bytes() + data[40:])
    assert read(folder) == []


def test_foreign_logs(folder: Directory) -> None:
    """A log of another key, or a file that is no log, holds nothing, and is known as foreign."""
    ours, theirs = written(folder), written(folder, key=b"other")
    planted = folder.path / f"have.{'0' * 16}.log"
    planted.write_bytes(b"something else entirely, and longer than a header is")
    assert read(folder) == RECORDS
    foreign = [name for name in log_names(folder, "have") if is_foreign(folder, name, KEY)]
    assert sorted(foreign) == sorted([theirs.name, planted.name])
    assert not is_foreign(folder, ours.name, KEY)


def test_names(folder: Directory) -> None:
    """Only names as we give them are logs."""
    for name in ("have.log", "have.xyz.log", f"have.{'0' * 16}.log.tmp", f"xhave.{'0' * 16}.log"):
        (folder.path / name).touch()
    assert log_names(folder, "have") == []


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "folder", "huge", "gone"])
def test_hostile_files(folder: Directory, kind: str) -> None:
    """What is planted under a log's name neither hangs nor fills the memory, and holds nothing."""
    real = written(folder)
    moved = real.rename(folder.path / "moved")
    match kind:
        case "link":
            real.symlink_to(moved)
        case "dangling link":
            real.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(real)
        case "folder":
            real.mkdir()
        case "huge":
            head = moved.read_bytes()[:40]
            real.write_bytes(head + b"\xff" * 9)
            os.truncate(real, 1 << 40)
    assert list(read_log(folder, real.name, KEY)) == []
    assert is_foreign(folder, real.name, KEY) is (kind not in ("huge", "gone"))


def test_a_log_that_cannot_be_opened(folder: Directory) -> None:
    """A log that cannot be looked into now holds nothing, but nobody says that it is foreign."""

    class Sealed(Directory):
        def file(self, name: str, flags: int) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

    name = written(folder).name
    with Sealed.open(folder.path) as sealed:
        assert read(sealed) == []
        with pytest.raises(PermissionError):
            is_foreign(sealed, name, KEY)


@given(st.binary(max_size=200))
def test_any_bytes_after_a_header(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """No bytes that somebody without the key appends are a record."""
    with Directory.open(tmp_path_factory.mktemp("log")) as folder:
        path = written(folder, [])
        path.write_bytes(path.read_bytes() + data)
        assert read(folder) == []


def test_too_large(folder: Directory) -> None:
    """A payload is bounded, so that a reader's memory is."""
    log = RunLog.create(folder, "have", KEY)
    log.append(1, bytes(MAX_PAYLOAD))
    with pytest.raises(LocalProtocolError):
        log.append(1, bytes(MAX_PAYLOAD + 1))
    log.append(2, b"after")
    assert [(kind, len(payload)) for kind, payload in read(folder)] == [(1, MAX_PAYLOAD), (2, 5)]
    log.close()


def test_a_full_disk(folder: Directory) -> None:
    """A record that could not be written whole is not there; the next takes its place."""
    room = 1000

    def write(fd: int, data: memoryview, offset: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, data[:room], offset)

    log = RunLog.create(folder, "have", KEY, write=write)
    log.append(1, b"first")
    room = 0
    with pytest.raises(OSError, match="No space"):
        log.append(2, b"second")
    room = 7
    log.append(3, b"third")
    assert read(folder) == [(1, b"first"), (3, b"third")]
    log.close()


def test_a_torn_record_is_written_over(folder: Directory) -> None:
    """What is left of a record that was written in part does not follow a shorter one as another record."""
    writes = 0

    def write(fd: int, data: memoryview, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise OSError(errno.EIO, "Input/output error")
        return os.pwrite(fd, data[:100], offset)

    log = RunLog.create(folder, "have", KEY, write=write)
    with pytest.raises(OSError, match="Input/output"):
        log.append(1, bytes(500))
    log.append(2, b"short")
    assert read(folder) == [(2, b"short")]
    log.append(2, b"again")
    assert read(folder) == [(2, b"short"), (2, b"again")]
    log.close()


def test_a_failed_flush_ends_a_log(folder: Directory) -> None:
    """After a flush has failed nothing is appended any more: what the disk has of the end is not known."""
    failing = False

    def sync(_: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")

    log = RunLog.create(folder, "have", KEY, sync=sync)
    log.append(1, b"a")
    log.sync()
    failing = True
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    assert log.closed


def test_a_log_that_cannot_be_made(folder: Directory) -> None:
    """If the name cannot be made durable there is no log: no file stays, and no descriptor is open."""

    def sync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Input/output"):
        RunLog.create(folder, "have", KEY, sync=sync)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert folder.names() == []


def test_a_disk_that_cannot_be_read(folder: Directory) -> None:
    """A log that fails to be read ends there."""

    class Broken:
        def read(self, count: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    assert run_log._read(Broken(), 5) == b""  # type: ignore[arg-type]
    assert read(folder) == []
