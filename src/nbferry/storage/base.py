"""The two ports of storage. All methods block, so the engine calls them in worker threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch, ChunkData


class Skipped(NamedTuple):
    """A file or folder that is left out of an offer, and why."""

    path: str
    why: str


class Source(ABC):
    """Provides the chunks of an offer; ``skipped`` lists what was left out."""

    manifest: Manifest
    skipped: tuple[Skipped, ...] = ()

    @abstractmethod
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        """Read and hash as many chunks as the batch has room for, lowest first; return those that were read.

        Into an empty batch, reads at least one chunk. Stops early rather than wait for the next chunk. May be called
        again with the same chunks after a reconnect. Raises :class:`SourceChanged` if a file differs from the
        manifest, :class:`SourceAway` if it is not available now, and :class:`StorageError` if it cannot be read.
        """

    @abstractmethod
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        """Return the digest of each of these chunks without sending them. Raises like :meth:`read`."""

    def expect(self, chunks: RangeSet) -> None:
        """Announce chunks that will be read soon, so that a slow source can request them now."""
        del chunks

    def when_back(self, callback: Callable[[], None]) -> None:
        """After :class:`SourceAway`, call ``callback`` once, in any thread, when the source is available again."""
        del callback

    # Empty, because reading a file never waits for long.
    def interrupt(self) -> None:  # noqa: B027
        """Make every read that waits in another thread, and every later one, fail at once."""

    @abstractmethod
    def close(self) -> None:
        """Close every file. May be called twice."""


class Sink(ABC):
    """Stores the chunks of an offer. Nothing is visible at the destination before ``publish``.

    After ``prepare``, ``candidates`` are chunks outside ``have`` for which unverified bytes exist here. ``finished`` is
    the content digest if an earlier run verified everything and began to publish.
    """

    manifest: Manifest
    candidates: RangeSet = RangeSet()
    finished: bytes | None = None

    @property
    @abstractmethod
    def have(self) -> RangeSet:
        """Chunks that count as stored: those that an earlier run made durable, and those from ``store`` and ``reuse``.

        Excludes chunks that a failed flush lost or that ``check`` found damaged.
        """

    def leaves(self) -> Iterable[tuple[int, bytes]]:
        """Return the runs of ``have`` as it was after ``prepare``: first chunk, and joined 32-byte digests.

        Call it before the first ``sync``.
        """
        return ()

    @abstractmethod
    def prepare(self) -> None:
        """Create the folders, and find what an earlier run left.

        Raises :class:`UnsafePath`, :class:`DestinationExists`, :class:`DiskFull` or :class:`StorageError`. In that
        case nothing was written, and the data of an earlier run is kept.
        """

    @abstractmethod
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        """Check each chunk against its digest and write the correct ones; return those.

        Must be idempotent: the same chunk may come again after a reconnect. May run in several threads at once, with
        different chunks. Raises :class:`StorageError` or :class:`DiskFull`; after the latter, the caller may pass the
        same chunks again later.
        """

    def reuse(self, chunks: Sequence[tuple[int, bytes]]) -> RangeSet:
        """Store those of these candidates whose bytes here have the given digest; return them.

        Raises like :meth:`store`. A chunk may come again; one that is no candidate is not stored.
        """
        del chunks
        return RangeSet()

    @abstractmethod
    def sync(self) -> None:
        """Make durable what ``store`` returned before this call. May run while another thread runs ``store``.

        Raises :class:`DiskFull` or :class:`StorageError`; afterwards ``have`` holds only what still counts.
        """

    def check(self) -> RangeSet:
        """Read and hash again what is in doubt after a power failure or a disk error.

        Call it before ``publish``, while no thread runs ``store``. Returns the damaged chunks, which leave ``have``.
        Returns nothing, quickly, if nothing is in doubt. Raises :class:`StorageError`.
        """
        return RangeSet()

    @abstractmethod
    def publish(self, digest: bytes) -> tuple[Path, ...]:
        """Set times and modes, make everything durable and move it into place; return the paths.

        Call it when all chunks are stored. ``digest`` is the content digest, or ``finished`` to resume what an earlier
        run began. May be called again, also after a failure that lost no chunk; the paths are the same. The staging
        folder stays until :meth:`discard`. Raises like :meth:`sync`, and :class:`DestinationExists` under
        ``overwrite="refuse"``. Changes an existing file only by a rename under ``overwrite="replace"``.
        """

    @abstractmethod
    def missing_space(self) -> int:
        """Return how many bytes the file system lacks for the rest; 0 if it fits."""

    @abstractmethod
    def discard(self) -> None:
        """Remove everything unpublished. May be called at any time, and twice."""

    @abstractmethod
    def close(self) -> None:
        """Close every file; keep what is stored. May be called twice."""
