"""The two ports of storage. All methods block; the engine calls them in worker threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nbferry.manifest import Manifest
from nbferry.protocol.frames import ChunkBatch, ChunkData
from nbferry.ranges import RangeSet


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

        At least one chunk is read if the batch was empty. May be called again with the same chunks, after a
        reconnect. Raises :class:`SourceChanged` if a file is no longer what the manifest says, and
        :class:`StorageError` if it cannot be read.
        """

    @abstractmethod
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        """The digest of each of these chunks, read but not sent. Raises like :meth:`read`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every file. May be called twice."""


class Sink(ABC):
    """Where the chunks of an offer are written to. Nothing is visible at the destination before ``publish``."""

    manifest: Manifest

    @property
    @abstractmethod
    def have(self) -> RangeSet:
        """Chunks that count as stored: what ``store`` returned, without what a failed flush lost."""

    @abstractmethod
    def prepare(self) -> None:
        """Create what is needed before the first byte.

        Raises :class:`UnsafePath`, :class:`DestinationExists`, :class:`DiskFull` or :class:`StorageError`;
        then nothing was written.
        """

    @abstractmethod
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """Check each chunk against its digest and write those that are right; say which were.

        May be called again with the same chunk after a reconnect; must be idempotent. May run in several threads at
        once, with different chunks. Raises :class:`DiskFull`
        (what was written before stays written, and is written again later) or :class:`StorageError`.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make durable what ``store`` returned before this call. May run beside ``store`` in another thread.

        Raises :class:`DiskFull` or :class:`StorageError`; then ``have`` says what is left.
        """

    @abstractmethod
    def publish(self) -> tuple[Path, ...]:
        """All chunks are stored: set times and modes, make all durable, move it to its place; say where it is.

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
