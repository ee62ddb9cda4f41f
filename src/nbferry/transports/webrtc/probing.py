"""How large the packets of a path may be: Packetization Layer Path MTU Discovery for datagrams (RFC 8899).

Sans-I/O. Sizes are of SCTP packets; UDP, DTLS and IP add 65 bytes on IPv4 and 85 on IPv6.
"""

from __future__ import annotations

from nbferry.transports.webrtc.description import BASE_PACKET

# Ethernet; some data centres; jumbo frames; the largest DTLS record, on loopback
SIZES = (1_400, 4_000, 8_900, 16_384)
MAX_PROBES = 3  # MAX_PROBES
INTERVAL = 0.5  # seconds between two attempts
BLACK_HOLE = 2  # timeouts in a row that large packets get


class PathSize:
    """The size in use, and what is tried; ``most`` is what the other side takes."""

    def __init__(self, most: int) -> None:
        self.size = BASE_PACKET
        self._most = most
        self._attempts = 0

    def probes(self) -> list[int]:
        """Sizes to be tried now, all at once; empty when there is nothing more to be learnt."""
        if self._attempts == MAX_PROBES:
            return []
        self._attempts += 1
        return sorted(size for size in {*SIZES, self._most} if self.size < size <= self._most)

    def arrived(self, size: int) -> None:
        """A probe of this size came through."""
        if size <= self._most:
            self.size = max(self.size, size)

    def timed_out(self, in_a_row: int) -> bool:
        """All that was under way is lost; whether that is because of the size, which then is the smallest for good."""
        if in_a_row < BLACK_HOLE or self.size == BASE_PACKET:
            return False
        self.size, self._attempts, self._most = BASE_PACKET, MAX_PROBES, BASE_PACKET
        return True
