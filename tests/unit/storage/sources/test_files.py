"""What is offered of a disk, and what happens when it changes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time_ns

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import LocalProtocolError, SourceChanged, StorageError, UnsafePath
from nbferry.limits import GiB, KiB, MiB
from nbferry.model.manifest import MAX_SIZE
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch
from nbferry.storage.disk.system import read_into
from nbferry.storage.sources.digest_cache import SETTLED, DigestCache
from nbferry.storage.sources.files import FileSource, offer_of
from nbferry.storage.sources.scan import Scan

CHUNK = 4 * KiB


def offer(*paths: Path | str, follow_symlinks: bool = False, max_entries: int = 1000) -> FileSource:
    """Offer these in chunks of 4 KiB."""
    return offer_of(paths, chunk_size=CHUNK, follow_symlinks=follow_symlinks, max_entries=max_entries)


def listed(source: FileSource) -> list[str]:
    """The paths of an offer, folders with a slash at their end."""
    return [entry.path + "/" * entry.folder for entry in source.manifest.entries]


def read(source: FileSource, *chunks: int) -> RangeSet:
    """Read some chunks."""
    return source.read(RangeSet.of(*chunks), ChunkBatch(bytearray(MiB), MiB))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder with files and folders in it."""
    root = tmp_path / "trips"
    (root / "b/empty").mkdir(parents=True)
    for path in ("z.csv", "a.csv", "b/x.csv", "b/.hidden"):
        (root / path).write_bytes(path.encode())
    return root


# ------------------------------------------------------------------ what is offered
def test_a_folder_goes_by_its_name(tree: Path) -> None:
    """A folder is offered with all that is in it, sorted, empty folders too; a file by its own name."""
    folder = [
        "trips/",
        "trips/a.csv",
        "trips/b/",
        "trips/b/.hidden",
        "trips/b/empty/",
        "trips/b/x.csv",
        "trips/z.csv",
    ]
    assert listed(offer(tree)) == folder
    assert listed(offer(tree / "b/x.csv", tree)) == ["x.csv", *folder]
    assert listed(offer(str(tree) + "/")) == folder


def test_sizes_times_modes(tree: Path) -> None:
    """An entry says how large, how old and whether executable a file is, and how old a folder is."""
    os.utime(tree / "a.csv", ns=(1, 1_234_567_890_123_456_789))
    os.utime(tree / "b", ns=(1, -5))
    (tree / "z.csv").chmod(0o755)
    entries = {entry.path: entry for entry in offer(tree).manifest.entries}
    assert entries["trips/a.csv"].size == 5
    assert entries["trips/a.csv"].mtime_ns == 1_234_567_890_123_456_789
    assert entries["trips/b"].mtime_ns == -5
    assert [path for path, entry in entries.items() if entry.executable] == ["trips/z.csv"]


