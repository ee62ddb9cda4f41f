"""Files of a browser's machine: lent by a page that shows the notebook, read slice by slice when chunks are wanted.

A page may come, go, and come back as another one at any time. So nobody waits for a page: who reads waits for a
future of ours, which is settled by an answer, by the last page's going, or by :meth:`PageSource.interrupt`.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from typing_extensions import override

from nbferry.crypto.digest import DIGEST_SIZE, chunk_digest_of
from nbferry.errors import DigestMismatch, Interrupted, SourceAway
from nbferry.limits import KiB, Limits, MiB
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch
from nbferry.storage.base import Source

FIRST = 1 * MiB  # asked for at once of a page of which nothing is known: a whole chunk of the usual size
LEAST = 64 * KiB  # not less, however slow it is: a page must not rest while an answer travels
COST = 4 * KiB  # bytes that a slice counts for at least: 10,000 small files are not 10,000 messages at once
QUICK, SLOW = 0.5, 2.0  # seconds that an answer may take; what a person clicks on the page waits behind them

T = TypeVar("T")


class Slice(NamedTuple):
    """Bytes of a file, in parts, and the digest of them that the page computed."""

    parts: Sequence[bytes | memoryview]
    digest: bytes


class Reader(ABC):
    """A page that has the files at hand.

    May be called from any thread, and does not block. The futures fail with :class:`SourceAway`,
    :class:`SourceChanged` or another :class:`StorageError`.
    """

    @abstractmethod
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        """Ask for bytes of a file."""

    @abstractmethod
    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        """Ask for the BLAKE3 digest of bytes of a file."""


@dataclass(eq=False)
class _Request:
    """Something that is asked of one page, or of the one that takes its place."""

    ask: Callable[[Reader], Future[Any]]
    reader: Reader | None = None  # of whom it was asked last: only that one's answer counts
    answer: Future[Any] = field(default_factory=Future)


class PageFiles:
    """What pages lend: a manifest, and those pages that have all of its files at hand now. Thread-safe.

    Of several pages the newest is asked. When it goes, what was asked of it is asked of the one before, or fails with
    :class:`SourceAway`.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._readers: list[Reader] = []
        self._requests: dict[Future[Any], _Request] = {}  # an answer that knew its own would hold itself
        self._waiting: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- pages
    @property
    def present(self) -> bool:
        """Whether a page has the files at hand."""
        return bool(self._readers)

    def lend(self, reader: Reader) -> None:
        """A page has all of them at hand; the newest counts, and is asked again for what others still owe."""
        with self._lock:
            self._readers = [*(each for each in self._readers if each is not reader), reader]
            waiting, self._waiting = self._waiting, []
            owed = [request for request in self._requests.values() if request.reader is not reader]
        for request in owed:
            self._pass_on(request)
        for callback in waiting:
            callback()

    def gone(self, reader: Reader) -> None:
        """A page has them no more: it was closed or loaded anew."""
        with self._lock:
            self._readers = [each for each in self._readers if each is not reader]
            owed = [request for request in self._requests.values() if request.reader is reader]
        for request in owed:
            self._pass_on(request)

    def when_back(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once when a page lends them again, in the thread that lends; now if one does."""
        with self._lock:
            if not self._readers:
                self._waiting.append(callback)
                return
        callback()

    # ---------------------------------------------------------------- requests
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        """Ask for bytes of a file, of one page after the other if need be; anybody may :func:`settle` the future."""
        return self._request(lambda reader: reader.read(path, offset, length))

    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        """Ask for a digest in the same way."""
        return self._request(lambda reader: reader.digest(path, offset, length))

    def _request(self, ask: Callable[[Reader], Future[T]]) -> Future[T]:
        request = _Request(ask)
        with self._lock:
            self._requests[request.answer] = request
        request.answer.add_done_callback(self._over)
        self._pass_on(request)
        return request.answer

    def _pass_on(self, request: _Request) -> None:
        """Ask the newest page."""
        with self._lock:
            reader = request.reader = self._readers[-1] if self._readers else None
        if reader is None:
            settle(request.answer, SourceAway())
        else:
            request.ask(reader).add_done_callback(lambda answer: self._answered(request, reader, answer))

    def _answered(self, request: _Request, reader: Reader, answer: Future[Any]) -> None:
        if request.reader is not reader:
            return
        error = SourceAway() if answer.cancelled() else answer.exception()
        if isinstance(error, SourceAway):
            self.gone(reader)  # whatever it said before: it has not got them
        else:
            settle(request.answer, error or answer.result())

    def _over(self, answer: Future[Any]) -> None:
        with self._lock:
            self._requests.pop(answer, None)


def settle(future: Future[Any], outcome: object) -> None:
    """Give a future its result or its error, unless it has one: several may want to."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class Pace:
    """How much may be asked for at once: more while a page answers quickly, half as much when it does not."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slow_since = 0.0
        self.window = min(FIRST, most)

    def answered(self, cost: int, asked: float, now: float) -> None:
        """What was asked for at ``asked`` is here."""
        seconds = now - asked
        known = asked < self._slow_since  # before the last halving: it says nothing new
        if seconds < QUICK:
            self.window = min(self._most, self.window + cost)
        elif seconds > SLOW and not known:
            self.window = max(min(LEAST, self._most), self.window // 2)
            self._slow_since = now


class _Asked(NamedTuple):
    answer: Future[Slice]
    cost: int

    @property
    def is_here(self) -> bool:
        return self.answer.done() and self.answer.exception() is None

    @property
    def failed(self) -> bool:
        return self.answer.done() and self.answer.exception() is not None


class PageSource(Source):
    """What pages lend, as an offer. Slices are asked for ahead of their turn, as many as the :class:`Pace` allows.

    No page is asked while the lock is held: it may have one of its own, and answer at once.
    """

    def __init__(
        self, files: PageFiles, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.manifest = files.manifest
        self._files = files
        self._limits = limits or Limits()
        self._clock = clock
        self._pace = Pace(self._limits.window)
        self._asked: dict[int, _Asked] = {}  # chunks: under way, or here and not yet read
        self._cost = 0  # of these
        self._expected = RangeSet()
        self._waiting: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    # ---------------------------------------------------------------- the port
    @override
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        self._tidy(chunks)
        done: list[int] = []
        coming = iter(chunks)
        for chunk in chunks:
            self._ask_ahead(coming, chunk)
            if done and not self._is_here(chunk):
                break
            slots = batch.reserve(chunk, self.manifest.place(chunk).length)
            if slots is None:
                break
            batch.commit(chunk, self._fill(chunk, slots))
            done.append(chunk)
        return RangeSet.of(*done)

    @override
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        asked = {chunk: self._ask_digest(chunk) for chunk in chunks}
        return {chunk: self._digest(chunk, answer) for chunk, answer in asked.items()}

    @override
    def expect(self, chunks: RangeSet) -> None:
        self._expected = chunks
        self._tidy(chunks)
        self._ask_ahead(iter(chunks), 0)

    @override
    def when_back(self, callback: Callable[[], None]) -> None:
        self._files.when_back(callback)

    @override
    def interrupt(self) -> None:
        with self._lock:
            self._stopped = True
            waiting = list(self._waiting)
        for answer in waiting:
            settle(answer, Interrupted())

    @override
    def close(self) -> None:
        with self._lock:
            self._asked.clear()
            self._cost = 0

    # ---------------------------------------------------------------- asking
    def _ask_ahead(self, coming: Iterator[int], first: int) -> None:
        """Ask for those of the coming chunks that are not read yet, while the window has room."""
        while self._cost < self._pace.window and self._files.present:
            chunk = next(coming, None)
            if chunk is None:
                return
            if chunk >= first and chunk not in self._asked:
                cost = max(COST, self.manifest.place(chunk).length)
                self._keep(chunk, _Asked(self._ask(chunk, cost), cost))

    def _keep(self, chunk: int, asked: _Asked) -> None:
        with self._lock:
            if self._asked.setdefault(chunk, asked) is asked:  # else another thread was quicker
                self._cost += asked.cost

    def _ask(self, chunk: int, cost: int) -> Future[Slice]:
        at = self._clock()
        answer = self._watched(self._files.read(*self._where(chunk)))
        answer.add_done_callback(lambda done: self._answered(done, cost, at))
        return answer

    def _answered(self, answer: Future[Slice], cost: int, asked: float) -> None:
        if answer.exception() is None:
            with self._lock:
                self._pace.answered(cost, asked, self._clock())

    def _ask_digest(self, chunk: int) -> Future[bytes]:
        return self._watched(self._files.digest(*self._where(chunk)))

    def _where(self, chunk: int) -> tuple[str, int, int]:
        index, offset, length = self.manifest.place(chunk)
        return self.manifest.entries[index].path, offset, length

    def _watched(self, answer: Future[T]) -> Future[T]:
        """An answer that comes at the latest with :meth:`interrupt`."""
        with self._lock:
            self._waiting.add(answer)
            stopped = self._stopped
        answer.add_done_callback(self._settled)
        if stopped:
            settle(answer, Interrupted())
        return answer

    def _settled(self, answer: Future[Any]) -> None:
        with self._lock:
            self._waiting.discard(answer)

    # ---------------------------------------------------------------- what was asked for
    def _tidy(self, wanted: RangeSet) -> None:
        """Drop what failed; and where the window is full, what was asked for and is not wanted any more."""
        with self._lock:
            full = self._cost >= self._pace.window
            for chunk, asked in list(self._asked.items()):
                if asked.failed or (full and chunk not in wanted and chunk not in self._expected):
                    self._drop(chunk)

    def _drop(self, chunk: int) -> None:
        self._cost -= self._asked.pop(chunk).cost

    def _is_here(self, chunk: int) -> bool:
        asked = self._asked.get(chunk)
        return asked is not None and asked.is_here

    def _take(self, chunk: int) -> Future[Slice]:
        """The answer, which is the caller's now; what was not asked for, or failed, is asked for now."""
        with self._lock:
            asked = self._asked.get(chunk)
            if asked:
                self._drop(chunk)
        return self._ask(chunk, 0) if asked is None or asked.failed else asked.answer

    # ---------------------------------------------------------------- answers
    def _fill(self, chunk: int, slots: Sequence[memoryview]) -> bytes:
        """Copy a chunk to where it will be sent from, and hash it there: what was looked at is what travels."""
        for _ in range(self._limits.chunk_attempts):
            found = self._take(chunk).result()
            if _copied(found.parts, slots):
                digest = chunk_digest_of(slots)
                if digest == found.digest:
                    return digest
        raise DigestMismatch

    def _digest(self, chunk: int, answer: Future[bytes]) -> bytes:
        for again in range(self._limits.chunk_attempts):
            digest = (self._ask_digest(chunk) if again else answer).result()
            if len(digest) == DIGEST_SIZE:
                return digest
        raise DigestMismatch


def _copied(parts: Sequence[bytes | memoryview], slots: Sequence[memoryview]) -> bool:
    """Copy parts to slots; whether they are as long, or else nothing is copied."""
    views = [memoryview(part).cast("B") for part in parts]
    if sum(map(len, views)) != sum(map(len, slots)):
        return False
    view = memoryview(b"")
    for slot in slots:
        at = 0
        while at < len(slot):
            view = view or views.pop(0)
            length = min(len(view), len(slot) - at)
            slot[at : at + length] = view[:length]
            view, at = view[length:], at + length
    return True
