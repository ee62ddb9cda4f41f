"""One chunk, put together from pieces that arrive over one connection or several."""

from __future__ import annotations

from nbferry.errors import RemoteProtocolError
from nbferry.protocol.frames import ChunkData, Piece


class Assembly:
    """One chunk of which pieces come, in order. What has arrived of it outlives the connection."""

    def __init__(self, chunk: int, length: int) -> None:
        self.chunk = chunk
        self.received = 0  # bytes from the beginning of the chunk
        self._data = bytearray(length)
        self._link_was_lost = False

    def link_lost(self) -> None:
        """Expect the next piece over another connection: at the same place, or from the beginning."""
        self._link_was_lost = True

    def add(self, piece: Piece) -> ChunkData | None:
        """Add a piece; return the chunk if that was the last one.

        The digest is that of the last piece. So if a file changed between two connections, the whole chunk fails its
        digest. Raises :class:`RemoteProtocolError` for a piece that does not fit the one before it.
        """
        if self._link_was_lost and piece.offset == 0:
            self.received = 0
        self._link_was_lost = False
        stop = self.received + len(piece.data)
        fits = (self.chunk, self.received) == (piece.chunk, piece.offset)
        if not fits or stop > len(self._data) or not piece.data:
            raise RemoteProtocolError("A piece of a chunk does not fit the one before it.")
        self._data[self.received : stop] = piece.data
        self.received = stop
        return (
            ChunkData(self.chunk, piece.digest, memoryview(self._data)) if stop == len(self._data) else None
        )
