"""Several links, one of which is in use: what is late on any of them is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nbferry.connections.bundle import MAX_LINKS, Bundle, BundledLink, switch
from nbferry.connections.link import Lease
from nbferry.errors import TransportBroken, TransportError
from nbferry.model.paths import Via


class Line:
    """A link whose other end is the test."""

    via = Via.DIRECT

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.is_closed = False

    async def send(self, frame: bytes | memoryview) -> None:
        """Take note."""
        self.said.append(bytes(frame))

    def deliver_to(
        self, received: Callable[[memoryview, Lease | None], None], closed: Callable[[TransportError], None]
    ) -> None:
        """Let the test speak and break the line."""
        self.say: Callable[[bytes], None] = lambda frame: received(memoryview(frame), None)
        self.lose = closed

    async def aclose(self) -> None:
        """Take note."""
        self.is_closed = True


class Held:
    """A bundle, what it passed on and what it switched to."""

    def __init__(self, lines: int, *, leads: bool) -> None:
        self.heard: list[bytes] = []
        self.switches: list[BundledLink | None] = []
        self.bundle = Bundle(
            leads=leads,
            received=lambda frame, _: self.heard.append(bytes(frame)),
            used=self.switches.append,
        )
        self.lines = [Line() for _ in range(lines)]
        self.links = [self.bundle.add(line) for line in self.lines]  # type: ignore[arg-type]


def run(scenario: Callable[[], Awaitable[Any]]) -> None:
    """Run to the end."""
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_a_leader_hears_what_was_sent_after_the_answer() -> None:
    """What comes on a link before the other side has switched to it too is late."""

    async def scenario() -> None:
        held = Held(2, leads=True)
        one, other = held.lines
        held.bundle.switch_to(held.links[0])
        await held.bundle.announce(held.links[0])
        assert one.said == [switch(1)]
        one.say(b"\x01late")
        one.say(switch(1))
        one.say(b"\x01a")
        other.say(b"\x01stray")
        assert held.heard == [b"\x01a"]
        held.bundle.switch_to(held.links[1])
        one.say(b"\x01late")
        other.say(switch(2))
        other.say(b"\x01b")
        assert held.heard == [b"\x01a", b"\x01b"]
        assert held.switches == held.links
        await held.bundle.aclose()

    run(scenario)


def test_a_leader_that_returns_waits_for_a_new_answer() -> None:
    """What was sent on a link under an earlier switch does not count under a later one."""

    async def scenario() -> None:
        held = Held(2, leads=True)
        one = held.lines[0]
        for at in (0, 1, 0):
            held.bundle.switch_to(held.links[at])
        one.say(switch(1))
        one.say(b"\x01of the first switch")
        one.say(switch(3))
        one.say(b"\x01of the third")
        assert held.heard == [b"\x01of the third"]
        await held.bundle.aclose()

    run(scenario)


def test_a_follower_goes_where_it_is_led() -> None:
    """It uses the link on which the newest switch was said, and answers there; an overtaken one is ignored."""

    async def scenario() -> None:
        held = Held(3, leads=False)
        one, other, third = held.lines
        one.say(b"\x01too early")
        other.say(switch(2))
        one.say(switch(1))
        one.say(b"\x01stray")
        other.say(b"\x01a")
        assert held.switches == [held.links[1]]
        await held.bundle.announce(held.links[1])
        assert other.said == [switch(2)]
        third.say(switch(3))
        other.say(b"\x01late")
        third.say(b"\x01b")
        assert held.heard == [b"\x01a", b"\x01b"]
        await held.bundle.aclose()
        assert all(line.is_closed for line in held.lines)

    run(scenario)


def test_a_lost_link() -> None:
    """One in use: none is, then. Another one: nobody needs to know, unless it was the last."""

    async def scenario() -> None:
        held = Held(3, leads=True)
        held.bundle.switch_to(held.links[0])
        held.lines[1].lose(TransportBroken())
        held.lines[1].lose(TransportBroken())
        assert held.switches == held.links[:1]
        held.lines[0].lose(TransportBroken())
        assert held.switches == [held.links[0], None]
        error = TransportBroken("The last one.")
        held.lines[2].lose(error)
        assert held.switches == [held.links[0], None, None]
        assert held.bundle.error is error
        assert held.bundle.links == []
        await held.bundle.aclose()
        assert all(line.is_closed for line in held.lines)

    run(scenario)


def test_there_is_an_end_to_links() -> None:
    """Who sends one after the other does not fill the memory."""

    async def scenario() -> None:
        held = Held(MAX_LINKS + 1, leads=False)
        assert len(held.bundle.links) == MAX_LINKS
        await held.bundle.aclose()
        assert held.lines[-1].is_closed

    run(scenario)


def test_garbage_is_the_machines_to_judge() -> None:
    """Only a frame that is a switch to the last byte is one."""

    async def scenario() -> None:
        held = Held(1, leads=False)
        line = held.lines[0]
        line.say(switch(1))
        for frame in (b"", b"\x00", switch(2) + b"\x00", switch(2)[:-1]):
            line.say(frame)
        assert held.heard == [b"", b"\x00", switch(2) + b"\x00", switch(2)[:-1]]
        await held.bundle.aclose()

    run(scenario)
