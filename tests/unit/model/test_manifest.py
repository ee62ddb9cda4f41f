"""Entries on the wire, and the chunks of files."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import pytest

from nbferry.errors import RemoteProtocolError
from nbferry.model.manifest import MAX_SIZE, Entry, Manifest, Place
from nbferry.model.ranges import RangeSet

CHUNK = 4096
FILES = Manifest.of(
    [
        Entry("top", folder=True),
        Entry("top/empty"),
        Entry("top/small", 5),
        Entry("top/sub", folder=True),
        Entry("top/sub/exact", 2 * CHUNK),
        Entry("top/sub/large", 2 * CHUNK + 1),
        Entry("last", folder=True),
    ],
    CHUNK,
)


@pytest.mark.parametrize(
    ("entry", "wire"),
    [
        (Entry("a", 5, 7), {"path": "a", "mtime": 7, "size": 5}),
        (Entry("a", 0, -1), {"path": "a", "mtime": -1, "size": 0}),
        (Entry("a", 1, 0, executable=True), {"path": "a", "mtime": 0, "size": 1, "executable": True}),
        (Entry("a", 0, 3, folder=True), {"path": "a", "mtime": 3, "folder": True}),
        (Entry("ä/\udcff", MAX_SIZE), {"path": "ä/\udcff", "mtime": 0, "size": MAX_SIZE}),
    ],
)
def test_entries_travel(entry: Entry, wire: dict[str, Any]) -> None:
    """An entry's object omits default values, and is read back as the same entry."""
    assert entry.to_wire() == wire
    assert Entry.from_wire(wire) == entry


def test_what_an_entry_may_leave_out() -> None:
    """A path alone is an empty file of unknown time. Unknown fields and flags that are not true are ignored."""
    assert Entry.from_wire({"path": "a"}) == Entry("a")
    assert Entry.from_wire({"path": "a", "folder": 1, "executable": "yes", "new": []}) == Entry("a")


@pytest.mark.parametrize(
    "wire",
    [
        None,
        ["a"],
        {},
        {"path": 5},
        {"path": "a", "size": -1},
        {"path": "a", "size": MAX_SIZE + 1},
        {"path": "a", "size": 1.0},
        {"path": "a", "size": True},
        {"path": "a", "size": "1"},
        {"path": "a", "mtime": 1 << 63},
        {"path": "a", "mtime": -(1 << 63)},
        {"path": "a", "mtime": None},
        {"path": "a", "size": 1, "folder": True},
    ],
)
def test_wrong_entries_are_refused(wire: Any) -> None:
    """A wrong type or range is a protocol error."""
    with pytest.raises(RemoteProtocolError):
        Entry.from_wire(wire)


def test_chunks_are_numbered_through_all_files() -> None:
    """An empty file has one chunk, a folder none, and a file of whole chunks no extra empty one."""
    spans = [FILES.chunks_of(index) for index in range(len(FILES.entries))]
    assert spans == [(0, 0), (0, 1), (1, 2), (2, 2), (2, 4), (4, 7), (7, 7)]
    assert FILES.chunk_count == 7


def test_the_place_of_a_chunk() -> None:
    """Each chunk has an entry, an offset and a length, and a file's last chunk may be short."""
    assert [FILES.place(chunk) for chunk in range(7)] == [
        Place(1, 0, 0),
        Place(2, 0, 5),
        Place(4, 0, CHUNK),
        Place(4, CHUNK, CHUNK),
        Place(5, 0, CHUNK),
        Place(5, CHUNK, CHUNK),
        Place(5, 2 * CHUNK, 1),
    ]


@pytest.mark.parametrize("chunk", [-1, 7, 10**9])
def test_a_chunk_that_does_not_exist(chunk: int) -> None:
    """A number beyond the last chunk, or below the first, is an IndexError."""
    with pytest.raises(IndexError):
        FILES.place(chunk)


def test_sums() -> None:
    """Bytes and files are counted, folders are not."""
    assert FILES.total_bytes == 5 + 4 * CHUNK + 1
    assert FILES.file_count == 4


