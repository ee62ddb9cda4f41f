"""Plays many points in a few parallel processes."""

from __future__ import annotations

import faulthandler
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import iocalls
from people import die_with_parent
from play import Outcome, play
from points import Point
from scene import Offer

Progress = Callable[[Outcome], None]


class Worker:
    """A process that plays its points one by one. ``lines`` has the outcomes."""

    def __init__(self, chosen: Sequence[Point], offers: dict[str, Offer], root: Path) -> None:
        self.lines, out = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _work(chosen, offers, root, out)
        os.close(out)
        self._rest = b""

    def read(self) -> list[Outcome] | None:
        """The outcomes since the last call; None at the end."""
        data = iocalls.real_read(self.lines, 1 << 20)
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [Outcome(**json.loads(line)) for line in whole]

    def end(self) -> int:
        """Kill the worker, if it still lives, and with it its children. Returns its status."""
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.lines)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def play_all(
    chosen: Sequence[Point], offers: dict[str, Offer], root: Path, workers: int, progress: Progress
) -> list[Outcome]:
    """Play all points. Returns outcomes in order of completion. Raises RuntimeError if a worker dies."""
    outcomes: list[Outcome] = []
    root.mkdir()
    busy = [Worker(chosen[i::workers], offers, root / str(i)) for i in range(workers)]
    with selectors.DefaultSelector() as selector:
        for worker in busy:
            selector.register(worker.lines, selectors.EVENT_READ, worker)
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    came = key.data.read()
                    if came is None:
                        selector.unregister(key.fd)
                    for outcome in came or ():
                        outcomes.append(outcome)
                        progress(outcome)
        finally:
            for worker in busy:
                worker.end()
    if len(outcomes) < len(chosen):
        raise RuntimeError(f"{len(chosen) - len(outcomes)} points have no outcome, because a worker died")
    return outcomes


def _work(chosen: Sequence[Point], offers: dict[str, Offer], root: Path, out: int) -> NoReturn:
    code = 1
    try:
        die_with_parent()
        faulthandler.register(signal.SIGUSR1)
        for number, point in enumerate(chosen):
            outcome = play(point, offers[point.size], root / str(number))
            with open(out, "wb", closefd=False) as file:
                file.write(json.dumps(outcome.fields()).encode() + b"\n")
        code = 0
    except BaseException:  # noqa: BLE001  # a worker must never continue as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
