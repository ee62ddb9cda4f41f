"""What is said of an unfinished transfer, from what lies in its staging folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.manifest_file import (
    MAX_MANIFEST_BYTES,
    progress_of,
    read_manifest,
    write_manifest,
)
from offers import DIGEST, chunks, everything, manifest, sink_to

OFFER = manifest()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Receive a part into a folder, and stop."""
    to = tmp_path / "to"
    sink = sink_to(to, OFFER)
    sink.store(chunks(OFFER)[:2])
    sink.sync()
    sink.store(chunks(OFFER)[2:])
    sink.close()
    return to


def test_what_is_there(to: Path) -> None:
    """The offer and what is durable of it are told; nothing is changed, nothing is hashed."""
    before = everything(to)
    assert read_manifest(to, "t1") == (OFFER.id, OFFER)
    assert progress_of(to, "t1") == (OFFER, RangeSet.of(0, 1))
    assert everything(to) == before


def test_what_is_verified(to: Path) -> None:
    """A transfer that waits to be published is whole."""
    sink = sink_to(to, OFFER)
    sink.store(chunks(OFFER))
    sink.publish(DIGEST)
    sink.close()
    assert progress_of(to, "t1") == (OFFER, RangeSet.span(0, OFFER.chunk_count))


@pytest.mark.parametrize("missing", ["transfer", "manifest", "state", "destination"])
def test_nothing_is_there(to: Path, missing: str) -> None:
    """Without a manifest nothing is known."""
    transfer = "t2" if missing == "transfer" else "t1"
    match missing:
        case "manifest":
            (to / ".nbferry/t1/manifest.json").unlink()
        case "state":
            (to / ".nbferry").rename(to / "moved")
        case "destination":
            to = to / "nowhere"
    assert read_manifest(to, transfer) is None
    assert progress_of(to, transfer) is None


def test_as_a_stranger_reads_it(to: Path) -> None:
    """The manifest is JSON: a version, the id, the size of a chunk, and the entries as they travel."""
    fields = json.loads((to / ".nbferry/t1/manifest.json").read_bytes())
    assert fields == {
        "version": 1,
        "id": OFFER.id,
        "chunk_size": OFFER.chunk_size,
        "entries": [entry.to_wire() for entry in OFFER.entries],
    }
    assert (to / ".nbferry/t1/manifest.json").stat().st_mode & 0o777 == 0o600


GOOD = {
    "version": 1,
    "id": OFFER.id,
    "chunk_size": OFFER.chunk_size,
    "entries": [entry.to_wire() for entry in OFFER.entries],
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**GOOD, "id": "0" * 32}).encode(),
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "chunk_size": 0}).encode(),
        json.dumps({**GOOD, "chunk_size": OFFER.chunk_size * 2}).encode(),
        json.dumps({**GOOD, "entries": [5]}).encode(),
        json.dumps({**GOOD, "entries": GOOD["entries"][1:]}).encode(),  # type: ignore[index]
    ],
)
def test_a_damaged_manifest(to: Path, content: bytes) -> None:
    """A manifest that is not exactly the one that was written is none; resuming writes it anew."""
    file = to / ".nbferry/t1/manifest.json"
    file.write_bytes(content)
    assert read_manifest(to, "t1") is None
    sink_to(to, OFFER, resume=True).close()
    assert read_manifest(to, "t1") == (OFFER.id, OFFER)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "huge"])
def test_a_planted_manifest(to: Path, kind: str) -> None:
    """T04: a link, a pipe or a file without end is not read."""
    file = to / ".nbferry/t1/manifest.json"
    moved = file.rename(to / "moved")
    match kind:
        case "link":
            file.symlink_to(moved)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "huge":
            file.touch()
            os.truncate(file, MAX_MANIFEST_BYTES + 1)
    assert read_manifest(to, "t1") is None
    assert progress_of(to, "t1") is None


def test_a_planted_staging_folder(to: Path) -> None:
    """T04: a staging folder behind a link is not looked into."""
    (to / ".nbferry/t1").rename(to / "moved")
    (to / ".nbferry/t1").symlink_to(to / "moved")
    assert read_manifest(to, "t1") is None


def test_any_name(tmp_path: Path) -> None:
    """Names that are no text in UTF-8 survive, too."""
    odd = Manifest.of([Entry("a\udcff\n", 1), Entry("é", 2)], 4096)
    with Directory.open(tmp_path) as root:
        write_manifest(root, odd, os.fsync)
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    (tmp_path / ".nbferry").mkdir()
    (tmp_path / ".nbferry/t1").symlink_to(tmp_path)
    assert read_manifest(tmp_path, "t1") is None
    (tmp_path / ".nbferry/t1").unlink()
    (tmp_path / ".nbferry/t1").mkdir()
    (tmp_path / "manifest.json").rename(tmp_path / ".nbferry/t1/manifest.json")
    assert read_manifest(tmp_path, "t1") == (odd.id, odd)


def test_it_is_written_once(to: Path) -> None:
    """A manifest that is there already is left as it is."""
    before = (to / ".nbferry/t1/manifest.json").stat()
    sink_to(to, OFFER, resume=True).close()
    assert (to / ".nbferry/t1/manifest.json").stat().st_ino == before.st_ino
