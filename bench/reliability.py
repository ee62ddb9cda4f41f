"""Measure the cost of trouble: cut connections, killed processes, and resuming a transfer of 1 TiB.

    cuts   1 GiB whose connection is cut 200 times, after seeded numbers of bytes: bytes sent, and the time until data
           flow again. Both sides and the cutting proxy are in this process.
    kill   1 GiB through a relay, with each side a process. One is killed midway and restarted: bytes sent twice, and
           the time until data flow again, the start of Python included.
    tera   A sparse file of 1 TiB, half of it in the journal: the time from the start of ``nbferry resume`` to the
           first byte of the other half on the disk. In a file system in memory, as no disk has the free space that a
           receiver needs. Requires root.

Prints a table and writes JSON. Needs ``tests`` in PYTHONPATH, for the proxy: ``make reliability``. Files
lie in memory (``/dev/shm``) if it has space; ``--work DIR`` takes a disk.
"""

from __future__ import annotations

import argparse
import asyncio
import filecmp
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbferry
from nbferry.connections import connector
from nbferry.crypto.digest import chunk_digest
from nbferry.engine import portal
from nbferry.model.names import STATE_FOLDER
from nbferry.relay.app import start_relay
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.journal import Journal
from nbferry.storage.sources.files import offer_of
from network.toxics import Faults, ToxicProxy
from run import MIB, RESULTS, in_memory, make_file
from running import Command

PATIENCE = 600
TIB = 1 << 40
SEED = 7
PARTS = ("cuts", "kill", "tera")
Row = dict[str, Any]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=in_memory(), help="where the files lie")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--half-a-tebibyte-in", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.half_a_tebibyte_in:
        print(json.dumps(tera_here(arguments.half_a_tebibyte_in, arguments.rounds)))
        return
    os.environ |= {"NBFERRY_HOST": "127.0.0.1", "NBFERRY_ICE_SERVERS": ""}
    rows, missing = measure(arguments)
    report(arguments, rows, missing)


def measure(arguments: argparse.Namespace) -> tuple[list[Row], dict[str, str]]:
    """All rows, and the reasons for missing ones."""
    rows: list[Row] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="nbferry-bench-", dir=arguments.work) as folder:
        work = Path(folder)
        source = make_file(work / "data.bin", arguments.mib)
        if "cuts" in arguments.only:
            rows += cut_rows(source, work, arguments.cuts)
        if "kill" in arguments.only:
            rows += [kill_row(source, work, whose, arguments.rounds) for whose in ("receiver", "sender")]
    if "tera" in arguments.only:
        try:
            rows.append(tera_row(arguments.rounds))
        except (OSError, subprocess.CalledProcessError) as error:
            missing["tera"] = f"needs root and unshare: {error}"
    return rows, missing


# ------------------------------------------------------------------ a relay
@contextmanager
def running_relay() -> Iterator[int]:
    """A relay in another thread. Yields its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    relay = asyncio.run_coroutine_threadsafe(start_relay("127.0.0.1", 0), loop).result(PATIENCE)
    try:
        yield urlsplit(relay.url).port or 0
    finally:
        asyncio.run_coroutine_threadsafe(relay.aclose(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def url_of(port: int) -> str:
    """The address of a local port."""
    return f"http://127.0.0.1:{port}/"


# ------------------------------------------------------------------ cuts
def cut_rows(source: Path, work: Path, cuts: int) -> list[Row]:
    """With and without cuts, on both paths, with chunks of the usual size and of a quarter."""
    cases = [(0, 1024), (cuts, 1024), (cuts, 256)]
    with running_relay() as port:
        return [
            cut_row(source, work, port, cuts=number, chunk_kib=kib, via=via)
            for via in ("direct", "relay")
            for number, kib in cases
        ]


def cut_row(source: Path, work: Path, port: int, *, cuts: int, chunk_kib: int, via: Any) -> Row:
    """One transfer through a proxy that cuts its connections."""
    size, lots = source.stat().st_size, random.Random(SEED)
    # The last cut comes before the end.
    mean = 0.85 * size / max(1, cuts)
    faults = Faults([int(lots.uniform(0.5, 1.5) * mean) for _ in range(cuts)])
    limits = nbferry.Limits(chunk_size=chunk_kib << 10)
    with ToxicProxy(faults) as proxy, standing_between(proxy):
        relay = url_of(proxy.front(port))
        started = time.perf_counter()
        sending = nbferry.send(source, relay=relay, via=via, limits=limits)
        to = work / "received"
        receiving = nbferry.receive(sending.code, to=to, accept=True, via=via, limits=limits)
        receiving.wait(PATIENCE)
        sending.wait(PATIENCE)
        seconds = time.perf_counter() - started
        portal.stop()
    check_and_remove(source, to)
    sent = proxy.carried / (2 if via == "relay" else 1)  # the bytes of a relay pass the proxy twice
    return {
        "name": f"{len(faults.times)} cuts, {via}, chunks of {chunk_kib} KiB",
        "cuts": len(faults.times),
        "seconds": seconds,
        "sent_ratio": sent / size,
        "back_median_seconds": statistics.median(faults.gaps) if cuts else None,
        "back_most_seconds": max(faults.gaps) if cuts else None,
    }


@contextmanager
def standing_between(proxy: ToxicProxy) -> Iterator[None]:
    """Make both sides announce the proxy's ports instead of their own."""
    urls_for = connector.urls_for

    def fronted(ports: Any, path: str, host: str | None) -> list[str]:
        return urls_for([(address, proxy.front(port)) for address, port in ports], path, host)

    connector.urls_for = fronted
    try:
        yield
    finally:
        connector.urls_for = urls_for


