"""What a sink does to a real folder, and what it does when the disk or somebody else gets in the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DestinationExists, DiskFull, LocalProtocolError, StorageError, UnsafePath
from nbferry.limits import GiB, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.sink import RESERVE, FolderSink
from nbferry.storage.folder.staged_files import StagedFiles
from offers import CHUNK, DIGEST, FILES, PUBLISHED, chunks, everything, manifest, sink_to, visible


def is_data(fd: int) -> bool:
    """Whether this is a file of the offer, not of our own state."""
    return "/data/" in str(Path(f"/proc/self/fd/{fd}").readlink())


def parts_of(sink: FolderSink) -> StagedFiles:
    """The files that a prepared sink writes."""
    assert sink._staged is not None
    return sink._staged._files


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Name a destination that does not exist, two levels below anything that does."""
    return tmp_path / "new" / "to"


# ------------------------------------------------------------------ the layout
def test_where_things_lie(to: Path) -> None:
    """Until it is published all lies below .nbferry, under its names; that discarded, only the files are there."""
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
    """A file appears with its first chunk, in its full size but without blocks."""
    offer = manifest({"large": bytes(100 * CHUNK)})
    sink = sink_to(to, offer)
    part = to / ".nbferry/t1/data/large"
    assert not part.exists()
    sink.store(chunks(offer, {"large": bytes(100 * CHUNK)})[99:])
    assert part.stat().st_size == 100 * CHUNK
    assert part.stat().st_blocks * 512 < 50 * CHUNK
    sink.discard()


def test_relative_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative destination means the same after the current folder has changed."""
    monkeypatch.chdir(tmp_path)
    sink = sink_to(Path("to"), prepared=False)
    monkeypatch.chdir("/")
    sink.prepare()
    sink.store(chunks(sink.manifest))
    assert sink.publish(DIGEST)[0] == tmp_path / "to/data/a"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "x" * 65, "a\n"])
def test_transfer_ids(tmp_path: Path, name: str) -> None:
    """The name of a staging folder is letters, digits, "-" and "_"; anything else is our own mistake."""
    with pytest.raises(LocalProtocolError):
        FolderSink(manifest(), tmp_path, transfer_id=name)


def test_only_between_prepare_and_close(to: Path) -> None:
    """A sink works after it was prepared and until it is closed; to see room it need not be prepared."""
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
    """Far more files than may be open at once are stored, in three rounds that visit all of them."""
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


# ------------------------------------------------------------------ times and modes
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
    """Files are for whom the umask says; what was executable is so for all who may read it. No other bit is kept."""
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


# ------------------------------------------------------------------ what was there before
def test_rename(to: Path) -> None:
    """By default nothing is overwritten: ours gets a number, and the paths say which."""
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
    """With "replace" files go over files, and the others stay."""
    (to / "data/b").mkdir(parents=True)
    for path in ("data/b/c", "data/mine", "notes.txt"):
        (to / path).write_bytes(b"old")
    sink = sink_to(to, overwrite=Overwrite.REPLACE)
    sink.store(chunks(sink.manifest))
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == {**PUBLISHED, "data/mine": b"old"}


def test_refuse(to: Path) -> None:
    """With "refuse" one name that is taken ends it before anything is written; the message says which and where."""
    to.mkdir(parents=True)
    (to / "notes.txt").write_bytes(b"old")
    sink = sink_to(to, overwrite=Overwrite.REFUSE, prepared=False)
    with pytest.raises(DestinationExists, match=rf'"notes.txt" exists already in "{to}"'):
        sink.prepare()
    assert everything(to) == {"notes.txt": b"old"}


def test_refuse_what_appears_meanwhile(to: Path) -> None:
    """With "refuse" what has appeared since ends it too; once that is gone, publishing works."""
    sink = sink_to(to, overwrite=Overwrite.REFUSE)
    sink.store(chunks(sink.manifest))
    (to / "notes.txt").symlink_to("nowhere")
    with pytest.raises(DestinationExists):
        sink.publish(DIGEST)
    assert not (to / "data").exists()
    (to / "notes.txt").unlink()
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


# ------------------------------------------------------------------ hostile surroundings
@pytest.mark.parametrize(
    ("planted", "target"), [(".nbferry", "../../victim"), (".nbferry/t1", "../../../victim")]
)
def test_planted_links(to: Path, planted: str, target: str) -> None:
    """T04: a link in the place of the state or the staging folder is refused; its target is not touched."""
    victim = to.parent.parent / "victim"
    (victim / "t1").mkdir(parents=True)
    (to / planted).parent.mkdir(parents=True)
    (to / planted).symlink_to(target)
    for resume in (False, True):
        with pytest.raises(UnsafePath, match="link"):
            sink_to(to, resume=resume)
    assert everything(victim) == {"t1": None}
    assert (to / planted).is_symlink()


def test_a_destination_that_is_a_link(to: Path, tmp_path: Path) -> None:
    """A link that the receiver named as the destination is followed: it is the receiver's own."""
    to.parent.mkdir()
    (tmp_path / "real").mkdir()
    to.symlink_to(tmp_path / "real")
    sink = sink_to(to)
    sink.store(chunks(sink.manifest))
    sink.publish(DIGEST)
    assert visible(tmp_path / "real") == PUBLISHED