def test_dots_stand_for_real_names(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder and those above go by their real names."""
    monkeypatch.chdir(tree / "b")
    assert listed(offer("."))[0] == "b/"
    assert listed(offer(".."))[0] == "trips/"
    assert listed(offer("empty/.."))[0] == "b/"
    assert listed(offer("./x.csv")) == ["x.csv"]


def test_the_root_cannot_be_sent() -> None:
    """A whole file system has no name and is no offer."""
    with pytest.raises(StorageError, match="whole file system"):
        offer("/")


def test_nothing_there(tmp_path: Path) -> None:
    """What is missing is named, with a hint on where one is."""
    for path in (tmp_path / "mis\x1bsing", tmp_path / "missing/file", tmp_path / "nul\0"):
        with pytest.raises(StorageError, match="no file or folder") as caught:
            offer(path)
        assert str(Path.cwd()) in caught.value.hint
        assert str(caught.value).isprintable()


def test_a_link_to_itself(tmp_path: Path) -> None:
    """What the system cannot look at is an error with its reason."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match=r'Looking at ".*loop" failed: Too many'):
        offer(tmp_path / "loop")


def test_two_of_one_name(tree: Path) -> None:
    """Two things with the same name cannot be sent at once; the message names both."""
    (tree / "b/trips").mkdir()
    with pytest.raises(StorageError, match=r"trips.*trips/b/trips.*same name"):
        offer(tree, tree / "b/trips")
    with pytest.raises(StorageError, match="same name"):
        offer(tree, tree)


@pytest.mark.parametrize("name", ["new\nline", "a:b", "aux", "trailing.", "GIT~1", "\udcff"], ids=ascii)
def test_names_that_no_receiver_would_take(tree: Path, name: str) -> None:
    """T10, T11: the sender learns at once, not the receiver, and is told to rename."""
    (tree / name).write_bytes(b"")
    for path in (tree, tree / name):
        with pytest.raises(UnsafePath) as caught:
            offer(path)
        assert caught.value.hint == "Rename it, then send again."
        assert str(caught.value).isprintable()


def test_names_that_are_one_elsewhere(tree: Path) -> None:
    """T09: files that differ in case alone cannot be sent together."""
    (tree / "A.CSV").write_bytes(b"")
    with pytest.raises(UnsafePath, match=r"A\.CSV.*a\.csv.*same name"):
        offer(tree)


def test_too_many(tree: Path) -> None:
    """There is a bound to the number of files and folders, which is said."""
    assert len(offer(tree, max_entries=7).manifest.entries) == 7
    with pytest.raises(StorageError, match="more than 6 files"):
        offer(tree, max_entries=6)


def test_too_deep(tmp_path: Path) -> None:
    """A tree that is deeper than any receiver takes is refused before it is walked to its end."""
    deep = tmp_path / "d"
    for _ in range(70):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(UnsafePath, match="64 folders deep"):
        offer(tmp_path / "d")


def test_an_impossible_size(tmp_path: Path) -> None:
    """A sparse file larger than 2^53 bytes is refused, as every receiver would."""
    with pytest.raises(StorageError, match="is larger than"):
        Scan(follow_symlinks=False, max_entries=1)._add_entry(
            "x", os.stat_result((0o100644, 1, 1, 1, 0, 0, MAX_SIZE + 1, 0, 0, 0))
        )


def test_a_terabyte_is_offered_without_reading(tmp_path: Path) -> None:
    """A sparse file of a terabyte is offered at once, and its last chunk can be read."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1024 * GiB)
    source = offer_of([tmp_path / "big"], chunk_size=MiB)
    assert source.manifest.chunk_count == 1 << 20
    assert source.digests(RangeSet.of((1 << 20) - 1)) == {(1 << 20) - 1: chunk_digest(bytes(MiB))}
    source.close()


# ------------------------------------------------------------------ links and what is no file (T13)
def special(kind: str, path: Path) -> None:
    """Make something that is neither a file nor a folder."""
    if kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            os.chdir(path.parent)
            made.bind(path.name)


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_files(tree: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T13: pipes, sockets and devices are skipped in a folder, and an error when they are named; none is opened."""
    monkeypatch.chdir(tree)
    special(kind, tree / "special")
    source = offer(tree)
    assert "trips/special" not in listed(source)
    assert [skipped.path for skipped in source.skipped] == ["trips/special"]
    for path in (tree / "special", "/dev/null"):
        with pytest.raises(StorageError, match="not a file"):
            offer(path)


def test_links_are_skipped(tree: Path) -> None:
    """T13: links in a folder are left out and listed, wherever they point."""
    (tree / "inside").symlink_to("a.csv")
    (tree / "outside").symlink_to("/etc")
    (tree / "dangling").symlink_to("nowhere")
    source = offer(tree)
    assert listed(source) == listed(offer(tree))
    assert [tuple(skipped) for skipped in source.skipped] == [
        ("trips/dangling", "a link"),
        ("trips/inside", "a link"),
        ("trips/outside", "a link"),
    ]


def test_links_are_followed_on_demand(tree: Path, tmp_path: Path) -> None:
    """With follow_symlinks what a link points to is sent; loops and dangling links are skipped."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_bytes(b"linked")
    (tree / "file").symlink_to("a.csv")
    (tree / "folder").symlink_to("../other")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "b/loop").symlink_to("..")
    source = offer(tree, follow_symlinks=True)
    assert {"trips/file", "trips/folder/", "trips/folder/file"} <= set(listed(source))
    assert [skipped.path for skipped in source.skipped] == ["trips/b/loop", "trips/dangling"]
    at = listed(source).index("trips/folder/file")
    assert source.digests(RangeSet.span(*source.manifest.chunks_of(at))).popitem()[1] == chunk_digest(
        b"linked"
    )
    source.close()


def test_a_link_that_is_named_is_followed(tree: Path, tmp_path: Path) -> None:
    """A link that the user names is sent under its name with what it points to."""
    (tmp_path / "latest").symlink_to("trips")
    (tmp_path / "latest.csv").symlink_to("trips/a.csv")
    assert listed(offer(tmp_path / "latest"))[:2] == ["latest/", "latest/a.csv"]
    source = offer(tmp_path / "latest.csv")
    assert source.digests(RangeSet.of(0)) == {0: chunk_digest(b"a.csv")}
    source.close()


def test_what_programs_obey_stays_here(tree: Path) -> None:
    """T08: `.git` and our own state are skipped in a folder, and refused when they are named."""
    for name in (".git", ".nbferry"):
        (tree / "b" / name).mkdir()
        (tree / "b" / name / "x").write_bytes(b"")
    source = offer(tree)
    assert [skipped.path for skipped in source.skipped] == ["trips/b/.git", "trips/b/.nbferry"]
    with pytest.raises(UnsafePath):
        offer(tree / "b/.git")


def test_a_folder_that_cannot_be_read(tree: Path) -> None:
    """A folder that cannot be listed is an error, not an empty folder."""
    scan = Scan(follow_symlinks=False, max_entries=10)
    with pytest.raises(StorageError, match="Reading the folder"):
        scan._add_folder("gone", str(tree / "gone"), tree.stat(), ())


# ------------------------------------------------------------------ what changes (T47)
def grow(path: Path) -> None:
    """Append to a file."""
    with path.open("ab") as file:
        file.write(b"more")


def keep_times(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file and set its time back."""
    before = path.stat().st_mtime_ns
    change(path)
    os.utime(path, ns=(before, before))


def backdate(path: Path) -> None:
    """Set another time."""
    os.utime(path, ns=(5, 5))


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in a file's place."""
    path.unlink()
    make(path)


def replace_by_twin(path: Path) -> None:
    """Rename another file of the same size onto it."""
    twin = path.with_name("twin")
    twin.write_bytes(bytes(path.stat().st_size))
    twin.rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "grown": lambda path: keep_times(path, grow),
    "cut": lambda path: keep_times(path, lambda path: os.truncate(path, 10)),
    "rewritten": backdate,
    "replaced": lambda path: keep_times(path, replace_by_twin),
    "removed": lambda path: path.unlink(),
    "folder removed": lambda path: path.parent.rename(path.parent.parent / "moved"),
    "link": lambda path: replace_by(path, lambda path: path.symlink_to("/etc/passwd")),
    "link to itself": lambda path: replace_by(path, lambda path: path.symlink_to(path)),
    "pipe": lambda path: replace_by(path, os.mkfifo),
    "folder": lambda path: replace_by(path, lambda path: path.mkdir()),
    "socket": lambda path: replace_by(path, lambda path: special("socket", path)),
}


