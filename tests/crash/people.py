"""The processes of a point: what each does in its own process, as JSON lines of what it sees.

    {"is": "relay", "url": ...}                       it listens
    {"is": "begun", "id": ...}                        a transfer was started
    {"is": "code", "code": ...}
    {"is": "seen", "state": ..., "reason": ..., "verified": ..., "durable": ...}
    {"is": "result", "files": [...], "digest": ...}
    {"is": "error", "type": ..., "message": ...}
    {"is": "closed"}                                  the transfer has released its resources
    {"is": "calls", "total": ..., "names": {...}}     at a clean end

A child is a fork of a process without threads that has imported everything, so it starts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import cryptography.hazmat.backends.openssl.backend  # noqa: F401  # loaded once for all children
import iocalls
import tornado.platform.asyncio  # noqa: F401  # the same

import nbferry
import nbferry.api
import nbferry.crypto.pake
import nbferry.relay.app
import nbferry.storage.disk.system
import nbferry.transports.websocket
from nbferry.engine import portal
from nbferry.errors import NbferryError
from nbferry.protocol import machine
from nbferry.relay.handlers import RelaySocket
from nbferry.relay.limits import RelayLimits

iocalls.wrap_libc(nbferry.storage.disk.system)

Role = Literal["sender", "receiver", "relay"]
Start = Literal["cell", "resume"]
"""How a side resumes: by the same cell, or by ``resume()``, with the cell if there is nothing to resume."""

Speak = Callable[..., None]
"""Writes a line with a name and fields."""

KIB = 1024
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

QUICK = {
    "chunk_size": 64 * KIB,
    "window": 256 * KIB,
    "read_ahead": 256 * KIB,
    "sync_bytes": 128 * KIB,
    "sync_interval": 0.1,
    "report_interval": 0.01,
    "ping_interval": 1.0,
    "dead_after": 3.0,
    "connect_timeout": 2.0,
    "direct_head_start": 0.05,
    "backoff_first": 0.02,
    "backoff_most": 0.2,
    "expires": 120.0,
    "auto_accept": 1 << 30,
}
"""Limits that make a point short and its reports frequent. They are defaults, as ``resume()`` takes no limits."""
cast("dict[str, Any]", nbferry.Limits.__init__.__kwdefaults__).update(QUICK)
# Seconds for which an ended side tries to tell the other one. The usual value is ten.
machine.LINGER = 2.0
RELAY_LIMITS = RelayLimits(joins_per_minute=10_000, opens_per_minute=10_000)


@dataclass(frozen=True)
class Task:
    """What one process does in the folder ``cwd``, with the records in ``state``.

    ``sweep``: it had its result when it died. It only completes transfers that ``resume()`` finds, if any.
    """

    role: Role
    cwd: Path
    state: Path
    errors: Path
    seconds: float
    start: Start = "cell"
    sweep: bool = False
    fatal: int | None = None
    when: iocalls.When = "before"
    relay: str | None = None
    port: int = 0
    via: Literal["direct", "relay"] = "direct"
    paths: tuple[Path, ...] = ()
    code: str = ""
    overwrite: Literal["rename", "replace"] = "rename"


class Child:
    """A process that runs a task. ``lines`` is readable; the process has ended when the lines end."""

    def __init__(self, task: Task, strangers: list[Child]) -> None:
        """``strangers``: other children, whose pipes this process must close."""
        self.task = task
        self.lines, out = os.pipe()
        os.set_blocking(self.lines, False)
        into, self._go = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (self.lines, self._go, *(fd for each in strangers for fd in each.fds())):
                os.close(fd)
            _live(task, out, into)
        os.close(out)
        os.close(into)
        self._rest = b""
        self.status: int | None = None

    def fds(self) -> list[int]:
        """Its open descriptors."""
        return [fd for fd in (self.lines, self._go) if fd >= 0]

    def read(self) -> list[dict[str, Any]] | None:
        """The lines since the last call, perhaps none; None at the end, when ``status`` is known."""
        try:
            data = iocalls.real_read(self.lines, 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            self._reap()
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in whole]

    def release(self) -> None:
        """Let it end. A process with a result stays until then, as a notebook does."""
        with contextlib.suppress(BrokenPipeError):
            iocalls.real_write(self._go, b"\n")

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it if it lives, and close its pipes."""
        self.kill()
        if self.status is None:
            self._reap()

    def _reap(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        for fd in self.fds():
            os.close(fd)
        self.lines = self._go = -1


# ------------------------------------------------------------------ in the child
def _live(task: Task, out: int, into: int) -> NoReturn:
    """The whole life of the process."""
    code = 1
    try:
        _settle_in(task)
        speak = _speaker(out)
        count = iocalls.Count(task.fatal, task.when)
        # The relay has no files, so its messages count.
        if task.role == "relay":
            _count_messages(count)
        else:
            iocalls.start(count)
        life = {"sender": _send, "receiver": _receive, "relay": _relay}[task.role]
        (_sweep if task.sweep else life)(task, speak, into)
        portal.stop()
        speak("calls", total=count.total, names=dict(count.names))
        code = 0
    except BaseException:  # noqa: BLE001  # a child must never continue as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_with_parent() -> None:
    """End with the parent process, and leave Ctrl-C to the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _settle_in(task: Task) -> None:
    die_with_parent()
    errors = task.errors.open("a")
    for fd in (1, 2):
        os.dup2(errors.fileno(), fd)
    faulthandler.enable(errors)
    faulthandler.dump_traceback_later(task.seconds, file=errors)
    os.chdir(task.cwd)
    os.environ["NBFERRY_STATE"] = str(task.state)
    os.environ |= {"NBFERRY_HOST": "127.0.0.1", "NBFERRY_ICE_SERVERS": ""}
    for name in ("NBFERRY_RELAY", "JPY_PARENT_PID"):
        os.environ.pop(name, None)


def _speaker(out: int) -> Speak:
    """A function that writes a line. Each line fits into a pipe as a whole."""

    def speak(what: str, **fields: Any) -> None:
        iocalls.real_write(out, json.dumps({"is": what, **fields}).encode() + b"\n")

    return speak


def _send(task: Task, speak: Speak, into: int) -> None:
    transfer = _resumed(task) or nbferry.send(list(task.paths), relay=task.relay, via=task.via)
    threading.Thread(target=_tell_code, args=(transfer, speak), daemon=True).start()
    if _follow(transfer, speak):
        iocalls.real_read(into, 1)


def _tell_code(transfer: nbferry.Transfer, speak: Speak) -> None:
    # The transfer itself raises the error.
    with contextlib.suppress(NbferryError):
        speak("code", code=transfer.code)


def _receive(task: Task, speak: Speak, into: int) -> None:
    transfer = _resumed(task) or nbferry.receive(
        task.code,
        to="to",
        accept=True,
        overwrite=task.overwrite,
        via=task.via,
    )
    if _follow(transfer, speak):
        iocalls.real_read(into, 1)


def _resumed(task: Task) -> nbferry.Transfer | None:
    """The transfer that ``resume()`` continues; None if this task does not use it or it finds none."""
    if task.start != "resume":
        return None
    found = nbferry.resume()
    return found[0] if found else None


def _sweep(_: Task, speak: Speak, into: int) -> None:
    for transfer in nbferry.resume():
        _follow(transfer, speak)


def _follow(transfer: nbferry.Transfer, speak: Speak) -> bool:
    """Report the course of a transfer. Returns whether it had a result."""
    speak("begun", id=transfer.id)

    def see(view: nbferry.Snapshot) -> None:
        seen = {"state": view.state, "reason": view.reason, "verified": view.verified}
        speak("seen", **seen, durable=view.durable, via=view.via)

    transfer.subscribe(see)
    try:
        result = transfer.wait()
    except NbferryError as error:
        speak("error", type=type(error).__name__, message=str(error))
        return False
    speak("result", files=len(result.files), digest=result.digest, reused=result.reused)
    transfer.wait_until_closed()
    speak("closed")
    return True


# ------------------------------------------------------------------ the relay
def _count_messages(count: iocalls.Count) -> None:
    received = RelaySocket.on_message

    def on_message(self: RelaySocket, message: str | bytes) -> Any:
        number = count.next("message")
        count.die_if_fatal(number, "before")
        try:
            return received(self, message)
        finally:
            count.die_if_fatal(number, "after")

    RelaySocket.on_message = on_message  # type: ignore[method-assign]  # only in this child


def _relay(task: Task, speak: Speak, into: int) -> None:
    asyncio.run(_serve(task, speak, into))


async def _serve(task: Task, speak: Speak, into: int) -> None:
    relay = await nbferry.relay.app.start_relay("127.0.0.1", task.port, limits=RELAY_LIMITS)
    released = asyncio.Event()
    asyncio.get_running_loop().add_reader(into, released.set)
    speak("relay", url=relay.url)
    await released.wait()
    asyncio.get_running_loop().remove_reader(into)
    await relay.aclose()