def tamper(to: Path, kind: str) -> None:
    """Put something else in the place of the unfinished notes.txt."""
    part = to / ".nbferry/t1/data/notes.txt"
    victim = to / "victim"
    victim.write_bytes(b"inno")
    part.unlink(missing_ok=True)
    match kind:
        case "link":
            part.symlink_to(victim)
        case "hard link":
            part.hardlink_to(victim)
        case "pipe":
            os.mkfifo(part)
        case "folder":
            part.mkdir()
        case "longer":
            part.write_bytes(b"hello, world")


KINDS = ["link", "hard link", "pipe", "folder", "longer", "nothing"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfinished_file_is_swapped(to: Path, kind: str) -> None:
    """T05: what takes the place of an unfinished file is not written to, a link's or a hard link's target least."""
    sink = sink_to(to)
    offered = chunks(sink.manifest)
    sink.store(offered)
    parts_of(sink)._files.drop(3)
    tamper(to, kind)
    with pytest.raises(StorageError):
        sink.store(offered[-1:])
    assert (to / "victim").read_bytes() == b"inno"
    sink.discard()
    assert everything(to) == {"victim": b"inno"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_unfinished_file_is_swapped_between_two_runs(to: Path, kind: str) -> None:
    """T05: what took the place of an unfinished file is removed and not followed; the file is fetched again."""
    sink = sink_to(to)
    offered = chunks(sink.manifest)
    sink.store(offered)
    sink.sync()
    sink.close()
    tamper(to, kind)
    sink = sink_to(to, resume=True)
    assert sink.have == RangeSet.span(0, len(offered) - 1)
    assert sink.store(offered[-1:]) == RangeSet.of(len(offered) - 1)
    sink.publish(DIGEST)
    assert visible(to) == {**PUBLISHED, "victim": b"inno"}


def test_folder_swapped_for_a_link(to: Path, tmp_path: Path) -> None:
    """T04: a link in the place of a folder that was made is not followed."""
    sink = sink_to(to)
    (tmp_path / "victim").mkdir()
    parts_of(sink)._folders.drop("data")
    (to / ".nbferry/t1/data/data").rename(to / "moved")
    (to / ".nbferry/t1/data/data").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError):
        sink.store(chunks(sink.manifest)[:1])
    assert everything(tmp_path / "victim") == {}
    sink.discard()


def test_names_that_are_one_on_this_disk(to: Path) -> None:
    """T09: a file or folder that is there already, because this file system takes two names for one, is refused."""
    sink = sink_to(to)
    (to / ".nbferry/t1/data/notes.txt").write_bytes(b"")
    with pytest.raises(UnsafePath, match=r'"notes\.txt" and another name'):
        sink.store(chunks(sink.manifest)[-1:])
    with pytest.raises(UnsafePath, match='"data" and another name'):
        parts_of(sink).make_folders()
    sink.discard()


def test_a_cut_file_is_not_published(to: Path) -> None:
    """P1: a file that has lost bytes in the staging folder is not published."""
    sink = sink_to(to)
    sink.store(chunks(sink.manifest))
    os.truncate(to / ".nbferry/t1/data/data/b/c", 5)
    with pytest.raises(StorageError, match="lost data"):
        sink.publish(DIGEST)
    sink.discard()
    assert everything(to) == {}


@pytest.mark.parametrize("there", ["file", "file above"])
def test_a_file_where_the_destination_should_be(tmp_path: Path, there: str) -> None:
    """A destination that is a file, or below one, is an error with a hint; discarding then does nothing."""
    (tmp_path / "file").write_bytes(b"mine")
    to = tmp_path / "file" if there == "file" else tmp_path / "file/to"
    sink = sink_to(to, prepared=False)
    with pytest.raises(StorageError) as caught:
        sink.prepare()
    assert "choose another folder" in caught.value.hint
    sink.discard()
    assert everything(tmp_path) == {"file": b"mine"}


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """A name that fits an offer but not this folder is refused before anything is written."""
    deep = tmp_path
    while len(str(deep)) < 3000:
        deep /= "d" * 200
    sink = sink_to(deep, Manifest.of([Entry("/".join(["n" * 200] * 6), 1)], CHUNK), prepared=False)
    with pytest.raises(StorageError, match="too long") as caught:
        sink.prepare()
    assert "shorter" in caught.value.hint
    assert everything(tmp_path) == {}


# ------------------------------------------------------------------ a full disk
def test_no_room_to_begin_with(to: Path) -> None:
    """Without room nothing is made, not even the destination; the error says how much is missing."""
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
    """A full disk, or quota, is told with what is missing; later the same chunks are stored again, and all is well."""
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
    """What is stored needs no more room."""
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
    """A failure in the middle of preparing takes everything away again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nbferry.storage.folder.staged_files.StagedFiles.make_folders", full)
    sink = sink_to(to, prepared=False)
    with pytest.raises(DiskFull):
        sink.prepare()
    assert not to.parent.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EFBIG])
def test_writing_fails(to: Path, number: int) -> None:
    """Any other error of a write is told in a sentence with a hint; EIO alone is tried once more."""
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


# ------------------------------------------------------------------ durability
class Flushes:
    """Remembers what was flushed, by inode, and can be told to fail."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.failing = False

    def __call__(self, fd: int) -> None:
        """Flush one file or folder."""
        if self.failing:
            raise OSError(errno.EIO, "Input/output error")
        self.done.append(os.fstat(fd).st_ino)

    def disk(self) -> Disk:
        """A disk on which flushes are seen one by one."""
        return replace(REAL_DISK, sync=self, sync_whole=lambda _: False)


def test_each_file_is_flushed_once(to: Path) -> None:
    """sync() flushes what was written since the last, and the folders in which files appeared."""
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
    """What is stored while sync() runs is flushed by the next one."""
    entered, go_on = Event(), Event()
    flushed: list[int] = []

    def slow(fd: int) -> None:
        flushed.append(os.fstat(fd).st_ino)
        entered.set()
        go_on.wait(10)

    go_on.set()
    sink = sink_to(to, disk=replace(REAL_DISK, sync=slow))
    offered = chunks(sink.manifest)
    sink.store(offered[1:2])
    go_on.clear()
    entered.clear()
    flushing = Thread(target=sink.sync)
    flushing.start()
    assert entered.wait(10)
    sink.store(offered[2:3])
    go_on.set()
    flushing.join()
    flushed.clear()
    sink.sync()
    (journal,) = (to / ".nbferry/t1").glob("have.*.log")
    assert flushed == [(to / ".nbferry/t1/data/data/b/c").stat().st_ino, journal.stat().st_ino]
    sink.discard()


@pytest.mark.parametrize("trusted", [True, False])
def test_many_files_are_flushed_at_once(to: Path, trusted: bool) -> None:
    """Many files take one flush of the whole file system; where that is not enough, each is flushed as well."""
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


def test_a_failed_flush_unstores(to: Path) -> None:
    """After a failed flush only what was durable counts; the rest is stored again, through a new descriptor."""
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
    """A write that was lost anywhere on the file system is not ignored."""

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
    """A write that is reported lost only when the file is closed, as on NFS, fails the next flush."""
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


class Crash(BaseException):
    """The process ends here."""


def crashing(calls: int) -> Disk:
    """A disk on which the process ends at a flush."""
    left = calls

    def sync(_: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    return replace(REAL_DISK, sync=sync, sync_whole=lambda _: False)


def crashes(to: Path, overwrite: Overwrite) -> Iterator[int]:
    """Publish into the same folder anew, ending at one flush after the other, until it comes to an end."""
    for calls in range(100):
        sink = sink_to(to, overwrite=overwrite, disk=crashing(calls), prepared=False)
        try:
            sink.prepare()
            sink.store(chunks(sink.manifest))
            sink.publish(DIGEST)
        except Crash:
            yield calls
            sink.close()
        else:
            return


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE])
def test_a_crash_leaves_nothing_or_complete_files(to: Path, overwrite: Overwrite) -> None:
    """P1: wherever publishing ends, what is at the destination is complete; what was there is there or replaced."""
    (to / "data/b").mkdir(parents=True)
    (to / "data/b/c").write_bytes(b"old")
    points = 0
    for points in crashes(to, overwrite):  # noqa: B007  # counted
        for path, found in everything(to).items():
            if found is not None and not path.startswith(".nbferry"):
                name = path.replace(" (1)", "").replace(" (2)", "")
                assert found == FILES[name] or (path == "data/b/c" and found == b"old")
    assert points >= 8


