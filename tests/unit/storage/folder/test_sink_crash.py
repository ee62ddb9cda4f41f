"""A sink that ends in the middle leaves complete files, and the next one resumes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from nbferry.errors import DestinationExists, DiskFull, LocalProtocolError
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK, Disk
from offers import DIGEST, FILES, PUBLISHED, chunks, everything, manifest, sink_to, visible
from unit.storage.folder.failing_disk import Crash


def crashing(calls: int) -> Disk:
    """A disk on which the process stops after so many flushes."""
    left = calls

    def sync(_: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    return replace(REAL_DISK, sync=sync, sync_whole=lambda _: False)


def crashes(to: Path, overwrite: Overwrite) -> Iterator[int]:
    """Publish into one folder many times, stopped at a later flush each time, until publishing ends."""
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
    """P1: wherever publishing stops, files at the destination are complete, either old or new."""
    (to / "data/b").mkdir(parents=True)
    (to / "data/b/c").write_bytes(b"old")
    points = 0
    # The last value counts how often publishing was stopped.
    for points in crashes(to, overwrite):  # noqa: B007
        for path, found in everything(to).items():
            if found is not None and not path.startswith(".nbferry"):
                name = path.replace(" (1)", "").replace(" (2)", "")
                assert found == FILES[name] or (path == "data/b/c" and found == b"old")
    assert points >= 8


def test_resuming_after_a_crash(to: Path) -> None:
    """A new sink resumes with the durable chunks of an earlier one, and needs only the others."""
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
    """If resuming fails, stored chunks stay for the next attempt."""
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


def test_starting_without_resuming(to: Path) -> None:
    """A sink that does not resume removes the files of an earlier run."""
    first = sink_to(to)
    first.store(chunks(first.manifest))
    first.close()
    sink_to(to).close()
    assert ".nbferry/t1/data/notes.txt" not in everything(to)


def test_discarding_while_a_thread_stores(to: Path) -> None:
    """Discarding leaves no file, even while a thread stores a chunk."""
    entered, proceed = Event(), Event()
    outcome: list[object] = []

    def write(fd: int, data: memoryview, offset: int) -> int:
        entered.set()
        proceed.wait(10)
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
    proceed.set()
    thread.join()
    assert isinstance(outcome[0], LocalProtocolError)
    assert everything(to) == {}
