"""The receiver's part in putting a chunk together from its pieces, over one connection or several."""

from __future__ import annotations

from nbferry.errors import RemoteProtocolError
from nbferry.protocol.frames import ChunkData, Piece


class Assembly:
    """One chunk of which pieces come, in order. What is there of it outlives the connection."""

    def __init__(self, chunk: int, length: int) -> None:
        self.chunk = chunk
        self.there = 0  # bytes, from the beginning of the chunk
        self._data = bytearray(length)
        self._link_was_lost = False

    def link_lost(self) -> None:
        """The next piece comes over another connection: where this one left off, or from the beginning."""
        self._link_was_lost = True

    def add(self, piece: Piece) -> ChunkData | None:
        """Put a piece in its place; the chunk, if that was the last one.

        The digest is that of the last piece, so bytes that a sender has read anew and found changed fail it with the
        whole chunk. Raises :class:`RemoteProtocolError` for a piece that does not fit the one before it.
        """
        if self._link_was_lost and piece.offset == 0:
            self.there = 0
        self._link_was_lost = False
        stop = self.there + len(piece.data)
        fits = (self.chunk, self.there) == (piece.chunk, piece.offset)
        if not fits or stop > len(self._data) or not piece.data:
            raise RemoteProtocolError("A piece of a chunk does not fit the one before it.")
        self._data[self.there : stop] = piece.data
        self.there = stop
        return (
            ChunkData(self.chunk, piece.digest, memoryview(self._data)) if stop == len(self._data) else None
        )
