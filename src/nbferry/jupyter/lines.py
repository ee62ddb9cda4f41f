"""Who is at a line, sans-I/O: one kernel and the pages that show what it does, known to both by one name.

A page's messages reach the kernel with the page's number in front, and the other way round; pages see no
numbers. Number 0 is the server: what follows it is JSON, for the kernel only.

    {"came": n}                 page n is here
    {"left": n}                 and is not any more
    {"took": n, "bytes": k}     page n's socket has taken a message of k bytes: room for so many more
    {"replaced": true}          a newer kernel's end has this name; do not come back

The first message of a kernel's end says that it is ready: ``{"ready": true}``, with number 0. Nothing is sent to
it before.

A page belongs to the kernel's end that it was introduced to. When that is lost the page is closed, so that it
knows that what it asked may be lost too, and comes again.
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
    """Time that a page waits for the kernel's end: a kernel begins with it at the same moment."""

    max_message: int = MAX_MESSAGE + 64 * KiB
    """One message, with the number in front."""

    max_unsent: int = 4 * MiB
    """Bytes that the kernel's socket has not taken yet; above this nothing more is read from a page."""

    page_window: int = 8 * MiB
    """Bytes that a page's socket may hold; a kernel sends less and waits, so more means that something is wrong."""

    read_size: int = 120 * KiB
    """Bytes that are read from a socket at once; as in :class:`nbferry.relay.limits.RelayLimits`."""

    ping_interval: float = 20.0
    """Time between two pings. Proxies cut connections that are idle for 60 s."""

    silent_pings: int = 3
    """Pings in a row without a sign of life after which a socket is gone. It may send or take one large message
    all the while: 2 MiB at 0.3 Mbit/s."""


DEFAULT_LINE_LIMITS = LineLimits()


class End(Hashable, Protocol):
    """A socket, of which the core knows only this."""

    @property
    def unsent(self) -> int:
        """Bytes that were sent to it and that it has not taken yet."""

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """Send one message of two parts; nothing happens if the socket is closing."""

    def room(self) -> Awaitable[object] | None:
        """What to wait for before more is sent to it; None if there is room."""

    def finish(self, code: int, reason: str) -> None:
        """Close it when it has taken what was sent to it."""


class PageEnd(End, Protocol):
    """A page's socket."""

    def introduced(self) -> None:
        """The kernel is there: what the page says can be passed on."""


class LineHub:
    """One name: at most one kernel's end, and pages by number. A number is never used again."""

    def __init__(self, limits: LineLimits = DEFAULT_LINE_LIMITS) -> None:
        self.kernel: End | None = None
        self._limits = limits
        self._pages: dict[int, PageEnd] = {}
        self._latest = 0
        self.sockets = 0  # that are open, whatever they are

    # -------------------------------------------------------------- the kernel's end
    def kernel_came(self, kernel: End) -> None:
        """Have this for the kernel's end; the pages that wait are introduced to it."""
        if self.kernel:
            self._tell(replaced=True)
            self.kernel.finish(REPLACED, "replaced")
            self._dismiss_all()
        self.kernel = kernel
        for number, page in self._pages.items():
            self._introduce(number, page)

    def kernel_left(self, kernel: End) -> None:
        """It is gone, and with it its pages; unless it was replaced before."""
        if self.kernel is kernel:
            self.kernel = None
            self._dismiss_all()

    def from_kernel(self, kernel: End, message: bytes) -> None:
        """Pass a message on. To a page that has just left, or to no page at all, it goes nowhere."""
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
        """Let a page in: its number, or 0 if there are too many."""
        if len(self._pages) >= self._limits.max_pages:
            page.finish(TOO_MANY, "too many pages")
            return 0
        self._latest += 1
        self._pages[self._latest] = page
        if self.kernel:
            self._introduce(self._latest, page)
        return self._latest

    def page_left(self, number: int) -> None:
        """A page is gone."""
        if self._pages.pop(number, None) and self.kernel:
            self._tell(left=number)

    def from_page(self, number: int, message: bytes) -> Awaitable[object] | None:
        """Pass a message on, if the page still belongs to a kernel: what to wait for before the next one."""
        if self.kernel is None or number not in self._pages:
            return None
        self.kernel.write(number.to_bytes(NUMBER_BYTES), message)
        return self.kernel.room()

    def taken(self, number: int, size: int) -> None:
        """A page's socket has taken a message."""
        if self.kernel and number in self._pages:
            self._tell(took=number, bytes=size)

    def give_up(self, number: int) -> None:
        """A page has waited for long enough."""
        if not self.kernel and (page := self._pages.pop(number, None)):
            page.finish(NO_KERNEL, "no kernel is here")

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
        """Count the lines that somebody has open."""
        return len(self._lines)

    def enter(self, name: str) -> LineHub:
        """A socket opens the line of this name."""
        line = self._lines.setdefault(name, LineHub(self.limits))
        line.sockets += 1
        return line

    def leave(self, name: str) -> None:
        """A socket is gone; with the last of them the line is forgotten."""
        self._lines[name].sockets -= 1
        if not self._lines[name].sockets:
            del self._lines[name]
