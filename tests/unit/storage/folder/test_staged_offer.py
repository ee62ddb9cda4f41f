"""An offer that arrives in several runs: nothing is lost, nothing is wrong, wherever one of them ended."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import DiskFull, LocalProtocolError, StorageError
from nbferry.model.manifest import Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk import rename
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.rename import RenameMethod, by_link, by_placeholder, by_rename
from nbferry.storage.disk.system import REAL_DISK, Disk, rename_exclusively
from nbferry.storage.folder.candidates import CandidateFinder
from nbferry.storage.folder.manifest_file import progress_of
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.folder.stored_chunks import StoredChunks
from offers import CHUNK, DIGEST, FILES, PUBLISHED, chunks, everything, manifest, sink_to, visible

OFFER = manifest(FILES, "data", "data/b")
OFFERED = chunks(OFFER)
EVERY = RangeSet.span(0, len(OFFERED))
QUICK = replace(
    REAL_DISK, sync=lambda _: None, sync_whole=lambda _: True
)  # a crash of a process loses nothing
LATER = replace(REAL_DISK, boot=lambda: "another boot")


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Name a destination that does not exist."""
    return tmp_path / "to"


def partly(to: Path, *numbers: int, offer: Manifest = OFFER, disk: Disk = REAL_DISK) -> None:
    """Receive some chunks, make them durable, and be killed."""
    sink = sink_to(to, offer, disk=disk)
    sink.store([OFFERED[number] for number in numbers])
    sink.sync()
    sink.close()


def again(to: Path, offer: Manifest = OFFER, **options: Any) -> FolderSink:
    """Go on in another process."""
    return sink_to(to, offer, resume=True, **options)


def pairs(*numbers: int) -> list[tuple[int, bytes]]:
    """Chunks and their digests, as the sender says them."""
    return [(number, OFFERED[number].digest) for number in numbers]


def part(to: Path, path: str) -> Path:
    """Where an unfinished file is."""
    return to / ".nbferry/t1/data" / path


def logs(to: Path) -> list[Path]:
    """The logs of the journal."""
    return list((to / ".nbferry/t1").glob("have.*.log"))


# ------------------------------------------------------------------ what is vouched for
def test_what_was_durable_is_there_again(to: Path) -> None:
    """Exactly what a sync has followed is vouched for, with its digests, and needs no hashing."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED[:2])
    sink.sync()
    sink.store(OFFERED[2:3])
    sink.close()
    second = again(to)
    assert second.have == RangeSet.of(0, 1)
    assert list(second.leaves()) == [(0, OFFERED[0].digest + OFFERED[1].digest)]
    assert second.check() == RangeSet()
    assert progress_of(to, "t1") == (OFFER, RangeSet.of(0, 1))
    second.close()


def test_nothing_is_there_any_more(to: Path) -> None:
    """If the staging folder is gone, resuming begins anew."""
    partly(to, 0, 1)
    sink_to(to).discard()
    sink = again(to)
    assert not sink.have
    sink.store(OFFERED)
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_memo_in_the_same_folder(to: Path) -> None:
    """What others keep in the transfer's folder stays when it begins anew or fails to; discarding takes it along."""
    root = to / ".nbferry/t1"
    root.mkdir(parents=True)
    (root / "memo.json").write_text("{}")
    (root / "data").mkdir()
    (root / "manifest.json.0123456789abcdef.tmp").touch()
    sink = sink_to(to)
    assert sorted(path.name for path in root.iterdir()) == ["data", "manifest.json", "memo.json"]
    sink.close()
    offer = manifest({"x" * 250 + "/" + "y" * 250 + "/" + str(n): b"" for n in range(3)})
    with pytest.raises(DiskFull):
        sink_to(to, offer, disk=replace(REAL_DISK, sync=full_at("manifest.json")))
    assert [path.name for path in root.iterdir()] == ["memo.json"]
    sink.discard()
    assert everything(to) == {}


