"""Files of a browser's machine: a page that shows the notebook lends them, slice by slice when chunks are requested.

A page may appear, disappear and return as another one at any time. So a reader never waits for a page. It waits for a
future of ours, which an answer, the last page's departure or :meth:`PageSource.interrupt` completes.
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

FIRST = 1 * MiB
"""Initial window, for a page of unknown speed: one chunk of the usual size."""
LEAST = 64 * KiB
"""Smallest window: a slow page must not idle while an answer is on its way."""
COST = 4 * KiB
"""Bytes that a slice counts for at least: 10,000 small files must not become 10,000 messages at once."""
QUICK, SLOW = 0.5, 2.0
"""Seconds for an answer that counts as quick or slow; a person's clicks on the page queue behind answers."""

T = TypeVar("T")


class Slice(NamedTuple):
    """Bytes of a file, in parts, and their digest as the page computed it."""

    parts: Sequence[bytes | memoryview]
    digest: bytes

    @override
    def __reduce__(self) -> tuple[object, ...]:
        # a view of memory stays in its process
        return Slice, (tuple(bytes(part) for part in self.parts), self.digest)


class Reader(ABC):
    """A page that has the files.

    Thread-safe; does not block. The futures fail with :class:`SourceAway`, :class:`SourceChanged` or another
    :class:`StorageError`.
    """

    @abstractmethod
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        """Request bytes of a file."""

    @abstractmethod
    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        """Request the BLAKE3 digest of bytes of a file."""


@dataclass(eq=False)
class _Request:
    """A request to one page, or to the page that replaces it."""

    ask: Callable[[Reader], Future[Any]]
    reader: Reader | None = None
    """The page that was asked last; only its answer counts."""
    answer: Future[Any] = field(default_factory=Future)


class PageFiles:
    """A manifest, and the pages that have all of its files now. Thread-safe.

    Requests go to the newest page. When that page leaves, they go to the previous one, or fail with
    :class:`SourceAway`.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._readers: list[Reader] = []
        # A table, because a future with a reference to its request would keep itself alive.
        self._requests: dict[Future[Any], _Request] = {}
        self._waiting: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- pages
    @property
    def present(self) -> bool:
        """Whether a page has the files."""
        return bool(self._readers)

    def lend(self, reader: Reader) -> None:
        """Add a page that has all files; it becomes the newest and gets the open requests of the others."""
        with self._lock:
            self._readers = [*(each for each in self._readers if each is not reader), reader]
            waiting, self._waiting = self._waiting, []
            owed = [request for request in self._requests.values() if request.reader is not reader]
        for request in owed:
            self._pass_on(request)
        for callback in waiting:
            callback()

    def gone(self, reader: Reader) -> None:
        """Remove a page: it was closed or reloaded."""
        with self._lock:
            self._readers = [each for each in self._readers if each is not reader]
            owed = [request for request in self._requests.values() if request.reader is reader]
        for request in owed:
            self._pass_on(request)

    def when_back(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once a page has the files, in the thread that calls ``lend``; now if one has them."""
        with self._lock:
            if not self._readers:
                self._waiting.append(callback)
                return
        callback()

    # ---------------------------------------------------------------- requests
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        """Request bytes of a file, from other pages if one leaves. Callers may :func:`settle` the future."""
        return self._request(lambda reader: reader.read(path, offset, length))

    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        """Request a digest in the same way."""
        return self._request(lambda reader: reader.digest(path, offset, length))

    def _request(self, ask: Callable[[Reader], Future[T]]) -> Future[T]:
        request = _Request(ask)
        with self._lock:
            self._requests[request.answer] = request
        request.answer.add_done_callback(self._over)
        self._pass_on(request)
        return request.answer

    def _pass_on(self, request: _Request) -> None:
        """Send a request to the newest page."""
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
            # It does not have the files, even if it said so before.
            self.gone(reader)
        else:
            settle(request.answer, error or answer.result())

    def _over(self, answer: Future[Any]) -> None:
        with self._lock:
            self._requests.pop(answer, None)


def settle(future: Future[Any], outcome: object) -> None:
    """Complete a future with a result or an error, unless another thread was first."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class Pace:
    """The window of requested bytes: grows while a page answers quickly, halves when it does not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slow_since = 0.0
        self.window = min(FIRST, limit)

    def answered(self, cost: int, asked: float, now: float) -> None:
        """Adapt to an answer to a request made at ``asked``."""
        seconds = now - asked
        # A request from before the last halving says nothing new.
        known = asked < self._slow_since
        if seconds < QUICK:
            self.window = min(self._limit, self.window + cost)
        elif seconds > SLOW and not known:
            self.window = max(min(LEAST, self._limit), self.window // 2)
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
    """The files that pages lend, as an offer. Requests slices ahead of need, as many as the :class:`Pace` allows.

    Never calls a page while holding the lock: the page may have its own lock, and may answer at once.
    """

    def __init__(
        self, files: PageFiles, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.manifest = files.manifest
        self._files = files
        self._limits = limits or Limits()
        self._clock = clock
        self._pace = Pace(self._limits.window)
        # Chunks that are requested, or have arrived and are not yet read.
        self._asked: dict[int, _Asked] = {}
        # Their total cost.
        self._cost = 0
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
        """Request upcoming chunks while the window has room."""
        while self._cost < self._pace.window and self._files.present:
            chunk = next(coming, None)
            if chunk is None:
                return
            if chunk >= first and chunk not in self._asked:
                cost = max(COST, self.manifest.place(chunk).length)
                self._keep(chunk, _Asked(self._ask(chunk, cost), cost))

    def _keep(self, chunk: int, asked: _Asked) -> None:
        with self._lock:
            # Otherwise another thread was faster.
            if self._asked.setdefault(chunk, asked) is asked:
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
        """Make a future complete with :meth:`interrupt` at the latest."""
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
        """Drop failed requests and, if the window is full, requests that are no longer needed."""
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
        """Hand a request's future to the caller; make the request now if there is none or it failed."""
        with self._lock:
            asked = self._asked.get(chunk)
            if asked:
                self._drop(chunk)
        return self._ask(chunk, 0) if asked is None or asked.failed else asked.answer

    # ---------------------------------------------------------------- answers
    def _fill(self, chunk: int, slots: Sequence[memoryview]) -> bytes:
        """Copy a chunk into the batch and hash it there, so that the bytes checked are the bytes sent."""
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
    """Copy parts to slots; if the lengths differ, copy nothing and return False."""
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
