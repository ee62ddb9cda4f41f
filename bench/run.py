"""Measure nbferry and its peers: 1 GiB between two processes of this machine, as whole commands.

Every round runs each contestant once, so that a noisy minute affects all of them. Prints a table and writes JSON.

The files lie in memory (``/dev/shm``) if it has space, so that the path and not the disk is measured. On a virtual
machine a disk's first write to fresh page cache costs between 0.2 and 2 s of processor time per GB, as the host
decides.
``--work DIR`` measures with a disk.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from contestants import CONTESTANTS, Contestant, Missing, Nbferry

MIB = 1 << 20
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=in_memory(), help="where the files lie")
    parser.add_argument("--only", nargs="*", help="names of contestants")
    arguments = parser.parse_args()
    with ExitStack() as cleanup:
        work = Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="nbferry-bench-", dir=arguments.work))
        )
        source = make_file(work / "data.bin", arguments.mib)
        ready, missing = set_up(work, cleanup, arguments.only)
        seconds = measure(ready, source, work, arguments.rounds)
    report(arguments.mib, arguments.work, ready, missing, seconds)


def in_memory() -> Path | None:
    """A folder in memory with space for several copies; None for a temporary one on a disk."""
    shared = Path("/dev/shm")
    room = shutil.disk_usage(shared).free if shared.is_dir() else 0
    return shared if room > 4 << 30 else None


def make_file(path: Path, mib: int) -> Path:
    """A file of random bytes."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(MIB))
    return path


def set_up(work: Path, cleanup: ExitStack, only: list[str] | None) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants that can run here, and the reasons for the missing ones."""
    ready, missing = [], {}
    for make in CONTESTANTS:
        contestant = make()
        if only and contestant.name not in only:
            continue
        try:
            contestant.set_up(work, cleanup)
        except Missing as why:
            missing[contestant.name] = str(why)
        else:
            ready.append(contestant)
    return ready, missing


def measure(ready: list[Contestant], source: Path, work: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, after an uncounted one that warms the caches."""
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in ready}
    for number in range(rounds + 1):
        for contestant in ready:
            to = work / "received"
            to.mkdir()
            took = contestant.move(source, to)
            if not filecmp.cmp(source, to / source.name, shallow=False):
                raise SystemExit(f"{contestant.name}: the copy differs")
            shutil.rmtree(to)
            if number:
                seconds[contestant.name].append(took)
                print(f"{contestant.name}: {took:.2f} s", file=sys.stderr, flush=True)
    return seconds


def report(
    mib: int,
    work: Path | None,
    ready: list[Contestant],
    missing: dict[str, str],
    seconds: dict[str, list[float]],
) -> None:
    """A table for people, JSON for programs."""
    rows = []
    for contestant in ready:
        took = statistics.median(seconds[contestant.name])
        row = {
            "name": contestant.name,
            "seconds": seconds[contestant.name],
            "mb_per_s": mib * MIB / 1e6 / took,
            "best_mb_per_s": mib * MIB / 1e6 / min(seconds[contestant.name]),
            "encrypted": contestant.encrypted,
            "verified": contestant.verified,
        }
        if isinstance(contestant, Nbferry):
            row["transfer_mb_per_s"] = mib * MIB / 1e6 / statistics.median(contestant.transfer_seconds[1:])
        rows.append(row)
    direct = next((row["mb_per_s"] for row in rows if row["name"] == "nbferry direct"), None)
    print(
        f"\n{mib} MiB, whole command, {platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print("| | MB/s (median) | best | transfer alone | nbferry direct is |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        ratio = f"{direct / row['mb_per_s']:.1f} x" if direct else ""
        alone = f"{row['transfer_mb_per_s']:.0f}" if "transfer_mb_per_s" in row else ""
        print(f"| {row['name']} | {row['mb_per_s']:.0f} | {row['best_mb_per_s']:.0f} | {alone} | {ratio} |")
    for name, why in missing.items():
        print(f"\nNot measured: {name} ({why}).")
    RESULTS.mkdir(exist_ok=True)
    facts = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    document = {
        "mib": mib,
        "work": str(work or tempfile.gettempdir()),
        "machine": facts,
        "rows": rows,
        "missing": missing,
    }
    (RESULTS / "peers.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
