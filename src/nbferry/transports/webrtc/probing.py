"""How large the packets of a path may be: Packetization Layer Path MTU Discovery for datagrams (RFC 8899).

Sans-I/O. Sizes are of SCTP packets; UDP, DTLS and IP add 65 bytes on IPv4 and 85 on IPv6.
"""

from __future__ import annotations

from nbferry.transports.webrtc.description import BASE_PACKET

# Ethernet; some data centres; jumbo frames; the largest DTLS record, on loopback.
SIZES = (1_400, 4_000, 8_900, 16_384)
MAX_PROBES = 3  # RFC 8899's name for the attempts
INTERVAL = 0.5  # seconds between two attempts
BLACK_HOLE = 2  # timeouts in a row after which large packets are given up


class PathSize:
    """The size in use, and the sizes to try; ``limit`` is the largest that the other side takes."""

    def __init__(self, limit: int) -> None:
        self.size = BASE_PACKET
        self._limit = limit
        self._attempts = 0

    def probes(self) -> list[int]:
        """The sizes to try now, all at once; empty when no attempt is left."""
        if self._attempts == MAX_PROBES:
            return []
        self._attempts += 1
        return sorted(size for size in {*SIZES, self._limit} if self.size < size <= self._limit)

    def arrived(self, size: int) -> None:
        """Use this size if it is the largest so far: a probe of it was answered."""
        if size <= self._limit:
            self.size = max(self.size, size)

    def timed_out(self, in_a_row: int) -> bool:
        """Return whether the size explains so many timeouts in a row; then the smallest size is used for good."""
        if in_a_row < BLACK_HOLE or self.size == BASE_PACKET:
            return False
        self.size, self._attempts, self._limit = BASE_PACKET, MAX_PROBES, BASE_PACKET
        return True
