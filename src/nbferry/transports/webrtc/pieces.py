"""Messages cut into pieces that a data channel takes, and put back together.

The first piece begins with the size of the message, four bytes in network order; nothing else is added, because the
channel keeps pieces whole and in order.
"""

from __future__ import annotations

from collections.abc import Iterator

from nbferry.errors import TransportBroken
from nbferry.limits import MAX_MESSAGE, KiB

HEADER = 4  # bytes
MAX_ASSEMBLED = MAX_MESSAGE + 64 * KiB  # with the tag of a sealed frame and an envelope
PIECE = 64 * KiB  # every data channel takes this (RFC 8841, section 6); larger pieces were no faster


class Cutter:
    """Has one buffer, which messages of the same size share."""

    def __init__(self, piece: int = PIECE) -> None:
        self._piece = piece
        self._buffer = bytearray()

    def room(self, size: int) -> memoryview:
        """Where to write a message of ``size`` bytes, before :meth:`pieces` is called."""
        if not 0 <= size <= MAX_ASSEMBLED:
            raise ValueError(f"a message has at most {MAX_ASSEMBLED} bytes, not {size}")
        if len(self._buffer) != HEADER + size:
            self._buffer = bytearray(HEADER + size)
            self._buffer[:HEADER] = size.to_bytes(HEADER, "big")
        return memoryview(self._buffer)[HEADER:]

    def pieces(self) -> Iterator[bytes]:
        """The message, as copies."""
        with memoryview(self._buffer) as whole:
            for start in range(0, len(whole), self._piece):
                yield bytes(whole[start : start + self._piece])


class PieceAssembler:
    """Holds one message at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._have = 0
        self._begun = False

    def add(self, piece: bytes | str) -> memoryview | None:
        """A message if this piece was its last, valid until the next call. Raises :class:`TransportBroken`."""
        if isinstance(piece, str):
            raise TransportBroken("A text message arrived; only binary ones are expected.")
        start = 0
        if not self._begun:
            self._begin(piece)
            start = HEADER
        end = self._have + len(piece) - start
        if end > len(self._buffer) or (end == self._have and start == 0):
            raise TransportBroken("A message does not have the announced length.")
        self._buffer[self._have : end] = memoryview(piece)[start:]
        self._have = end
        if end < len(self._buffer):
            return None
        self._begun = False
        return memoryview(self._buffer)

    def _begin(self, piece: bytes) -> None:
        size = int.from_bytes(piece[:HEADER], "big")
        if len(piece) < HEADER or size > MAX_ASSEMBLED:
            raise TransportBroken("A message is too large.")
        if len(self._buffer) != size:
            self._buffer = bytearray(size)
        self._have = 0
        self._begun = True