def full_at(name: str) -> Callable[[int], None]:
    """A flush that finds the disk full at a file of this name."""

    def sync(fd: int) -> None:
        if name in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")

    return sync


@pytest.mark.parametrize("path", ["data/b/c", "data/a", "notes.txt"])
@pytest.mark.parametrize("kind", ["missing", "cut", "longer", "link", "hard link", "fifo", "folder"])
def test_files_that_contradict(to: Path, path: str, kind: str) -> None:
    """What the journal says of a file that is no longer as it was does not count; all the rest does, in doubt."""
    partly(to, *EVERY)
    file, victim = part(to, path), to / "victim"
    data = file.read_bytes()
    victim.write_bytes(data)
    if kind not in ("cut", "longer"):
        file.unlink()
    match kind:
        case "cut":
            os.truncate(file, len(data) - 1)
        case "longer":
            file.write_bytes(data + b"more")
        case "link":
            file.symlink_to(victim)
        case "hard link":
            file.hardlink_to(victim)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            (file / "sub").mkdir(parents=True)
    sink = again(to)
    index = [entry.path for entry in OFFER.entries].index(path)
    lost = RangeSet.span(*OFFER.chunks_of(index))
    assert sink.have == EVERY - lost
    assert len(sink.store([OFFERED[chunk] for chunk in lost])) == len(lost)
    assert sink.check() == RangeSet()
    sink.publish(DIGEST)
    assert visible(to) == {**PUBLISHED, "victim": data}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file(to: Path) -> None:
    """T05: a file that belongs to somebody else is not written to, and not vouched for."""
    partly(to, *EVERY)
    os.chown(part(to, "notes.txt"), 12345, 12345)
    sink = again(to)
    assert sink.have == EVERY - RangeSet.of(len(OFFERED) - 1)
    sink.discard()


def test_room_that_is_taken_already(to: Path) -> None:
    """What lies in the staging folder needs no more room, even if nobody vouches for it."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    small = part(to, "data/empty")
    small.unlink()
    sink = again(to, disk=replace(REAL_DISK, free=lambda _: 0))
    assert sink.missing_space() == 0
    sink.discard()


# ------------------------------------------------------------------ candidates
def test_the_journal_is_lost(to: Path) -> None:
    """Without a journal all bytes that are here are candidates; those that are right need not travel again."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    with part(to, "data/b/c").open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"?")
    sink = again(to)
    assert not sink.have
    empty = OFFER.chunks_of(4)[0]
    assert sink.candidates == EVERY - RangeSet.of(empty)
    wrong = OFFER.chunks_of(3)[0] + 1
    right = sink.candidates - RangeSet.of(wrong)
    assert sink.reuse(pairs(*sink.candidates)) == right
    assert sink.have == right
    sink.store([OFFERED[wrong], OFFERED[empty]])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_holes_are_no_candidates(to: Path) -> None:
    """Of a large file only what was written is a candidate."""
    files = {"large": bytes(range(256)) * 16 * 64}
    offer = manifest(files)
    offered = chunks(offer, files)
    first = sink_to(to, offer)
    first.store([offered[5], offered[40]])
    first.sync()
    first.close()
    for log in logs(to):
        log.unlink()
    sink = again(to, offer)
    assert {5, 40} <= set(sink.candidates)
    assert len(sink.candidates) < 32
    sink.discard()


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE])
@pytest.mark.parametrize("resume", [False, True])
def test_an_older_copy(to: Path, overwrite: Overwrite, resume: bool) -> None:
    """What an older copy at the destination has is copied, not fetched; the copy itself is only read."""
    (to / "data/b").mkdir(parents=True)
    old = bytearray(FILES["data/b/c"][: 3 * CHUNK + 10])
    old[CHUNK] ^= 1
    (to / "data/b/c").write_bytes(old)
    sink = sink_to(to, OFFER, overwrite=overwrite, resume=resume)
    first = OFFER.chunks_of(3)[0]
    assert sink.candidates == RangeSet.span(first, first + 3)
    assert sink.reuse(pairs(*sink.candidates)) == RangeSet.of(first, first + 2)
    assert (to / "data/b/c").read_bytes() == old
    sink.sync()
    sink.close()
    sink = again(to, overwrite=overwrite)
    assert sink.have == RangeSet.of(first, first + 2)
    assert sink.candidates == RangeSet.of(first + 1)
    sink.store([OFFERED[chunk] for chunk in EVERY - sink.have])
    sink.publish(DIGEST)
    top = "data" if overwrite == Overwrite.REPLACE else "data (1)"
    assert (to / top / "b/c").read_bytes() == FILES["data/b/c"]
    sink.discard()


