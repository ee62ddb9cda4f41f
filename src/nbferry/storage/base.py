"""The two ports of storage. All methods block; the engine calls them in worker threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch, ChunkData


class Skipped(NamedTuple):
    """Something in a folder that is not sent, and why."""

    path: str
    why: str


class Source(ABC):
    """Where the chunks of an offer are read from; ``skipped`` lists what was left out."""

    manifest: Manifest
    skipped: tuple[Skipped, ...] = ()

    @abstractmethod
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        """Read, hash and lay out as many of the chunks as the batch has room for, lowest first; say which.

        At least one chunk is read if the batch was empty; fewer than it has room for if the next would have to be
        waited for. May be called again with the same chunks, after a reconnect. Raises :class:`SourceChanged` if a
        file is no longer what the manifest says, :class:`SourceAway` if it cannot be had now, and
        :class:`StorageError` if it cannot be read.
        """

    @abstractmethod
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        """The digest of each of these chunks, read but not sent. Raises like :meth:`read`."""

    def expect(self, chunks: RangeSet) -> None:
        """These will be read soon: where an answer takes a while, it can be asked for now."""
        del chunks

    def when_back(self, callback: Callable[[], None]) -> None:
        """After :class:`SourceAway`: have ``callback`` called once, in any thread, when it is worth reading again."""
        del callback

    def interrupt(self) -> None:  # noqa: B027  # files do not keep anybody waiting
        """Whoever waits in another thread for something to be read comes back at once, with an error; for good."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every file. May be called twice."""


class Sink(ABC):
    """Where the chunks of an offer are written to. Nothing is visible at the destination before ``publish``.

    After ``prepare``: ``candidates`` are chunks, none of them in ``have``, for which bytes are here that nobody
    vouches for. ``finished`` is the content digest if an earlier run had verified everything and had begun to publish.
    """

    manifest: Manifest
    candidates: RangeSet = RangeSet()
    finished: bytes | None = None

    @property
    @abstractmethod
    def have(self) -> RangeSet:
        """Chunks that count as stored: what an earlier run made durable, and what ``store`` and ``reuse`` returned.

        Without what a failed flush lost or ``check`` found damaged.
        """

    def leaves(self) -> Iterable[tuple[int, bytes]]:
        """First chunk and joined 32-byte digests of the runs that make up ``have`` as it was after ``prepare``.

        To be asked for before the first ``sync``.
        """
        return ()

    @abstractmethod
    def prepare(self) -> None:
        """Create what is needed before the first byte, and find what an earlier run left.

        Raises :class:`UnsafePath`, :class:`DestinationExists`, :class:`DiskFull` or :class:`StorageError`;
        then nothing was written, and what an earlier run left is still there.
        """

    @abstractmethod
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """Check each chunk against its digest and write those that are right; say which were.

        May be called again with the same chunk after a reconnect; must be idempotent. May run in several threads at
        once, with different chunks. Raises :class:`DiskFull`
        (what was written before stays written, and is written again later) or :class:`StorageError`.
        """

    def reuse(self, chunks: Sequence[tuple[int, bytes]]) -> RangeSet:
        """Find which of these candidates have this digest here; they are now stored. Raises like :meth:`store`.

        A chunk may be given again; what is no candidate is not stored.
        """
        del chunks
        return RangeSet()

    @abstractmethod
    def sync(self) -> None:
        """Make durable what ``store`` returned before this call. May run beside ``store`` in another thread.

        Raises :class:`DiskFull` or :class:`StorageError`; then ``have`` says what is left.
        """

    def check(self) -> RangeSet:
        """Read and hash again what must be doubted, after a power failure or an error of the disk.

        To be called before ``publish``, while nothing is stored. Returns the damaged chunks; they are no longer in
        ``have``. Empty, and quick, when nothing is in doubt. Raises :class:`StorageError`.
        """
        return RangeSet()

    @abstractmethod
    def publish(self, digest: bytes) -> tuple[Path, ...]:
        """All chunks are stored: set times and modes, make all durable, move it to its place; say where it is.

        ``digest`` is the content digest, or ``finished`` to go on with what an earlier run began; may be called
        again, and then returns the same. The staging folder stays, until :meth:`discard`.
        Raises :class:`DestinationExists` under ``overwrite="refuse"``, and like :meth:`sync`. An existing
        file is never touched but by a rename under ``overwrite="replace"``.
        """

    @abstractmethod
    def missing_space(self) -> int:
        """Bytes that the file system lacks for what is still to be written; 0 if it fits."""

    @abstractmethod
    def discard(self) -> None:
        """Remove everything that is not published. May be called at any time, and twice."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every file; keep what is stored. May be called twice."""
