"""Several links, of which one is in use. Late frames on any of them are dropped."""

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
        """Record a frame."""
        self.said.append(bytes(frame))

    def deliver_to(
        self, received: Callable[[memoryview, Lease | None], None], closed: Callable[[TransportError], None]
    ) -> None:
        """Let the test send frames and break the link."""
        self.say: Callable[[bytes], None] = lambda frame: received(memoryview(frame), None)
        self.lose = closed

    async def aclose(self) -> None:
        """Record the close."""
        self.is_closed = True


class Held:
    """A bundle with records of delivered frames and switches."""

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


def test_a_leader_hears_frames_after_the_answer() -> None:
    """Frames on a link from before the other side's switch are late."""

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
    """Frames of an earlier switch to a link do not count under a later one."""

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


def test_a_follower_follows_the_newest_switch() -> None:
    """A follower uses and answers on the link with the newest switch, and ignores an outdated one."""

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
    """Losing the link in use leaves none in use. Losing another one matters only if it was the last."""

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


def test_the_number_of_links_is_limited() -> None:
    """A peer that opens link after link does not fill the memory."""

    async def scenario() -> None:
        held = Held(MAX_LINKS + 1, leads=False)
        assert len(held.bundle.links) == MAX_LINKS
        await held.bundle.aclose()
        assert held.lines[-1].is_closed

    run(scenario)


def test_garbage_is_passed_to_the_machine() -> None:
    """Only a complete and exact switch frame counts as one."""

    async def scenario() -> None:
        held = Held(1, leads=False)
        line = held.lines[0]
        line.say(switch(1))
        for frame in (b"", b"\x00", switch(2) + b"\x00", switch(2)[:-1]):
            line.say(frame)
        assert held.heard == [b"", b"\x00", switch(2) + b"\x00", switch(2)[:-1]]
        await held.bundle.aclose()

    run(scenario)