@pytest.mark.parametrize("kind", ["link", "link above", "fifo", "folder", "shorter than a chunk"])
def test_what_is_no_older_copy(to: Path, kind: str) -> None:
    """T04: only regular files that no link leads to are looked into."""
    (to / "data/b").mkdir(parents=True)
    there, victim = to / "data/b/c", to / "victim"
    victim.mkdir()
    (victim / "c").write_bytes(FILES["data/b/c"])
    match kind:
        case "link":
            there.symlink_to(victim / "c")
        case "link above":
            there.parent.rmdir()
            there.parent.symlink_to(victim)
        case "fifo":
            os.mkfifo(there)
        case "folder":
            there.mkdir()
        case "shorter than a chunk":
            there.write_bytes(FILES["data/b/c"][: CHUNK - 1])
    sink = sink_to(to, OFFER)
    assert not sink.candidates
    sink.discard()


@pytest.mark.parametrize("kind", ["gone", "shorter", "fifo"])
def test_an_older_copy_that_changes_meanwhile(to: Path, kind: str) -> None:
    """An older copy that goes away after it was found is simply not taken."""
    to.mkdir()
    (to / "notes.txt").write_bytes(FILES["notes.txt"])
    sink = sink_to(to, OFFER)
    (chunk,) = sink.candidates
    (to / "notes.txt").unlink()
    match kind:
        case "shorter":
            (to / "notes.txt").write_bytes(b"hel")
        case "fifo":
            os.mkfifo(to / "notes.txt")
    assert sink.reuse(pairs(chunk)) == RangeSet()
    sink.discard()


