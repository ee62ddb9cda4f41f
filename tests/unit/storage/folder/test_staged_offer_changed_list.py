"""A staged offer is resumed with another list of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK
from offers import DIGEST, FILES, chunks, manifest, sink_to, visible
from unit.storage.folder.failing_disk import Crash
from unit.storage.folder.staged_offer_setup import EVERY, OFFER, OFFERED, pairs, part, partly, resumed

CHANGED = {"data/a": b"b", "data/b/c": FILES["data/b/c"] + b"more", "data/new": b"new", "notes.txt": b"hello"}


def test_the_senders_data_changed(to: Path) -> None:
    """With another list, files that are still in it become candidates and the others are removed."""
    partly(to, *EVERY)
    offer = manifest(CHANGED, "data", mtime_ns=8)
    offered = chunks(offer, CHANGED)
    sink = resumed(to, offer)
    assert not sink.have
    data = to / ".nbferry/t1/data"
    assert sorted(path.name for path in data.rglob("*")) == ["a", "b", "c", "data", "notes.txt"]
    reused = sink.reuse([(chunk.chunk, chunk.digest) for chunk in offered])
    # Three whole chunks of c, and the notes.
    assert reused == RangeSet.of(1, 2, 3, len(offered) - 1)
    sink.store([chunk for chunk in offered if chunk.chunk not in reused])
    sink.publish(DIGEST)
    assert visible(to) == {**CHANGED, "data": None, "data/b": None}


def test_the_senders_data_changed_back(to: Path) -> None:
    """The journal of one list does not count after another list has changed the files."""
    partly(to, *EVERY)
    files = {**FILES, "notes.txt": b"HELLO"}
    other = manifest(files, "data", "data/b", mtime_ns=8)
    sink = resumed(to, other)
    sink.store(chunks(other, files))
    sink.close()
    sink = resumed(to)
    assert not sink.have
    assert len(OFFERED) - 1 not in sink.reuse(pairs(*EVERY))
    sink.discard()


@pytest.mark.parametrize("crash", range(40))
def test_stopped_while_the_list_changes(to: Path, crash: int) -> None:
    """Wherever a run with another list stops, the first list vouches for no byte that this run wrote."""
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
    sink = resumed(to)
    for chunk in sink.have:
        place = OFFER.place(chunk)
        data = part(to, OFFER.entries[place.entry].path).read_bytes()
        assert data[place.offset : place.offset + place.length] == OFFERED[chunk].data
    sink.discard()


def test_a_folder_becomes_a_file_and_a_file_a_folder(to: Path) -> None:
    """The sink removes files and folders that are in the way of the new list."""
    partly(to, *EVERY)
    files = {"data/a/deep": b"x", "data/b": b"y", "notes.txt/z": b"z"}
    offer = manifest(files)
    sink = resumed(to, offer)
    sink.store(chunks(offer, files))
    sink.publish(DIGEST)
    assert {path: found for path, found in visible(to).items() if found is not None} == files
    sink.discard()
