"""The queue of transfers."""

from __future__ import annotations

import asyncio

from nbferry.engine.slots import Lane, Slots


async def enter(lane: Lane, most: int, inside: list[str], name: str, leave: asyncio.Event) -> None:
    """Enter the lane, and stay until ``leave`` is set."""
    async with lane.turn(most):
        inside.append(name)
        await leave.wait()
        inside.remove(name)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_number_of_transfers_is_limited():
    """A fifth transfer waits until one of three has left."""

    async def scenario() -> None:
        lane, inside = Lane(), []
        doors = [asyncio.Event() for _ in range(5)]
        tasks = [asyncio.create_task(enter(lane, 3, inside, str(n), doors[n])) for n in range(5)]
        await settle()
        assert inside == ["0", "1", "2"]
        doors[1].set()
        await settle()
        assert inside == ["0", "2", "3"]
        for door in doors:
            door.set()
        await asyncio.gather(*tasks)
        assert inside == []

    asyncio.run(scenario())


def test_a_cancelled_wait_does_not_block_others():
    """A transfer that is cancelled in the queue makes way for the next."""

    async def scenario() -> None:
        lane, inside = Lane(), []
        first, second, third = (asyncio.Event() for _ in range(3))
        one = asyncio.create_task(enter(lane, 1, inside, "one", first))
        two = asyncio.create_task(enter(lane, 1, inside, "two", second))
        three = asyncio.create_task(enter(lane, 1, inside, "three", third))
        await settle()
        two.cancel()
        first.set()
        await settle()
        assert inside == ["three"]
        third.set()
        await asyncio.gather(one, two, three, return_exceptions=True)

    asyncio.run(scenario())


def test_directions_do_not_wait_for_each_other():
    """Sending and receiving have a lane each."""

    async def scenario() -> None:
        slots = Slots()
        async with slots.sending.turn(1), slots.receiving.turn(1):
            pass

    asyncio.run(scenario())
