"""Digests of chunks as they become known, and of the files that they make up."""

from __future__ import annotations

import pytest

from nbferry.crypto.digest import chunk_digest, content_digest, file_digest
from nbferry.errors import LocalProtocolError
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.leaves import Leaves

CHUNK = 4096
DATA = bytes(range(251)) * 40  # three chunks, each another
MANIFEST = Manifest.of([Entry("d", folder=True), Entry("d/a", len(DATA)), Entry("d/empty")], CHUNK)
DIGESTS = {n: chunk_digest(DATA[n * CHUNK : (n + 1) * CHUNK]) for n in range(3)} | {3: chunk_digest(b"")}


def test_digests_become_known() -> None:
    """A file's missing chunks are those whose digests nobody has told."""
    leaves = Leaves(MANIFEST)
    assert leaves.missing(1) == RangeSet.span(0, 3)
    leaves.update({1: DIGESTS[1]})
    leaves.update({})
    assert leaves.missing(1) == RangeSet.of(0, 2)
    assert leaves.known == RangeSet.of(1)
    assert not leaves.missing(0)


def test_files_and_content() -> None:
    """With all of its chunks a file has its digest, and with all files the transfer."""
    leaves = Leaves(MANIFEST)
    leaves.update(DIGESTS)
    file = file_digest(len(DATA), CHUNK, b"".join(DIGESTS[n] for n in range(3)))
    empty = file_digest(0, CHUNK, DIGESTS[3])
    assert (leaves.file(1), leaves.file(2)) == (file, empty)
    assert leaves.content() == content_digest([("d", None), ("d/a", file), ("d/empty", empty)])


def test_what_is_forgotten_has_to_come_again() -> None:
    """Forgotten chunks are missing; what came anew counts."""
    leaves = Leaves(MANIFEST)
    leaves.update(DIGESTS)
    before = leaves.file(1)
    leaves.forget(RangeSet.of(0, 1))
    assert leaves.missing(1) == RangeSet.of(0, 1)
    leaves.update({0: DIGESTS[1], 1: DIGESTS[0]})
    assert not leaves.missing(1)
    assert leaves.file(1) != before


def test_many_at_once() -> None:
    """Digests of consecutive chunks are learnt by runs, in any order, and given back by runs."""
    leaves = Leaves(MANIFEST)
    leaves.load(1, DIGESTS[1] + DIGESTS[2])
    assert leaves.known == RangeSet.of(1, 2)
    leaves.load_runs([(3, DIGESTS[3]), (0, DIGESTS[0])])
    leaves.load_runs([])
    assert leaves.run(0, 4) == b"".join(DIGESTS[n] for n in range(4))
    assert leaves.files() == [None, leaves.file(1), leaves.file(2)]


@pytest.mark.parametrize(("first", "size"), [(4, 32), (3, 64), (-1, 32), (0, 31), (0, 33)])
def test_digests_that_belong_to_no_chunk(first: int, size: int) -> None:
    """Digests of chunks that there are not, or parts of one, are our own mistake."""
    with pytest.raises(LocalProtocolError):
        Leaves(MANIFEST).load(first, bytes(size))
