"""A UDP socket that sends and receives many datagrams with one call of the kernel.

asyncio reads one datagram in each cycle of its loop. Here Linux cuts one large buffer into datagrams when it sends
(UDP_SEGMENT, "GSO") and returns a row of them as one buffer when it receives (UDP_GRO). More rows are read in the same
cycle. A kernel without these options sends and receives datagrams one by one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Address = tuple[str, int]
DatagramHandler = Callable[[memoryview, Any], None]

MAX_DATAGRAM = 65_535  # bytes of a datagram, or of a row of them
MAX_ROW = MAX_DATAGRAM - 100  # without headers
ROW = 64  # datagrams at most that one call may send (UDP_MAX_SEGMENTS)
TOGETHER = 4  # datagrams after which ``drained`` is called although more may be waiting
READS = 16  # calls in one cycle of the loop, so that other tasks run too
BUFFER = 4 << 20  # bytes requested in the kernel, each way: 10 ms at 400 MB/s. It may give less
BACKLOG = 1 << 20  # bytes kept here while the kernel takes nothing; more is lost, as on any line

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104  # <linux/udp.h>
# <linux/in.h>
_MTU_DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
_FRAGMENT, _NEVER_FRAGMENT = 0, 3  # IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE
_ROOM = 64  # bytes for the size of a segment and its header
_SIZE = struct.Struct("=H"), struct.Struct("=i")  # of a segment: to the kernel, from it

log = logging.getLogger("nbferry")


class DatagramSocket:
    """One open socket. For aioice it looks like asyncio's DatagramTransport."""

    def __init__(self, address: Address, received: DatagramHandler, drained: Callable[[], None]) -> None:
        """Bind; ``received`` gets views that are valid during the call, ``drained`` comes after each row of them."""
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._received, self._drained = received, drained
        self._buffer = bytearray(MAX_DATAGRAM + 1)
        self._backlog: deque[tuple[bytes, Address]] = deque()
        self._backlog_bytes = 0
        try:
            self._open(address)
        except BaseException:
            self._socket.close()
            raise
        self._name = self._socket.getsockname()

    def _open(self, address: Address) -> None:
        self._socket.setblocking(False)
        self._socket.bind(address)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._rows = self._option(_SOL_UDP, _UDP_GRO, 1)
        self.whole = self._option(*_MTU_DISCOVER[self._socket.family], _NEVER_FRAGMENT)
        self._loop.add_reader(self._socket, self._readable)

    def _option(self, level: int, name: int, value: int) -> bool:
        """Set an option of Linux; return whether this system has it."""
        if sys.platform != "linux":
            return False
        try:
            self._socket.setsockopt(level, name, value)
        except OSError:
            return False
        return True

    def may_fragment(self) -> None:
        """From now on let routers fragment datagrams."""
        self._option(*_MTU_DISCOVER[self._socket.family], _FRAGMENT)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As in asyncio, for ``sockname`` only."""
        return self._name if name == "sockname" else default

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close at once."""
        if not self.is_closing():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    # ---------------------------------------------------------------- sending
    def sendto(self, datagram: bytes, address: Address) -> None:
        """Send one datagram."""
        self.send_all([datagram], address)

    def send_all(self, datagrams: Sequence[bytes], address: Address) -> None:
        """Send several datagrams. Those that cannot be sent now are kept, up to a limit."""
        if self.is_closing():
            return
        if self._backlog:
            self._keep(datagrams, address)
            return
        for row in _rows(datagrams) if self._rows else [[datagram] for datagram in datagrams]:
            if not self._send_row(row, address):
                self._keep(row, address)

    def _send_row(self, row: Sequence[bytes], address: Address) -> bool:
        """Send a row. Returns False if the kernel can take nothing now."""
        if len(row) == 1:
            return self._send_one(row[0], address)
        segment = [(_SOL_UDP, _UDP_SEGMENT, _SIZE[0].pack(len(row[0])))]
        try:
            self._socket.sendmsg(row, segment, 0, address)
        except BlockingIOError:
            return False
        except OSError:  # too large for the device, or the device cannot cut it
            for datagram in row:
                if not self._send_one(datagram, address):
                    self._keep([datagram], address)
        return True

    def _send_one(self, datagram: bytes, address: Address) -> bool:
        try:
            self._socket.sendto(datagram, address)
        except BlockingIOError:
            return False
        except OSError as error:  # too large, or unreachable: lost, as on any line
            log.debug("a datagram to %s could not be sent: %s", address[0], error)
        return True

    def _keep(self, datagrams: Sequence[bytes], address: Address) -> None:
        for datagram in datagrams:
            if self._backlog_bytes + len(datagram) <= BACKLOG:
                self._backlog.append((datagram, address))
                self._backlog_bytes += len(datagram)
        self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        while self._backlog:
            datagram, address = self._backlog[0]
            if not self._send_one(datagram, address):
                return
            self._backlog.popleft()
            self._backlog_bytes -= len(datagram)
        self._loop.remove_writer(self._socket)

    # ---------------------------------------------------------------- receiving
    def _readable(self) -> None:
        waiting = 0
        for _ in range(READS):
            count = self._read()
            waiting += count
            if waiting >= TOGETHER or (waiting and not count):
                self._drained()
                waiting = 0
            if not count:
                return
        self._drained()

    def _read(self) -> int:
        """Pass on a row of datagrams; return how many."""
        if self.is_closing():
            return 0
        try:
            size, ancillary, _, sender = self._socket.recvmsg_into([self._buffer], _ROOM if self._rows else 0)
        except (BlockingIOError, ConnectionRefusedError):  # the latter belongs to a datagram sent earlier
            return 0
        count = 0
        with memoryview(self._buffer) as whole:
            for start, end in _cuts(size, ancillary):
                count += 1
                with whole[start:end] as datagram:
                    self._received(datagram, sender)
        return count


def _rows(datagrams: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Group datagrams into rows that the kernel can send at once: all of one size, except a shorter last one."""
    start = 0
    for end in range(1, len(datagrams) + 1):
        size = len(datagrams[start])
        full = (end - start) >= ROW or (end - start + 1) * size > MAX_ROW
        if end == len(datagrams) or full or len(datagrams[end - 1]) != size or len(datagrams[end]) > size:
            yield datagrams[start:end]
            start = end


def _cuts(size: int, ancillary: list[tuple[int, int, bytes]]) -> Iterator[tuple[int, int]]:
    """Where the datagrams of a row begin and end."""
    step = size
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_UDP, _UDP_GRO):
            step = _SIZE[1].unpack_from(data)[0]
    if not 0 < step < size:
        yield 0, size
        return
    for start in range(0, size, step):
        yield start, min(start + step, size)
