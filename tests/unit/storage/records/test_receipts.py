"""A receipt is what a file can be compared with later; one that was planted leads nowhere."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.crypto.digest import chunk_digest, file_digest
from nbferry.errors import LocalProtocolError, NoReceipt, StorageError, UnsafePath
from nbferry.limits import GiB, KiB, MiB
from nbferry.storage.records import receipts
from nbferry.storage.records.receipts import Receipt, ReceiptFile, read_receipt, verify, write_receipt

CHUNK = 4 * KiB
DATA = Random(2).randbytes  # noqa: S311  # the same in every run
FILES = {
    "trips/a.csv": DATA(3 * CHUNK + 5),
    "trips/deep/b.csv": DATA(CHUNK),
    "trips/empty": b"",
    "notes.txt": b"hello",
}
ID = "0123456789ab"


def no_sync(_: int) -> None:
    """Leave it to the system."""


def digest_of(data: bytes, chunk_size: int = CHUNK) -> str:
    """The digest of a file."""
    leaves = b"".join(
        chunk_digest(data[at : at + chunk_size]) for at in range(0, max(1, len(data)), chunk_size)
    )
    return file_digest(len(data), chunk_size, leaves).hex()


def received(to: Path, files: dict[str, bytes], **changes: Any) -> Receipt:
    """Put files there as a transfer does, and the receipt of it."""
    for path, data in files.items():
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        (to / path).write_bytes(data)
    listed = tuple(ReceiptFile(path, len(data), digest_of(data)) for path, data in files.items())
    above = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    receipt = Receipt(
        id=ID,
        digest="ab" * 32,
        chunk_size=CHUNK,
        files=changes.pop("receipt_files", listed),
        folders=tuple(sorted(above)),
        bytes=sum(map(len, files.values())),
        finished="2025-11-20T12:00:00+00:00",
        via="direct",
        reused=5,
    )
    receipt = replace(receipt, **changes)
    write_receipt(to, receipt, sync=no_sync)
    return receipt


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Receive all of ``FILES``."""
    to = tmp_path / "to"
    received(to, FILES)
    return to


def verdicts(path: Path) -> dict[str, str]:
    """What is said of each file, by its name."""
    return {each.path.name: each.verdict for each in verify(path).files}


# ------------------------------------------------------------------ written and read
def test_written_and_read(to: Path) -> None:
    """What was written is read again; it is private, and says in words how the files were verified."""
    receipt = read_receipt(to, ID)
    assert receipt is not None
    assert receipt.files[0] == ReceiptFile("trips/a.csv", 3 * CHUNK + 5, digest_of(FILES["trips/a.csv"]))
    assert receipt.folders == ("trips", "trips/deep")
    path = to / f".nbferry/receipts/{ID}.json"
    fields = json.loads(path.read_text())
    assert "BLAKE3" in fields["algorithm"]
    assert "Every chunk was compared" in fields["verified"]
    assert [path.name for path in path.parent.iterdir()] == [f"{ID}.json"]
    assert (to / ".nbferry/.gitignore").read_text() == "*\n"
    assert (to / ".nbferry").stat().st_mode & 0o777 == 0o700
    for other in ("0" * 12, "../0123456789ab", ""):
        assert read_receipt(to, other) is None
    assert read_receipt(to / "nowhere", ID) is None


def test_durable(to: Path) -> None:
    """The receipt and every folder on the way are made durable."""
    synced: list[int] = []
    receipt = read_receipt(to, ID)
    assert receipt
    write_receipt(to, receipt, sync=lambda fd: synced.append(os.fstat(fd).st_ino))
    for path in (to / f".nbferry/receipts/{ID}.json", to / ".nbferry/receipts", to / ".nbferry", to):
        assert path.stat().st_ino in synced