def check_and_remove(source: Path, to: Path) -> None:
    """Check that the copy is complete, and remove it."""
    if not filecmp.cmp(source, to / source.name, shallow=False):
        raise SystemExit("the copy differs")
    shutil.rmtree(to)


# ------------------------------------------------------------------ kill
def kill_row(source: Path, work: Path, whose: str, rounds: int) -> Row:
    """Kill one side midway, several times."""
    with running_relay() as port:
        figures = [kill_once(source, work, whose, port) for _ in range(rounds)]
    resent, back = zip(*figures, strict=True)
    return {
        "name": f"kill -9 of the {whose}",
        "resent_mib": [each / MIB for each in resent],
        "resent_most_mib": max(resent) / MIB,
        "back_median_seconds": statistics.median(back),
        "back_most_seconds": max(back),
    }


def kill_once(source: Path, work: Path, whose: str, port: int) -> tuple[float, float]:
    """Bytes sent to the receiver twice, and seconds until data flowed again."""
    folders = {name: work / name for name in ("sender", "receiver")}
    for folder in folders.values():
        folder.mkdir()
    to, faults = work / "received", Faults()
    with ToxicProxy(faults) as proxy, ExitStack() as sides:
        send = ["send", source, "--relay", url_of(port), "--via", "relay", "--json"]
        sender = started(folders["sender"], send, sides)
        code, relay = sender.code().partition("@")[0], url_of(proxy.front(port))
        take = ["receive", code, "--to", to, "--yes", "--relay", relay, "--via", "relay", "--json"]
        receiver = started(folders["receiver"], take, sides)
        half = source.stat().st_size // 2
        receiver.event("progress", lambda progress: progress["verified"] > half)
        dead, left = (sender, receiver) if whose == "sender" else (receiver, sender)
        dead.process.kill()
        dead.process.wait()
        faults.times.append(time.monotonic())
        restarted = started(folders[whose], send if whose == "sender" else take, sides)
        for side in (restarted, left):
            if side.end():
                raise SystemExit(side.said())
    check_and_remove(source, to)
    for folder in folders.values():
        shutil.rmtree(folder)
    return proxy.carried - source.stat().st_size, faults.gaps[0]


def started(folder: Path, arguments: list[Any], sides: ExitStack, **options: str) -> Command:
    """Start ``nbferry`` in a folder. The process ends with the others."""
    return sides.enter_context(Command(*arguments, cwd=folder, **options))


# ------------------------------------------------------------------ tera
def tera_row(rounds: int) -> Row:
    """Measure in a private file system that ends with the process."""
    with tempfile.TemporaryDirectory(prefix="nbferry-bench-") as folder:
        inside = f'mount -t tmpfs -o size=4T none "{folder}" && exec "$0" "$@"'
        child = [sys.executable, __file__, "--half-a-tebibyte-in", folder, "--rounds", str(rounds)]
        command = ["unshare", "--mount", "sh", "-c", inside, *child]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    row: Row = json.loads(done.stdout)
    return row


