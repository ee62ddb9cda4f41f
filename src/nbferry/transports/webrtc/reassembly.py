"""What has arrived of an SCTP association: numbers to acknowledge, and the message that is being put together.

Chunks are taken in the order in which they were sent, across all streams, and the parts of a message follow each other
(RFC 9260, section 6.9). So at most one message is unfinished, and nothing is searched. Sans-I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

from nbferry.errors import TransportBroken

RECEIVE_WINDOW = 8 << 20  # bytes that wait for a missing chunk: 100 Mbit/s x 300 ms, twice
LARGEST_MESSAGE = 256 << 10  # bytes; four times what our description announces
FURTHEST = 65_535  # numbers ahead that a SACK can name
TWICE = 16  # numbers that came twice, remembered for the next SACK

LAST, FIRST = 1, 2  # flags
_M, _HALF = 0xFFFF_FFFF, 1 << 31  # TSNs are numbers modulo 2^32

Chunk = tuple[int, int, int, bytes]  # flags, stream, protocol, payload


class Inbound:
    """One direction of an association; ``initial`` is the TSN of the first chunk."""

    def __init__(self, initial: int) -> None:
        self.up_to = initial - 1  # everything up to this number has arrived; it does not wrap
        self.held = 0  # bytes that wait for a missing chunk
        self.disturbed = False  # whether the last chunk came out of order, or a gap is open
        self._early: dict[int, Chunk] = {}
        self._blocks: list[list[int]] = []  # of numbers in ``_early``: first and last, rising
        self._twice: list[int] = []
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._of = (0, 0)  # stream and protocol of the parts

    def add(self, tsn: int, flags: int, stream: int, protocol: int, payload: bytes) -> Iterable[Chunk]:
        """Take a chunk; return those that are in order now."""
        ahead = (tsn - self.up_to) & _M
        if ahead == 1:
            self.up_to += 1
            self.disturbed = bool(self._blocks)
            chunk = (flags, stream, protocol, payload)
            return [chunk, *self._ready()] if self._blocks else (chunk,)
        self.disturbed = True
        number = self.up_to + ahead
        if not ahead or ahead >= _HALF or number in self._early:
            if len(self._twice) < TWICE:
                self._twice.append(tsn)
        elif ahead <= FURTHEST and self.held + len(payload) <= RECEIVE_WINDOW:
            self._early[number] = (flags, stream, protocol, payload)
            self.held += len(payload)
            self._note(number)
        return ()

    def _note(self, number: int) -> None:
        """Add a number to the blocks; it mostly belongs to the last one."""
        blocks = self._blocks
        place = len(blocks)
        while place and blocks[place - 1][0] > number:
            place -= 1
        joins_left = place > 0 and blocks[place - 1][1] == number - 1
        joins_right = place < len(blocks) and blocks[place][0] == number + 1
        if joins_left and joins_right:
            blocks[place - 1][1] = blocks.pop(place)[1]
        elif joins_left:
            blocks[place - 1][1] = number
        elif joins_right:
            blocks[place][0] = number
        else:
            blocks.insert(place, [number, number])

    def _ready(self) -> list[Chunk]:
        """Take the chunks that have waited for the number that has just come."""
        if self._blocks[0][0] != self.up_to + 1:
            return []
        first, self.up_to = self._blocks.pop(0)
        ready = [self._early.pop(number) for number in range(first, self.up_to + 1)]
        self.held -= sum(len(chunk[3]) for chunk in ready)
        return ready

    def join(self, flags: int, stream: int, protocol: int, payload: bytes) -> bytes | None:
        """Add the next chunk to its message; return the message when complete. Raises :class:`TransportBroken`."""
        if not payload:
            raise TransportBroken("A chunk has no data.")
        if flags & FIRST:
            if self._parts:
                raise TransportBroken("A message began before the one before it ended.")
            if flags & LAST:
                return payload
            self._of = stream, protocol
        elif not self._parts or self._of != (stream, protocol):
            raise TransportBroken("A part of a message arrived without its beginning.")
        return self._append(flags, payload)

    def _append(self, flags: int, payload: bytes) -> bytes | None:
        self._parts.append(payload)
        self._parts_size += len(payload)
        if self._parts_size > LARGEST_MESSAGE:
            raise TransportBroken("A message is too large.")
        if not flags & LAST:
            return None
        message = b"".join(self._parts)
        self._parts, self._parts_size = [], 0
        return message

    # ---------------------------------------------------------------- for a SACK
    def gaps(self, limit: int) -> list[tuple[int, int]]:
        """The first blocks that have arrived beyond ``up_to``, relative to it. The first are the most urgent."""
        return [(first - self.up_to, last - self.up_to) for first, last in self._blocks[:limit]]

    def take_twice(self) -> list[int]:
        """TSNs that came twice since the last call."""
        twice, self._twice = self._twice, []
        return twice
