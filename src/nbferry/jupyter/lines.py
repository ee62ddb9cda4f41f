"""A line joins one kernel and the pages that show its cards; both open it by its name. Sans-I/O.

A page's messages reach the kernel with the page's number in front, and a kernel's message begins with the number of its
page; pages see no numbers. Number 0 is the server: what follows it is JSON, for the kernel only.

    {"came": n}                 page n has connected
    {"left": n}                 page n has disconnected
    {"took": n, "bytes": k}     page n's socket has taken a message of k bytes, so the kernel may send as many more
    {"replaced": true}          a newer kernel's end has opened this line; do not reconnect

The first message of a kernel's end says that it is ready: ``{"ready": true}``, with number 0. The server sends it
nothing before that.

A page belongs to the kernel's end to which it was introduced. When that end is lost the page is closed, so that it
knows that its requests may be lost too, and reconnects.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from nbferry.limits import MAX_MESSAGE, KiB, MiB

PAGES_VERSION = 1
NUMBER_BYTES = 4

GOING_AWAY, UNSUPPORTED = 1001, 1003  # RFC 6455, section 7.4.1
REPLACED, NO_KERNEL, TOO_SLOW, TOO_MANY = 4000, 4404, 4408, 4429
"""Codes with which a socket is closed."""


@dataclass(frozen=True, kw_only=True)
class LineLimits:
    """Bounds of the lines of a server. Sizes are bytes, times are seconds."""

    max_pages: int = 64
    """Pages of one line: every open tab is one."""

    kernel_wait: float = 10.0
    """Time that a page waits for the kernel's end, which connects at about the same moment."""

    max_message: int = MAX_MESSAGE + 64 * KiB
    """One message, with the number in front."""

    max_unsent: int = 4 * MiB
    """Bytes that the kernel's socket has not taken yet; above this the server stops reading from pages."""

    page_window: int = 8 * MiB
    """Bytes that a page's socket may hold. A kernel sends less and waits; more means that it misbehaves."""

    read_size: int = 120 * KiB
    """Bytes that are read from a socket at once; as in :class:`nbferry.relay.limits.RelayLimits`."""

    ping_interval: float = 20.0
    """Time between two pings. Proxies cut connections that are idle for 60 s."""

    silent_pings: int = 3
    """Pings in a row without a sign of life after which a socket counts as lost. One large message may take that long:
    2 MiB at 0.3 Mbit/s."""


DEFAULT_LINE_LIMITS = LineLimits()


class End(Hashable, Protocol):
    """A socket, as far as the core knows it."""

    @property
    def unsent(self) -> int:
        """Bytes that were sent to it and are still in our memory."""

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """Send one message of two parts; nothing happens if the socket is closing."""

    def room(self) -> Awaitable[object] | None:
        """An awaitable that ends when it has room for more; None if it has room now."""

    def finish(self, code: int, reason: str) -> None:
        """Close it when it has taken what was sent to it."""


class PageEnd(End, Protocol):
    """A page's socket."""

    def introduced(self) -> None:
        """The kernel has connected: messages of this page can be passed on."""


class LineHub:
    """One name: at most one kernel's end, and pages by number. A number is never used again."""

    def __init__(self, limits: LineLimits = DEFAULT_LINE_LIMITS) -> None:
        self.kernel: End | None = None
        self._limits = limits
        self._pages: dict[int, PageEnd] = {}
        self._latest = 0
        self.sockets = 0  # open ones, of either kind

    # -------------------------------------------------------------- the kernel's end
    def kernel_came(self, kernel: End) -> None:
        """Make this the kernel's end, and introduce the waiting pages to it."""
        if self.kernel:
            self._tell(replaced=True)
            self.kernel.finish(REPLACED, "replaced")
            self._dismiss_all()
        self.kernel = kernel
        for number, page in self._pages.items():
            self._introduce(number, page)

    def kernel_left(self, kernel: End) -> None:
        """Drop the kernel's end and its pages, unless it was replaced before."""
        if self.kernel is kernel:
            self.kernel = None
            self._dismiss_all()

    def from_kernel(self, kernel: End, message: bytes) -> None:
        """Pass a message on. A message for a page that has left, or never was, is dropped."""
        if kernel is not self.kernel:
            return
        number = int.from_bytes(message[:NUMBER_BYTES])
        page = self._pages.get(number)
        if page is None or len(message) < NUMBER_BYTES:
            return
        page.write(b"", memoryview(message)[NUMBER_BYTES:])
        if page.unsent > self._limits.page_window:
            page.finish(TOO_SLOW, "too much is unsent")
            self.page_left(number)

    # -------------------------------------------------------------- pages
    def page_came(self, page: PageEnd) -> int:
        """Add a page; return its number, or 0 if the line is full."""
        if len(self._pages) >= self._limits.max_pages:
            page.finish(TOO_MANY, "too many pages")
            return 0
        self._latest += 1
        self._pages[self._latest] = page
        if self.kernel:
            self._introduce(self._latest, page)
        return self._latest

    def page_left(self, number: int) -> None:
        """Drop a page that has disconnected."""
        if self._pages.pop(number, None) and self.kernel:
            self._tell(left=number)

    def from_page(self, number: int, message: bytes) -> Awaitable[object] | None:
        """Pass a message on if the page still has a kernel; return what to await before the next one."""
        if self.kernel is None or number not in self._pages:
            return None
        self.kernel.write(number.to_bytes(NUMBER_BYTES), message)
        return self.kernel.room()

    def taken(self, number: int, size: int) -> None:
        """Tell the kernel that a page's socket has taken a message."""
        if self.kernel and number in self._pages:
            self._tell(took=number, bytes=size)

    def give_up(self, number: int) -> None:
        """Close a page that has waited for a kernel in vain."""
        if not self.kernel and (page := self._pages.pop(number, None)):
            page.finish(NO_KERNEL, "no kernel has connected")

    def _introduce(self, number: int, page: PageEnd) -> None:
        self._tell(came=number)
        page.introduced()

    def _dismiss_all(self) -> None:
        pages, self._pages = self._pages, {}
        for page in pages.values():
            page.finish(NO_KERNEL, "the kernel is gone")

    def _tell(self, **fields: Any) -> None:
        assert self.kernel
        self.kernel.write(bytes(NUMBER_BYTES), json.dumps(fields).encode())


class LineHubs:
    """All lines of a server."""

    def __init__(self, limits: LineLimits = DEFAULT_LINE_LIMITS) -> None:
        self.limits = limits
        self._lines: dict[str, LineHub] = {}

    def __len__(self) -> int:
        """Count the lines that have a socket."""
        return len(self._lines)

    def enter(self, name: str) -> LineHub:
        """Count a socket that opens the line of this name, and return the line."""
        line = self._lines.setdefault(name, LineHub(self.limits))
        line.sockets += 1
        return line

    def leave(self, name: str) -> None:
        """Count off a socket; the last one of a line removes the line."""
        self._lines[name].sockets -= 1
        if not self._lines[name].sockets:
            del self._lines[name]
