"""Receipts: a finished transfer leaves one at its destination, so that its files can be verified later.

    <to>/.nbferry/receipts/<id>.json    0600

It is a JSON object: ``version`` (1), ``algorithm`` and ``verified`` for people to read, and the fields of
:class:`Receipt`, where ``files`` is a list of objects with the fields of :class:`ReceiptFile`.

Anyone who can write there may have written a receipt. So nbferry trusts only its digests: no path in it leads out of
its folder, and no link is followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from nbferry.crypto.digest import chunk_digest, file_digest
from nbferry.errors import LocalProtocolError, NoReceipt, UnsafePath
from nbferry.limits import KiB, MiB
from nbferry.model.manifest import MAX_SIZE
from nbferry.model.names import MAX_DEPTH, STATE_FOLDER, check_paths, display_name
from nbferry.storage.disk.atomic_file import read_whole, write_whole
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.failures import storage_error, translated
from nbferry.storage.disk.private import private_folder
from nbferry.storage.disk.state import IGNORE, write_notes
from nbferry.storage.disk.system import NOFOLLOW, READ, REAL_DISK, read_into

RECEIPTS = "receipts"
RECEIPT_VERSION = 1
MAX_RECEIPT = 256 * MiB
"""Enough for 200,000 files with paths of 1,000 characters."""
_ID = re.compile(r"[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Errors from opening a link, a folder, a pipe, or something below a file.
_SOMETHING_ELSE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})

ALGORITHM = (
    "BLAKE3 over each chunk of chunk_size bytes; the digest of a file is BLAKE3 in derive-key mode with the context "
    "'nbferry v1 file' over its size, the chunk size, the number of chunks and the digests of pages of "
    "1,024 chunk digests"
)
VERIFIED = (
    "Every chunk was compared with the sender's digest before it was written. The digest of the whole content, "
    "including names, was compared with the sender's before anything was published."
)

Verdict = Literal["right", "changed", "missing"]


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A received file: path relative to the folder, parts joined by "/"; bytes; file digest in hex."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A finished transfer.

    ``digest`` (hex) identifies the whole content. ``chunk_size`` and ``bytes`` are bytes; ``reused`` counts bytes that
    were already here. ``folders`` are paths like those of files; ``finished`` is ISO 8601 in UTC; ``via`` is the path
    used last.
    """

    id: str
    digest: str
    chunk_size: int
    files: tuple[ReceiptFile, ...]
    folders: tuple[str, ...] = ()
    bytes: int
    finished: str
    via: str = ""
    reused: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was checked: its path, the verdict, and the digest, time and transfer of its receipt."""

    path: Path
    verdict: Verdict
    digest: str
    finished: str
    transfer: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The files that receipts cover, each with its verdict."""

    path: Path
    files: tuple[Checked, ...]

    @property
    def right(self) -> bool:
        """Whether every file is as it was received."""
        return all(each.verdict == "right" for each in self.files)

    def of(self, verdict: Verdict) -> tuple[Checked, ...]:
        """Return the files with this verdict."""
        return tuple(each for each in self.files if each.verdict == verdict)


# ------------------------------------------------------------------ written and read
def write_receipt(to: Path, receipt: Receipt, *, sync: Callable[[int], None] = REAL_DISK.sync) -> None:
    """Write a receipt durably into the destination folder.

    Raises :class:`StorageError`, or :class:`UnsafePath` if the receipts' folder is a link or another user's.
    """
    data = _encode(receipt)
    with translated(f'Writing the receipt in "{display_name(str(to))}"'), Directory.open(to) as folder:
        with private_folder(folder, STATE_FOLDER) as state, private_folder(state, RECEIPTS) as receipts:
            write_notes(state, IGNORE)
            write_whole(receipts, f"{receipt.id}.json", data, sync=sync)
            state.sync(sync)
        folder.sync(sync)


def read_receipt(to: Path, transfer: str) -> Receipt | None:
    """Read the receipt of a transfer; None if there is no readable one."""
    if not _ID.fullmatch(transfer):
        return None
    try:
        with Directory.open(to) as folder, _receipts_in(folder) as receipts:
            return _read(receipts, f"{transfer}.json")
    except OSError:
        return None


def _encode(receipt: Receipt) -> bytes:
    plain = {"version": RECEIPT_VERSION, "algorithm": ALGORITHM, "verified": VERIFIED, **asdict(receipt)}
    data = json.dumps(plain, indent=1).encode()
    try:
        if len(data) > MAX_RECEIPT or _decode(data) != receipt:
            raise LocalProtocolError("A receipt is too long, or cannot be read back.")
    except ValueError as error:
        raise LocalProtocolError(f"A receipt cannot be read back: {error}.") from error
    return data


def _decode(data: bytes) -> Receipt:
    """Read a receipt; raises ValueError for anything that nbferry cannot have written."""
    try:
        found = json.loads(data)
        if found["version"] != RECEIPT_VERSION:
            raise ValueError("another version")
        files = tuple(_file(each) for each in found["files"])
        folders = tuple(_text(each) for each in found["folders"])
        receipt = Receipt(
            id=_text(found["id"], _ID),
            digest=_text(found["digest"], _DIGEST),
            chunk_size=_number(found["chunk_size"], 4 * KiB, 64 * MiB),
            files=files,
            folders=folders,
            bytes=_number(found["bytes"], 0, MAX_SIZE),
            finished=_time(found["finished"]),
            via=_text(found["via"], re.compile("[a-z-]{0,32}")),
            reused=_number(found["reused"], 0, MAX_SIZE),
        )
        for path in (*folders, *(each.path for each in files)):
            # One by one, because here they exist side by side.
            check_paths([path], allow_hidden=True)
    except (KeyError, TypeError, RecursionError, UnsafePath) as error:
        raise ValueError("a field is missing or wrong") from error
    return receipt


