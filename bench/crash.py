"""Kill -9 at every I/O call of a small transfer, and at random moments of a large one.

Victims are the receiver, the sender and the relay. A victim is restarted until the receiver has its result. A point
fails if that takes too long, if a byte, a time or a name differs, if extra files are left at the destination, or if
bytes that were reported durable are missing from the journal. Exit code 1 if any point fails.

    python bench/crash.py                    all points; writes bench/results/crash.json
    python bench/crash.py --few 24           a few points of small transfers, spread over the calls
    python bench/crash.py --replay POINT     one point, named as in a failure; its folder is kept
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "crash"))

import iocalls  # noqa: E402, F401  # before nbferry, which binds the functions that this module wraps
import points  # noqa: E402
from play import Outcome, play  # noqa: E402
from points import Point  # noqa: E402
from scene import MIB, make_large, make_small  # noqa: E402
from workers import play_all  # noqa: E402

RESULTS = HERE / "results" / "crash.json"
LARGE = 64 * MIB
RANDOM = 140  # points at random moments of the large transfer
# First deaths in each scene after which every call of the second life is a point.
FIRST_DEATHS = 2
EVERY = 50  # points between two lines of progress


def main() -> int:
    """Run the points. Returns the exit code."""
    arguments = parse_arguments()
    with ExitStack() as cleanup:
        root = Path(tempfile.mkdtemp(prefix="nbferry-crash-", dir=arguments.work))
        if arguments.replay:
            return replay(root, points.parse(arguments.replay))
        cleanup.callback(
            shutil.rmtree,
            root,
            ignore_errors=True,
            # A child that is being killed may still write.
        )
        stage = Stage(root, arguments.workers)
        began = time.monotonic()
        if arguments.few:
            stage.play_few(arguments.few)
        else:
            stage.play_everything(random.Random(arguments.seed), arguments.every)
        report = report_of(stage.outcomes, time.monotonic() - began)
    publish(report | {"seed": arguments.seed}, arguments.results)
    return 1 if report["failures"] else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--work", type=Path, default=in_memory(), help="where the files lie")
    parser.add_argument("--few", type=int, metavar="N", help="only N points, all of small transfers")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of all points only every Nth")
    parser.add_argument("--replay", metavar="POINT", help="only this point")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report is written")
    return parser.parse_args()


def in_memory() -> Path | None:
    """A folder in memory; None for a temporary one on a disk. A killed process loses data in neither."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > 2 << 30 else None


class Stage:
    """Chooses points and plays them below ``root``. ``outcomes`` has all results."""

    def __init__(self, root: Path, workers: int) -> None:
        self.outcomes: list[Outcome] = []
        self._root, self._workers = root, workers
        self._offers = {"small": make_small(root / "small"), "large": make_large(root / "large", LARGE)}
        self._rounds = count()
        self._expected = 0

    def play_everything(self, generator: random.Random, every: int) -> None:
        """Every call of every scene, every call of some second lives, and random moments. Of these every nth."""
        calls = self._count(points.counting(points.SCENES))
        chosen = [each for one in calls for each in points.enumerated(one, calls[one])]
        lives = self._count(points.counting(points.TWICE))
        firsts = [each for one in lives for each in points.first_deaths(one, lives[one], FIRST_DEATHS)]
        lives = self._count(firsts)
        chosen += [each for one in lives for each in points.second_deaths(one, lives[one])]
        chosen += points.at_random(generator, RANDOM, LARGE)
        # Spread the slow points over all workers.
        generator.shuffle(chosen)
        self._play(chosen[::every])

    def play_few(self, number: int) -> None:
        """This many points, divided among all scenes and spread over the calls of each."""
        calls = self._count(points.counting(points.SCENES))
        chosen: list[Point] = []
        for index, one in enumerate(calls):
            share = len(range(index, number, len(calls)))
            chosen += points.spread(points.enumerated(one, calls[one]), share)
        self._play(chosen)

    def _count(self, chosen: Sequence[Point]) -> dict[Point, int]:
        """How many calls the last life of each victim has, leaving out failures, which are in ``outcomes``."""
        found = {outcome.point: outcome for outcome in self._play(chosen)}
        return {point: found[str(point)].calls for point in chosen if not found[str(point)].failure}

    def _play(self, chosen: Sequence[Point]) -> list[Outcome]:
        self._expected += len(chosen)
        root = self._root / f"round{next(self._rounds)}"
        return play_all(chosen, self._offers, root, self._workers, self._came)

    def _came(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if outcome.failure:
            print(f"FAILED  {outcome.point}\n        {outcome.failure}", flush=True)
        if len(self.outcomes) % EVERY == 0 or len(self.outcomes) == self._expected:
            died = sum(1 for each in self.outcomes if each.kills)
            failed = sum(1 for each in self.outcomes if each.failure)
            print(
                f"{len(self.outcomes):6,} of {self._expected:,} runs, {died:,} with a death, {failed} failed",
                flush=True,
            )


def replay(root: Path, point: Point) -> int:
    """Play one point and print its details."""
    make = make_small if point.size == "small" else lambda path: make_large(path, LARGE)
    outcome = play(point, make(root / "offer"), root / "point", keep=True)
    print("\n".join(outcome.trace))
    print(json.dumps(outcome.fields() | {"trace": []}, indent=1))
    print(f"Its files are in {root}.")
    return 1 if outcome.failure else 0


# ------------------------------------------------------------------ the report
def report_of(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The results by victim, path and kind; each failure with all details."""
    died = [outcome for outcome in outcomes if outcome.kills]
    return {
        "points": len(died),
        "identical": sum(1 for each in died if not each.failure),
        "resumed": sum(1 for each in died if each.resumed),
        "with_bytes_reported_durable": sum(1 for each in died if each.reported),
        "runs_without_death": len(outcomes) - len(died),
        "seconds": round(seconds, 1),
        "slowest": max((each.seconds for each in outcomes), default=0),
        "machine": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "kinds": rows_of(died),
        "calls": calls_of(outcomes),
        "notes": notes_of(died),
        "failures": [each.fields() for each in outcomes if each.failure],
    }


def rows_of(died: Iterable[Outcome]) -> list[dict[str, Any]]:
    """One row for each victim, path and kind of moment."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for each in died:
        victim, path, *_ = each.point.split()
        key = (victim, path, each.kind)
        row = rows.setdefault(key, {"points": 0, "deaths": 0, "identical": 0, "resumed": 0})
        row["points"] += 1
        row["deaths"] += each.kills
        row["identical"] += not each.failure
        row["resumed"] += each.resumed
    return [dict(zip(("victim", "path", "kind"), key, strict=True)) | rows[key] for key in sorted(rows)]


def calls_of(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """The counted calls of runs without a death, by name."""
    return {each.point: each.names for each in outcomes if not each.kills and each.point.endswith(" -")}


def notes_of(died: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """Remarkable results that are no failures: how often, and an example."""
    found: dict[str, dict[str, Any]] = {}
    for each in died:
        for note in each.notes:
            found.setdefault(note, {"points": 0, "for_instance": each.point})["points"] += 1
    return found


def publish(report: dict[str, Any], file: Path) -> None:
    """Print a table and write the file."""
    for row in report["kinds"]:
        print("{victim:9} {path:7} {kind:32} {points:6,} points, {identical:6,} identical".format(**row))
    print(f"{report['points']:,} points in {report['seconds']:.0f} s, {len(report['failures'])} failures")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")
    print(f"All of it is in {file}; the name of a failed point is for --replay.")


if __name__ == "__main__":
    sys.exit(main())
