"""The time until an offer is out: for a folder with a sparse file of 1 TB, and one of 100,000 small files.

No file is read for it. Measured are ``send`` to code, and ``receive`` to the complete list.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import nbferry
from nbferry.api import receive, send
from nbferry.storage.sources.files import offer_of

RESULTS = Path(__file__).parent / "results"
ROUNDS = 5


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="nbferry-offer-") as name:
        rows = [
            measure("1 TB, sparse", sparse(Path(name))),
            measure("100,000 files of 1 KiB", many(Path(name))),
        ]
    for row in rows:
        print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "offer.json").write_text(json.dumps(rows, indent=1) + "\n")


def sparse(root: Path) -> Path:
    """A folder with a sparse file of a terabyte."""
    folder = root / "sparse"
    folder.mkdir()
    with (folder / "terabyte.bin").open("wb") as file:
        file.truncate(10**12)
    return folder


def many(root: Path) -> Path:
    """A hundred folders of a thousand files."""
    folder = root / "many"
    for part in range(100):
        (folder / f"{part:02}").mkdir(parents=True)
        for number in range(1000):
            (folder / f"{part:02}" / f"{number:03}.bin").write_bytes(bytes(1024))
    return folder


def measure(name: str, folder: Path) -> dict[str, object]:
    """Medians in milliseconds, after a first round that loads the modules."""
    listed, coded, offered = [], [], []
    for number in range(ROUNDS + 1):
        started = time.perf_counter()
        offer_of([folder], chunk_size=nbferry.Limits().chunk_size).close()
        listed.append(time.perf_counter() - started)
        started = time.perf_counter()
        sending = send(folder)
        code = sending.code
        coded.append(time.perf_counter() - started)
        offered.append(until_offered(code, folder.parent / f"{folder.name}-{number}"))
        sending.cancel()
    times = {"list": listed, "code": coded, "offer": offered}
    return {"what": name} | {
        f"{key}_ms": round(statistics.median(value[1:]) * 1000, 1) for key, value in times.items()
    }


def until_offered(code: str, to: Path) -> float:
    """Seconds until a receiver has the whole list. It then declines."""
    here = threading.Event()
    moments: list[float] = []

    def judge(_: object) -> str:
        moments.append(time.perf_counter())
        here.set()
        return "measured"

    started = time.perf_counter()
    receive(code, to=to, accept=judge)
    here.wait()
    return moments[0] - started


if __name__ == "__main__":
    main()
