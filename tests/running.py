"""``nbferry`` as a separate process: tests read its output as it arrives, and no process outlives its test."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

# Seconds without output after which a process counts as hung.
PATIENCE = 60.0
MIB = 1 << 20

EVENTS = {
    "code": {"code"},
    "offer": {"files", "bytes"},
    "state": {"state", "reason"},
    "progress": {"sent", "verified", "durable", "total", "rate", "eta", "via", "via_since"},
    "done": {"files", "bytes", "seconds", "digest", "via", "reused"},
    "error": {"code", "message", "hint", "retryable"},
}
"""The events of ``--json`` and their fields."""

MEASURED = """
import atexit, pathlib, re, sys

def tell_peak():
    print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1], file=sys.stderr)

atexit.register(tell_peak)
"""
"""The start of a program that reports on stderr, at its end, the most KiB of memory that it used."""

LOGGED = re.compile(r"nbferry (?:send|receive) [0-9a-f]{12}: ")
"""The start of a log line."""

COMMAND = "from nbferry.cli.main import main; main()"
"""The command itself, as the rest of such a program."""


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment without nbferry's variables, with ``changes``; None removes a variable."""
    unset = ("NBFERRY_", "JUPYTER", "JPY_", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    usual = {"NBFERRY_HOST": "127.0.0.1", "NBFERRY_ICE_SERVERS": "", "PYTHONWARNINGS": "error"}
    wanted: Mapping[str, str | None] = {**usual, **changes}
    return kept | {name: value for name, value in wanted.items() if value is not None}


class Command:
    """A running ``nbferry`` with these arguments."""

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path,
        stdin: str | None = None,
        program: str = "",
        **env: str | None,
    ) -> None:
        start = ["-c", program] if program else ["-m", "nbferry"]
        self.process = subprocess.Popen(
            [sys.executable, *start, *map(str, arguments)],
            cwd=cwd,
            env=environment(**env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if stdin is not None:
            assert self.process.stdin
            self.process.stdin.write(stdin.encode())
            self.process.stdin.close()
        self.patience = PATIENCE
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._coming: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._erring: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=_read, args=(self.process.stdout, self._coming)),
            threading.Thread(target=_read, args=(self.process.stderr, self._erring)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    # ---------------------------------------------------------------- stdout
    def line(self) -> str | None:
        """The next line of stdout; None at its end."""
        return self._next(self._coming, self.lines)

    def error_line(self) -> str | None:
        """The next line of stderr; None at its end."""
        return self._next(self._erring, self.errors)

    def _next(self, coming: queue.SimpleQueue[str | None], read: list[str]) -> str | None:
        try:
            line = coming.get(timeout=self.patience)
        except queue.Empty:
            raise AssertionError(f"nothing came any more after {self.said()}") from None
        if line is not None:
            read.append(line)
        return line

    def event(
        self, name: str, matching: Callable[[dict[str, Any]], object] = lambda _: True
    ) -> dict[str, Any]:
        """Read lines of JSON up to the first event with this name and these fields."""
        while (line := self.line()) is not None:
            fields = read_event(line)
            if fields["event"] == name and matching(fields):
                return fields
        raise AssertionError(f"no such {name} among {self.said()}")

    def state(self, state: str, reason: str = "") -> dict[str, Any]:
        """Read until the transfer is in a state, with these words in the reason."""
        return self.event("state", lambda event: event["state"] == state and reason in event["reason"])

    def code(self) -> str:
        """The code that a sender prints with ``--json``."""
        return str(self.event("code")["code"])

    def events(self) -> list[dict[str, Any]]:
        """All events read so far."""
        return [read_event(line) for line in self.lines]

    def event_of(self, name: str) -> dict[str, Any]:
        """The first event with this name among those read."""
        return next(event for event in self.events() if event["event"] == name)

    # ---------------------------------------------------------------- ends
    def end(self) -> int:
        """Read the remaining output. Returns the exit code; a traceback fails the test."""
        while self.line() is not None:
            continue
        while self.error_line() is not None:
            continue
        assert "Traceback" not in self.said(), self.said()
        return self.process.wait(PATIENCE)

    def failure(self) -> tuple[int, str]:
        """Exit code and stderr without the log, of a process that ends with no output on stdout."""
        code = self.end()
        assert self.lines == [], self.said()
        return code, "\n".join(line for line in self.errors if line not in self.log)

    @property
    def log(self) -> list[str]:
        """The log lines on stderr about the transfer's course, printed where stderr is no terminal."""
        return [line for line in self.errors if LOGGED.match(line)]

    def interrupt(self) -> None:
        """Interrupt the process as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def said(self) -> str:
        """All output read so far."""
        return "\n".join([*self.lines, "--- stderr", *self.errors])

    @property
    def peak_memory(self) -> int:
        """The most bytes of memory that an ended program used. The program began with :data:`MEASURED`."""
        return 1024 * int(self.errors[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()


def _read(stream: IO[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line.decode().rstrip("\n"))
    lines.put(None)


def read_event(line: str) -> dict[str, Any]:
    """A line of ``--json`` output, checked against :data:`EVENTS`."""
    fields: dict[str, Any] = json.loads(line)
    assert fields.keys() - {"event"} == EVENTS[fields["event"]], line
    return fields


class Commands:
    """Starts commands for one test, in folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[Command] = []

    def __call__(self, *arguments: str | Path, folder: str = "", **options: Any) -> Command:
        """Start ``nbferry`` in a folder, and make the folder if it is missing."""
        cwd = self.root / folder
        cwd.mkdir(parents=True, exist_ok=True)
        command = Command(*arguments, cwd=cwd, **options)
        self.started.append(command)
        return command

    def relay(self, *arguments: str) -> tuple[Command, str]:
        """Start a relay. Returns the command and its address."""
        relay = self("relay", "--port", "0", *arguments)
        line = relay.line()
        assert line, relay.said()
        return relay, line.removeprefix("The relay is at ")

    def file(self, path: str, content: bytes | int = 0) -> Path:
        """A file below ``root``: with this content, or with a hole of this size."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            if isinstance(content, int):
                opened.truncate(content)
            else:
                opened.write(content)
        return file

    def received(self, folder: str = "b") -> list[Path]:
        """All files in a receiver's folder but nbferry's own state, sorted."""
        found = (self.root / folder).rglob("*")
        return sorted(path for path in found if ".nbferry" not in path.parts)

    def close(self) -> None:
        """End the processes that still run."""
        for command in self.started:
            command.__exit__(None, None, None)
        # pytest would keep it, and some of it is large
        shutil.rmtree(self.root)
        for command in self.started:
            assert "Traceback" not in command.said(), command.said()
