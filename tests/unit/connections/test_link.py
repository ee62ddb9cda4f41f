"""Sealed frames over a transport."""

from __future__ import annotations

import asyncio

from nbferry.connections.link import POOLED_FROM, Lease, Link
from nbferry.crypto.sealed_frames import TAG, Sealer
from nbferry.errors import TransportError
from nbferry.transports.base import Transport
from nbferry.transports.memory import memory_pair

ONE, TWO = bytes(32), bytes([1]) * 32


def links() -> tuple[Link, Link, Transport, Transport]:
    """Two ends that share their keys, and the pipes below them."""
    here, there = memory_pair()
    return Link(here, ONE, TWO), Link(there, TWO, ONE), here, there


class Inbox:
    """Received frames with their leases, and how the link ended."""

    def __init__(self, link: Link) -> None:
        self.frames: list[bytes] = []
        self.leases: list[Lease | None] = []
        self.errors: list[TransportError] = []
        self.news = asyncio.Event()
        link.deliver_to(self._take, self._end)

    def _take(self, frame: memoryview, lease: Lease | None) -> None:
        self.frames.append(bytes(frame))
        self.leases.append(lease)
        self.news.set()

    def _end(self, error: TransportError) -> None:
        self.errors.append(error)
        self.news.set()


def test_a_frame_travels_sealed():
    """The bytes on the pipe are a tag longer and reveal nothing of the frame, which arrives unchanged."""

    async def scenario() -> None:
        link, _, _, there = links()
        await link.send(b"a secret frame")
        sealed = await there.receive()
        assert len(sealed) == len(b"a secret frame") + TAG
        assert b"secret" not in sealed

    asyncio.run(scenario())


def test_small_frames_are_copied_and_large_ones_leased():
    """A small frame does not pin a large buffer, and a large buffer is released for reuse."""

    async def scenario() -> None:
        link, other, _, _ = links()
        inbox = Inbox(other)
        await link.send(b"small")
        await link.send(bytes(POOLED_FROM))
        while len(inbox.frames) < 2:
            inbox.news.clear()
            await inbox.news.wait()
        assert inbox.frames == [b"small", bytes(POOLED_FROM)]
        assert inbox.leases[0] is None
        assert inbox.leases[1] is not None
        inbox.leases[1].release()
        await link.send(bytes(POOLED_FROM))
        while len(inbox.frames) < 3:
            inbox.news.clear()
            await inbox.news.wait()
        assert inbox.leases[2] is not None

    asyncio.run(scenario())


def test_a_foreign_record_ends_the_link():
    """A record that the link's key did not seal in order breaks the connection."""

    async def scenario() -> None:
        _, other, here, _ = links()
        inbox = Inbox(other)
        await here.send_bytes(Sealer(TWO).seal(b"forged"))
        await inbox.news.wait()
        assert inbox.frames == []
        assert len(inbox.errors) == 1

    asyncio.run(scenario())


def test_a_message_too_short_for_a_record_ends_the_link():
    """A message shorter than a tag is refused without a crash."""

    async def scenario() -> None:
        _, other, here, _ = links()
        inbox = Inbox(other)
        await here.send_bytes(b"x")
        await inbox.news.wait()
        assert (inbox.frames, len(inbox.errors)) == ([], 1)

    asyncio.run(scenario())
