"""Transfers with every possible trouble, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from simulation.loop import Stuck, VirtualLoop, run
from simulation.world import simulate

SEEDS = 300
# Seeds in one test.
GROUP = 25


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_seed_keeps_its_promises(first: int) -> None:
    """The world's invariants hold under lost connections, full disks, killed processes and edited files."""
    for seed in range(first, first + GROUP):
        simulate(seed)


def test_a_seed_is_the_same_run_every_time() -> None:
    """A seed determines the whole run, down to the times."""
    runs: list[list[str]] = [[], []]
    for log in runs:
        simulate(7, log=log.append)
    assert runs[0] == runs[1]


def test_idle_time_is_skipped() -> None:
    """An hour of waiting takes no real time."""

    async def main(loop: VirtualLoop) -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert run(main) == pytest.approx(3600)


def test_an_endless_wait_is_noticed() -> None:
    """A task that waits forever fails the run instead of hanging it."""

    async def main(_: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        run(main)


def test_an_endless_loop_is_noticed() -> None:
    """A task that never lets time pass fails the run instead of hanging it."""

    async def main(_: VirtualLoop) -> None:
        while True:  # noqa: ASYNC110  # the loop under test
            await asyncio.sleep(0)

    with pytest.raises(Stuck):
        run(main, max_turns=1000)