def tera_here(work: Path, rounds: int) -> Row:
    """Half of 1 TiB is in the journal. Resume it several times."""
    seconds, warm = zip(*[resume_half(work) for _ in range(rounds)], strict=True)
    return {
        "name": "1 TiB half done, resumed",
        "seconds": list(seconds),
        "command_median_seconds": statistics.median(seconds),
        "back_median_seconds": statistics.median(warm),
        "back_most_seconds": max(warm),
    }


def resume_half(work: Path) -> tuple[float, float]:
    """Seconds to the first new byte, from the start of ``nbferry resume`` and from the call of ``resume()``."""
    source, to = work / "tera.bin", work / "received"
    with source.open("wb") as file:
        file.truncate(TIB)
    folders = [work / "sender", work / "receiver"]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as sides:
        sender = started(folders[0], ["send", source, "--json"], sides)
        take = ["receive", sender.code(), "--to", to, "--yes", "--json"]
        receiver = started(folders[1], take, sides)
        receiver.event("progress", lambda progress: progress["durable"] > 0)
        receiver.process.kill()
        receiver.process.wait()
        have = half_done(source, to)
        begun = time.monotonic()
        first = json.loads(next_line(started(folders[1], [], sides, program=RESUME)))
        seconds = time.monotonic() - begun
        if first["before"] < have:
            raise SystemExit(f"only {first['before']} bytes were there after resume")
    for folder in (to, *folders):
        shutil.rmtree(folder)
    return seconds, first["seconds"]


RESUME = """
import json, os, threading, time
import nbferry

begun = time.monotonic()
(transfer,) = nbferry.resume()
known, before = threading.Event(), []

def look(view):
    if view.state == "transferring" and view.verified:
        before.append(view.verified)
        if view.verified > before[0]:
            known.set()

transfer.subscribe(look)
known.wait(300)
print(json.dumps({"before": before[0], "seconds": time.monotonic() - begun}), flush=True)
os._exit(0)
"""
"""Resume this folder's only transfer until it stores a new chunk."""


def next_line(command: Command) -> str:
    """The next line that a process prints."""
    line = command.line()
    if line is None:
        raise SystemExit(command.said())
    return line


def half_done(source: Path, to: Path) -> int:
    """Add the first half to the journal of the only transfer there. Returns its bytes."""
    manifest = offer_of([source], chunk_size=nbferry.Limits().chunk_size).manifest
    leaf = chunk_digest(bytes(manifest.chunk_size))
    half = manifest.chunk_count // 2
    (staging,) = [folder for folder in (to / STATE_FOLDER).iterdir() if (folder / "data").is_dir()]
    with Directory.open(staging) as root:
        journal = Journal(root, staging.name, manifest, REAL_DISK)
        journal.add(dict.fromkeys(range(half), leaf))
        journal.close()
    os.truncate(staging / "data" / source.name, TIB)
    return half * manifest.chunk_size


# ------------------------------------------------------------------ report
def report(arguments: argparse.Namespace, rows: list[Row], missing: dict[str, str]) -> None:
    """A table for people, JSON for programs."""
    print(
        f"\n{arguments.mib} MiB, {platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print("| | sent / size | MiB sent again | s until data flow again, median | most |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        cells = [
            shown(row.get("sent_ratio"), 3),
            shown(row.get("resent_most_mib"), 1),
            shown(row.get("back_median_seconds"), 3),
            shown(row.get("back_most_seconds"), 3),
        ]
        print(f"| {row['name']} | {' | '.join(cells)} |")
    for name, why in missing.items():
        print(f"\nNot measured: {name} ({why}).")
    RESULTS.mkdir(exist_ok=True)
    facts = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    document = {
        "mib": arguments.mib,
        "work": str(arguments.work or tempfile.gettempdir()),
        "machine": facts,
        "rows": rows,
        "missing": missing,
    }
    (RESULTS / "reliability.json").write_text(json.dumps(document, indent=1) + "\n")


def shown(number: float | None, digits: int) -> str:
    """A number for the table, or an empty text."""
    return "" if number is None else f"{number:.{digits}f}"


if __name__ == "__main__":
    main()