def test_staged_bytes_are_wrong_and_an_older_copy_is_right(to: Path) -> None:
    """Where there are two candidates for one chunk, both are tried."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    part(to, "notes.txt").write_bytes(b"jello")
    (to / "notes.txt").write_bytes(b"hello")
    sink = again(to)
    assert sink.reuse(pairs(len(OFFERED) - 1)) == RangeSet.of(len(OFFERED) - 1)
    assert part(to, "notes.txt").read_bytes() == b"hello"
    sink.discard()


# ------------------------------------------------------------------ another manifest
CHANGED = {"data/a": b"b", "data/b/c": FILES["data/b/c"] + b"more", "data/new": b"new", "notes.txt": b"hello"}


def test_the_senders_data_changed(to: Path) -> None:
    """With another list nothing is vouched for, all that is still in it is a candidate, and the rest is removed."""
    partly(to, *EVERY)
    offer = manifest(CHANGED, "data", mtime_ns=8)
    offered = chunks(offer, CHANGED)
    sink = again(to, offer)
    assert not sink.have
    data = to / ".nbferry/t1/data"
    assert sorted(path.name for path in data.rglob("*")) == ["a", "b", "c", "data", "notes.txt"]
    reused = sink.reuse([(chunk.chunk, chunk.digest) for chunk in offered])
    assert reused == RangeSet.of(1, 2, 3, len(offered) - 1)  # three whole chunks of c, and the notes
    sink.store([chunk for chunk in offered if chunk.chunk not in reused])
    sink.publish(DIGEST)
    assert visible(to) == {**CHANGED, "data": None, "data/b": None}


def test_and_changed_back(to: Path) -> None:
    """What was vouched for under one list is not once another list has touched the files."""
    partly(to, *EVERY)
    files = {**FILES, "notes.txt": b"HELLO"}
    other = manifest(files, "data", "data/b", mtime_ns=8)
    sink = again(to, other)
    sink.store(chunks(other, files))
    sink.close()
    sink = again(to)
    assert not sink.have
    assert len(OFFERED) - 1 not in sink.reuse(pairs(*EVERY))
    sink.discard()


@pytest.mark.parametrize("crash", range(40))
def test_killed_while_the_list_changes(to: Path, crash: int) -> None:
    """Wherever a run that brings another list ends, the first list vouches for no byte that the other has written."""
    partly(to, *EVERY)
    files = {**FILES, "notes.txt": b"HELLO", "data/b/c": b"short"}
    other = manifest(files, "data", "data/b", mtime_ns=8)
    left = crash

    def sync(fd: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    sink = sink_to(to, other, resume=True, disk=replace(REAL_DISK, sync=sync), prepared=False)
    try:
        sink.prepare()
        sink.store(chunks(other, files))
        sink.sync()
    except Crash:
        pass
    sink.close()
    sink = again(to)
    for chunk in sink.have:
        place = OFFER.place(chunk)
        data = part(to, OFFER.entries[place.entry].path).read_bytes()
        assert data[place.offset : place.offset + place.length] == OFFERED[chunk].data
    sink.discard()


def test_a_folder_becomes_a_file_and_a_file_a_folder(to: Path) -> None:
    """Whatever was in the place of something else in the new list goes."""
    partly(to, *EVERY)
    files = {"data/a/deep": b"x", "data/b": b"y", "notes.txt/z": b"z"}
    offer = manifest(files)
    sink = again(to, offer)
    sink.store(chunks(offer, files))
    sink.publish(DIGEST)
    assert {path: found for path, found in visible(to).items() if found is not None} == files
    sink.discard()


# ------------------------------------------------------------------ publishing, stopped anywhere
class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts every step that changes the disk, and ends the process before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 30
        for name in ("make", "unlink", "replace", "rmdir"):
            patch.setattr(Directory, name, self.counted(getattr(Directory, name)))
        create = self.counted(Directory.file)

        def file(folder: Directory, name: str, flags: int) -> int:
            opened: int = (create if flags & os.O_CREAT else plain)(folder, name, flags)
            return opened

        plain = Directory.file
        patch.setattr(Directory, "file", file)
        patch.setattr(os, "link", self.counted(os.link))
        patch.setattr(rename, "rename_exclusively", self.counted(rename_exclusively))
        self.disk = replace(
            REAL_DISK,
            sync=self.counted(lambda _: None),
            write=self.counted(os.pwrite),
            sync_whole=lambda _: False,
        )

    def counted(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same, as a step."""

        def step(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return act(*args, **options)

        return step

    def ends(self, act: Callable[[], object], steps: int) -> bool:
        """Whether this many steps are enough."""
        self.left = steps
        try:
            act()
        except Crash:
            return False
        finally:
            self.left = 1 << 30
        return True


def before(to: Path, overwrite: Overwrite) -> dict[str, object]:
    """Put something in the way; what there must be in the end."""
    if overwrite == Overwrite.REFUSE:
        return dict(PUBLISHED)
    (to / "data/b").mkdir(parents=True)
    for path in ("data/b/c", "data/mine", "notes.txt"):
        (to / path).write_bytes(b"old")
    if overwrite == Overwrite.REPLACE:
        return {**PUBLISHED, "data/mine": b"old"}
    ours = {
        path.replace("data", "data (1)").replace("notes", "notes (1)"): found
        for path, found in PUBLISHED.items()
    }
    return {
        **ours,
        "data": None,
        "data/b": None,
        "data/b/c": b"old",
        "data/mine": b"old",
        "notes.txt": b"old",
    }


WAYS = {"rename": (by_rename,), "link": (by_link, by_placeholder), "place": (by_placeholder,)}


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
@pytest.mark.parametrize("way", WAYS)
def test_killed_while_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite, way: str
) -> None:
    """P1, P3: wherever publishing is stopped, even twice, another run ends it: nothing is doubled, lost or harmed."""
    ways: tuple[RenameMethod, ...] = WAYS[way]
    monkeypatch.setattr(rename, "RENAME_METHODS", ways)
    steps = Steps(monkeypatch)
    for first in range(100):
        to = tmp_path / f"to{first}"
        expected = before(to, overwrite)
        sink = sink_to(to, OFFER, overwrite=overwrite, disk=steps.disk)
        sink.store(OFFERED)
        sink.sync()
        ended = steps.ends(lambda sink=sink: sink.publish(DIGEST), first)  # type: ignore[misc]
        sink.close()
        sink = again(to, overwrite=overwrite, disk=steps.disk)
        assert sink.have == EVERY
        assert sink.finished in (None, DIGEST)
        steps.ends(lambda sink=sink: sink.publish(DIGEST), 3)  # type: ignore[misc]
        sink.close()
        sink = again(to, overwrite=overwrite)
        assert b"".join(leaves for _, leaves in sink.leaves()) == b"".join(each.digest for each in OFFERED)
        paths = sink.publish(DIGEST)
        assert sink.publish(DIGEST) == paths
        assert [path.read_bytes() for path in paths] == list(FILES.values())
        assert visible(to) == expected
        assert {path.stat().st_mtime_ns for path in paths} == {7}
        assert {path.stat().st_nlink for path in paths} == {1}
        sink.discard()
        if ended:
            assert first > 8
            return
    pytest.fail("it never came to an end")