def test_going_on_after_a_crash(to: Path) -> None:
    """A new sink goes on with what an earlier one made durable, and is given only the rest."""
    offered = chunks(manifest())
    first = sink_to(to)
    first.store(offered[:3])
    first.sync()
    first.store(offered[3:4])
    second = sink_to(to, resume=True)
    assert second.have == RangeSet.span(0, 3)
    assert b"".join(leaves for _, leaves in second.leaves()) == b"".join(
        chunk.digest for chunk in offered[:3]
    )
    second.store(offered[3:])
    second.publish(DIGEST)
    assert visible(to) == PUBLISHED
    first.close()


def test_resuming_fails_without_loss(to: Path) -> None:
    """If a transfer cannot be resumed now, what was stored stays for the next attempt."""
    first = sink_to(to)
    first.store(chunks(first.manifest)[:3])
    first.sync()
    first.close()
    before = everything(to)
    full = replace(REAL_DISK, free=lambda _: 0)
    with pytest.raises(DiskFull):
        sink_to(to, resume=True, disk=full)
    (to / "notes.txt").write_bytes(b"mine")
    with pytest.raises(DestinationExists):
        sink_to(to, resume=True, overwrite=Overwrite.REFUSE)
    (to / "notes.txt").unlink()
    assert everything(to) == before


def test_starting_afresh(to: Path) -> None:
    """Without a record of what is stored, what an earlier run left is thrown away."""
    first = sink_to(to)
    first.store(chunks(first.manifest))
    first.close()
    sink_to(to).close()
    assert ".nbferry/t1/data/notes.txt" not in everything(to)


def test_publishing_again_after_a_failure(to: Path) -> None:
    """A flush that fails after the move is told; publishing again then ends well."""
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


def test_discarding_while_a_thread_stores(to: Path) -> None:
    """A cancelled transfer leaves nothing, even if a thread is in the middle of a chunk."""
    entered, go_on = Event(), Event()
    outcome: list[object] = []

    def write(fd: int, data: memoryview, offset: int) -> int:
        entered.set()
        go_on.wait(10)
        return os.pwrite(fd, data, offset)

    sink = sink_to(to, disk=replace(REAL_DISK, write=write))

    def work() -> None:
        try:
            outcome.append(sink.store(chunks(sink.manifest)))
        except LocalProtocolError as error:
            outcome.append(error)

    thread = Thread(target=work)
    thread.start()
    assert entered.wait(10)
    sink.discard()
    go_on.set()
    thread.join()
    assert isinstance(outcome[0], LocalProtocolError)
    assert everything(to) == {}