@pytest.mark.parametrize("opened", [False, True], ids=["before it is opened", "while it is open"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, opened: bool) -> None:
    """A file that is no longer the one that was offered is an error that names it, never other bytes."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "da\x7fta"
    path.write_bytes(b"x" * 9 * KiB)
    path = path.rename(folder / "data")
    source = offer(folder)
    if opened:
        assert read(source, 0) == RangeSet.of(0)
        if change not in ("grown", "cut", "rewritten"):
            source._files.drop(1)  # as happens to the file unused for longest
    CHANGES[change](path)
    for attempt in (read, lambda source, chunk: source.digests(RangeSet.of(chunk))):
        with pytest.raises(SourceChanged, match='"folder/data"'):
            attempt(source, 1)
    source.close()


def test_changed_while_it_is_read(tmp_path: Path) -> None:
    """A change between two chunks of one batch is found after the batch was read."""
    path = tmp_path / "data"
    path.write_bytes(b"x" * 3 * CHUNK)
    source = offer(path)

    class Meddling(ChunkBatch):
        def commit(self, chunk: int, digest: bytes) -> None:
            super().commit(chunk, digest)
            os.utime(path, ns=(5, 5))

    with pytest.raises(SourceChanged):
        source.read(RangeSet.span(0, 3), Meddling(bytearray(MiB), MiB))
    source.close()


def test_cut_while_it_is_read(tmp_path: Path) -> None:
    """A file that ends too early is an error, not a short chunk."""
    path = tmp_path / "data"
    path.write_bytes(b"x" * 3 * CHUNK)
    source = offer(path)

    class Meddling(ChunkBatch):
        def reserve(self, chunk: int, length: int) -> list[memoryview] | None:
            os.truncate(path, CHUNK + 1)
            return super().reserve(chunk, length)

    with pytest.raises(SourceChanged):
        source.read(RangeSet.span(1, 3), Meddling(bytearray(MiB), MiB))
    source.close()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """An error of the system is translated, with the file's name on this computer."""
    path = tmp_path / "data"
    path.write_bytes(b"x")
    source = offer(path)
    source._files._opener = lambda _: os.open(tmp_path / ("y" * 300), os.O_RDONLY)
    with pytest.raises(StorageError, match=r'Reading ".*/data" failed') as caught:
        read(source, 0)
    assert type(caught.value) is StorageError
    source.close()


# ------------------------------------------------------------------ open files
def test_few_files_stay_open(tmp_path: Path) -> None:
    """A file that was read to its end is closed; one that was not stays open for the next batch."""
    for number in range(500):
        (tmp_path / f"f{number:03}").write_bytes(b"x")
    (tmp_path / "large").write_bytes(bytes(3 * CHUNK))
    source = offer(*sorted(tmp_path.iterdir()))
    assert len(read(source, *range(502))) == 502
    assert len(source._files) == 1
    read(source, 502)
    assert len(source._files) == 0
    source.close()
    with pytest.raises(LocalProtocolError):
        read(source, 0)


# ------------------------------------------------------------------ drives that fail for a moment
class Reader:
    """Reads from a disk that fails as it is told, and counts."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, fd: int, views: Sequence[memoryview], offset: int) -> int:
        """Fail, or read; 0 in the list of errors is a read that works."""
        self.calls += 1
        if self.errors and (error := self.errors.pop(0)):
            raise OSError(error, os.strerror(error))
        return read_into(fd, views, offset)


def failing(path: Path, *errors: int, cache: DigestCache | None = None) -> tuple[FileSource, Reader]:
    """Offer a file on a disk that fails."""
    scan = Scan(follow_symlinks=False, max_entries=1000)
    scan.add(path)
    reader = Reader(*errors)
    return FileSource(scan, CHUNK, follow_symlinks=False, cache=cache, reader=reader), reader


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a file of three chunks that differ."""
    path = tmp_path / "data"
    path.write_bytes(b"a" * CHUNK + b"b" * CHUNK + b"c")
    return path


WHOLE = RangeSet.span(0, 3)
DIGESTS = {0: chunk_digest(b"a" * CHUNK), 1: chunk_digest(b"b" * CHUNK), 2: chunk_digest(b"c")}


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE], ids=["EIO", "ESTALE"])
@pytest.mark.parametrize("good", range(3))
def test_a_second_chance(data: Path, error: int, good: int) -> None:
    """What fails once is read once more, from where it failed; what was read before is not read again."""
    source, reader = failing(data, *[0] * good, error)
    batch = ChunkBatch(bytearray(MiB), MiB)
    assert source.read(WHOLE, batch) == WHOLE
    assert batch.digests == DIGESTS
    assert bytes(batch.frames()[0]).count(b"a" * CHUNK) == 1
    assert reader.calls == 4
    source, reader = failing(data, *[0] * good, error)
    assert source.digests(WHOLE) == DIGESTS
    assert reader.calls == 4
    source.close()


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([errno.EIO, errno.EIO], StorageError),
        ([errno.ESTALE, errno.EIO], StorageError),
        ([errno.ESTALE, errno.ESTALE], SourceChanged),
        ([errno.EIO, errno.ESTALE], SourceChanged),
        ([errno.ENOMEM], StorageError),
    ],
    ids=str,
)
def test_no_third_chance(data: Path, errors: list[int], kind: type[StorageError]) -> None:
    """What fails again fails for good: a disk with its reason, a file that a network drive lost as changed."""
    source, reader = failing(data, *errors)
    with pytest.raises(StorageError) as caught:
        read(source, 0)
    assert type(caught.value) is kind
    assert reader.calls == len(errors)
    source.close()


