"""An upload is a sender and a receiver in one process: how they are joined, and what is shown of them."""

from __future__ import annotations

import asyncio

from nbferry.connections.link import AnyLink
from nbferry.engine.activities.upload import FarConnector, NearConnector
from nbferry.errors import TransportError
from nbferry.model.paths import Via


class Inbox:
    """What arrives over a link, and how it ended."""

    def __init__(self, link: AnyLink) -> None:
        self.frames: list[bytes] = []
        self.errors: list[TransportError] = []
        self.news = asyncio.Event()
        link.deliver_to(self._take, self._end)

    def _take(self, frame: memoryview, lease: object) -> None:
        assert lease is None
        self.frames.append(bytes(frame))
        self.news.set()

    def _end(self, error: TransportError) -> None:
        self.errors.append(error)
        self.news.set()


def test_the_two_ends_are_joined() -> None:
    """What one sends the other has, as it is; the path is called after where the files come from."""

    async def scenario() -> None:
        near = NearConnector()
        far = FarConnector(near)
        one, other = await near.connect(), await far.connect()
        inbox = Inbox(other)
        await one.send(b"a frame")
        await inbox.news.wait()
        assert inbox.frames == [b"a frame"]
        assert one.via == other.via == Via.BROWSER
        assert one.max_frame > 1 << 20

    asyncio.run(scenario())


def test_they_are_joined_anew() -> None:
    """When one lets go the other hears of it, and both can have another connection."""

    async def scenario() -> None:
        near = NearConnector()
        far = FarConnector(near)
        one, other = await near.connect(), await far.connect()
        inbox = Inbox(other)
        await one.aclose()
        await inbox.news.wait()
        assert inbox.errors
        again, there = await near.connect(), await far.connect()
        assert there is not other
        inbox = Inbox(again)
        await there.send(b"once more")
        await inbox.news.wait()
        assert inbox.frames == [b"once more"]

    asyncio.run(scenario())
