"""A sink on a real folder: where files lie, their times and modes, and what was there before."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DestinationExists, LocalProtocolError
from nbferry.limits import GiB, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.sink import FolderSink
from offers import CHUNK, DIGEST, FILES, PUBLISHED, chunks, everything, manifest, sink_to, visible


def test_where_files_lie(to: Path) -> None:
    """Until it is published everything lies below .nbferry; after discarding only the files remain."""
    sink = sink_to(to)
    sink.store(chunks(sink.manifest))
    state = everything(to)
    assert [path for path in state if not path.startswith(".nbferry")] == []
    assert state[".nbferry/.gitignore"] == b"*\n"
    assert {
        path[17:]: found for path, found in state.items() if path.startswith(".nbferry/t1/data/")
    } == PUBLISHED
    assert (to / ".nbferry/t1").stat().st_mode & 0o777 == 0o700
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
    sink.discard()
    assert everything(to) == PUBLISHED


def test_files_are_made_when_they_are_written(to: Path) -> None:
    """A file appears with its first chunk, in full size but sparse."""
    offer = manifest({"large": bytes(100 * CHUNK)})
    sink = sink_to(to, offer)
    part = to / ".nbferry/t1/data/large"
    assert not part.exists()
    sink.store(chunks(offer, {"large": bytes(100 * CHUNK)})[99:])
    assert part.stat().st_size == 100 * CHUNK
    assert part.stat().st_blocks * 512 < 50 * CHUNK
    sink.discard()


def test_relative_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative destination means the same folder after the current folder has changed."""
    monkeypatch.chdir(tmp_path)
    sink = sink_to(Path("to"), prepared=False)
    monkeypatch.chdir("/")
    sink.prepare()
    sink.store(chunks(sink.manifest))
    assert sink.publish(DIGEST)[0] == tmp_path / "to/data/a"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "x" * 65, "a\n"])
def test_transfer_ids(tmp_path: Path, name: str) -> None:
    """The name of a staging folder has only letters, digits, "-" and "_"."""
    with pytest.raises(LocalProtocolError):
        FolderSink(manifest(), tmp_path, transfer_id=name)


def test_only_between_prepare_and_close(to: Path) -> None:
    """A sink works from prepare() to close(); only missing_space() works at any time."""
    sink = sink_to(to, prepared=False)
    assert sink.missing_space() == 0
    with pytest.raises(LocalProtocolError):
        sink.store(chunks(sink.manifest))
    sink.prepare()
    sink.close()
    for use in (sink.sync, lambda: sink.publish(DIGEST), lambda: sink.store(chunks(sink.manifest))):
        with pytest.raises(LocalProtocolError):
            use()
    assert sink.missing_space() == 0
    sink.discard()


def test_many_files(to: Path) -> None:
    """The sink stores far more files than may be open at once, in three rounds over all of them."""
    files = {f"d{number % 90}/f{number}": bytes([number % 256]) * (2 * CHUNK + 1) for number in range(300)}
    offer = manifest(files)
    sink = sink_to(to, offer)
    found = chunks(offer, files)
    for first in range(3):
        assert len(sink.store(found[first::3])) == 300
        sink.sync()
    assert len(sink.publish(DIGEST)) == 300
    assert {path: data for path, data in visible(to).items() if data is not None} == files


def test_beyond_four_gigabytes(to: Path) -> None:
    """A file of 5 GiB has its first and its last byte in the right place."""
    offer = Manifest.of([Entry("big", 5 * GiB + 1)], MiB)
    sink = sink_to(to, offer, disk=replace(REAL_DISK, free=lambda _: 10 * GiB))
    first, last = bytes([1]) * MiB, b"\x02"
    assert len(sink.store([ChunkData(0, chunk_digest(first), memoryview(first))])) == 1
    assert len(sink.store([ChunkData(5120, chunk_digest(last), memoryview(last))])) == 1
    with (to / ".nbferry/t1/data/big").open("rb") as file:
        assert file.read(1) == b"\x01"
        file.seek(5 * GiB)
        assert file.read() == b"\x02"
    sink.discard()


def test_times(to: Path) -> None:
    """Files and folders get the times they had, to the nanosecond."""
    offer = manifest(FILES, "data", "data/b", "alone")
    sink = sink_to(to, offer)
    sink.store(chunks(offer))
    sink.publish(DIGEST)
    for entry in offer.entries:
        assert (to / entry.path).stat().st_mtime_ns == entry.mtime_ns


@pytest.mark.parametrize(
    ("umask", "plain", "executable"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_modes(to: Path, umask: int, plain: int, executable: int) -> None:
    """Modes follow the umask; a file that was executable is so for everyone who may read it."""
    files = {"plain": b"1", "run": b"2", "long run": bytes(3 * CHUNK)}
    offer = Manifest.of(
        [Entry(path, len(data), 0, executable="run" in path) for path, data in files.items()], CHUNK
    )
    before = os.umask(umask)
    try:
        sink = sink_to(to, offer)
        sink.store(chunks(offer, files))
        sink.publish(DIGEST)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE((to / path).stat().st_mode) for path in files}
    assert modes == {"plain": plain, "run": executable, "long run": executable}


def test_rename(to: Path) -> None:
    """By default the sink overwrites nothing: new names get a number, and the paths tell it."""
    for _ in range(3):
        sink = sink_to(to)
        sink.store(chunks(sink.manifest))
        paths = sink.publish(DIGEST)
        sink.discard()
    assert paths == tuple(
        to / path for path in ("data (2)/a", "data (2)/b/c", "data (2)/empty", "notes (2).txt")
    )
    names = ["data", "data (1)", "data (2)", "notes (1).txt", "notes (2).txt", "notes.txt"]
    assert sorted(path.name for path in to.iterdir()) == names
    assert all(path.read_bytes() == data for path, data in zip(paths, FILES.values(), strict=True))


def test_replace(to: Path) -> None:
    """With "replace" received files replace files of the same name, and other files stay."""
    (to / "data/b").mkdir(parents=True)
    for path in ("data/b/c", "data/mine", "notes.txt"):
        (to / path).write_bytes(b"old")
    sink = sink_to(to, overwrite=Overwrite.REPLACE)
    sink.store(chunks(sink.manifest))
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == {**PUBLISHED, "data/mine": b"old"}


def test_refuse(to: Path) -> None:
    """With "refuse" one taken name ends the transfer before it writes; the message says which and where."""
    to.mkdir(parents=True)
    (to / "notes.txt").write_bytes(b"old")
    sink = sink_to(to, overwrite=Overwrite.REFUSE, prepared=False)
    with pytest.raises(DestinationExists, match=rf'"notes.txt" exists already in "{to}"'):
        sink.prepare()
    assert everything(to) == {"notes.txt": b"old"}


def test_refuse_what_appears_meanwhile(to: Path) -> None:
    """With "refuse" publishing fails while a name is taken, and works afterwards."""
    sink = sink_to(to, overwrite=Overwrite.REFUSE)
    sink.store(chunks(sink.manifest))
    (to / "notes.txt").symlink_to("nowhere")
    with pytest.raises(DestinationExists):
        sink.publish(DIGEST)
    assert not (to / "data").exists()
    (to / "notes.txt").unlink()
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED
