"""A small transfer with recorded storage, and what must hold after a power failure at any point."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from nbferry.crypto.digest import chunk_digest
from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkData
from nbferry.protocol.leaves import Leaves
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.destination import Destination
from nbferry.storage.folder.journal import journal_key
from nbferry.storage.folder.publish import Overwrite
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.records.receipts import read_receipt
from simulation.power import Disks, Files, Recorder, build
from simulation.trees import Tree, tree_of, write_tree

CHUNK = 4 * KiB
TRANSFER = "0123456789ab"
MTIME = 1_600_000_000 * 10**9
DATA = Random(1).randbytes  # noqa: S311  # the same in every run

FILES = {"data/a.bin": DATA(2 * CHUNK + 100), "notes.txt": DATA(CHUNK + 1)}
MANIFEST = Manifest.of(
    [
        Entry("data", mtime_ns=MTIME, folder=True),
        *(Entry(path, len(data), MTIME) for path, data in FILES.items()),
    ],
    CHUNK,
)
OTHER: Tree = {"other.txt": b"not yours"}
OLDER: Tree = {"data": None, "data/a.bin": FILES["data/a.bin"][:-1] + b"?", "notes.txt": b"older"}
NEWER: Tree = {"data": None, **FILES}
BESIDE: Tree = {"data (1)": None, "data (1)/a.bin": FILES["data/a.bin"], "notes (1).txt": FILES["notes.txt"]}

BEFORE: dict[str, Tree] = {
    "rename": OTHER | OLDER,
    "replace": OTHER | OLDER,
    "refuse": OTHER,
}
AFTER: dict[str, Tree] = {
    "rename": OTHER | OLDER | BESIDE,
    "replace": OTHER | NEWER,
    "refuse": OTHER | NEWER,
}
# Files that appear together.
UNITS: dict[str, list[Sequence[str]]] = {
    "rename": [("data (1)", "data (1)/a.bin"), ("notes (1).txt",)],
    "replace": [("data/a.bin",), ("notes.txt",)],
    "refuse": [("data", "data/a.bin"), ("notes.txt",)],
}


def _chunks() -> list[ChunkData]:
    found = []
    for chunk in range(MANIFEST.chunk_count):
        index, offset, length = MANIFEST.place(chunk)
        data = memoryview(FILES[MANIFEST.entries[index].path])[offset : offset + length]
        found.append(ChunkData(chunk, chunk_digest(data), data))
    return found


CHUNKS = _chunks()
KEY = journal_key(TRANSFER, MANIFEST)
EVERY = RangeSet.span(0, MANIFEST.chunk_count)
LEAVES = Leaves(MANIFEST)
LEAVES.update({chunk.chunk: chunk.digest for chunk in CHUNKS})


class Mark(NamedTuple):
    """The progress of a transfer: the chunks reported durable, and whether all was reported as published."""

    durable: RangeSet
    done: bool = False


@dataclass(frozen=True)
class Receiving:
    """The transfer, with one ``overwrite`` setting, and ``step`` chunks between two flushes."""

    overwrite: Overwrite
    step: int = 2

    # ---------------------------------------------------------------- what is recorded
    def record(self, base: Path) -> Recorder:
        """Run the transfer below ``base``. The record has a :class:`Mark` for each report to the sender."""
        to = base / "to"
        write_tree(to, BEFORE[self.overwrite])
        recorder = Recorder(base)
        with recorder.recording():
            self._receive(to, recorder)
        assert tree_of(to) == AFTER[self.overwrite]
        return recorder

    def record_recovery(self, files: Files, base: Path) -> Recorder:
        """Resume below ``base`` from the disk that a power failure left, and record that."""
        build(files, base, KEY)
        recorder = Recorder(base)
        with recorder.recording():
            self._resume(base / "to", recorder.disk("second"), recorder.mark)
        return recorder

    def _receive(self, to: Path, recorder: Recorder) -> None:
        sink = self._place(to, recorder.disk("first")).open(MANIFEST, resume=False)
        sink.prepare()
        left = list(CHUNKS)
        while len(left) > self.step:
            some, left = left[: self.step], left[self.step :]
            sink.store(some)
            sink.sync()
            recorder.mark(Mark(sink.have))
        sink.store(left)
        self._finish(to, sink)
        recorder.mark(Mark(EVERY, done=True))
        self._place(to).discard()

    def _finish(self, to: Path, sink: FolderSink) -> None:
        while damaged := sink.check():
            sink.store([CHUNKS[chunk] for chunk in damaged])
        files = sink.publish(LEAVES.content())
        self._place(to).leave_receipt(MANIFEST, files, LEAVES.content(), LEAVES.files())
        sink.close()

    def _place(self, to: Path, disk: Disk = REAL_DISK) -> Destination:
        return Destination(to, TRANSFER, self.overwrite, disk=disk)

    # ---------------------------------------------------------------- what must be true
    def check_names(self, files: Files, *, done: bool) -> None:
        """Each published name has all of its files, right and complete, or the old content. ``done``: all are new."""
        tree = {
            path.removeprefix("to/"): files.content(inode)
            for path, inode in files.walk()
            if path.startswith("to/") and not path.startswith("to/.nbferry")
        }
        before, after = BEFORE[self.overwrite], AFTER[self.overwrite]
        assert not done or tree == after, "what was reported as published is not there"
        for unit in UNITS[self.overwrite]:
            there = {path: tree.pop(path) for path in unit if path in tree}
            old, new = ({path: state[path] for path in unit if path in state} for state in (before, after))
            assert there in (old, new), f"{sorted(unit)} is neither the old nor the new one"
        rest = {path for unit in UNITS[self.overwrite] for path in unit}
        assert tree == {path: data for path, data in before.items() if path not in rest}, (
            "something else changed"
        )

    def resume(self, files: Files, base: Path) -> RangeSet:
        """Resume from a disk in another process, to the end. Returns the chunks that were not fetched."""
        build(files, base, KEY)
        return self._resume(base / "to", Disk(boot=lambda: "last"), lambda _: None)

    def _resume(self, to: Path, disk: Disk, mark: Callable[[Mark], None]) -> RangeSet:
        place = self._place(to, disk)
        have = EVERY if place.recover().receipt else self._end(place, mark)
        assert tree_of(to) == AFTER[self.overwrite], "what was published in the end is not what was offered"
        receipt = read_receipt(to, TRANSFER)
        assert receipt
        digests = [bytes.fromhex(file.digest) for file in receipt.files]
        assert digests == list(filter(None, LEAVES.files())), "the receipt is wrong"
        mark(Mark(EVERY, done=True))
        self._place(to).discard()
        assert tree_of(to) == AFTER[self.overwrite], "discarding took more than it should"
        return have

    def _end(self, place: Destination, mark: Callable[[Mark], None]) -> RangeSet:
        sink = place.open(MANIFEST, resume=True)
        try:
            sink.prepare()
            have = sink.have
            mark(Mark(have))
            self._check_vouched(place.to, have, dict(sink.leaves()))
            assert not have & sink.candidates, "a chunk is vouched for and is not"
            sink.reuse([(chunk, CHUNKS[chunk].digest) for chunk in sink.candidates])
            sink.store([CHUNKS[chunk] for chunk in EVERY - sink.have])
            self._finish(place.to, sink)
            return have
        finally:
            sink.close()

    def _check_vouched(self, to: Path, have: RangeSet, runs: dict[int, bytes]) -> None:
        leaves = {
            first + n: run[32 * n : 32 * n + 32] for first, run in runs.items() for n in range(len(run) // 32)
        }
        assert leaves == {chunk: CHUNKS[chunk].digest for chunk in have}, "the journal has other digests"
        for chunk in have:
            index, offset, length = MANIFEST.place(chunk)
            path = MANIFEST.entries[index].path
            beside = next(name for name in AFTER["rename"] if AFTER["rename"][name] == FILES[path])
            places = [to / ".nbferry" / TRANSFER / "data" / path, to / path, to / beside]
            pieces = [place.read_bytes()[offset : offset + length] for place in places if place.is_file()]
            assert CHUNKS[chunk].data in pieces, f"chunk {chunk} is not as the journal says"


# ---------------------------------------------------------------------- all of it
@dataclass
class Tally:
    """What was tried: ``states`` of disks, of which ``different`` ones were built and resumed from."""

    points: int = 0
    states: int = 0
    different: int = 0


class Trial:
    """Power failures at every recorded point. ``left`` are the distinct disks."""

    def __init__(self, receiving: Receiving, work: Path, most: int) -> None:
        self._receiving, self._work, self._most = receiving, work, most
        self._have: dict[tuple[object, ...], RangeSet] = {}
        self.left: list[Files] = []
        self.tally = Tally()

    def run(self, recorder: Recorder) -> None:
        """Try all failures. AssertionError if the transfer does not survive one."""
        disks = Disks(recorder, self._most)
        for point in disks.points():
            self.tally.points += 1
            marks = [op.mark for op in recorder.ops[:point] if op.kind == "mark"]
            for number, files in enumerate(disks.at(point)):
                try:
                    self._try(files, marks)
                except Exception as error:
                    where = f"{self._receiving}, crash point {point} of {len(recorder.ops)}, state {number}"
                    raise AssertionError(f"{where}: {error!r}") from error

    def _try(self, files: Files, marks: list[Mark]) -> None:
        self.tally.states += 1
        self._receiving.check_names(files, done=any(mark.done for mark in marks))
        key = tuple((path, inode, files.content(inode)) for path, inode in files.walk())
        if key not in self._have:
            with self._folder() as left:
                self._have[key] = self._receiving.resume(files, left)
            self.left.append(files)
            self.tally.different += 1
        durable = RangeSet.union(pair for mark in marks for pair in mark.durable.ranges)
        assert not durable - self._have[key], f"{durable - self._have[key]} was reported as durable"

    def run_recovery(self, files: Files) -> None:
        """Resume from a disk and try every power failure meanwhile."""
        with (
            self._folder("again") as folder,
            closing(self._receiving.record_recovery(files, folder)) as recorder,
        ):
            self.run(recorder)

    @contextmanager
    def _folder(self, name: str = "left") -> Iterator[Path]:
        folder = self._work / name
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def survives(receiving: Receiving, work: Path, *, most: int, twice: int = 0) -> Tally:
    """Try every crash point of a transfer, with at most ``most`` states each.

    ``twice``: for this many of the disks, the recovery is tried in the same way. AssertionError if the transfer does
    not survive a failure.
    """
    trial = Trial(receiving, work, most)
    (work / "recorded").mkdir()
    with closing(receiving.record(work / "recorded")) as recorder:
        trial.run(recorder)
    pick = Random(twice)  # noqa: S311  # the same in every run
    for files in pick.sample(trial.left, min(twice, len(trial.left))):
        trial.run_recovery(files)
    return trial.tally