def test_lost_and_replaced(data: Path) -> None:
    """A file that is opened again must be the one that was offered."""
    source, reader = failing(data)

    def lose(*_: object) -> int:
        replace_by_twin(data)
        reader.errors = []
        source._reader = reader
        raise OSError(errno.ESTALE, "stale")

    source._reader = lose
    with pytest.raises(SourceChanged):
        read(source, 0)
    assert reader.calls == 0
    source.close()


# ------------------------------------------------------------------ what was hashed before
def cached(tmp_path: Path) -> DigestCache:
    """Open the cache as another process does, some seconds after the last change."""
    later = time_ns() + 2 * SETTLED
    return DigestCache(tmp_path / ".nbferry", clock=lambda: later)


def let_the_clock_tick(path: Path) -> None:
    """Touch a file until the file system's clock has another time for that."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.chmod(0o640)


def test_hashed_once(data: Path, tmp_path: Path) -> None:
    """What one process hashed another does not read again, and does not even open."""
    source, reader = failing(data, cache=cached(tmp_path))
    assert source.digests(RangeSet.of(0, 2)) == {0: DIGESTS[0], 2: DIGESTS[2]}
    source.close()
    source, reader = failing(data, cache=cached(tmp_path))
    assert source.digests(RangeSet.of(0, 2)) == {0: DIGESTS[0], 2: DIGESTS[2]}
    assert reader.calls == len(source._files) == 0
    assert source.digests(WHOLE) == DIGESTS
    assert reader.calls == 1
    assert source.digests(WHOLE) == DIGESTS
    assert reader.calls == 1
    source.close()


def test_what_travels_is_hashed(data: Path, tmp_path: Path) -> None:
    """What is read is hashed whatever the cache knows, and the cache learns from it."""
    source, reader = failing(data, cache=cached(tmp_path))
    for _ in range(2):
        assert read(source, 0, 1) == RangeSet.of(0, 1)
    assert reader.calls == 4
    source.close()
    source, reader = failing(data, cache=cached(tmp_path))
    assert source.digests(WHOLE) == DIGESTS
    assert reader.calls == 1
    source.close()


def test_a_full_batch_is_learnt_from(data: Path, tmp_path: Path) -> None:
    """Of a file that did not fit into a batch the part is known that did."""
    source, _ = failing(data, cache=cached(tmp_path))
    assert source.read(WHOLE, ChunkBatch(bytearray(ChunkBatch.room_for(CHUNK, MiB)), MiB)) == RangeSet.of(0)
    source.close()
    source, reader = failing(data, cache=cached(tmp_path))
    assert source.digests(WHOLE) == DIGESTS
    assert reader.calls == 2
    source.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A file that is no longer the one that was offered is an error, though all its digests are known."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "data"
    path.write_bytes(b"x" * 9 * KiB)
    source = offer_of([folder], chunk_size=CHUNK, cache=cached(tmp_path))
    assert len(source.digests(WHOLE)) == 3
    CHANGES[change](path)
    with pytest.raises(SourceChanged, match='"folder/data"'):
        source.digests(WHOLE)
    source.close()


def test_changed_behind_our_back(data: Path, tmp_path: Path) -> None:
    """Other bytes under the same size and time, which no manifest shows, are not taken for those that are known."""
    source, _ = failing(data, cache=cached(tmp_path))
    assert source.digests(WHOLE) == DIGESTS
    let_the_clock_tick(data)
    keep_times(data, lambda path: path.write_bytes(b"z" * (2 * CHUNK + 1)))
    assert source.digests(RangeSet.of(2)) == {2: chunk_digest(b"z")}
    source.close()


def test_touched_while_it_is_read(data: Path, tmp_path: Path) -> None:
    """What was hashed of a file while something happened to it is not remembered."""
    source, reader = failing(data, cache=cached(tmp_path))

    def touch(fd: int, views: Sequence[memoryview], offset: int) -> int:
        let_the_clock_tick(data)
        return reader(fd, views, offset)

    source._reader = touch
    assert source.digests(RangeSet.of(0)) == {0: DIGESTS[0]}
    source._reader = reader
    assert source.digests(RangeSet.of(0)) == {0: DIGESTS[0]}
    assert reader.calls == 2
    source.close()


def test_links_that_are_followed(tree: Path, tmp_path: Path) -> None:
    """With follow_symlinks it is the file behind a link that is known."""
    (tree / "link").symlink_to("a.csv")
    for _ in range(2):
        source = offer_of([tree], chunk_size=CHUNK, follow_symlinks=True, cache=cached(tmp_path))
        chunks = RangeSet.span(0, source.manifest.chunk_count)
        assert chunk_digest(b"a.csv") in source.digests(chunks).values()
        assert len(set(source.digests(chunks).values())) == len(chunks) - 1
        source.close()
