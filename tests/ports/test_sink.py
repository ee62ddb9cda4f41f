"""The obligations of every sink. Each implementation is a subclass that makes one and reads its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import LocalProtocolError, UnsafePath
from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.storage.base import Sink
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.memory import MemorySink

CHUNK = 4 * KiB
DATA = Random(2).randbytes  # noqa: S311  # the same in every run
FILES = {
    "data/a.bin": DATA(1),
    "data/deep/er/b.bin": DATA(5 * CHUNK + 17),
    "data/empty": b"",
    "data/exact": DATA(2 * CHUNK),
    "notes.txt": b"hello",
}
MANIFEST = Manifest.of(
    [Entry("data", folder=True), *(Entry(path, len(data)) for path, data in FILES.items())], CHUNK
)

Make = Callable[[Manifest], Sink]
Content = Callable[[Sink], Mapping[str, bytes]]


def chunks(files: Mapping[str, bytes], manifest: Manifest) -> list[ChunkData]:
    """All chunks of an offer, in order."""
    found = []
    for chunk in range(manifest.chunk_count):
        index, offset, length = manifest.place(chunk)
        data = memoryview(files[manifest.entries[index].path])[offset : offset + length]
        found.append(ChunkData(chunk, chunk_digest(data), data))
    return found


ALL = chunks(FILES, MANIFEST)
# A sink takes this digest from the receiver and does not check it.
DIGEST = bytes(range(32))
EVERY = RangeSet.span(0, MANIFEST.chunk_count)


def damaged(chunk: ChunkData) -> ChunkData:
    """The same chunk with its last bit flipped."""
    return chunk._replace(data=memoryview(bytes(chunk.data[:-1]) + bytes([chunk.data[-1] ^ 1])))


class SinkConformance:
    """The obligations of :class:`Sink`."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        """Make a sink for a manifest."""
        raise NotImplementedError

    @pytest.fixture
    def content(self, tmp_path: Path) -> Content:
        """The published files, by their paths in the offer."""
        raise NotImplementedError

    @pytest.fixture
    def sink(self, make: Make) -> Iterator[Sink]:
        """A sink that is prepared for ``FILES``."""
        made = make(MANIFEST)
        made.prepare()
        yield made
        made.discard()

    def test_stored_synced_published(self, sink: Sink, content: Content) -> None:
        """All stored chunks are published, byte for byte."""
        assert sink.store(ALL) == EVERY
        sink.sync()
        assert len(sink.publish(DIGEST)) == len(FILES)
        assert content(sink) == FILES

    def test_publish_without_sync(self, sink: Sink, content: Content) -> None:
        """publish() itself makes all chunks durable."""
        sink.store(ALL)
        sink.publish(DIGEST)
        assert content(sink) == FILES

    @pytest.mark.parametrize("seed", range(5))
    def test_any_order_any_number_of_times(self, sink: Sink, content: Content, seed: int) -> None:
        """Chunks may arrive in any order, several at once, and again after a reconnect."""
        random = Random(seed)  # noqa: S311  # the same in every run
        twice = [*ALL, *random.sample(ALL, 5)]
        random.shuffle(twice)
        while twice:
            some = [twice.pop() for _ in range(min(len(twice), random.randrange(1, 4)))]
            assert sink.store(some) == RangeSet.of(*(chunk.chunk for chunk in some))
            sink.sync()
        sink.publish(DIGEST)
        assert content(sink) == FILES

    def test_a_damaged_chunk_is_not_stored(self, sink: Sink, content: Content) -> None:
        """A chunk with a wrong digest is left out, but not its neighbours in the same call."""
        assert sink.store([ALL[0], damaged(ALL[1]), ALL[2]]) == RangeSet.of(0, 2)
        assert sink.store(ALL[1:2]) == RangeSet.of(1)
        sink.store(ALL)
        sink.publish(DIGEST)
        assert content(sink) == FILES

    def test_a_damaged_chunk_does_not_undo_a_good_one(self, sink: Sink, content: Content) -> None:
        """A stored chunk stays, even if a damaged one arrives for its place later."""
        sink.store(ALL)
        assert sink.store([damaged(ALL[1])]) == RangeSet()
        sink.publish(DIGEST)
        assert content(sink) == FILES

    @pytest.mark.parametrize("length", [0, 5, CHUNK - 1, CHUNK + 1, 3 * CHUNK])
    def test_a_chunk_of_another_length_is_not_stored(self, sink: Sink, length: int) -> None:
        """A chunk must have the length in the offer, even if its digest is right (T17, T18)."""
        data = bytes(length)
        assert sink.store([ChunkData(1, chunk_digest(data), memoryview(data))]) == RangeSet()

    @pytest.mark.parametrize("number", [-1, MANIFEST.chunk_count, 1 << 63])
    def test_a_chunk_that_is_not_in_the_offer(self, sink: Sink, number: int) -> None:
        """A chunk number beyond the offer stores nothing (T18)."""
        assert sink.store([ALL[0]._replace(chunk=number)]) == RangeSet()

    def test_nothing_to_store(self, sink: Sink) -> None:
        """An empty list of chunks can be stored and synced."""
        assert sink.store([]) == RangeSet()
        sink.sync()

    def test_publishing_too_early(self, sink: Sink) -> None:
        """publish() raises while a chunk is missing, because calling it then is a bug."""
        sink.store(ALL[1:])
        with pytest.raises(LocalProtocolError):
            sink.publish(DIGEST)

    def test_publishing_twice(self, sink: Sink, content: Content) -> None:
        """Publishing twice publishes once and returns the same paths."""
        sink.store(ALL)
        paths = sink.publish(DIGEST)
        assert sink.finished == DIGEST
        assert sink.publish(DIGEST) == paths
        assert content(sink) == FILES

    def test_a_new_sink(self, sink: Sink) -> None:
        """A new transfer has no chunks and no candidates."""
        assert not sink.have
        assert list(sink.leaves()) == []
        assert sink.candidates == RangeSet()
        assert sink.finished is None
        sink.store(ALL)
        assert sink.check() == RangeSet()

    def test_only_candidates_are_reused(self, sink: Sink) -> None:
        """reuse() takes only candidates."""
        assert sink.reuse([(chunk.chunk, chunk.digest) for chunk in ALL]) == RangeSet()
        assert not sink.have

    def test_an_offer_without_files(self, make: Make, content: Content) -> None:
        """Folders alone can be published."""
        sink = make(Manifest.of([Entry("only", folder=True)], CHUNK))
        sink.prepare()
        assert sink.publish(DIGEST) == ()
        assert content(sink) == {}

    @pytest.mark.parametrize(
        "paths", [["../up"], ["/etc/passwd"], ["a", "A"], ["x", "x/y"], ["ok", ".ssh/k"]]
    )
    def test_unsafe_names(self, make: Make, content: Content, paths: Iterable[str]) -> None:
        """One unsafe name refuses the whole offer before anything is written."""
        sink = make(Manifest.of([Entry(path, 1) for path in paths], CHUNK))
        with pytest.raises(UnsafePath):
            sink.prepare()
        assert content(sink) == {}
        sink.discard()

    def test_room(self, sink: Sink) -> None:
        """The disk has space for a few kilobytes."""
        assert sink.missing_space() == 0

    def test_sync_beside_store(self, sink: Sink, content: Content) -> None:
        """One thread may sync while others store."""
        with ThreadPoolExecutor(4) as pool:
            stores = [pool.submit(sink.store, [chunk]) for chunk in ALL * 3]
            syncs = [pool.submit(sink.sync) for _ in range(10)]
            assert sum(len(store.result()) for store in stores) == 3 * len(ALL)
            assert [sync.result() for sync in syncs] == [None] * 10
        sink.publish(DIGEST)
        assert content(sink) == FILES

    def test_discarding(self, make: Make, content: Content) -> None:
        """discard() removes unpublished files. Before prepare and the second time it does nothing."""
        sink = make(MANIFEST)
        sink.discard()
        sink.prepare()
        sink.store(ALL[:3])
        sink.discard()
        sink.discard()
        assert content(sink) == {}

    def test_discarding_after_publishing(self, sink: Sink, content: Content) -> None:
        """discard() keeps published files."""
        sink.store(ALL)
        sink.publish(DIGEST)
        sink.discard()
        assert content(sink) == FILES

    def test_closing_twice(self, sink: Sink) -> None:
        """close() may be called twice, and before discard()."""
        sink.store(ALL[:3])
        sink.close()
        sink.close()
        sink.discard()


class TestMemorySink(SinkConformance):
    @pytest.fixture
    def make(self) -> Make:
        """A sink without a disk."""
        return MemorySink

    @pytest.fixture
    def content(self) -> Content:
        """Read its memory."""

        def files(sink: Sink) -> Mapping[str, bytes]:
            assert isinstance(sink, MemorySink)
            return sink.files

        return files


class TestFolderSink(SinkConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        """A sink on a real disk."""
        return lambda manifest: FolderSink(manifest, tmp_path / "to", transfer_id="t1")

    @pytest.fixture
    def content(self, tmp_path: Path) -> Content:
        """Read the folder without nbferry's own state."""
        to = tmp_path / "to"
        return lambda _: {
            file.relative_to(to).as_posix(): file.read_bytes()
            for file in to.rglob("*")
            if file.is_file() and ".nbferry" not in file.relative_to(to).parts
        }