def test_bytes_in_a_set_of_chunks() -> None:
    """The bytes of a set are the sum over its chunks."""
    for start in range(8):
        for stop in range(start, 8):
            lengths = [FILES.place(chunk).length for chunk in range(start, stop)]
            assert FILES.bytes_in(RangeSet.span(start, stop)) == sum(lengths)
    assert FILES.bytes_in(RangeSet.of(0, 1, 6)) == 6


def test_an_empty_manifest() -> None:
    """An offer of nothing has no chunks, no bytes and no names."""
    nothing = Manifest.of([], CHUNK)
    assert nothing.chunk_count == nothing.total_bytes == nothing.file_count == 0
    assert nothing.bytes_in(RangeSet()) == 0
    assert nothing.top_names == ()


def test_top_names() -> None:
    """The offer's names for people are the first ten distinct top-level names."""
    assert FILES.top_names == ("top", "last")
    many = Manifest.of([Entry(f"{n}/x") for n in range(20)], CHUNK)
    assert many.top_names == tuple("0123456789")


# ---------------------------------------------------------------- the id
ENTRY = Entry("a", 5, 7)


def test_the_id_depends_on_the_list_only() -> None:
    """The same list has the same id everywhere, as specified."""
    first, second = Manifest.of([ENTRY], CHUNK), Manifest.of([Entry("a", 5, 7)], CHUNK)
    assert first.id == second.id
    numbers = ((CHUNK, 8), (1, 8), (1, 8), (5, 8), (7, 8), (0, 1))
    packed = b"".join(number.to_bytes(size) for number, size in numbers) + b"a"
    assert first.id == blake2b(packed, digest_size=16, person=b"nbferry manifest").hexdigest()
    assert len(Manifest.of([], CHUNK).id) == 32


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [Entry("b", 5, 7)],
        [Entry("a", 6, 7)],
        [Entry("a", 5, 8)],
        [Entry("a", 5, -7)],
        [Entry("a", 5, 7, executable=True)],
        [Entry("a", 0, 7, folder=True)],
        [ENTRY, ENTRY],
        [Entry("\udcff", 5, 7)],
    ],
    ids=ascii,
)
def test_another_list_has_another_id(entries: list[Entry]) -> None:
    """Any difference between lists, even in order, gives another id."""
    assert Manifest.of(entries, CHUNK).id != Manifest.of([ENTRY], CHUNK).id
    assert Manifest.of([ENTRY], 2 * CHUNK).id != Manifest.of([ENTRY], CHUNK).id
    pair = [Entry("a"), Entry("b")]
    assert Manifest.of(pair, CHUNK).id != Manifest.of(pair[::-1], CHUNK).id


def test_lists_that_read_alike_have_different_ids() -> None:
    """The id depends on where a path ends and the next entry begins."""
    inner = Entry("b", 1, 2)
    swallowed = Entry((ENTRY.path.encode() + inner.packed()).decode("utf-8", "surrogatepass"), 5, 7)
    assert Manifest.of([swallowed], CHUNK).id != Manifest.of([ENTRY, inner], CHUNK).id


def test_files_and_entries_of_chunks() -> None:
    """Folders are no files, and chunks have the entries that they belong to."""
    manifest = Manifest.of(
        [Entry("d", folder=True), Entry("d/a", 2 * CHUNK), Entry("d/b"), Entry("e")], CHUNK
    )
    assert manifest.files == RangeSet.span(1, 4)
    assert manifest.entries_of(RangeSet.of(1, 3)) == RangeSet.of(1, 3)
    assert manifest.entries_of(RangeSet.span(0, 3)) == RangeSet.span(1, 3)
    assert manifest.entries_of(RangeSet()) == RangeSet()


def test_the_time_of_a_folder_is_not_in_the_id() -> None:
    """Our own state folder changes the time of a folder that is sent, but not its content."""
    one, two = (Manifest.of([Entry("d", mtime_ns=time, folder=True)], 4096) for time in (1, 2))
    assert one.id == two.id
