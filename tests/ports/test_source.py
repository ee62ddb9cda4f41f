"""The obligations of every source. Each implementation is a subclass that makes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from time import time_ns

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.limits import KiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch, Piece, decode
from nbferry.storage.base import Source
from nbferry.storage.memory import MemorySource
from nbferry.storage.sources.digest_cache import SETTLED, DigestCache
from nbferry.storage.sources.files import offer_of
from nbferry.storage.sources.pages import PageSource
from pages import Lender, page_files

CHUNK = 4 * KiB
FRAME = 64 * KiB
DATA = Random(1).randbytes  # noqa: S311  # the same in every run
FILES = {
    "data/a.bin": DATA(1),
    "data/deep/er/b.bin": DATA(3 * CHUNK + 17),
    "data/empty": b"",
    "data/exact": DATA(2 * CHUNK),
    "notes.txt": b"hello",
}
FOLDERS = ("data", "data/deep", "data/deep/er", "data/nothing in it")

Make = Callable[[Mapping[str, bytes], Sequence[str]], Source]


def pieces(batch: ChunkBatch) -> Iterator[Piece]:
    """Every piece in the frames of a batch."""
    for frame in batch.frames():
        decoded = decode(frame)
        assert isinstance(decoded, Iterator)
        yield from decoded


def read_all(source: Source, *, frame: int = FRAME, room: int = 3 * FRAME) -> dict[str, bytes]:
    """Read to the end and assemble the files from the pieces."""
    manifest = source.manifest
    parts = {index: bytearray(entry.size) for index, entry in enumerate(manifest.entries) if not entry.folder}
    wanted = RangeSet.span(0, manifest.chunk_count)
    while wanted:
        batch = ChunkBatch(bytearray(room), frame)
        done = source.read(wanted, batch)
        assert done == wanted.first(len(done))
        assert done == RangeSet.of(*batch.digests)
        wanted -= done
        for chunk, offset, digest, data in pieces(batch):
            index, start, _ = manifest.place(chunk)
            parts[index][start + offset : start + offset + len(data)] = data
            assert batch.digests[chunk] == digest
    return {manifest.entries[index].path: bytes(part) for index, part in parts.items()}


class SourceConformance:
    """The obligations of :class:`Source`."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        """Make a source of these files and folders, with chunks of 4 KiB."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, make: Make) -> Iterator[Source]:
        """A source of ``FILES``."""
        made = make(FILES, FOLDERS)
        yield made
        made.close()

    def test_the_manifest_is_complete(self, source: Source) -> None:
        """The manifest lists each file with its size and each folder, in order."""
        entries = source.manifest.entries
        assert {entry.path: entry.size for entry in entries if not entry.folder} == {
            path: len(data) for path, data in FILES.items()
        }
        assert {entry.path for entry in entries if entry.folder} == set(FOLDERS)
        assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)

    def test_all_chunks_give_the_files(self, source: Source) -> None:
        """Reading all chunks gives every file, byte for byte."""
        assert read_all(source) == FILES

    def test_chunks_larger_than_a_frame(self, source: Source) -> None:
        """A chunk larger than a frame is spread over several and read whole."""
        assert read_all(source, frame=1000) == FILES

    def test_room_for_one_chunk(self, source: Source) -> None:
        """An empty batch takes one chunk, however small its buffer is."""
        assert read_all(source, frame=1000, room=ChunkBatch.room_for(CHUNK, 1000)) == FILES

    def test_no_room_reads_nothing(self, source: Source) -> None:
        """A full batch stays unchanged."""
        batch = ChunkBatch(bytearray(ChunkBatch.room_for(CHUNK, FRAME)), FRAME)
        longest = max(range(len(FILES) + len(FOLDERS)), key=lambda index: source.manifest.entries[index].size)
        big = RangeSet.span(*source.manifest.chunks_of(longest))
        assert len(source.read(big, batch)) == 1
        assert source.read(big, batch) == RangeSet()

    def test_scattered_chunks(self, source: Source) -> None:
        """Chunks can be read in any selection, from several files at once."""
        batch = ChunkBatch(bytearray(FRAME), FRAME)
        last = source.manifest.chunk_count - 1
        assert source.read(RangeSet.of(2, last), batch) == RangeSet.of(2, last)
        assert [piece.chunk for piece in pieces(batch)] == [2, last]

    def test_nothing_wanted(self, source: Source) -> None:
        """No wanted chunks give no pieces."""
        assert source.read(RangeSet(), ChunkBatch(bytearray(FRAME), FRAME)) == RangeSet()
        assert source.digests(RangeSet()) == {}

    def test_reading_again(self, source: Source) -> None:
        """After a reconnect the same chunks can be read again."""
        assert read_all(source) == read_all(source)

    def test_digests_are_those_of_the_chunks(self, source: Source) -> None:
        """digests() returns the digests of the chunks that read() lays out."""
        count = source.manifest.chunk_count
        batch = ChunkBatch(bytearray(FRAME), FRAME)
        source.read(RangeSet.span(0, count), batch)
        assert source.digests(RangeSet.span(0, count)) == batch.digests

    def test_an_empty_file_has_one_empty_chunk(self, make: Make) -> None:
        """An empty file has the digest of no bytes."""
        source = make({"empty": b""}, ())
        assert source.digests(RangeSet.of(0)) == {0: chunk_digest(b"")}
        assert read_all(source) == {"empty": b""}
        source.close()

    def test_an_empty_folder_has_no_chunks(self, make: Make) -> None:
        """An empty folder alone is a valid offer."""
        source = make({}, ("only",))
        assert source.manifest.chunk_count == 0
        assert [entry.path for entry in source.manifest.entries] == ["only"]
        source.close()

    def test_threads(self, source: Source) -> None:
        """Several threads may read at once."""
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: read_all(source), range(8)))
        assert results == [FILES] * 8

    def test_closing_twice(self, source: Source) -> None:
        """close() may be called twice."""
        source.close()
        source.close()


