"""What a machine reports to its driver; never on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from nbferry.model.manifest import Manifest
from nbferry.protocol.frames import ChunkData


@dataclass(frozen=True, slots=True)
class Changed:
    """The state or the reason for it is another one: show it at once."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The whole list is here, or known from an earlier run: decide, then call ``accept`` or ``reject``."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Store:
    """Check and write these chunks, then call ``chunks_stored`` or ``storage_full``.

    The data are views of the received frame, or of memory of their own where a chunk came in pieces. ``assembled``:
    all of them came so, and the frame is not needed any more.
    """

    chunks: tuple[ChunkData, ...]
    assembled: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """Hash what is here of these chunks and keep what has the digest beside it, then call ``compared``.

    ``storage_full`` if there is no room for what was right: they come again.
    """

    pairs: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Make durable what is stored, then call ``synced``; ``flush_failed`` or ``lost`` if that does not work."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Everything is verified: put it in its place, then call ``published``.

    Nothing is to be done if the state is not ``writing`` when its turn comes: a flush before it lost something.
    """


Event = Changed | Offered | Store | Compare | Sync | Publish
