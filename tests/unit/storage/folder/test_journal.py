"""The journal says what was recorded, by whom ever, and doubts it when it must."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.run_log import RunLog, log_names
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.journal import Intent, Journal, RecordKind

OFFER = Manifest.of([Entry("a", 100)], 1)
DISK = replace(REAL_DISK, boot=lambda: "this boot")
LATER = replace(REAL_DISK, boot=lambda: "another boot")


def leaf(chunk: int) -> bytes:
    """Any digest."""
    return sha256(str(chunk).encode()).digest()


def leaves(*chunks: int) -> dict[int, bytes]:
    """Chunks with their digests."""
    return {chunk: leaf(chunk) for chunk in chunks}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Directory]:
    """Open an empty staging root."""
    with Directory.open(tmp_path) as opened:
        yield opened


def journal(root: Directory, *, transfer: str = "t1", offer: Manifest = OFFER, disk: Disk = DISK) -> Journal:
    """A journal in a root."""
    return Journal(root, transfer, offer, disk)


def test_what_is_recorded_is_read(root: Directory) -> None:
    """Another process reads the chunks, their digests, the digest of all, and the intents."""
    first = journal(root)
    first.add(leaves(5, 3, 4, 10))
    first.finish(b"d" * 32)
    first.place({"ü.txt": Intent("ü (1).txt", (1 << 64) - 1), "b": Intent("b", 2)})
    first.place({"b": Intent("b (1)", 2)})
    second = journal(root)
    found = second.load()
    assert found.have == RangeSet.of(3, 4, 5, 10)
    assert list(found.runs(found.have)) == [(3, leaf(3) + leaf(4) + leaf(5)), (10, leaf(10))]
    assert found.leaf(10) == leaf(10)
    assert second.finished == b"d" * 32
    assert second.intents == first.intents
    assert second.intents["b"] == [Intent("b", 2), Intent("b (1)", 2)]
    assert not second.doubted
    first.close()


def test_an_empty_journal(root: Directory) -> None:
    """Without logs nothing is vouched for, and nothing is written before there is something to record."""
    fresh = journal(root)
    assert not fresh.load().have
    assert (fresh.finished, fresh.intents, fresh.doubted) == (None, {}, False)
    fresh.close()
    assert root.names() == []


def test_many_writers(root: Directory) -> None:
    """What several processes recorded is one; each has a log of its own."""
    both = journal(root), journal(root)
    for chunk in range(20):
        both[chunk % 2].add(leaves(chunk, chunk + 1))
    assert journal(root).load().have == RangeSet.span(0, 21)
    assert len(log_names(root, "have")) == 2
    for each in both:
        each.close()


def test_two_that_differ(root: Directory) -> None:
    """A chunk about which two logs differ is not vouched for; its neighbours are."""
    first, second = journal(root), journal(root)
    first.add(leaves(0, 1, 2))
    second.add({1: leaf(99), 2: leaf(2), 3: leaf(3)})
    assert journal(root).load().have == RangeSet.of(0, 2, 3)
    for each in (first, second):
        each.close()


@pytest.mark.parametrize("other", ["transfer", "manifest"])
def test_of_something_else(root: Directory, other: str) -> None:
    """The log of another transfer or another list vouches for nothing, and is removed for good."""
    theirs = (
        journal(root, transfer="t2")
        if other == "transfer"
        else journal(root, offer=Manifest.of([Entry("a", 101)], 1))
    )
    theirs.add(leaves(1))
    theirs.close()
    ours = journal(root)
    ours.add(leaves(2))
    assert ours.load().have == RangeSet.of(2)
    assert ours.remove_foreign()
    assert not ours.remove_foreign()
    assert not theirs.load().have
    assert ours.load().have == RangeSet.of(2)
    ours.close()


def test_a_folder_in_the_place_of_a_log(root: Directory) -> None:
    """Whatever has the name of a log and is none goes."""
    (root.path / f"have.{'0' * 16}.log" / "sub").mkdir(parents=True)
    assert journal(root).remove_foreign()
    assert root.names() == []


def test_another_boot(root: Directory) -> None:
    """What was recorded before the computer started anew is in doubt."""
    first = journal(root)
    first.add(leaves(1))
    first.close()
    later = journal(root, disk=LATER)
    assert later.load().have == RangeSet.of(1)
    assert later.doubted


def test_doubt_is_recorded(root: Directory) -> None:
    """An error of the disk is remembered by the next run, until all was read again."""
    first = journal(root)
    first.add(leaves(1, 2))
    first.doubt()
    first.doubt()
    first.close()
    second = journal(root)
    found = second.load()
    assert second.doubted
    second.replace(found, RangeSet.of(2), None)
    assert not second.doubted
    third = journal(root)
    assert third.load().have == RangeSet.of(2)
    assert not third.doubted
    second.close()


def test_replacing(root: Directory) -> None:
    """What is right stays with its digests and the intents, in one log; what is damaged is taken back."""
    first = journal(root)
    first.add(leaves(*range(50)))
    first.finish(b"d" * 32)
    first.place({"a": Intent("a", 1)})
    first.close()
    second = journal(root, disk=LATER)
    second.replace(second.load(), RangeSet.span(10, 50), b"e" * 32)
    second.add(leaves(3))
    third = journal(root, disk=LATER)
    found = third.load()
    assert found.have == RangeSet.span(10, 50) | RangeSet.of(3)
    assert all(found.leaf(chunk) == leaf(chunk) for chunk in found.have)
    assert (third.finished, third.doubted) == (b"e" * 32, False)
    assert third.intents == {"a": [Intent("a", 1)]}
    assert len(log_names(root, "have")) == 1
    second.close()


def test_a_crash_while_replacing(root: Directory) -> None:
    """Wherever replacing ends, what was in doubt is vouched for without doubt only if it is right."""
    for calls in range(20):
        left = calls

        def sync(fd: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.EIO, "Input/output error")

        first = journal(root)
        first.add(leaves(1, 2))
        first.close()
        second = journal(root, disk=replace(LATER, sync=sync))
        try:
            second.replace(second.load(), RangeSet.of(2), None)
        except OSError:
            ended = False
        else:
            ended = True
        second.close()
        third = journal(root, disk=LATER)
        found = third.load()
        assert third.doubted or found.have == RangeSet.of(2)
        assert 2 in found.have
        if ended:
            return
        for name in log_names(root, "have"):
            root.unlink(name)
    pytest.fail("it never came to an end")


class Ending(Directory):
    """A folder in which the process is killed before one of its removals."""

    left = 0

    def unlink(self, name: str) -> None:
        """Remove, or be killed."""
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        super().unlink(name)


@pytest.mark.parametrize("removals", range(4))
@pytest.mark.parametrize("doubtful", [0, 1])
def test_killed_while_replacing(root: Directory, removals: int, doubtful: int) -> None:
    """P4: whichever logs go first, a damaged chunk is never vouched for without doubt, in the same boot either."""
    for number in range(2):
        writer = journal(root)
        writer.add(leaves(1, 2))
        if number == doubtful:
            writer.doubt()
        writer.close()
        (name,) = set(log_names(root, "have")) - {f"have.{'0' * 16}.log"}
        (root.path / name).rename(root.path / f"have.{str(number) * 16}.log")
    with Ending.open(root.path) as ending:
        assert isinstance(ending, Ending)
        ending.left = removals
        ours = journal(ending)
        with suppress(KeyboardInterrupt):
            ours.replace(ours.load(), RangeSet.of(2), None)
        ours.close()
    fresh = journal(root)
    found = fresh.load()
    assert fresh.doubted or found.have == RangeSet.of(2)
    assert fresh.doubted == (removals < 3)


def test_doubt_that_could_not_be_recorded(root: Directory) -> None:
    """It is recorded at the next opportunity, even if it was known before."""
    failing = True

    def sync(_: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")

    ours = journal(root, disk=replace(DISK, sync=sync))
    with pytest.raises(OSError, match="Input/output"):
        ours.doubt()
    assert ours.doubted
    failing = False
    ours.doubt()
    fresh = journal(root)
    fresh.load()
    assert fresh.doubted
    ours.close()


def test_a_chunk_that_is_not_in_the_offer(root: Directory) -> None:
    """A run beyond the offer vouches for nothing, and puts the journal in doubt."""
    ours = journal(root)
    ours.add(leaves(1))
    ours.add(leaves(99, 100))
    fresh = journal(root)
    assert fresh.load().have == RangeSet.of(1)
    assert fresh.doubted
    ours.close()


def test_a_record_of_an_unknown_kind(root: Directory) -> None:
    """What a later version records puts the journal in doubt; the rest counts."""
    ours = journal(root)
    ours.add(leaves(1))
    assert ours._log is not None
    ours._log.append(77, b"?")
    ours.add(leaves(2))
    fresh = journal(root)
    assert fresh.load().have == RangeSet.of(1, 2)
    assert fresh.doubted
    ours.close()


@pytest.mark.parametrize(
    "record",
    [
        (RecordKind.RUN, b""),
        (RecordKind.RUN, bytes(7)),
        (RecordKind.RUN, bytes(8 + 33)),
        (RecordKind.RUN, b"\xff" * (8 + 32)),
        (RecordKind.BOOT, b"\xff"),
        (RecordKind.FINISHED, b"short"),
        (RecordKind.PLACING, b"short"),
        (RecordKind.PLACING, bytes(8) + b"\0\1" + b"\xffb"),
        (RecordKind.PLACING, bytes(8) + b"\0\1" + b"a../victim"),
        (RecordKind.PLACING, bytes(8) + b"\0\1" + b"a.."),
        (RecordKind.PLACING, bytes(8) + b"\0\1" + b"a"),
        (RecordKind.PLACING, bytes(8) + b"\0\4" + b"../ab"),
        (RecordKind.PLACING, bytes(8) + b"\0\1" + b"a/etc/passwd"),
    ],
)
def test_a_record_that_cannot_be(root: Directory, record: tuple[RecordKind, bytes]) -> None:
    """What nbferry never records puts the journal in doubt and says nothing else, least of all a way out of here."""
    ours = journal(root)
    ours.add(leaves(1))
    assert ours._log is not None
    ours._log.append(*record)
    ours.add(leaves(2))
    fresh = journal(root)
    found = fresh.load()
    assert found.have == RangeSet.of(1, 2)
    assert found.leaf(2) == leaf(2)
    assert (fresh.finished, fresh.intents, fresh.doubted) == (None, {}, True)
    ours.close()


def test_torn_at_every_byte(root: Directory) -> None:
    """Wherever a log ends, it vouches for what was recorded before, never for another digest."""
    ours = journal(root)
    for chunk in range(5):
        ours.add(leaves(chunk))
    ours.close()
    (name,) = log_names(root, "have")
    data = (root.path / name).read_bytes()
    most = 0
    for length in range(len(data) + 1):
        (root.path / name).write_bytes(data[:length])
        found = journal(root).load()
        assert found.have == RangeSet.span(0, len(found.have))
        assert most <= len(found.have)
        assert all(found.leaf(chunk) == leaf(chunk) for chunk in found.have)
        most = len(found.have)
    assert most == 5


@pytest.mark.parametrize("fails", ["write", "sync"])
def test_what_could_not_be_recorded(root: Directory, fails: str) -> None:
    """After an error the next record goes into the journal all the same, in a new log if need be."""
    failing = False

    def write(fd: int, data: memoryview, offset: int) -> int:
        if failing and fails == "write":
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, data, offset)

    def sync(_: int) -> None:
        if failing and fails == "sync":
            raise OSError(errno.EIO, "Input/output error")

    ours = journal(root, disk=replace(DISK, write=write, sync=sync))
    ours.add(leaves(1))
    failing = True
    with pytest.raises(OSError, match=r"No space|Input/output"):
        ours.add(leaves(2))
    failing = False
    ours.add(leaves(3))
    assert {1, 3} <= set(journal(root).load().have)
    assert len(log_names(root, "have")) == (1 if fails == "write" else 2)
    ours.close()


@given(st.lists(st.sets(st.integers(0, 99), min_size=1, max_size=20), max_size=10))
def test_any_runs(tmp_path_factory: pytest.TempPathFactory, runs: list[set[int]]) -> None:
    """Whatever runs are recorded, in one log or several, all of them are vouched for and nothing else."""
    with Directory.open(tmp_path_factory.mktemp("root")) as root:
        ours = [journal(root), journal(root)]
        for number, run in enumerate(runs):
            ours[number % 2].add(leaves(*run))
        found = journal(root).load()
        assert set(found.have) == set().union(*runs)
        assert all(found.leaf(chunk) == leaf(chunk) for chunk in found.have)
        for each in ours:
            each.close()


def test_half_a_tebibyte(root: Directory) -> None:
    """512 Ki chunks in runs of 64 are loaded run by run, not one by one: 0.1 s."""
    count = 512 * 1024
    offer = Manifest.of([Entry("big", 2 * count * MiB)], MiB)
    key = f"t1\0{offer.id}".encode()
    log = RunLog.create(root, "have", key, sync=lambda _: None)
    log.append(RecordKind.BOOT, b"this boot")
    digests = os.urandom(32 * 64)
    for first in range(0, count, 64 * 512):
        log.append_all(
            (RecordKind.RUN, at.to_bytes(8, "big") + digests) for at in range(first, first + 64 * 512, 64)
        )
    log.close()
    calls = 0

    def count_calls(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count_calls)
    try:
        found = journal(root, offer=offer).load()
    finally:
        sys.setprofile(before)
    assert found.have == RangeSet.span(0, count)
    assert calls < count


def test_a_log_that_cannot_be_begun(root: Directory) -> None:
    """A log without its boot id, because the disk is full, vouches for nothing; the next one does."""
    writes = 0

    def write(fd: int, data: memoryview, offset: int) -> int:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, data, offset)

    ours = journal(root, disk=replace(DISK, write=write))
    with pytest.raises(OSError, match="No space"):
        ours.add(leaves(1))
    assert not journal(root).load().have
    ours.add(leaves(1))
    assert journal(root).load().have == RangeSet.of(1)
    ours.close()