def test_a_verified_transfer_says_so(to: Path) -> None:
    """Once all was verified another run knows it, with every digest, and needs nobody to publish it."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    sink.publish(DIGEST)
    sink.close()
    sink = again(to)
    assert sink.finished == DIGEST
    assert sink.have == EVERY
    assert sink.candidates == RangeSet()
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    sink.discard()
    assert everything(to) == PUBLISHED


def test_verified_and_then_lost(to: Path) -> None:
    """What was verified but is neither staged nor placed any more is fetched again."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    sink.publish(DIGEST)
    sink.close()
    (to / "notes.txt").unlink()
    sink = again(to)
    assert sink.finished is None
    assert sink.have == EVERY - RangeSet.of(len(OFFERED) - 1)
    with pytest.raises(LocalProtocolError):
        sink.publish(DIGEST)
    sink.store(OFFERED[-1:])
    assert sink.check() == RangeSet()
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
    assert (to / "notes.txt").stat().st_mtime_ns == 7
    sink.discard()


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
def test_two_processes_publish_the_same(to: Path, overwrite: Overwrite) -> None:
    """Of two processes that publish the same, one after the other, the second finds what the first has done."""
    first = sink_to(to, OFFER, overwrite=overwrite)
    first.store(OFFERED)
    first.sync()
    second = again(to, overwrite=overwrite)
    paths = first.publish(DIGEST)
    assert second.publish(DIGEST) == paths
    assert visible(to) == PUBLISHED
    first.discard()
    assert second.publish(DIGEST) == paths
    second.close()
    assert visible(to) == PUBLISHED


# ------------------------------------------------------------------ doubt
def damage(to: Path, chunk: int) -> None:
    """Turn a bit of a stored chunk over."""
    place = OFFER.place(chunk)
    with part(to, OFFER.entries[place.entry].path).open("r+b") as file:
        file.seek(place.offset)
        byte = file.read(1)[0] ^ 1
        file.seek(place.offset)
        file.write(bytes([byte]))


