"""Lists of files of a browser's machine."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nbferry.errors import RemoteProtocolError, SourceChanged, StorageError
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.widget.offers import MAX_PARTS, MS, Offers, same_files

ROW = {"path": "a", "size": 3, "mtime": 1700000000123.4}
ENTRY = Entry("a", 3, 1700000000123 * MS)


def test_a_list_becomes_entries() -> None:
    """Times are milliseconds, with or without fractions; a folder has no size."""
    rows = [ROW, {"path": "d", "folder": True}]
    assert Offers().add({"entries": rows}) == [ENTRY, Entry("d", folder=True)]


def test_no_file_of_a_page_is_a_program() -> None:
    """A browser does not know; and what is gone on with is the same offer."""
    assert Offers().add({"entries": [{**ROW, "executable": True}]}) == [ENTRY]


def test_a_long_list_comes_in_parts() -> None:
    """Whole when the last part is here; a repeated part counts once, and part 0 begins anew."""
    offers = Offers()
    other = {"path": "b", "size": 1}
    assert offers.add({"entries": [other], "part": 0, "parts": 2}) is None
    assert offers.add({"entries": [ROW], "part": 0, "parts": 2}) is None
    assert offers.add({"entries": [ROW], "part": 0, "parts": 2}) is None
    assert offers.add({"entries": [other], "part": 1, "parts": 2}) == [ENTRY, Entry("b", 1)]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"entries": "a"},
        {"entries": ["a"]},
        {"entries": [{"path": 1}]},
        {"entries": [{**ROW, "mtime": "x"}]},
        {"entries": [{**ROW, "size": -1}]},
        {"entries": [ROW], "part": "0"},
        {"entries": [ROW], "parts": None},
        {"entries": [ROW], "part": -1, "parts": 2},
        {"entries": [ROW], "part": 2, "parts": 2},
        {"entries": [], "part": 0, "parts": MAX_PARTS + 1},
        {"entries": [{**ROW, "mtime": math.inf}]},
        {"entries": [{**ROW, "mtime": math.nan}]},
        {"entries": [{**ROW, "mtime": 1e300}]},
    ],
)
def test_nonsense_is_refused(message: dict[str, Any]) -> None:
    """Before anything begins with it."""
    with pytest.raises(RemoteProtocolError):
        Offers().add(message)


def test_nothing_but_folders_is_nothing() -> None:
    """There would be nothing to read."""
    with pytest.raises(StorageError, match="no file"):
        Offers().add({"entries": [{"path": "d", "folder": True}]})


def test_a_list_has_bounds() -> None:
    """Also when it comes in parts."""
    offers = Offers(limit=2)
    assert offers.add({"entries": [ROW], "part": 0, "parts": 3}) is None
    assert offers.add({"entries": [ROW], "part": 1, "parts": 3}) is None
    with pytest.raises(StorageError, match="more than 2"):
        offers.add({"entries": [ROW], "part": 2, "parts": 3})


MANIFEST = Manifest.of([Entry("d", folder=True), ENTRY], MiB)


def test_the_same_files_may_be_lent_again() -> None:
    """With more beside them, and without their folders."""
    same_files(MANIFEST, [Entry("b", 1), ENTRY])


def test_what_is_missing_is_named() -> None:
    """Somebody chose another folder."""
    with pytest.raises(SourceChanged, match='"a" is missing'):
        same_files(MANIFEST, [Entry("b", 3)])


@pytest.mark.parametrize("other", [Entry("a", 4, ENTRY.mtime_ns), Entry("a", 3, ENTRY.mtime_ns + 1)])
def test_what_was_changed_is_named(other: Entry) -> None:
    """Another size, another time: another file."""
    with pytest.raises(SourceChanged, match='"a" has changed'):
        same_files(MANIFEST, [other])
