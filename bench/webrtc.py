"""Measure data channels between two processes: one sends for some seconds, the other receives and discards.

Every round runs each contestant once, so that a noisy minute affects all of them. Then whole transfers whose path is
cut many times (``cuts.py``). Prints tables and JSON, writes ``results/webrtc.json``. The lines with a delay are TUN
devices between two network namespaces, which needs root and ``tests`` in PYTHONPATH: ``make webrtc``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

MIB = 1 << 20
RESULTS = Path(__file__).parent / "results"
PATIENCE = 60
MESSAGE = 1 * MIB
PIECE = 64 * 1024  # the largest message that plain aiortc takes by default
Row = dict[str, Any]


@dataclass(frozen=True)
class Road:
    """The network of the packets: loopback, or a line between two namespaces."""

    name: str
    rtt: float = 0.0  # seconds
    rate: float = float("inf")  # bytes per second
    loss: float = 0.0
    mtu: int = 1500
    seconds: float = 3.0  # to send for


LOOPBACK = Road("loopback")
ROADS = (
    LOOPBACK,
    Road("50 ms, 100 Mbit/s", 0.05, 12.5e6, seconds=6),
    Road("50 ms, 100 Mbit/s, 1 % loss", 0.05, 12.5e6, 0.01, seconds=6),
    Road("300 ms, 100 Mbit/s", 0.3, 12.5e6, seconds=10),
    Road("1 ms, jumbo frames", 0.001, mtu=9000, seconds=3),
)
CONTESTANTS = ("aiortc", "packets of 1,200", "packets of any size")


# ------------------------------------------------------------------ the two ends, as processes
@dataclass
class Measured:
    """The receiver's measurements."""

    bytes: int = 0
    first: float = 0.0
    last: float = 0.0
    cpu: float = 0.0
    rss: int = 0

    def take(self, size: int) -> None:
        """Count a message."""
        if not self.bytes:
            self.first, self.cpu, self.rss = time.monotonic(), time.process_time(), peak()
        else:
            self.bytes += size  # not for the first one, which only starts the clock
        self.bytes = self.bytes or 1
        self.last = time.monotonic()

    def row(self) -> Row:
        """The report for the parent."""
        return {
            "bytes": self.bytes,
            "seconds": self.last - self.first,
            "cpu": time.process_time() - self.cpu,
            "rss": peak() - self.rss,
        }


