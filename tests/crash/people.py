"""The processes of a point: what each does in its own process, as JSON lines of what it sees.

    {"is": "relay", "url": ...}                       it listens
    {"is": "begun", "id": ...}                        a transfer was started
    {"is": "code", "code": ...}
    {"is": "seen", "state": ..., "reason": ..., "verified": ..., "durable": ...}
    {"is": "result", "files": [...], "digest": ...}
    {"is": "error", "type": ..., "message": ...}
    {"is": "settled"}                                 nothing of the transfer is in use any more
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

import cryptography.hazmat.backends.openssl.backend  # noqa: F401  # here so that no child has to import it
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
Start = Literal["again", "resume"]
"""How a side goes on: by the same cell, or by ``resume()``; that by the same cell if there is nothing."""

Speak = Callable[..., None]
"""Writes a line: what it is, and its fields."""

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
"""Limits that end a point soon and report much; as defaults, because ``resume()`` takes none."""
cast("dict[str, Any]", nbferry.Limits.__init__.__kwdefaults__).update(QUICK)
machine.LINGER = 2.0  # seconds, of ten, for which a side that has ended tries to tell the other
RELAY_LIMITS = RelayLimits(joins_per_minute=10_000, opens_per_minute=10_000)


@dataclass(frozen=True)
class Task:
    """What one process is to do, in the folder ``cwd`` with the memos in ``state``.

    ``sweep``: it had its result when it died, and now only ends what ``resume()`` finds, if anything.
    """

    role: Role
    cwd: Path
    state: Path
    errors: Path
    seconds: float
    start: Start = "again"
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
    """A process that does a task. ``lines`` is readable; at its end the process has ended."""

    def __init__(self, task: Task, strangers: list[Child]) -> None:
        """``strangers``: other children, whose pipes this one must not hold open."""
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
        """What it has said since, perhaps nothing; None at its end, when ``status`` is known."""
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
        """Let it end: whoever has a result stays until then, as a notebook does."""
        with contextlib.suppress(BrokenPipeError):
            iocalls.real_write(self._go, b"\n")

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it if it lives, and close what is open."""
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
        if task.role == "relay":  # it has no files: its messages count
            _count_messages(count)
        else:
            iocalls.start(count)
        life = {"sender": _send, "receiver": _receive, "relay": _relay}[task.role]
        (_sweep if task.sweep else life)(task, speak, into)
        portal.stop()
        speak("calls", total=count.total, names=dict(count.names))
        code = 0
    except BaseException:  # noqa: BLE001  # a child must never go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_with_parent() -> None:
    """Leave nothing behind when whoever started this process is ended, and leave Ctrl-C to that."""
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
    """A function that writes a line; lines are shorter than what a pipe takes as a whole."""

    def speak(what: str, **fields: Any) -> None:
        iocalls.real_write(out, json.dumps({"is": what, **fields}).encode() + b"\n")

    return speak


def _send(task: Task, speak: Speak, into: int) -> None:
    transfer = _resumed(task) or nbferry.send(list(task.paths), relay=task.relay, via=task.via)
    threading.Thread(target=_tell_code, args=(transfer, speak), daemon=True).start()
    if _follow(transfer, speak):
        iocalls.real_read(into, 1)


def _tell_code(transfer: nbferry.Transfer, speak: Speak) -> None:
    with contextlib.suppress(NbferryError):  # the transfer itself raises what went wrong
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
    """What ``resume()`` goes on with; None if it is not asked for, or knows of nothing."""
    if task.start != "resume":
        return None
    found = nbferry.resume()
    return found[0] if found else None


def _sweep(_: Task, speak: Speak, into: int) -> None:
    for transfer in nbferry.resume():
        _follow(transfer, speak)


def _follow(transfer: nbferry.Transfer, speak: Speak) -> bool:
    """Say what becomes of a transfer; whether it comes to a result."""
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
    speak("settled")
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

    RelaySocket.on_message = on_message  # type: ignore[method-assign]  # in a process made for it


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