def _file(found: Any) -> ReceiptFile:
    return ReceiptFile(
        _text(found["path"]), _number(found["size"], 0, MAX_SIZE), _text(found["digest"], _DIGEST)
    )


def _text(value: Any, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or (pattern and not pattern.fullmatch(value)):
        raise ValueError("an impossible text")
    return value


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError("an impossible number")
    return value


def _time(value: Any) -> str:
    text = _text(value)
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError("a time that is not in UTC")
    return text


# ------------------------------------------------------------------ found
def _receipts_in(folder: Directory) -> Directory:
    """Open the receipts of a folder. Raises FileNotFoundError if there are none, or only those of a stranger.

    The owner of a folder may leave receipts in it. In one that all may write to, like ``/tmp``, others could too.
    """
    with folder.child(STATE_FOLDER) as state:
        receipts = state.child(RECEIPTS)
    if receipts.fd is None or folder.fd is None:
        return receipts
    if os.fstat(receipts.fd).st_uid not in (os.geteuid(), os.fstat(folder.fd).st_uid):
        receipts.close()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(receipts.path))
    return receipts


def _read(receipts: Directory, name: str) -> Receipt | None:
    """Read one receipt; None if it is damaged or its name does not match its id."""
    try:
        data = read_whole(receipts, name, MAX_RECEIPT)
        receipt = _decode(data) if data is not None else None
    except (OSError, ValueError):
        return None
    return receipt if receipt and name == f"{receipt.id}.json" else None


def _newest_first(folder: Directory) -> list[Receipt]:
    try:
        with _receipts_in(folder) as receipts:
            found = [_read(receipts, name) for name in receipts.names()]
    except OSError:
        return []
    return sorted(filter(None, found), key=lambda each: datetime.fromisoformat(each.finished), reverse=True)


def _covered(receipt: Receipt, path: str) -> list[ReceiptFile] | None:
    """Return a receipt's files below a path; None if it does not cover the path. "" is the destination folder."""
    files = [each for each in receipt.files if not path or f"{each.path}/".startswith(f"{path}/")]
    return files if files or not path or path in receipt.folders else None


# ------------------------------------------------------------------ verified
def verify(path: Path) -> Verification:
    """Compare a received file or folder, or a destination folder, with the newest receipts.

    Reads every byte. Searches the folder and its parents; the nearest receipts that cover the path count. Raises
    :class:`NoReceipt` if there are none, :class:`StorageError` for a file that cannot be read.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  # resolves "..", keeps links
    for above in (path, *path.parents)[: MAX_DEPTH + 1]:
        inside = path.relative_to(above).as_posix()
        try:
            folder = Directory.open(above)
        # Not readable, so it has no receipts for us; or the name contains a NUL.
        except (OSError, ValueError):
            continue
        with folder:
            checked = _verify_in(folder, "" if inside == "." else inside)
        if checked is not None:
            return Verification(path, checked)
    raise NoReceipt(f'No receipt covers "{display_name(str(path))}".')


def _verify_in(folder: Directory, path: str) -> tuple[Checked, ...] | None:
    """Verify a path by the receipts of a folder above it; None if no receipt covers the path.

    For the destination folder itself all receipts count, and a later one supersedes an earlier one.
    """
    pairs = [(each, files) for each in _newest_first(folder) if (files := _covered(each, path)) is not None]
    if not pairs:
        return None
    newest: dict[str, tuple[Receipt, ReceiptFile]] = {}
    for receipt, files in pairs[:1] if path else pairs:
        for file in files:
            newest.setdefault(file.path, (receipt, file))
    return tuple(_check(folder, *newest[each]) for each in sorted(newest))


def _check(folder: Directory, receipt: Receipt, file: ReceiptFile) -> Checked:
    where = folder.path / file.path
    try:
        verdict = _verdict(folder, receipt, file)
    except OSError as error:
        raise storage_error(error, f'Reading "{display_name(str(where))}"') from error
    return Checked(where, verdict, file.digest, receipt.finished, receipt.id)


def _verdict(folder: Directory, receipt: Receipt, file: ReceiptFile) -> Verdict:
    above, _, name = file.path.rpartition("/")
    try:
        with folder.descend(above) as inside:
            fd = inside.file(name, READ | NOFOLLOW)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        if error.errno in _SOMETHING_ELSE:
            # Something else has its name now, or that of a folder above it.
            return "changed"
        raise
    try:
        return "right" if _is_right(fd, receipt.chunk_size, file) else "changed"
    finally:
        os.close(fd)


def _is_right(fd: int, chunk_size: int, file: ReceiptFile) -> bool:
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_size != file.size:
        return False
    # 32 MiB for a tebibyte in chunks of 1 MiB.
    leaves = bytearray()
    for leaf in _leaves(fd, file.size, chunk_size):
        if leaf is None:
            return False
        leaves += leaf
    return file_digest(file.size, chunk_size, leaves).hex() == file.digest


def _leaves(fd: int, size: int, chunk_size: int) -> Iterator[bytes | None]:
    """Hash chunk by chunk; None where the file ends too early."""
    buffer = memoryview(bytearray(min(chunk_size, size)))
    for offset in range(0, max(1, size), chunk_size):
        part = buffer[: size - offset]
        yield chunk_digest(part) if read_into(fd, [part], offset) == len(part) else None
