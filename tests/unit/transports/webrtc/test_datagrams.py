"""Rows of datagrams over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nbferry.transports.webrtc.datagrams import DatagramSocket, _cuts, _rows

HERE = "127.0.0.1"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(patiently())


class End:
    """A socket, and what came to it."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.rests = 0
        self.news = asyncio.Event()
        self.socket = DatagramSocket((HERE, 0), self._received, self._drained)
        self.address = self.socket.get_extra_info("sockname")

    def _received(self, datagram: memoryview, _: object) -> None:
        self.came.append(bytes(datagram))

    def _drained(self) -> None:
        self.rests += 1
        self.news.set()

    async def until(self, count: int) -> None:
        """Wait for some to have come."""
        while len(self.came) < count:
            self.news.clear()
            await self.news.wait()


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[End, End]]:
    """Two of them."""
    pair = End(), End()
    yield pair
    for end in pair:
        end.socket.close()
        end.socket.close()
        assert end.socket.is_closing()


@pytest.mark.parametrize("rows", [True, False])
def test_datagrams_keep_their_bounds(rows):
    """Of many sizes, with the kernel's help and without."""
    datagrams = [
        bytes([n % 256]) * size for n, size in enumerate([1200] * 150 + [7, 1200, 1300, 16_000, 16_000, 1])
    ]

    async def scenario() -> None:
        async with ends() as (one, other):
            one.socket._rows = one.socket._rows and rows
            one.socket.send_all(datagrams, other.address)
            await other.until(len(datagrams))
            assert other.came == datagrams
            assert other.rests <= len(datagrams)
            other.socket.sendto(b"back", one.address)
            await one.until(1)
            assert one.came == [b"back"]

    run(scenario)


def test_rows():
    """Of one size, but the last may be shorter; no more of them, or bytes, than the kernel takes."""
    a, b, c = b"a" * 1000, b"b" * 500, b"c" * 1000
    assert list(_rows([a, a, b, c, c])) == [[a, a, b], [c, c]]
    assert list(_rows([b, a, a])) == [[b], [a, a]]
    assert [len(row) for row in _rows([b"x"] * 130)] == [64, 64, 2]
    assert [len(row) for row in _rows([bytes(16_421)] * 7)] == [3, 3, 1]
    assert list(_rows([])) == []


def test_cuts():
    """Where the kernel says so, or nowhere."""
    told = [(17, 104, (400).to_bytes(4, "little"))]
    assert list(_cuts(1000, told)) == [(0, 400), (400, 800), (800, 1000)]
    assert list(_cuts(300, told)) == [(0, 300)]
    assert list(_cuts(300, [])) == [(0, 300)]
    assert list(_cuts(0, [])) == [(0, 0)]


def test_what_cannot_be_sent_is_lost():
    """A datagram that is too large, or has nowhere to go, is no error, and what follows goes on."""

    async def scenario() -> None:
        async with ends() as (one, other):
            one.socket.send_all([bytes(65_530), b"x"], other.address)
            one.socket.sendto(b"y", ("255.255.255.255", 9))
            await other.until(1)
            assert other.came == [b"x"]

    run(scenario)


def test_who_is_gone_is_no_error():
    """The kernel tells of a closed port at some later call; it is passed over."""

    async def scenario() -> None:
        async with ends() as (one, other):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
                closed.bind((HERE, 0))
                nobody = closed.getsockname()
            for _ in range(3):
                one.socket.sendto(b"x", nobody)
            one.socket.sendto(b"y", other.address)
            await other.until(1)

    run(scenario)


def test_a_kernel_that_takes_nothing_is_waited_for():
    """Datagrams are kept, up to a limit, and sent when there is room."""

    class Full:
        def __init__(self, real: socket.socket) -> None:
            self.real, self.full = real, True

        def __getattr__(self, name: str) -> object:
            if self.full and name in ("sendto", "sendmsg"):
                raise BlockingIOError
            return getattr(self.real, name)

    async def scenario() -> None:
        async with ends() as (one, other):
            real = one.socket._socket
            full = Full(real)
            one.socket._socket = full
            one.socket.send_all([b"a" * 100] * 3, other.address)
            one.socket.send_all([bytes(1 << 16)] * 20, other.address)
            assert one.socket._backlog_bytes <= 1 << 20
            one.socket._backlog = type(one.socket._backlog)(list(one.socket._backlog)[:3])
            full.full = False
            await other.until(3)
            assert other.came == [b"a" * 100] * 3
            one.socket._socket = real

    run(scenario)


def test_a_closed_socket_sends_nothing():
    """And says nothing."""

    async def scenario() -> None:
        async with ends() as (one, other):
            one.socket.close()
            one.socket.sendto(b"x", other.address)

    run(scenario)


def test_an_address_that_is_not_here():
    """Nothing stays open of a socket that cannot be bound."""

    async def scenario() -> None:
        with pytest.raises(OSError, match="assign"):
            DatagramSocket(("192.0.2.77", 0), lambda *_: None, lambda: None)

    run(scenario)