def peak() -> int:
    """The most bytes of memory that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def say(value: Any) -> None:
    """Write a line to the other end or the parent."""
    print(json.dumps(value), flush=True)


async def hear() -> Any:
    """Read a line of the other end."""
    return json.loads(await asyncio.to_thread(sys.stdin.readline))


async def nbferry_end(sends: bool, road: Road, most_packet: int | None) -> None:
    """Run one end with our transport."""
    from nbferry.errors import TransportError  # noqa: PLC0415  # the parent needs no transport
    from nbferry.limits import Limits  # noqa: PLC0415
    from nbferry.transports.webrtc.datachannel import Description, Peer  # noqa: PLC0415

    peer = await Peer.start(controlling=sends, servers=(), limits=Limits())
    mine = peer.description
    say(replace(mine, max_packet=most_packet or mine.max_packet).to_json())
    transport = await peer.connect(Description.from_json(await hear()), same_machine=road is LOOPBACK)
    if sends:
        start, cpu, rss = time.monotonic(), time.process_time(), peak()
        while time.monotonic() < start + road.seconds:
            await transport.send(MESSAGE, lambda room: None)
        statistics_ = asdict(transport.statistics())
        await transport.aclose()
        say({"cpu": time.process_time() - cpu, "rss": peak() - rss, "statistics": statistics_})
        return
    measured, over = Measured(), asyncio.Event()

    def closed(_: TransportError) -> None:
        over.set()

    transport.deliver_to(lambda message: measured.take(len(message)), closed)
    await over.wait()
    say(measured.row())
    await transport.aclose()


async def aiortc_end(sends: bool, road: Road) -> None:
    """Run one end with aiortc, as in its documentation."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription  # noqa: PLC0415

    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    over = asyncio.Event()
    if sends:
        channel = connection.createDataChannel("bench")
        opened = asyncio.Event()
        channel.on("open", opened.set)
        channel.on("message", lambda _: over.set())
        await connection.setLocalDescription(await connection.createOffer())
        say(connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(await hear(), "answer"))
        await opened.wait()
        cpu, rss = time.process_time(), peak()
        await aiortc_send(channel, road.seconds)
        channel.send("over")
        await over.wait()
        say({"cpu": time.process_time() - cpu, "rss": peak() - rss})
    else:
        measured = Measured()

        def arrived(channel: Any) -> Callable[[bytes | str], None]:
            def take(message: bytes | str) -> None:
                if isinstance(message, str):
                    channel.send("thanks")
                    over.set()
                else:
                    measured.take(len(message))

            return take

        connection.on("datachannel", lambda channel: channel.on("message", arrived(channel)))
        await connection.setRemoteDescription(RTCSessionDescription(await hear(), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        say(connection.localDescription.sdp)
        await over.wait()
        say(measured.row())
        # Wait for the acknowledgement.
        await asyncio.sleep(2 * road.rtt + 0.2)


async def aiortc_send(channel: Any, seconds: float) -> None:
    """Keep the channel's buffer between 256 KiB and 1 MiB."""
    low, message = asyncio.Event(), os.urandom(PIECE)
    channel.bufferedAmountLowThreshold = 256 * 1024
    channel.on("bufferedamountlow", low.set)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        channel.send(message)
        if channel.bufferedAmount > MIB:
            low.clear()
            await low.wait()


def end(contestant: str, sends: bool, road: Road) -> None:
    """Run one end, and exit without a close."""
    most = 1160 if contestant == CONTESTANTS[1] else None
    work = aiortc_end(sends, road) if contestant == "aiortc" else nbferry_end(sends, road, most)
    asyncio.run(work)
    sys.stdout.flush()
    os._exit(0)


# ------------------------------------------------------------------ the parent
Start = Callable[[list[str]], "subprocess.Popen[str]"]


def start(command: list[str]) -> subprocess.Popen[str]:
    """A child process with pipes to its standard streams."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def built(road: Road) -> Iterator[tuple[Start, Start]]:
    """How to start a process at each end of a road."""
    if road is LOOPBACK:
        yield start, start
        return
    from network.line import Weather  # noqa: PLC0415  # a module of the tests
    from network.namespaces import two_hosts  # noqa: PLC0415

    with two_hosts() as network:
        for host in (network.one, network.other):
            host.plug_in(road.mtu)
        network.line.weather = Weather(delay=road.rtt / 2, rate=road.rate, loss=road.loss)
        yield (
            lambda command: network.one.call(lambda: start(command)),
            lambda command: network.other.call(lambda: start(command)),
        )


def run(contestant: str, road: Road, ends: tuple[Start, Start]) -> Row:
    """Run one contestant once."""
    command = [sys.executable, __file__, "--end", contestant, "--road", json.dumps(asdict(road))]
    with ExitStack() as stack:
        sender, receiver = ends[0]([*command, "--sends"]), ends[1](command)
        for process in (sender, receiver):
            watch = threading.Timer(PATIENCE, process.kill)
            watch.start()
            stack.callback(watch.cancel)
            stack.callback(process.wait)
            stack.callback(process.kill)
        pass_on(sender, receiver)
        pass_on(receiver, sender)
        received, sent = heard(receiver), heard(sender)
    gigabytes = received["bytes"] / 1e9
    return {
        "road": road.name,
        "contestant": contestant,
        "mb_per_s": received["bytes"] / 1e6 / received["seconds"],
        "cpu_s_per_gb_sender": sent["cpu"] / gigabytes,
        "cpu_s_per_gb_receiver": received["cpu"] / gigabytes,
        "rss_mib_sender": sent["rss"] / MIB,
        "rss_mib_receiver": received["rss"] / MIB,
        "statistics": sent.get("statistics"),
    }


def pass_on(one: subprocess.Popen[str], other: subprocess.Popen[str]) -> None:
    """Forward one end's line to the other."""
    assert one.stdout
    assert other.stdin
    other.stdin.write(one.stdout.readline())
    other.stdin.flush()


def heard(process: subprocess.Popen[str]) -> Row:
    """An end's results."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit("an end gave up")
    row: Row = json.loads(line)
    return row


def measure(rounds: int, roads: list[Road], contestants: list[str]) -> list[Row]:
    """All rows, medians over the rounds."""
    rows = []
    for road in roads:
        runs: dict[str, list[Row]] = {contestant: [] for contestant in contestants}
        with built(road) as ends:
            for _ in range(rounds):
                for contestant in contestants:
                    runs[contestant].append(run(contestant, road, ends))
                    print(
                        f"{road.name}, {contestant}: {runs[contestant][-1]['mb_per_s']:.1f}", file=sys.stderr
                    )
        rows += [median(runs[contestant]) for contestant in contestants]
    return rows


def median(runs: list[Row]) -> Row:
    """Several rows as one: medians of numbers, and the last of other values."""
    return {
        name: statistics.median(row[name] for row in runs) if isinstance(value, float) else value
        for name, value in runs[-1].items()
    } | {"runs_mb_per_s": [row["mb_per_s"] for row in runs]}


def report(rows: list[Row], transfers: list[Row]) -> None:
    """A table for people, JSON for programs."""
    print("| | | MB/s | CPU s/GB, sender + receiver | memory MiB |")
    print("|---|---|---:|---:|---:|")
    for row in rows:
        cpu = f"{row['cpu_s_per_gb_sender']:.1f} + {row['cpu_s_per_gb_receiver']:.1f}"
        memory = f"{row['rss_mib_sender']:.0f} + {row['rss_mib_receiver']:.0f}"
        print(f"| {row['road']} | {row['contestant']} | {row['mb_per_s']:.1f} | {cpu} | {memory} |")
    print("\n| whole transfer | cuts | bytes sent, over size | seconds |\n|---|---:|---:|---:|")
    for row in transfers:
        print(f"| {row['name']} | {row['cuts']} | {row['sent_ratio']:.3f} | {row['seconds']:.1f} |")
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    document = {"machine": machine, "aiortc": version("aiortc"), "rows": rows, "transfers": transfers}
    print(json.dumps(document))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "webrtc.json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024, help="size of whole transfers")
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="names of roads")
    parser.add_argument("--contestants", nargs="*", default=CONTESTANTS, choices=CONTESTANTS)
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("--end", help=argparse.SUPPRESS)
    parser.add_argument("--sends", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--road", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.end:
        road = Road(**json.loads(arguments.road))
        end(arguments.end, arguments.sends, LOOPBACK if road == LOOPBACK else road)
    roads = [road for road in ROADS if not arguments.only or road.name in arguments.only]
    rows = measure(arguments.rounds, roads, list(arguments.contestants))
    if arguments.dry:
        print(json.dumps(rows, indent=1))
        return
    os.environ |= {"NBFERRY_HOST": "127.0.0.1", "NBFERRY_UI": "none"}
    import cuts  # noqa: PLC0415  # the ends do not need it

    report(rows, cuts.rows(arguments.mib, arguments.cuts))


if __name__ == "__main__":
    main()