def test_after_a_power_failure(to: Path) -> None:
    """P1: what the disk lost when the power failed is found before anything is published, and fetched again."""
    partly(to, *EVERY)
    wrong = OFFER.chunks_of(3)[0] + 1
    damage(to, wrong)
    sink = again(to, disk=LATER)
    assert sink.have == EVERY
    assert sink.check() == RangeSet.of(wrong)
    assert sink.have == EVERY - RangeSet.of(wrong)
    assert sink.check() == RangeSet()
    sink.close()
    sink = again(to, disk=LATER)
    assert sink.have == EVERY - RangeSet.of(wrong)
    sink.store(OFFERED[wrong : wrong + 1])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def stopped(*_: object, **__: object) -> None:
    """The process ends before anything is placed."""
    raise Crash


def test_publishing_checks_by_itself(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: what is in doubt is not published unchecked, not even if it had been verified; then it is mended."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    with monkeypatch.context() as patch:
        patch.setattr("nbferry.storage.folder.staged_offer.publish", stopped)
        with pytest.raises(Crash):
            sink.publish(DIGEST)
    sink.close()
    damage(to, 0)
    sink = again(to, disk=LATER)
    assert sink.finished == DIGEST
    with pytest.raises(StorageError, match="damaged"):
        sink.publish(DIGEST)
    assert sink.finished is None
    assert sink.have == EVERY - RangeSet.of(0)
    sink.store(OFFERED[:1])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_power_fails_between_intent_and_rename(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: what was about to be placed, and was not, is read again before it is."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    with monkeypatch.context() as patch:
        patch.setattr("nbferry.storage.folder.publish.rename_without_replacing", stopped)
        with pytest.raises(Crash):
            sink.publish(DIGEST)
    sink.close()
    last = len(OFFERED) - 1
    damage(to, 0)
    part(to, "notes.txt").write_bytes(b"")
    sink = again(to, disk=LATER)
    assert sink.finished == DIGEST
    assert sink.check() == RangeSet.of(0, last)
    assert sink.finished is None
    sink.store([OFFERED[0], OFFERED[last]])
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
    sink.discard()


def test_without_doubt_nothing_is_read(to: Path) -> None:
    """check() is free when nothing is in doubt."""
    partly(to, *EVERY)
    damage(to, 0)
    sink = again(to)
    assert sink.check() == RangeSet()
    sink.discard()


def test_doubt_outlives_the_process(to: Path) -> None:
    """P1: once a file contradicted the journal everything is read again, by a later process too."""
    partly(to, *EVERY)
    part(to, "notes.txt").write_bytes(b"")
    sink = again(to)
    last = len(OFFERED) - 1
    assert sink.have == EVERY - RangeSet.of(last)
    sink.store(OFFERED[last:])
    sink.sync()
    sink.close()
    damage(to, 0)
    sink = again(to)
    assert sink.have == EVERY
    assert sink.check() == RangeSet.of(0)
    sink.discard()


def test_a_chunk_that_the_disk_fails_to_read(to: Path) -> None:
    """Where a read fails with EIO the chunk is damaged, or no candidate: it is fetched, and the rest is kept."""
    partly(to, *EVERY)
    bad = OFFER.place(OFFER.chunks_of(3)[0] + 1)

    def read(fd: int, views: Sequence[memoryview], offset: int) -> int:
        if offset == bad.offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return REAL_DISK.read(fd, views, offset)

    wrong = RangeSet.of(OFFER.chunks_of(3)[0] + 1)
    sink = again(to, disk=replace(LATER, read=read))
    assert sink.check() == wrong
    sink.close()
    for log in logs(to):
        log.unlink()
    sink = again(to, disk=replace(REAL_DISK, read=read))
    assert sink.reuse(pairs(*sink.candidates)) == sink.candidates - wrong
    sink.store([OFFERED[number] for number in EVERY - sink.have])
    sink.sync()
    sink.close()
    sink = again(to)
    sink.check()
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_file_that_is_gone_when_it_is_checked(to: Path) -> None:
    """A file that disappears is damaged, and can be stored again."""
    partly(to, *EVERY)
    sink = again(to, disk=LATER)
    part(to, "notes.txt").unlink()
    assert sink.check() == RangeSet.of(len(OFFERED) - 1)
    sink.store(OFFERED[-1:])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_journal_that_is_gone_when_it_is_checked(to: Path) -> None:
    """What nobody vouches for any more is not trusted."""
    partly(to, *EVERY)
    sink = again(to, disk=LATER)
    for log in logs(to):
        log.unlink()
    assert sink.check() == EVERY
    sink.discard()


class Failing:
    """A disk that fails at files of the offer, or at the journal, as often as it is told."""

    def __init__(self, where: str = "/data/") -> None:
        self.where = where
        self.writes: list[int] = []  # errors still to come
        self.syncs: list[int] = []
        self.disk = replace(REAL_DISK, write=self.write, sync=self.sync, sync_whole=lambda _: False)

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        """Write, or fail."""
        self._fail(self.writes, fd)
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Flush, or fail."""
        self._fail(self.syncs, fd)

    def _fail(self, errors: list[int], fd: int) -> None:
        if errors and self.where in str(Path(f"/proc/self/fd/{fd}").readlink()):
            number = errors.pop(0)
            raise OSError(number, os.strerror(number))


def test_one_failed_write(to: Path) -> None:
    """A write that fails with EIO once is tried again at the same place; what is on the disk is then in doubt."""
    failing = Failing()
    sink = sink_to(to, OFFER, disk=failing.disk)
    failing.writes = [errno.EIO]
    assert sink.store(OFFERED) == EVERY
    sink.sync()
    sink.close()
    damage(to, 0)
    sink = again(to)
    assert sink.check() == RangeSet.of(0)
    sink.discard()


def test_a_disk_that_fails(to: Path) -> None:
    """G23: after a failed flush nothing that it may have lost counts, twice in a row; then all is read again."""
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
    """What is on the disk but could not be recorded is recorded by the next flush, not fetched again."""
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
    assert again(to).have == RangeSet.of(0, 1, 2)


def test_stored_while_a_flush_fails(to: Path) -> None:
    """What was written before a flush failed and is counted after it is written again: the flush may have lost it."""
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


class Watched(StoredChunks):
    """Notices which files are read from memory when a failed flush is accounted for."""

    def __init__(self, sink: FolderSink) -> None:
        super().__init__()
        self.sink, self.cached = sink, [{-1}]

    def lose(self) -> None:
        """Look, then lose."""
        assert self.sink._staged
        self.cached.append(self.sink._staged._candidates._fresh)
        super().lose()


def test_candidates_while_a_flush_fails(to: Path) -> None:
    """Before anything may count again after a failed flush, no file is read from memory: that may differ."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    failing = Failing()
    sink = sink_to(to, OFFER, disk=failing.disk, resume=True, prepared=False)
    watched = sink._stored = Watched(sink)
    sink.prepare()
    taken = sink.reuse(pairs(*sink.candidates))
    assert taken
    failing.syncs = [errno.EIO]
    with pytest.raises(StorageError):
        sink.sync()
    assert watched.cached == [{-1}, set()]
    sink.discard()


def test_a_flush_fails_while_a_candidate_is_read(to: Path) -> None:
    """A file whose memory was let go of before a flush failed is read from the disk once more after it."""
    forgotten: list[int] = []
    to.mkdir()

    class Slow:
        """Files in the staging data; a flush fails when one of them is looked into for the first time."""

        def forget_cached(self, index: int) -> None:
            forgotten.append(index)
            if len(forgotten) == 1:
                found.distrust_cache()

        def read(self, chunk: int) -> memoryview:
            return OFFERED[chunk].data

        def note(self, index: int) -> None:
            pass

    with Directory.open(to) as folder:
        found = CandidateFinder(OFFER, folder, EVERY, RangeSet())
        for _ in range(3):
            assert found.reuse(*pairs(0)[0], Slow())  # type: ignore[arg-type]
        found.close()
    assert len(forgotten) == 2


def test_one_flush_hears_of_every_failed_write(to: Path) -> None:
    """What flushes the whole file system was open before the first write: it is told of errors since then."""
    used: list[int] = []
    folders = {f"{number}/f": b"x" for number in range(100)}  # more than are kept open
    offer = manifest(folders)
    sink = sink_to(to, offer, disk=replace(REAL_DISK, sync_whole=lambda fd: bool(used.append(fd)) or True))
    assert sink._staged
    opened = sink._staged._staging.data.fd
    for _ in range(2):
        sink.store(chunks(offer, folders))
        sink.sync()
    assert set(used) == {opened}
    sink.discard()


def test_no_older_copy_is_open_while_publishing(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows renames nothing onto a file that is open."""
    to.mkdir()
    (to / "notes.txt").write_bytes(FILES["notes.txt"])
    sink = sink_to(to, OFFER, overwrite=Overwrite.REPLACE)
    last = len(OFFERED) - 1
    assert sink.reuse(pairs(last)) == RangeSet.of(last)
    sink.store(OFFERED[:last])
    opened: list[Path] = []

    def look(*_: object, **__: object) -> dict[str, str]:
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                opened.append(link.readlink())
        raise Crash

    assert sink._staged
    assert len(sink._staged._candidates._older._files) == 1
    with monkeypatch.context() as patch:
        patch.setattr("nbferry.storage.folder.staged_offer.publish", look)
        with pytest.raises(Crash):
            sink.publish(DIGEST)
    assert opened
    assert to / "notes.txt" not in opened
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_network_drive_that_loses_a_file(to: Path) -> None:
    """ESTALE: the file is opened once more by its path; if it fails again, or is another file, that is an error."""
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
    """EROFS and EACCES are told before anything is transferred, and leave nothing."""
    failing = Failing(".nbferry")
    for number in (errno.EROFS, errno.EACCES):
        failing.syncs = [number]
        with pytest.raises(StorageError, match="Preparing") as caught:
            sink_to(to, OFFER, disk=failing.disk)
        assert "choose another folder" in caught.value.hint
        assert not to.exists()


# ------------------------------------------------------------------ order, and company
def test_nothing_is_recorded_that_was_not_flushed(to: Path) -> None:
    """When the journal is written every file of the offer is flushed, and the folders of new files too."""
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


ACTS = st.tuples(
    st.integers(0, 1), st.sampled_from(["store", "sync", "die"]), st.integers(0, len(OFFERED) - 1)
)


@given(st.lists(ACTS, max_size=15))
def test_two_processes_at_once(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[int, str, int]]
) -> None:
    """P12: two processes that write the same transfer, and die, waste work at most: what they vouch for is right."""
    to = tmp_path_factory.mktemp("both") / "to"
    sinks = [again(to, disk=QUICK), again(to, disk=QUICK)]
    for which, act, chunk in acts:
        match act:
            case "store":
                sinks[which].store([OFFERED[chunk]])
            case "sync":
                sinks[which].sync()
                durable = sinks[which].have
                progress = progress_of(to, "t1")
                assert progress
                assert not durable - progress[1]
            case "die":
                sinks[which].close()
                sinks[which] = again(to, disk=QUICK)
    for sink in sinks:
        for chunk in sink.have:
            place = OFFER.place(chunk)
            data = part(to, OFFER.entries[place.entry].path).read_bytes()
            assert data[place.offset : place.offset + place.length] == OFFERED[chunk].data
    sinks[0].store(OFFERED)
    paths = sinks[0].publish(DIGEST)
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    for sink in sinks:
        sink.discard()
