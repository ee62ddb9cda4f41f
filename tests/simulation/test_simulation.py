"""Transfers to which everything happens that can happen, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from simulation.loop import Stuck, VirtualLoop, run
from simulation.world import simulate

SEEDS = 300
GROUP = 25  # seeds in one test


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_every_seed_keeps_what_is_promised(first: int) -> None:
    """Lost connections, full disks, killed processes, edited files: the invariants of the world hold."""
    for seed in range(first, first + GROUP):
        simulate(seed)


def test_a_seed_is_the_same_run_every_time() -> None:
    """Everything that happens follows from the seed, to the instant."""
    runs: list[list[str]] = [[], []]
    for log in runs:
        simulate(7, log=log.append)
    assert runs[0] == runs[1]


def test_time_passes_only_when_nothing_can_be_done() -> None:
    """An hour of waiting takes no time at all."""

    async def main(loop: VirtualLoop) -> float:
        await asyncio.sleep(3600)
        return loop.time()

    assert run(main) == pytest.approx(3600)


def test_waiting_for_nothing_is_noticed() -> None:
    """A task that nobody will ever wake does not hang the run."""

    async def main(_: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        run(main)


def test_going_round_in_circles_is_noticed() -> None:
    """A task that never waits for time to pass does not hang the run."""

    async def main(_: VirtualLoop) -> None:
        while True:  # noqa: ASYNC110  # that is what is to be noticed
            await asyncio.sleep(0)

    with pytest.raises(Stuck):
        run(main, most_turns=1000)
