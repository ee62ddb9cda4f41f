"""A log that one process appends to and others may read at any time; a reader recognises and skips a torn end.

The name is ``<prefix>.<16 hex digits>.log`` with random digits. Each writer makes its own file, so two writers never
share one, even on a network drive without reliable locks. Whole numbers are big-endian:

    header   8 bytes  "NBFLOG" and the version, 0x0001
             16       writer: random, of this log
             16       tag of these 24 bytes
    record   4        length of the payload, at most 1 MiB
             4        sequence: 0, 1, 2, ...
             1        kind, defined by the user of the log
             length   payload
             16       tag of the writer and of the record's other fields

A tag is keyed BLAKE2b of 16 bytes; its key is BLAKE2b-256, personalised "nbferry run log", of the key of the log. A
log whose header does not match the reader's key is foreign and counts as empty. A log ends at its first record that
is short, out of sequence or wrongly tagged. A writer writes at its own offset, never with ``O_APPEND``, which network
drives ignore. The next record overwrites one that could not be written whole.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from struct import Struct
from typing import BinaryIO

from nbferry.errors import LocalProtocolError
from nbferry.limits import MiB
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import CREATE, NOFOLLOW, READ, REAL_DISK, write_all

MAX_PAYLOAD = 1 * MiB
"""Bounds the memory that a reader of a planted file needs."""

_MAGIC = b"NBFLOG\x00\x01"
# Bytes.
_WRITER = 16
_TAG = 16
_HEADER = len(_MAGIC) + _WRITER + _TAG
# Length, sequence, kind.
_RECORD = Struct("!IIB")

Write = Callable[[int, memoryview, int], int]


class RunLog:
    """The writer's side. Not thread-safe."""

    def __init__(self, name: str, fd: int, key: bytes, *, sync: Callable[[int], None], write: Write) -> None:
        self.name = name
        self._fd, self._sync, self._write = fd, sync, write
        self._key, self._writer = _derived(key), secrets.token_bytes(_WRITER)
        self._offset = self._sequence = 0

    @classmethod
    def create(
        cls,
        folder: Directory,
        prefix: str,
        key: bytes,
        *,
        sync: Callable[[int], None] = REAL_DISK.sync,
        write: Write = REAL_DISK.write,
    ) -> RunLog:
        """Make a new log with a durable name; raises OSError.

        ``prefix`` is letters and digits, ``key`` any bytes; ``sync`` and ``write`` are calls of a ``Disk``.
        """
        name = f"{prefix}.{secrets.token_hex(8)}.log"
        made = cls(name, folder.file(name, CREATE), key, sync=sync, write=write)
        try:
            head = _MAGIC + made._writer
            made._put(head + _tag(made._key, head))
            folder.sync(sync)
        except BaseException:
            made.close()
            with suppress(OSError):
                folder.unlink(name)
            raise
        return made

    def append(self, kind: int, payload: bytes) -> None:
        """Write one record. After an OSError the record is not in the log."""
        self.append_all([(kind, payload)])

    def append_all(self, records: Iterable[tuple[int, bytes]]) -> None:
        """Write several records at once. After an OSError none of them is reliable."""
        sequence, parts = self._sequence, []
        for kind, payload in records:
            if len(payload) > MAX_PAYLOAD:
                raise LocalProtocolError(f"A record of {len(payload)} bytes is too large for a log.")
            head = _RECORD.pack(len(payload), sequence, kind)
            parts += [head, payload, _tag(self._key, self._writer, head, payload)]
            sequence += 1
        self._put(b"".join(parts))
        self._sequence = sequence

    def _put(self, data: bytes) -> None:
        write_all(self._write, self._open(), memoryview(data), self._offset)
        self._offset += len(data)

    def sync(self) -> None:
        """Make durable what was appended. After an OSError the log is closed, because its end is unknown."""
        try:
            self._sync(self._open())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def empty(self) -> bool:
        """Whether it has no record yet."""
        return not self._sequence

    @property
    def closed(self) -> bool:
        """Whether the log accepts no more records."""
        return self._fd < 0

    def _open(self) -> int:
        if self._fd < 0:
            raise LocalProtocolError("A log was written to after it was closed.")
        return self._fd


# ------------------------------------------------------------------ reading
def log_names(folder: Directory, prefix: str) -> list[str]:
    """List every name in a folder that matches a log of this prefix, in a fixed order."""
    name = re.compile(re.escape(prefix) + r"\.[0-9a-f]{16}\.log")
    return sorted(filter(name.fullmatch, folder.names()))


def read_logs(folder: Directory, prefix: str, key: bytes) -> Iterator[tuple[int, bytes]]:
    """Read kind and payload of every record of every log of this prefix, one log after the other."""
    for name in log_names(folder, prefix):
        yield from read_log(folder, name, key)


def read_log(folder: Directory, name: str, key: bytes) -> Iterator[tuple[int, bytes]]:
    """Read one log up to its first incomplete record; a foreign log, or no log, has no records.

    An unreadable file counts as empty too. A log only saves work: nbferry can find out again what it does not say.
    """
    file = _opened(folder, name)
    if file is None:
        return
    with file:
        derived = _derived(key)
        writer = _writer_of(_read(file, _HEADER), derived)
        if writer:
            yield from _records(file, derived, writer)


def is_foreign(folder: Directory, name: str, key: bytes) -> bool:
    """Whether this is certainly not a log of this key; a log that another process is just creating may be one.

    Raises OSError if it cannot be read.
    """
    info = folder.look(name)
    if info is None or not stat.S_ISREG(info.st_mode):
        return info is not None
    with os.fdopen(folder.file(name, READ | NOFOLLOW), "rb") as file:
        header = file.read(_HEADER)
    return len(header) == _HEADER and not _writer_of(header, _derived(key))


def _opened(folder: Directory, name: str) -> BinaryIO | None:
    try:
        fd = folder.file(name, READ | NOFOLLOW)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return os.fdopen(fd, "rb", MiB)


def _records(file: BinaryIO, key: bytes, writer: bytes) -> Iterator[tuple[int, bytes]]:
    expected = 0
    while len(head := _read(file, _RECORD.size)) == _RECORD.size:
        length, sequence, kind = _RECORD.unpack(head)
        if length > MAX_PAYLOAD or sequence != expected:
            return
        payload, tag = _read(file, length), _read(file, _TAG)
        if tag != _tag(key, writer, head, payload):
            return
        yield kind, payload
        expected += 1


def _read(file: BinaryIO, count: int) -> bytes:
    try:
        return file.read(count)
    # A damaged disk ends the log here.
    except OSError:
        return b""


def _writer_of(header: bytes, key: bytes) -> bytes:
    """Return the writer from a header of this key; empty for any other header."""
    head, tag = header[:-_TAG], header[-_TAG:]
    if len(header) != _HEADER or not head.startswith(_MAGIC) or tag != _tag(key, head):
        return b""
    return head[len(_MAGIC) :]


def _derived(key: bytes) -> bytes:
    return blake2b(key, digest_size=32, person=b"nbferry run log").digest()


def _tag(key: bytes, *parts: bytes) -> bytes:
    hasher = blake2b(digest_size=_TAG, key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest()
