"""The sink compares bytes that may be right already; right ones need not be sent again."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from nbferry.errors import StorageError
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.candidates import CandidateFinder
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.folder.stored_chunks import StoredChunks
from offers import CHUNK, DIGEST, FILES, PUBLISHED, chunks, manifest, sink_to, visible
from unit.storage.folder.failing_disk import Crash, Failing
from unit.storage.folder.staged_offer_setup import EVERY, OFFER, OFFERED, logs, pairs, part, partly, resumed


def test_the_journal_is_lost(to: Path) -> None:
    """Without a journal all staged bytes are candidates; the right ones need not be sent again."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    with part(to, "data/b/c").open("r+b") as file:
        file.seek(CHUNK + 5)
        file.write(b"?")
    sink = resumed(to)
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
    """Only the written parts of a large file are candidates."""
    files = {"large": bytes(range(256)) * 16 * 64}
    offer = manifest(files)
    offered = chunks(offer, files)
    first = sink_to(to, offer)
    first.store([offered[5], offered[40]])
    first.sync()
    first.close()
    for log in logs(to):
        log.unlink()
    sink = resumed(to, offer)
    assert {5, 40} <= set(sink.candidates)
    assert len(sink.candidates) < 32
    sink.discard()


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE])
@pytest.mark.parametrize("resume", [False, True])
def test_an_older_copy(to: Path, overwrite: Overwrite, resume: bool) -> None:
    """The sink copies right chunks from an older copy at the destination, and does not change that copy."""
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
    sink = resumed(to, overwrite=overwrite)
    assert sink.have == RangeSet.of(first, first + 2)
    assert sink.candidates == RangeSet.of(first + 1)
    sink.store([OFFERED[chunk] for chunk in EVERY - sink.have])
    sink.publish(DIGEST)
    top = "data" if overwrite == Overwrite.REPLACE else "data (1)"
    assert (to / top / "b/c").read_bytes() == FILES["data/b/c"]
    sink.discard()


@pytest.mark.parametrize("kind", ["link", "link above", "fifo", "folder", "shorter than a chunk"])
def test_files_that_are_not_older_copies(to: Path, kind: str) -> None:
    """T04: the sink looks only into regular files that it reaches without links."""
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
    """The sink ignores an older copy that changes after it was found."""
    to.mkdir(parents=True)
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
    """The sink tries both of two candidates for one chunk."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    part(to, "notes.txt").write_bytes(b"jello")
    (to / "notes.txt").write_bytes(b"hello")
    sink = resumed(to)
    assert sink.reuse(pairs(len(OFFERED) - 1)) == RangeSet.of(len(OFFERED) - 1)
    assert part(to, "notes.txt").read_bytes() == b"hello"
    sink.discard()


class Watched(StoredChunks):
    """Records which files may be read from the cache when a failed flush is accounted for."""

    def __init__(self, sink: FolderSink) -> None:
        super().__init__()
        self.sink, self.cached = sink, [{-1}]

    def lose(self) -> None:
        """Record the files, then account for the flush."""
        assert self.sink._staged
        self.cached.append(self.sink._staged._candidates._fresh)
        super().lose()


def test_candidates_while_a_flush_fails(to: Path) -> None:
    """After a failed flush the sink trusts no cached file before chunks count again: the disk may differ."""
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
    """A file that was read before a flush failed is read from the disk again after it."""
    forgotten: list[int] = []
    to.mkdir(parents=True)

    class Slow:
        """Staged files, with a flush that fails when the first of them is read."""

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


def test_no_older_copy_is_open_while_publishing(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink closes older copies before it publishes: Windows replaces no open file."""
    to.mkdir(parents=True)
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
