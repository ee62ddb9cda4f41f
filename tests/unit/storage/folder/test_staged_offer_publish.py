"""An offer is published completely, wherever an earlier run was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nbferry.errors import LocalProtocolError
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk import rename
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.rename import RenameMethod, by_link, by_placeholder, by_rename
from nbferry.storage.disk.system import REAL_DISK, rename_exclusively
from offers import DIGEST, FILES, PUBLISHED, everything, sink_to, visible
from unit.storage.folder.failing_disk import Crash
from unit.storage.folder.staged_offer_setup import EVERY, OFFER, OFFERED, resumed


class Steps:
    """Counts the steps that change the disk, and stops the process before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 30
        for name in ("make", "unlink", "replace", "rmdir"):
            patch.setattr(Directory, name, self.counted(getattr(Directory, name)))
        create = self.counted(Directory.file)

        def file(folder: Directory, name: str, flags: int) -> int:
            opened: int = (create if flags & os.O_CREAT else plain)(folder, name, flags)
            return opened

        plain = Directory.file
        patch.setattr(Directory, "file", file)
        patch.setattr(os, "link", self.counted(os.link))
        patch.setattr(rename, "rename_exclusively", self.counted(rename_exclusively))
        self.disk = replace(
            REAL_DISK,
            sync=self.counted(lambda _: None),
            write=self.counted(os.pwrite),
            sync_whole=lambda _: False,
        )

    def counted(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted as a step."""

        def step(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return act(*args, **options)

        return step

    def ends(self, act: Callable[[], object], steps: int) -> bool:
        """Whether ``act`` ends within this many steps."""
        self.left = steps
        try:
            act()
        except Crash:
            return False
        finally:
            self.left = 1 << 30
        return True


def before(to: Path, overwrite: Overwrite) -> dict[str, object]:
    """Put files in the way, and return what the destination must contain in the end."""
    if overwrite == Overwrite.REFUSE:
        return dict(PUBLISHED)
    (to / "data/b").mkdir(parents=True)
    for path in ("data/b/c", "data/mine", "notes.txt"):
        (to / path).write_bytes(b"old")
    if overwrite == Overwrite.REPLACE:
        return {**PUBLISHED, "data/mine": b"old"}
    ours = {
        path.replace("data", "data (1)").replace("notes", "notes (1)"): found
        for path, found in PUBLISHED.items()
    }
    return {
        **ours,
        "data": None,
        "data/b": None,
        "data/b/c": b"old",
        "data/mine": b"old",
        "notes.txt": b"old",
    }


WAYS = {"rename": (by_rename,), "link": (by_link, by_placeholder), "place": (by_placeholder,)}


@pytest.mark.parametrize("overwrite", [Overwrite.RENAME, Overwrite.REPLACE, Overwrite.REFUSE])
@pytest.mark.parametrize("way", WAYS)
def test_stopped_while_publishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite, way: str
) -> None:
    """P1, P3: wherever publishing stops, even twice, another run completes it without loss or duplicates."""
    ways: tuple[RenameMethod, ...] = WAYS[way]
    monkeypatch.setattr(rename, "RENAME_METHODS", ways)
    steps = Steps(monkeypatch)
    for first in range(100):
        to = tmp_path / f"to{first}"
        expected = before(to, overwrite)
        sink = sink_to(to, OFFER, overwrite=overwrite, disk=steps.disk)
        sink.store(OFFERED)
        sink.sync()
        ended = steps.ends(lambda sink=sink: sink.publish(DIGEST), first)  # type: ignore[misc]
        sink.close()
        sink = resumed(to, overwrite=overwrite, disk=steps.disk)
        assert sink.have == EVERY
        assert sink.finished in (None, DIGEST)
        steps.ends(lambda sink=sink: sink.publish(DIGEST), 3)  # type: ignore[misc]
        sink.close()
        sink = resumed(to, overwrite=overwrite)
        assert b"".join(leaves for _, leaves in sink.leaves()) == b"".join(each.digest for each in OFFERED)
        paths = sink.publish(DIGEST)
        assert sink.publish(DIGEST) == paths
        assert [path.read_bytes() for path in paths] == list(FILES.values())
        assert visible(to) == expected
        assert {path.stat().st_mtime_ns for path in paths} == {7}
        assert {path.stat().st_nlink for path in paths} == {1}
        sink.discard()
        if ended:
            assert first > 8
            return
    pytest.fail("publishing never ended")


def test_a_verified_transfer_says_so(to: Path) -> None:
    """A later run knows that everything was verified, with every digest, and can publish it."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    sink.publish(DIGEST)
    sink.close()
    sink = resumed(to)
    assert sink.finished == DIGEST
    assert sink.have == EVERY
    assert sink.candidates == RangeSet()
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    sink.discard()
    assert everything(to) == PUBLISHED


def test_a_verified_file_that_is_lost(to: Path) -> None:
    """A verified file that has disappeared is fetched again."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    sink.publish(DIGEST)
    sink.close()
    (to / "notes.txt").unlink()
    sink = resumed(to)
    assert sink.finished is None
    assert sink.have == EVERY - RangeSet.of(len(OFFERED) - 1)
    with pytest.raises(LocalProtocolError):
        sink.publish(DIGEST)
    sink.store(OFFERED[-1:])
    assert sink.check() == RangeSet()
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
    assert (to / "notes.txt").stat().st_mtime_ns == 7
    sink.discard()
