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
    """Two ends that share their keys, and the pipes under them."""
    here, there = memory_pair()
    return Link(here, ONE, TWO), Link(there, TWO, ONE), here, there


class Inbox:
    """Frames as they come, with what they are held by; how it ended."""

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


def test_a_frame_arrives_as_it_was_and_travels_sealed():
    """What goes over the pipe is longer by a tag and shows nothing of the frame."""

    async def scenario() -> None:
        link, _, _, there = links()
        await link.send(b"a secret frame")
        sealed = await there.receive()
        assert len(sealed) == len(b"a secret frame") + TAG
        assert b"secret" not in sealed

    asyncio.run(scenario())


def test_small_frames_have_memory_of_their_own_and_large_ones_are_leased():
    """A small frame cannot pin a large buffer; a large one is given back to be used again."""

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


def test_a_record_of_somebody_else_ends_the_link():
    """What is not sealed with the link's key in the link's order is a broken connection, not data."""

    async def scenario() -> None:
        _, other, here, _ = links()
        inbox = Inbox(other)
        await here.send_bytes(Sealer(TWO).seal(b"forged"))
        await inbox.news.wait()
        assert inbox.frames == []
        assert len(inbox.errors) == 1

    asyncio.run(scenario())


def test_a_message_too_short_for_a_record_ends_the_link():
    """Fewer bytes than a tag are refused, not a crash."""

    async def scenario() -> None:
        _, other, here, _ = links()
        inbox = Inbox(other)
        await here.send_bytes(b"x")
        await inbox.news.wait()
        assert (inbox.frames, len(inbox.errors)) == ([], 1)

    asyncio.run(scenario())
