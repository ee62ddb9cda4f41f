"""Eavesdroppers: a TCP proxy that stores the bytes that pass, and a tap on the loopback interface."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

ALL_PROTOCOLS = 0x0003  # ETH_P_ALL of <linux/if_ether.h>
# The tap stores at most this many bytes.
MOST = 1 << 28


class Proxy:
    """Forwards every connection to ``target`` on the loopback interface. ``heard`` has the bytes of both directions."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._parts: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []

    @property
    def heard(self) -> bytes:
        """All bytes so far, in the order of arrival."""
        return b"".join(self._parts)

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:  # closed
                return
            outer = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [inner, outer]
            for source, sink in ((inner, outer), (outer, inner)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self._parts.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone
            return

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # not connected any more
                continue
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()


class Loopback:
    """Records what all processes of this machine send over ``lo``. Only root may listen; for others it stays silent."""

    def __init__(self) -> None:
        self.listens = False
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._record)

    @property
    def heard(self) -> bytes:
        """All bytes so far, packet headers included."""
        return b"".join(self._parts)

    def _record(self) -> None:
        kept = 0
        while kept < MOST:
            try:
                packet = self._socket.recv(1 << 17)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            self._parts.append(packet)
            kept += len(packet)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        except (AttributeError, PermissionError):  # no Linux, no root
            return self
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.1)
        self.listens = True
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.listens:
            self._ended.set()
            self._thread.join()
            self._socket.close()
