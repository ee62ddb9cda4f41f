"""Run the simulation at length: transfers from many seeds, and every disk that a power failure can leave.

Writes ``bench/results/simulation.json`` and prints each failing seed with the command to replay it. ``--seed N``
runs one seed and prints what happens.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "simulation.json"
# Replaces this folder, which has a module of the same name.
sys.path[0] = str(ROOT / "tests")

from nbferry.storage.folder.publish import Overwrite  # noqa: E402  # found by the line above
from simulation.receiving import Receiving, survives  # noqa: E402  # found by the line above
from simulation.trees import fast_folder  # noqa: E402  # found by the line above
from simulation.world import Outcome, Violation, simulate  # noqa: E402

WAYS: tuple[Overwrite, ...] = ("rename", "replace", "refuse")
STEPS = (1, 2, 9)  # chunks between two flushes; nine means none before the end
TOGETHER = 50  # seeds in one task of a process
YEAR = 365.25 * 24 * 3600


def main() -> int:
    """Run, print and write. Returns 1 if a seed or a crash point failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="run this one, and say what happens")
    parser.add_argument("--states", type=int, default=1024, help="of a disk, at each crash point, at most")
    parser.add_argument(
        "--twice", type=int, default=60, help="disks with which going on is interrupted as well"
    )
    parser.add_argument("--no-power", action="store_true", help="leave the failures of the power out")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        print(simulate(arguments.seed, log=lambda line: print(line, flush=True)))
        return 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        power = {} if arguments.no_power else power_losses(pool, arguments.states, arguments.twice)
        seeds = transfers(pool, arguments.first, arguments.seeds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"transfers": seeds, "power losses": power}, indent=1) + "\n")
    print(RESULTS.read_text())
    return 1 if seeds["failed"] or any("failed" in each for each in power.values()) else 0


# ------------------------------------------------------------------ transfers
def transfers(pool: ProcessPoolExecutor, first: int, count: int) -> dict[str, object]:
    """Run this many seeds. Returns a summary."""
    started = time.monotonic()
    ends: Counter[str] = Counter()
    troubles: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    seconds = 0.0
    failed: list[dict[str, object]] = []
    for seed, outcome in all_of(pool, first, count):
        if isinstance(outcome, str):
            failed.append({"seed": seed, "why": outcome})
            print(outcome, file=sys.stderr, flush=True)
            continue
        ends[outcome.ended] += 1
        troubles.update(outcome.troubles)
        seconds += outcome.seconds
        totals.update(connections=outcome.connections, lives=outcome.lives, seals=outcome.seals)
    return {
        "seeds": count,
        "first": first,
        "failed": failed,
        "ended": dict(ends),
        "seeds with trouble": dict(troubles),
        "simulated years": seconds / YEAR,
        "connections": totals["connections"],
        "processes": totals["lives"],
        "records sealed": totals["seals"],
        "took seconds": round(time.monotonic() - started, 1),
    }


def all_of(pool: ProcessPoolExecutor, first: int, count: int) -> Iterator[tuple[int, Outcome | str]]:
    """Each seed with its outcome or its failure."""
    starts = range(first, first + count, TOGETHER)
    stops = [min(start + TOGETHER, first + count) for start in starts]
    for some in pool.map(run_some, starts, stops):
        yield from some


def run_some(first: int, stop: int) -> list[tuple[int, Outcome | str]]:
    """The outcomes of a few seeds."""
    return [(seed, run_one(seed)) for seed in range(first, stop)]


def run_one(seed: int) -> Outcome | str:
    """A seed's outcome or its failure."""
    try:
        return simulate(seed)
    except Violation as why:
        return str(why)


# ------------------------------------------------------------------ failures of the power
def power_losses(pool: ProcessPoolExecutor, most: int, twice: int) -> dict[str, dict[str, object]]:
    """Try every crash point of a transfer for each ``overwrite`` and each number of chunks between flushes."""
    cases = [Receiving(overwrite, step) for overwrite in WAYS for step in STEPS]
    names = [f"{case.overwrite}, flushed after {case.step}" for case in cases]
    return dict(zip(names, pool.map(power_loss, cases, repeat(most), repeat(twice)), strict=True))


def power_loss(case: Receiving, most: int, twice: int) -> dict[str, object]:
    """Try one of these combinations."""
    started = time.monotonic()
    with fast_folder() as work:
        try:
            tally = survives(case, work, most=most, twice=twice)
        except AssertionError as why:
            print(why, file=sys.stderr, flush=True)
            return {"failed": str(why)}
    return {
        "crash points": tally.points,
        "states": tally.states,
        "different states": tally.different,
        "took seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
