"""Lenders that act as the page of a browser does, without a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from secrets import token_hex
from time import time
from typing import Any, NamedTuple

from typing_extensions import override

from nbferry import api
from nbferry.crypto.digest import chunk_digest
from nbferry.limits import KiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via
from nbferry.storage.records.record import SendRecord, UploadRecord
from nbferry.storage.sources.pages import PageFiles, Reader, Slice
from nbferry.transfer.handle import Transfer
from nbferry.transfer.lending import Lending

PATIENCE = 60  # seconds
CHUNK = 4 * KiB
SMALL = Limits(chunk_size=CHUNK, window=8 * CHUNK, read_ahead=8 * CHUNK, backoff_first=0.01)


class Question(NamedTuple):
    """A question to a page, and the future for its answer."""

    op: str
    path: str
    offset: int
    length: int
    answer: Future[Any]


class Lender(Reader):
    """Holds files and answers at once. With ``hold`` it collects its questions in ``asked``.

    ``spoil`` changes a slice: it returns the bytes and the digest that the page answers with.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        hold: bool = False,
        spoil: Callable[[bytes], tuple[bytes, bytes]] = lambda data: (data, chunk_digest(data)),
    ) -> None:
        self.files = files
        self.hold = hold
        self.asked: list[Question] = []
        self.count = 0
        self.error: Exception | None = None
        self._spoil = spoil
        self._news = threading.Condition()

    @override
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        return self._ask(Question("read", path, offset, length, Future()))

    @override
    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        return self._ask(Question("digest", path, offset, length, Future()))

    def _ask(self, question: Question) -> Future[Any]:
        with self._news:
            self.count += 1
            self.asked.append(question)
            self._news.notify_all()
        if not self.hold:
            self.answer_all()
        return question.answer

    def until_asked(self, count: int = 1) -> None:
        """Wait until the page was asked this many questions."""
        with self._news:
            assert self._news.wait_for(lambda: self.count >= count, PATIENCE)

    def answer_all(self) -> None:
        """Answer every question so far."""
        with self._news:
            asked, self.asked = self.asked, []
        for question in asked:
            self.answer(question)

    def answer(self, question: Question) -> None:
        """Answer a question."""
        if self.error:
            question.answer.set_exception(self.error)
            return
        end = question.offset + question.length
        data, digest = self._spoil(self.files[question.path][question.offset : end])
        half = len(data) // 2
        # Real pages answer in several messages, too.
        parts = [data[:half], memoryview(data)[half:]]
        question.answer.set_result(Slice(parts, digest) if question.op == "read" else digest)


def entries_of(files: Mapping[str, bytes], folders: tuple[str, ...] = ()) -> tuple[Entry, ...]:
    """The entries of an offer of these files and folders."""
    found = [Entry(path, len(data), 7) for path, data in files.items()]
    found += [Entry(path, mtime_ns=5, folder=True) for path in folders]
    return tuple(sorted(found, key=lambda entry: entry.path))


def page_files(files: Mapping[str, bytes], folders: tuple[str, ...] = (), chunk: int = CHUNK) -> PageFiles:
    """Files that no page lends yet."""
    return PageFiles(Manifest(entries_of(files, folders), chunk))


def lent(transfer: Transfer) -> Lending:
    """The files of a transfer that a page can lend."""
    files = transfer.page_files
    assert files
    return files


def upload(
    files: Mapping[str, bytes] | tuple[Entry, ...], to: Path, *, limits: Limits = SMALL, **settings: Any
) -> Transfer:
    """Start an upload of files that a page must lend."""
    entries = files if isinstance(files, tuple) else entries_of(files)
    defaults = {"overwrite": Overwrite.RENAME, "allow_hidden": False, "ttl": limits.keep_unfinished}
    record = UploadRecord(
        id=token_hex(6),
        created=time(),
        to=str(to),
        entries=entries,
        chunk_size=limits.chunk_size,
        **(defaults | settings),
    )
    return api.notebook().start(record, limits)


def send_from_page(files: Mapping[str, bytes], *, limits: Limits = SMALL, via: str = Via.AUTO) -> Transfer:
    """Start a send of files that a page must lend."""
    record = SendRecord(
        id=token_hex(6),
        created=time(),
        ttl=limits.keep_unfinished,
        via=Via(via),
        paths=(),
        entries=entries_of(files),
        follow_symlinks=False,
        chunk_size=limits.chunk_size,
        receivers=1,
        invitation="amber-canyon-tulip",
        key=token_hex(16),
        expires_at=time() + 3600,
    )
    return api.notebook().start(record, limits)