class TestMemorySource(SourceConformance):
    @pytest.fixture
    def make(self) -> Make:
        """A source without a disk."""
        return lambda files, folders: MemorySource(files, chunk_size=CHUNK, folders=folders)


def write(root: Path, files: Mapping[str, bytes], folders: Sequence[str] = ()) -> list[Path]:
    """Create files and folders. Returns the top-level paths."""
    root.mkdir(exist_ok=True)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return sorted(root.iterdir())


class TestFileSource(SourceConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        """A source on a real disk."""
        return lambda files, folders: offer_of(write(tmp_path, files, folders), chunk_size=CHUNK)


class TestCachedFileSource(SourceConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        """A source on a real disk, whose files an earlier process has hashed."""

        def make(files: Mapping[str, bytes], folders: Sequence[str]) -> Source:
            paths = write(tmp_path / "files", files, folders)
            later = time_ns() + 2 * SETTLED
            for _ in range(2):
                cache = DigestCache(tmp_path / ".nbferry", clock=lambda: later)
                source = offer_of(paths, chunk_size=CHUNK, cache=cache)
                known = source.digests(RangeSet.span(0, source.manifest.chunk_count))
                source.close()
                assert len(known) == source.manifest.chunk_count
            return offer_of(
                paths, chunk_size=CHUNK, cache=DigestCache(tmp_path / ".nbferry", clock=lambda: later)
            )

        return make


class TestPageSource(SourceConformance):
    @pytest.fixture
    def make(self) -> Make:
        """A source of files that a page lends."""

        def make(files: Mapping[str, bytes], folders: Sequence[str]) -> Source:
            lent = page_files(files, tuple(folders), CHUNK)
            lent.lend(Lender(files))
            return PageSource(lent)

        return make
