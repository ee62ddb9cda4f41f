"""Whole transfers whose active path is cut many times, for ``webrtc.py``.

Both sides are in this process and cannot dial each other. A cut looks to one end like a lost connection; the other
end notices by itself. Measured are the bytes sent, and that every byte is right.
"""

from __future__ import annotations

import filecmp
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbferry
from nbferry.connections import race
from nbferry.connections.bundle import Bundle, BundledLink
from nbferry.connections.link import Link
from nbferry.engine import portal
from nbferry.errors import TransportBroken
from nbferry.status import Snapshot
from reliability import PATIENCE, running_relay, url_of
from run import in_memory, make_file

SEED = 7
Row = dict[str, Any]


class Cutter:
    """Cuts the receiver's active path at each mark of verified bytes."""

    def __init__(self, marks: list[int]) -> None:
        self.cuts = 0
        self.paths: list[str] = []
        self.sent = 0
        self._marks = marks
        self._link: BundledLink | None = None

    def look(self, view: Snapshot) -> None:
        """Check the receiver's progress, on the loop's thread."""
        if self._marks and view.verified >= self._marks[0] and self._link:
            link, self._link = self._link, None
            del self._marks[0]
            self.cuts += 1
            link.link._transport._ended(TransportBroken())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Observe the bytes sent and the links that carry them."""
        send, switch_to, dialable = Link.send, Bundle.switch_to, race.dialable
        cutter = self

        async def counted(self: Link, frame: bytes | memoryview) -> None:
            cutter.sent += len(frame)
            await send(self, frame)

        def observed(self: Bundle, link: BundledLink) -> None:
            cutter._link = link
            cutter.paths.append(link.via)
            switch_to(self, link)

        Link.send, Bundle.switch_to = counted, observed  # type: ignore[method-assign]
        race.dialable = lambda urls, same_machine: []  # type: ignore[assignment]
        try:
            yield
        finally:
            Link.send, Bundle.switch_to, race.dialable = send, switch_to, dialable  # type: ignore[method-assign]


def rows(mib: int, cuts: int) -> list[Row]:
    """Without and with cuts, by WebRTC alone and with a relay beside it."""
    with (
        tempfile.TemporaryDirectory(prefix="nbferry-bench-", dir=in_memory()) as folder,
        running_relay() as port,
    ):
        source = make_file(Path(folder) / "data.bin", mib)
        return [
            row(source, Path(folder) / "received", url_of(port), via, number)
            for via in ("webrtc", "auto")
            for number in (0, cuts)
        ]


def row(source: Path, to: Path, relay: str, via: Any, cuts: int) -> Row:
    """One transfer."""
    size, lots = source.stat().st_size, random.Random(SEED)
    cutter = Cutter(sorted(int(lots.uniform(0.02, 0.95) * size) for _ in range(cuts)))
    with cutter.at_work():
        started = time.perf_counter()
        sending = nbferry.send(source, relay=relay, via=via, ice_servers=[])
        receiving = nbferry.receive(sending.code, to=to, accept=True, relay=relay, via=via, ice_servers=[])
        receiving.subscribe(cutter.look)
        receiving.wait(PATIENCE)
        sending.wait(PATIENCE)
        seconds = time.perf_counter() - started
        portal.stop()
    if not filecmp.cmp(source, to / source.name, shallow=False):
        raise SystemExit("the copy differs")
    shutil.rmtree(to)
    return {
        "name": f"via={via}",
        "cuts": cutter.cuts,
        "seconds": seconds,
        "sent_ratio": cutter.sent / size,
        "paths": cutter.paths,
    }
