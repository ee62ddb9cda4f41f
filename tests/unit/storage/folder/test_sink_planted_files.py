"""A sink refuses links, swapped files and unusable destinations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbferry.errors import StorageError, UnsafePath
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from offers import CHUNK, DIGEST, PUBLISHED, chunks, everything, sink_to, visible
from unit.storage.folder.sink_setup import parts_of


@pytest.mark.parametrize(
    ("planted", "target"), [(".nbferry", "../../victim"), (".nbferry/t1", "../../../victim")]
)
def test_planted_links(to: Path, planted: str, target: str) -> None:
    """T04: the sink refuses a link in place of the state or staging folder, and leaves its target alone."""
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
    """The sink follows a link that the receiver named as the destination."""
    to.parent.mkdir()
    (tmp_path / "real").mkdir()
    to.symlink_to(tmp_path / "real")
    sink = sink_to(to)
    sink.store(chunks(sink.manifest))
    sink.publish(DIGEST)
    assert visible(tmp_path / "real") == PUBLISHED


def tamper(to: Path, kind: str) -> None:
    """Replace the unfinished notes.txt by something else."""
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
    """T05: the sink does not write to a replacement of an unfinished file, nor to the target of a link."""
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
    """T05: the sink removes a replacement of an unfinished file, and fetches the file again."""
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
    """T04: the sink does not follow a link in place of a folder that it made."""
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
    """T09: the sink refuses two names that this file system takes for one."""
    sink = sink_to(to)
    (to / ".nbferry/t1/data/notes.txt").write_bytes(b"")
    with pytest.raises(UnsafePath, match=r'"notes\.txt" and another name'):
        sink.store(chunks(sink.manifest)[-1:])
    with pytest.raises(UnsafePath, match='"data" and another name'):
        parts_of(sink).make_folders()
    sink.discard()


def test_a_cut_file_is_not_published(to: Path) -> None:
    """P1: the sink does not publish a file that has lost bytes in the staging folder."""
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
    """The sink refuses a path that is too long in this folder before it writes."""
    deep = tmp_path
    while len(str(deep)) < 3000:
        deep /= "d" * 200
    sink = sink_to(deep, Manifest.of([Entry("/".join(["n" * 200] * 6), 1)], CHUNK), prepared=False)
    with pytest.raises(StorageError, match="too long") as caught:
        sink.prepare()
    assert "shorter" in caught.value.hint
    assert everything(tmp_path) == {}
