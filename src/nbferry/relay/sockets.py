"""What the sockets of the relay and those of notebook pages have in common."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13
from typing_extensions import override

from nbferry.limits import KiB

JOINED_UP_TO = 16 * KiB  # smaller messages are copied behind their header: cheaper than a second system call


def frame_header(size: int) -> bytes:
    """The header of a binary message of ``size`` bytes from a server (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((0x82, size))
    if size < 65_536:
        return b"\x82\x7e" + size.to_bytes(2)
    return b"\x82\x7f" + size.to_bytes(8)


class Writer:
    """Writes to an accepted WebSocket, and knows how much of it was taken. A lost peer makes no method raise.

    It writes to Tornado's stream itself. ``write_message`` would copy each message and start a task for it, and asyncio
    would report that task's error if the socket closed meanwhile.
    """

    def __init__(self, connection: WebSocketProtocol13) -> None:
        self._connection = connection
        self._written: asyncio.Future[None] | None = None  # done when TCP has taken the latest message
        self.unsent = 0  # bytes of messages that TCP has not taken completely

    def _put(self, head: bytes, body: bytes | memoryview) -> asyncio.Future[None] | None:
        """Send one message of two parts; done when TCP has all of it. None: dropped, because the socket is closing."""
        if self._connection.is_closing():
            return None
        stream, size = self._connection.stream, len(head) + len(body)
        head = frame_header(size) + head
        try:
            if size <= JOINED_UP_TO:
                self._written = stream.write(b"".join((head, body)))
            else:
                stream.write(head)
                self._written = stream.write(body)
        except StreamClosedError:  # the reader of this socket notices too
            return None
        return self._written

    def ping(self) -> None:
        """Ask the other end for a sign of life."""
        if not self._connection.is_closing():
            self._connection.write_ping(b"")

    def finish(self, code: int, reason: str) -> None:
        """Close the socket when it has taken what was sent to it."""
        if self._written is None or self._written.done():
            self._connection.close(code, reason)
        else:
            self._written.add_done_callback(lambda _: self._connection.close(code, reason))

    def abort(self) -> None:
        """Close the socket at once."""
        self._connection.stream.close()


class QuietSocket(WebSocketHandler):
    """Tornado's own pings and compression are off."""

    @property
    @override
    def ping_interval(self) -> float:
        """No pings by Tornado: the relay and the lines ping, and know when silence means that a socket is lost."""
        return 0

    @property
    @override
    def ping_timeout(self) -> float:
        return 0

    @override
    def get_compression_options(self) -> dict[str, Any] | None:
        """None: what passes is encrypted, or a file that is compressed already if that is worth it."""
        return None