@pytest.mark.parametrize(
    "changes",
    [{"id": "../x"}, {"digest": "ab"}, {"chunk_size": 1}, {"finished": "today"}, {"finished": "2025-11-20T12:00:00"},
     {"finished": "2025-11-20T12:00:00+01:00"}, {"bytes": -1}, {"via": "\x1b"}, {"folders": ("../up",)},
     {"folders": ["list"]}],
    ids=str,
)  # fmt: skip
def test_what_could_not_be_read_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A receipt that nobody could read is not left."""
    with pytest.raises(LocalProtocolError):
        received(tmp_path, {}, **changes)
    assert list(tmp_path.iterdir()) == []


def test_names_that_other_computers_take_for_one(tmp_path: Path) -> None:
    """Names that exist side by side here can stand in a receipt side by side."""
    received(tmp_path, {"a (1).csv": b"1", "A (1).csv": b"2"})
    assert verify(tmp_path).right


def test_a_link_in_its_way(to: Path, tmp_path: Path) -> None:
    """T04: a receipt is not written through a link."""
    receipt = read_receipt(to, ID)
    assert receipt
    (tmp_path / "victim").mkdir()
    shutil.rmtree(to / ".nbferry/receipts")
    (to / ".nbferry/receipts").symlink_to(tmp_path / "victim")
    with pytest.raises(UnsafePath):
        write_receipt(to, receipt, sync=no_sync)
    assert list((tmp_path / "victim").iterdir()) == []


# ------------------------------------------------------------------ verified
def test_all_is_right(to: Path) -> None:
    """What was received is found right: a file, a folder, and the folder received into."""
    found = verify(to)
    assert found.right
    assert {each.path: each.verdict for each in found.files} == {to / path: "right" for path in FILES}
    assert verdicts(to / "trips") == {"a.csv": "right", "b.csv": "right", "empty": "right"}
    assert verdicts(to / "trips/deep") == {"b.csv": "right"}
    (one,) = verify(to / "notes.txt").files
    assert (one.digest, one.finished, one.transfer) == (digest_of(b"hello"), "2025-11-20T12:00:00+00:00", ID)


def flip(path: Path) -> None:
    """Change one bit in the middle, and keep size and time."""
    info = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def replaced(by: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else in a file's place."""

    def change(path: Path) -> None:
        path.unlink()
        by(path)

    return change


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (flip, "changed"),
    "cut": (lambda path: os.truncate(path, 5), "changed"),
    "longer": (lambda path: os.truncate(path, 5 * CHUNK), "changed"),
    "removed": (lambda path: path.unlink(), "missing"),
    "folder removed": (lambda path: path.parent.rename(path.parent.with_name("moved")), "missing"),
    "folder": (replaced(Path.mkdir), "changed"),
    "pipe": (replaced(os.mkfifo), "changed"),
    "another file": (replaced(lambda path: shutil.copy("/proc/self/exe", path)), "changed"),
    "link": (replaced(lambda path: path.symlink_to("/etc/passwd")), "changed"),
    "link to itself": (replaced(lambda path: path.symlink_to(path)), "changed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_longer_right(to: Path, change: str) -> None:
    """Whatever happened to a file is found, and the others are still right."""
    action, verdict = CHANGES[change]
    action(to / "trips/a.csv")
    found = verify(to)
    assert not found.right
    assert next(each.path for each in found.of(verdict)) == to / "trips/a.csv"  # type: ignore[arg-type]
    assert to / "notes.txt" in [each.path for each in found.of("right")]
    if change != "folder removed":
        assert verdicts(to / "trips/a.csv") == {"a.csv": verdict}


def test_a_folder_that_is_a_link_now(to: Path, tmp_path: Path) -> None:
    """Files behind a link that was put in a folder's place are not those that were received."""
    (to / "trips").rename(tmp_path / "trips")
    (to / "trips").symlink_to(tmp_path / "trips")
    assert verdicts(to)["a.csv"] == "changed"


def test_the_newest_counts(to: Path) -> None:
    """A later transfer replaces what an earlier one says, of the same file; of others that still holds."""
    received(to, {"trips/a.csv": b"new"}, id="0" * 12, finished="2025-11-21T12:00:00+00:00")
    assert {each.path.name: each.transfer for each in verify(to).files} == {
        "a.csv": "0" * 12,
        "b.csv": ID,
        "empty": ID,
        "notes.txt": ID,
    }
    assert [each.transfer for each in verify(to / "trips").files] == ["0" * 12]
    assert [each.transfer for each in verify(to / "notes.txt").files] == [ID]


def test_the_nearest_counts(to: Path, tmp_path: Path) -> None:
    """A folder that was received into is looked at before those above it."""
    received(tmp_path, {"to/notes.txt": b"other"}, id="0" * 12, finished="2030-11-21T12:00:00+00:00")
    (to / "notes.txt").write_bytes(FILES["notes.txt"])
    assert [each.transfer for each in verify(to / "notes.txt").files] == [ID]
    shutil.rmtree(to / ".nbferry")
    assert verdicts(to / "notes.txt") == {"notes.txt": "changed"}


def test_an_empty_folder(tmp_path: Path) -> None:
    """A folder with no files in it has nothing that could be wrong."""
    received(tmp_path, {}, folders=("empty",))
    assert verify(tmp_path / "empty").files == ()
    assert verify(tmp_path).right


@pytest.mark.parametrize("path", ["other", "trips/c.csv", "trip", "trips/a.csv/x", "..", "nul\0", "x" * 300])
def test_no_receipt(to: Path, path: str) -> None:
    """What no receipt covers is an error that names it; the beginning of a name is not the name."""
    with pytest.raises(NoReceipt) as caught:
        verify(to / path)
    assert str(caught.value).isprintable()


def test_paths_as_people_write_them(to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be relative, have dots in it, or lead through a link."""
    monkeypatch.chdir(to)
    assert verdicts(Path("notes.txt")) == {"notes.txt": "right"}
    assert verdicts(Path("trips/../notes.txt")) == {"notes.txt": "right"}
    (tmp_path / "link").symlink_to(to)
    assert verdicts(tmp_path / "link/trips/deep") == {"b.csv": "right"}


def test_large_files_need_little_memory(tmp_path: Path) -> None:
    """A file is hashed chunk by chunk: of 256 MiB no more than a chunk or two are held."""
    received(tmp_path, {"big": b""}, chunk_size=MiB)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(GiB // 4)
    leaves = chunk_digest(bytes(MiB)) * 256
    big = ReceiptFile("big", GiB // 4, file_digest(GiB // 4, MiB, leaves).hex())
    received(tmp_path, {}, receipt_files=(big,), chunk_size=MiB)
    tracemalloc.start()
    try:
        assert verify(tmp_path).right
        assert tracemalloc.get_traced_memory()[1] < 2 * MiB
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("ordinary_rights")
def test_what_may_not_be_read(to: Path) -> None:
    """A file that cannot be read is an error that names it, not a verdict."""
    (to / "notes.txt").chmod(0)
    with pytest.raises(StorageError, match=r"notes\.txt"):
        verify(to)


# ------------------------------------------------------------------ planted
def planted(to: Path, **changes: Any) -> None:
    """Edit the receipt."""
    path = to / f".nbferry/receipts/{ID}.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, **changes}))


HOSTILE = [
    "/etc/passwd",
    "../secret",
    "trips/../../secret",
    "./notes.txt",
    "trips//a.csv",
    "",
    ".",
    "..",
    ".nbferry/x",
    "a\0b",
    "a\nb",
    "C:/x",
    "..\\secret",
    "x/" * 70 + "x",
    "x" * 5000,
]


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
@pytest.mark.parametrize("field", ["files", "folders"])
def test_paths_that_lead_elsewhere(to: Path, path: str, field: str) -> None:
    """A receipt with a path that leads out of its folder is none."""
    (to.parent / "secret").write_bytes(b"secret")
    file = {"path": path, "size": 6, "digest": digest_of(b"secret")}
    planted(to, **{field: [file if field == "files" else path]})
    assert read_receipt(to, ID) is None
    with pytest.raises(NoReceipt):
        verify(to)


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"id": "0" * 12}, {"chunk_size": 1}, {"chunk_size": 1 << 40}, {"files": 7}, {"files": [7]},
     {"files": {}},
     {"files": [{"path": "x", "size": -1, "digest": "00" * 32}]}, {"folders": None}, {"finished": 7},
     {"finished": "0000-99-99"}, {"digest": None}, {"bytes": 1.5}],
    ids=str,
)  # fmt: skip
def test_damaged_receipts(to: Path, changes: dict[str, Any]) -> None:
    """A receipt that was edited into nonsense is none."""
    planted(to, **changes)
    if changes.get("files") != {}:
        with pytest.raises(NoReceipt):
            verify(to)
        assert read_receipt(to, ID) is None


@pytest.mark.parametrize("linked", [".nbferry", ".nbferry/receipts", f".nbferry/receipts/{ID}.json"])
def test_planted_links(to: Path, tmp_path: Path, linked: str) -> None:
    """T04: receipts are not read through a link."""
    moved = (to / linked).rename(tmp_path / "moved")
    (to / linked).symlink_to(moved)
    with pytest.raises(NoReceipt):
        verify(to)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_no_file_in_its_place(to: Path, make: Callable[[Path], object]) -> None:
    """What is no file is no receipt, and nobody waits for it."""
    path = to / f".nbferry/receipts/{ID}.json"
    path.unlink()
    make(path)
    with pytest.raises(NoReceipt):
        verify(to)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_receipts_of_strangers(to: Path) -> None:
    """In a folder where everybody may write, receipts of a stranger are not believed; its owner's are."""
    os.chown(to / ".nbferry/receipts", 12345, 12345)
    with pytest.raises(NoReceipt):
        verify(to)
    os.chown(to, 12345, 12345)
    assert verify(to).right


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Receive into a folder beside which there is a secret."""
    root = tmp_path_factory.mktemp("shared")
    received(root / "to", FILES)
    (root / "secret").write_bytes(b"secret")
    return root / "to"


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever bytes there are, they are a receipt or they are not."""
    try:
        receipts._decode(data)
    except ValueError:
        return


PARTS = st.lists(
    st.sampled_from(["..", ".", "", "to", "secret", "trips", "notes.txt", "\0", "etc", "x"]), max_size=5
)


@given(PARTS, st.sampled_from(["", "/"]))
def test_nothing_outside_is_read(shared: Path, parts: list[str], root: str) -> None:
    """Whatever path a receipt has, no file outside of its folder is found right by it."""
    path = root + "/".join(parts)
    planted(shared, files=[{"path": path, "size": 6, "digest": digest_of(b"secret")}], folders=[])
    try:
        found = verify(shared)
    except NoReceipt:
        return
    assert not found.of("right")
    assert all(shared in each.path.parents for each in found.files)
