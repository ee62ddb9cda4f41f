"""What a machine reports to its driver; never on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from nbferry.model.manifest import Manifest
from nbferry.protocol.frames import ChunkData


@dataclass(frozen=True, slots=True)
class Changed:
    """The phase or a reason has changed: show it at once."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The whole list has arrived, or is known from an earlier run: decide, then call ``accept`` or ``reject``."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Store:
    """Check and write these chunks, then call ``chunks_stored`` or ``storage_full``.

    The data are views of the received frame, or of separate memory if a chunk came in pieces. ``assembled``: all chunks
    came in pieces, so the frame is no longer needed.
    """

    chunks: tuple[ChunkData, ...]
    assembled: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """Hash what is stored of these chunks, keep those that have the digest beside them, then call ``compared``.

    Call ``storage_full`` if the disk has no room to keep them: then this event comes again.
    """

    pairs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Make durable what is stored, then call ``synced``; ``flush_failed`` or ``lost`` on failure."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Everything is verified: put it in its place, then call ``published``.

    Ignore this event if the phase is no longer ``writing`` when it is handled: an earlier flush has lost something.
    """


Event = Changed | Offered | Store | Compare | Sync | Publish
