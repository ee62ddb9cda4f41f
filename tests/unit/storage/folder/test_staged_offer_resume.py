"""A staged offer is resumed with exactly what its journal vouches for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.errors import DiskFull
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.manifest_file import progress_of
from offers import DIGEST, PUBLISHED, everything, manifest, sink_to, visible
from unit.storage.folder.staged_offer_setup import EVERY, OFFER, OFFERED, logs, part, partly, resumed


def test_durable_chunks_are_resumed(to: Path) -> None:
    """The journal vouches exactly for flushed chunks, with their digests, and they need no hashing."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED[:2])
    sink.sync()
    sink.store(OFFERED[2:3])
    sink.close()
    second = resumed(to)
    assert second.have == RangeSet.of(0, 1)
    assert list(second.leaves()) == [(0, OFFERED[0].digest + OFFERED[1].digest)]
    assert second.check() == RangeSet()
    assert progress_of(to, "t1") == (OFFER, RangeSet.of(0, 1))
    second.close()


def test_the_staging_folder_is_gone(to: Path) -> None:
    """If the staging folder is gone, resuming starts from the beginning."""
    partly(to, 0, 1)
    sink_to(to).discard()
    sink = resumed(to)
    assert not sink.have
    sink.store(OFFERED)
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_record_in_the_same_folder(to: Path) -> None:
    """A record in the transfer's folder survives a new start, also one that fails; discarding removes it."""
    root = to / ".nbferry/t1"
    root.mkdir(parents=True)
    (root / "record.json").write_text("{}")
    (root / "data").mkdir()
    (root / "manifest.json.0123456789abcdef.tmp").touch()
    sink = sink_to(to)
    assert sorted(path.name for path in root.iterdir()) == ["data", "manifest.json", "record.json"]
    sink.close()
    offer = manifest({"x" * 250 + "/" + "y" * 250 + "/" + str(n): b"" for n in range(3)})
    with pytest.raises(DiskFull):
        sink_to(to, offer, disk=replace(REAL_DISK, sync=full_at("manifest.json")))
    assert [path.name for path in root.iterdir()] == ["record.json"]
    sink.discard()
    assert everything(to) == {}


def full_at(name: str) -> Callable[[int], None]:
    """A flush that finds the disk full at a file of this name."""

    def sync(fd: int) -> None:
        if name in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")

    return sync


@pytest.mark.parametrize("path", ["data/b/c", "data/a", "notes.txt"])
@pytest.mark.parametrize("kind", ["missing", "cut", "longer", "link", "hard link", "fifo", "folder"])
def test_files_that_contradict(to: Path, path: str, kind: str) -> None:
    """The journal does not count for a file that has changed; it counts for all others, but in doubt."""
    partly(to, *EVERY)
    file, victim = part(to, path), to / "victim"
    data = file.read_bytes()
    victim.write_bytes(data)
    if kind not in ("cut", "longer"):
        file.unlink()
    match kind:
        case "cut":
            os.truncate(file, len(data) - 1)
        case "longer":
            file.write_bytes(data + b"more")
        case "link":
            file.symlink_to(victim)
        case "hard link":
            file.hardlink_to(victim)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            (file / "sub").mkdir(parents=True)
    sink = resumed(to)
    index = [entry.path for entry in OFFER.entries].index(path)
    lost = RangeSet.span(*OFFER.chunks_of(index))
    assert sink.have == EVERY - lost
    assert len(sink.store([OFFERED[chunk] for chunk in lost])) == len(lost)
    assert sink.check() == RangeSet()
    sink.publish(DIGEST)
    assert visible(to) == {**PUBLISHED, "victim": data}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_owner(to: Path) -> None:
    """T05: a file of another owner is not written to, and the journal does not vouch for it."""
    partly(to, *EVERY)
    os.chown(part(to, "notes.txt"), 12345, 12345)
    sink = resumed(to)
    assert sink.have == EVERY - RangeSet.of(len(OFFERED) - 1)
    sink.discard()


def test_staged_bytes_need_no_more_room(to: Path) -> None:
    """Bytes in the staging folder need no more room, even if no journal vouches for them."""
    partly(to, *EVERY)
    for log in logs(to):
        log.unlink()
    small = part(to, "data/empty")
    small.unlink()
    sink = resumed(to, disk=replace(REAL_DISK, free=lambda _: 0))
    assert sink.missing_space() == 0
    sink.discard()
