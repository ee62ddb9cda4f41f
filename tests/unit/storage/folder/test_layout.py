"""Which folders, files and chunks an offer has, and where."""

from __future__ import annotations

import pytest

from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.storage.folder.layout import chunks_within, files_by_folder, folders_of

CHUNK = 4 * KiB
OFFER = Manifest.of(
    [Entry("d", folder=True), Entry("d/f", 3 * CHUNK + 5), Entry("d/none"), Entry("e/f/g", 1)], CHUNK
)


def test_folders() -> None:
    """Folders that only the paths of others imply count, too."""
    assert folders_of(OFFER.entries) == {"d", "e", "e/f"}


def test_files_by_folder() -> None:
    """Each file is in one folder."""
    assert files_by_folder(OFFER) == {"d": [1, 2], "e/f": [3]}


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 3 * CHUNK + 5, (0, 4)),
        (0, 3 * CHUNK + 4, (0, 3)),
        (0, 3 * CHUNK, (0, 3)),
        (0, CHUNK - 1, (0, 0)),
        (1, 2 * CHUNK, (1, 2)),
        (3 * CHUNK, 3 * CHUNK + 5, (3, 4)),
        (0, 100 * CHUNK, (0, 4)),
    ],
)
def test_chunks_within(start: int, stop: int, expected: tuple[int, int]) -> None:
    """A chunk counts if all of its bytes are there; the last is shorter."""
    assert chunks_within(OFFER, 1, start, stop) == expected


def test_an_empty_file_has_no_candidates() -> None:
    """There is nothing to compare in a chunk of no bytes."""
    assert chunks_within(OFFER, 2, 0, 0) == (4, 4)
