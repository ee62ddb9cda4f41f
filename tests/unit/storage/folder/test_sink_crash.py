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
