"""Chromium, controlled by its own protocol, and its memory.

Playwright is not used: it has the browser report the content of all traffic, which distorts the measurement.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from websocket import create_connection

from contestants import Missing

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--window-size=1200,900",
)
LISTENS = re.compile(r"ws://127\.0\.0\.1:(\d+)/")
WITHIN = 600.0  # seconds
SAMPLE_EVERY = 0.2
UNTIL = """new Promise((done) => {{
    const look = () => (({}) ? done(true) : setTimeout(look, 20));
    look();
}})"""


class PageError(Exception):
    """An error in the page."""


class Tab:
    """A page of the browser."""

    def __init__(self, address: str) -> None:
        self._socket = create_connection(address, timeout=WITHIN)
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self.call("Page.enable")
        self.call("DOM.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the protocol. Returns its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") != number:
                self._events.append(message)
            elif "error" in message:
                raise PageError(f"{method}: {message['error']}")
            else:
                found: dict[str, Any] = message["result"]
                return found

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event. Returns its fields."""
        while True:
            message = self._events.pop(0) if self._events else json.loads(self._socket.recv())
            if message.get("method") == name:
                found: dict[str, Any] = message["params"]
                return found

    def run(self, script: str) -> Any:
        """Evaluate an expression as after a click, and await a promise. Returns its value."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in done:
            raise PageError(json.dumps(done["exceptionDetails"])[:2000])
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        self.run(UNTIL.format(condition))

    def open(self, url: str, before: str = "") -> None:
        """Go to an address. ``before`` runs there first."""
        if before:
            self.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        self._events.clear()
        self.call("Page.navigate", url=url)
        self.event("Page.loadEventFired")

    def choose(self, click: str, *files: Path) -> None:
        """Run a script that opens the file chooser, and choose these files."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        self.run(click)
        opened = self.event("Page.fileChooserOpened")
        self.call("DOM.setFileInputFiles", files=[*map(str, files)], backendNodeId=opened["backendNodeId"])

    def collect_garbage(self) -> None:
        """Collect garbage, so that the next measurement starts clean."""
        self.call("HeapProfiler.collectGarbage")

    def close(self) -> None:
        """Close the page."""
        with suppress(OSError):
            self.call("Page.close")
        self._socket.close()


class Chromium:
    """A new browser."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._port = port

    def tab(self, url: str, before: str = "") -> Tab:
        """Open a page. ``before`` runs in it first."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=WITHIN) as answer:
            tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
        tab.open(url, before)
        return tab

    def processes(self) -> tuple[list[int], list[int]]:
        """The processes of pages, workers included; and all others."""
        pages = [pid for pid in below(self.pid) if "--type=renderer" in command_of(pid)]
        return pages, [self.pid, *(pid for pid in below(self.pid) if pid not in pages)]


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser with a new profile."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise Missing("Chromium is not installed")
    command = [program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        # The browser must not block on a full pipe.
        reader = threading.Thread(target=process.stderr.read)
        try:
            port = next(int(found[1]) for line in process.stderr if (found := LISTENS.search(line)))
            reader.start()
            yield Chromium(process.pid, port)
        finally:
            process.terminate()
            reader.join()


# -------------------------------------------------------------------- memory
def command_of(pid: int) -> str:
    """A process's command line; empty when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def memory_of(pids: list[int]) -> int:
    """Bytes that processes have in memory, with shared pages counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += 1024 * int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return total


class Watch:
    """Samples the memory of process groups while the context is active: the first value and the largest."""

    def __init__(self, **groups: list[int]) -> None:
        self._groups = groups
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.first = self._now()
        self.most = dict(self.first)

    @property
    def extra(self) -> dict[str, int]:
        """How far each group's largest value exceeds its first."""
        return {name: self.most[name] - self.first[name] for name in self._groups}

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_EVERY):
            for name, size in self._now().items():
                self.most[name] = max(self.most[name], size)

    def _now(self) -> dict[str, int]:
        return {name: memory_of(pids) for name, pids in self._groups.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def seconds_of(work: Callable[[], object]) -> float:
    """The duration of a block."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
