"""Bytes that are in doubt are read again before they are published."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nbferry.errors import StorageError
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK
from offers import DIGEST, FILES, PUBLISHED, sink_to, visible
from unit.storage.folder.failing_disk import Crash
from unit.storage.folder.staged_offer_setup import (
    EVERY,
    LATER,
    OFFER,
    OFFERED,
    damage,
    logs,
    pairs,
    part,
    partly,
    resumed,
)


def test_after_a_power_failure(to: Path) -> None:
    """P1: after a power failure lost chunks are found before publishing, and fetched again."""
    partly(to, *EVERY)
    wrong = OFFER.chunks_of(3)[0] + 1
    damage(to, wrong)
    sink = resumed(to, disk=LATER)
    assert sink.have == EVERY
    assert sink.check() == RangeSet.of(wrong)
    assert sink.have == EVERY - RangeSet.of(wrong)
    assert sink.check() == RangeSet()
    sink.close()
    sink = resumed(to, disk=LATER)
    assert sink.have == EVERY - RangeSet.of(wrong)
    sink.store(OFFERED[wrong : wrong + 1])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def stopped(*_: object, **__: object) -> None:
    """Stop the process before it places a file."""
    raise Crash


def test_publishing_checks_by_itself(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: chunks in doubt are checked before publishing, even if an earlier run had verified them."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    with monkeypatch.context() as patch:
        patch.setattr("nbferry.storage.folder.staged_offer.publish", stopped)
        with pytest.raises(Crash):
            sink.publish(DIGEST)
    sink.close()
    damage(to, 0)
    sink = resumed(to, disk=LATER)
    assert sink.finished == DIGEST
    with pytest.raises(StorageError, match="damaged"):
        sink.publish(DIGEST)
    assert sink.finished is None
    assert sink.have == EVERY - RangeSet.of(0)
    sink.store(OFFERED[:1])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_power_fails_between_intent_and_rename(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: files that an earlier run meant to place are read again before they are placed."""
    sink = sink_to(to, OFFER)
    sink.store(OFFERED)
    with monkeypatch.context() as patch:
        patch.setattr("nbferry.storage.folder.publish.rename_without_replacing", stopped)
        with pytest.raises(Crash):
            sink.publish(DIGEST)
    sink.close()
    last = len(OFFERED) - 1
    damage(to, 0)
    part(to, "notes.txt").write_bytes(b"")
    sink = resumed(to, disk=LATER)
    assert sink.finished == DIGEST
    assert sink.check() == RangeSet.of(0, last)
    assert sink.finished is None
    sink.store([OFFERED[0], OFFERED[last]])
    assert sink.publish(DIGEST) == tuple(to / path for path in FILES)
    assert visible(to) == PUBLISHED
    sink.discard()


def test_without_doubt_no_file_is_read(to: Path) -> None:
    """check() is free when nothing is in doubt."""
    partly(to, *EVERY)
    damage(to, 0)
    sink = resumed(to)
    assert sink.check() == RangeSet()
    sink.discard()


def test_doubt_outlives_the_process(to: Path) -> None:
    """P1: once a file contradicts the journal, later processes too read everything again."""
    partly(to, *EVERY)
    part(to, "notes.txt").write_bytes(b"")
    sink = resumed(to)
    last = len(OFFERED) - 1
    assert sink.have == EVERY - RangeSet.of(last)
    sink.store(OFFERED[last:])
    sink.sync()
    sink.close()
    damage(to, 0)
    sink = resumed(to)
    assert sink.have == EVERY
    assert sink.check() == RangeSet.of(0)
    sink.discard()


def test_a_chunk_that_the_disk_fails_to_read(to: Path) -> None:
    """If reading a chunk fails with EIO, only that chunk is fetched again."""
    partly(to, *EVERY)
    bad = OFFER.place(OFFER.chunks_of(3)[0] + 1)

    def read(fd: int, views: Sequence[memoryview], offset: int) -> int:
        if offset == bad.offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return REAL_DISK.read(fd, views, offset)

    wrong = RangeSet.of(OFFER.chunks_of(3)[0] + 1)
    sink = resumed(to, disk=replace(LATER, read=read))
    assert sink.check() == wrong
    sink.close()
    for log in logs(to):
        log.unlink()
    sink = resumed(to, disk=replace(REAL_DISK, read=read))
    assert sink.reuse(pairs(*sink.candidates)) == sink.candidates - wrong
    sink.store([OFFERED[number] for number in EVERY - sink.have])
    sink.sync()
    sink.close()
    sink = resumed(to)
    sink.check()
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_file_that_is_gone_when_it_is_checked(to: Path) -> None:
    """A file that disappears counts as damaged, and can be stored again."""
    partly(to, *EVERY)
    sink = resumed(to, disk=LATER)
    part(to, "notes.txt").unlink()
    assert sink.check() == RangeSet.of(len(OFFERED) - 1)
    sink.store(OFFERED[-1:])
    sink.publish(DIGEST)
    assert visible(to) == PUBLISHED


def test_a_journal_that_is_gone_when_it_is_checked(to: Path) -> None:
    """Without its journal no chunk is trusted."""
    partly(to, *EVERY)
    sink = resumed(to, disk=LATER)
    for log in logs(to):
        log.unlink()
    assert sink.check() == EVERY
    sink.discard()
