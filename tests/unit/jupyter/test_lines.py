"""The members of a line without sockets: numbers, introductions, departures."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from nbferry.jupyter.lines import NO_KERNEL, REPLACED, TOO_MANY, TOO_SLOW, LineHub, LineHubs, LineLimits


class FakeEnd:
    """A socket that records its calls."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed: int | None = None
        self.known = False
        self.unsent = 0

    def write(self, head: bytes, body: bytes | memoryview) -> None:
        """Record a message."""
        self.sent.append(head + bytes(body))

    def room(self) -> Awaitable[object] | None:
        """Always have room."""
        return None

    def introduced(self) -> None:
        """Record that a kernel is connected."""
        self.known = True

    def finish(self, code: int, reason: str) -> None:
        """Record the first reason."""
        self.closed = self.closed or code

    def told(self) -> list[Any]:
        """The server's messages, as a kernel's end receives them."""
        return [json.loads(data[4:]) for data in self.sent if data[:4] == bytes(4)]


def kernel_and_pages(pages: int) -> tuple[LineHub, FakeEnd, list[FakeEnd]]:
    """A line with a kernel and pages, numbered from 1, without the introductions."""
    line, kernel = LineHub(), FakeEnd()
    line.kernel_came(kernel)
    ends = [FakeEnd() for _ in range(pages)]
    assert [line.page_came(end) for end in ends] == list(range(1, pages + 1))
    kernel.sent.clear()
    return line, kernel, ends


def test_a_page_comes_and_goes() -> None:
    """The kernel is told once of each page's arrival and once of its departure."""
    line, kernel, page = LineHub(), FakeEnd(), FakeEnd()
    line.kernel_came(kernel)
    number = line.page_came(page)
    line.page_left(number)
    line.page_left(number)
    assert page.known
    assert kernel.told() == [{"came": number}, {"left": number}]


def test_a_page_connects_first() -> None:
    """Waiting pages are introduced to the kernel when it connects, and no message passes before that."""
    line, kernel, pages = LineHub(), FakeEnd(), [FakeEnd(), FakeEnd()]
    for page in pages:
        line.page_came(page)
    line.from_page(1, b"lost")
    line.taken(1, 5)
    line.page_left(1)
    assert not pages[1].known
    line.kernel_came(kernel)
    assert pages[1].known
    assert kernel.told() == [{"came": 2}]


def test_numbers_are_not_used_again() -> None:
    """A number stands for one page as long as the line exists."""
    line, _, _ = kernel_and_pages(2)
    line.page_left(2)
    assert line.page_came(FakeEnd()) == 3


def test_messages() -> None:
    """A page's message reaches the kernel with the page's number, and the kernel's message a page without it."""
    line, kernel, pages = kernel_and_pages(2)
    line.from_page(2, b"up")
    line.from_kernel(kernel, b"\0\0\0\1down")
    assert kernel.sent == [b"\0\0\0\2up"]
    assert [page.sent for page in pages] == [[b"down"], []]


def test_messages_without_a_receiver() -> None:
    """A message that is too short, or has number 0, an unknown page or a departed one, is dropped."""
    line, kernel, (page, gone) = kernel_and_pages(2)
    line.page_left(2)
    for message in (b"", b"\1", b"\0\0\1", b"\0\0\0\0{}", b"\0\0\0\2x", b"\xff\xff\xff\xffx"):
        line.from_kernel(kernel, message)
    assert page.sent == gone.sent == []


def test_bytes_that_a_page_took() -> None:
    """The kernel is told what a connected page's socket has taken."""
    line, kernel, _ = kernel_and_pages(1)
    line.taken(1, 1000)
    line.page_left(1)
    line.taken(1, 1)
    assert kernel.told() == [{"took": 1, "bytes": 1000}, {"left": 1}]


def test_a_kernel_leaves() -> None:
    """When the kernel's end closes, its pages are closed, and the next kernel gets none of their messages."""
    line, kernel, pages = kernel_and_pages(2)
    line.kernel_left(kernel)
    assert [page.closed for page in pages] == [NO_KERNEL] * 2
    successor = FakeEnd()
    line.kernel_came(successor)
    line.from_page(1, b"late")
    line.page_left(1)
    line.from_kernel(successor, b"\0\0\0\1x")
    assert successor.sent == pages[0].sent == []


def test_a_newer_kernel() -> None:
    """A newer kernel's end replaces the older, which is told so and has no more effect."""
    line, older, (page,) = kernel_and_pages(1)
    newer, visitor = FakeEnd(), FakeEnd()
    line.kernel_came(newer)
    assert (older.told(), older.closed, page.closed) == ([{"replaced": True}], REPLACED, NO_KERNEL)
    line.page_came(visitor)
    line.from_kernel(older, b"\0\0\0\2x")
    line.kernel_left(older)
    assert visitor.sent == []
    assert visitor.closed is None
    assert newer.told() == [{"came": 2}]


def test_no_kernel_comes() -> None:
    """A page that waited too long for a kernel is closed. One that has met a kernel is not."""
    line, page = LineHub(), FakeEnd()
    line.give_up(line.page_came(page))
    assert page.closed == NO_KERNEL
    line, _, (page,) = kernel_and_pages(1)
    line.give_up(1)
    assert page.closed is None


def test_too_many_pages() -> None:
    """A page above the limit is closed and gets no number."""
    line, page = LineHub(LineLimits(max_pages=2)), FakeEnd()
    assert [line.page_came(end) for end in (FakeEnd(), FakeEnd(), page)] == [1, 2, 0]
    assert page.closed == TOO_MANY


def test_a_kernel_that_does_not_wait() -> None:
    """A page with more unread bytes than a fair kernel sends is closed. The others stay open."""
    line, kernel, (slow, other) = kernel_and_pages(2)
    slow.unsent = LineLimits().page_window + 1
    line.from_kernel(kernel, b"\0\0\0\1x")
    line.from_kernel(kernel, b"\0\0\0\2x")
    assert (slow.closed, other.closed) == (TOO_SLOW, None)
    assert kernel.told() == [{"left": 1}]


def test_lines_are_forgotten() -> None:
    """A server remembers a line only while one of its ends is open."""
    lines = LineHubs()
    line = lines.enter("a")
    assert lines.enter("a") is line
    assert lines.enter("b") is not line
    lines.leave("a")
    assert len(lines) == 2
    lines.leave("a")
    lines.leave("b")
    assert len(lines) == 0
