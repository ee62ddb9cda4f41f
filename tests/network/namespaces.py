"""Network namespaces, and two hosts on one machine, each in its own namespace, with a line between them.

A namespace belongs to a thread of this process, its device to a file descriptor. Both end with the process, in any
way, and leave no files. Processes that the thread starts live in its namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from network.line import Line

T = TypeVar("T")

PATIENCE = 30  # seconds
CLONE_NEWNET = 0x40000000  # <sched.h>
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # <linux/if_tun.h>
DEVICE = "line0"
MTU = 1500
FIRST, OTHER = "10.231.1.1", "10.231.2.1"


class Unavailable(Exception):
    """Network namespaces or TUN devices are not available here. The text says why."""


class Namespace:
    """A separate network, with a loopback device at first. Entering the context makes it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task = 0  # the thread's id, by which ``ip`` finds the namespace
        self._thread = ThreadPoolExecutor(1, f"host-{name}")

    def __enter__(self) -> Self:
        """Make the network. Raises :class:`Unavailable`."""
        try:
            self.call(_unshare)
            self.task = self.call(threading.get_native_id)
            self.ip("link", "set", "lo", "up")
            self._furnish()
        except OSError as error:
            self.__exit__()
            raise Unavailable(f"no network namespaces here: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the network."""
        self._thread.shutdown()

    def _furnish(self) -> None:
        """Add the devices that exist from the start."""

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Start a function in this network, after all earlier ones."""
        return self._thread.submit(work)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function in this network, for instance to start a process."""
        return self.start(work).result(PATIENCE)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command to its end. Returns its output. Raises OSError with its message if it fails."""
        start = partial(
            subprocess.run, command, input=stdin, capture_output=True, text=True, timeout=PATIENCE
        )
        done = self.call(start)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
        return str(done.stdout)

    def ip(self, *arguments: str) -> None:
        """Run ``ip``."""
        self.run("ip", *arguments)


class Host(Namespace):
    """A network with a single device, which has one address and the default route."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address = address
        self.end = -1

    def _furnish(self) -> None:
        self.end = self.call(_new_device)
        self.plug_in()

    def __exit__(self, *_: object) -> None:
        """Close the device."""
        if self.end >= 0:
            os.close(self.end)
        super().__exit__()

    def plug_in(self, mtu: int = MTU) -> None:
        """Turn the device on, with its address and a route to everywhere."""
        self.ip("link", "set", DEVICE, "up", "mtu", str(mtu), "txqueuelen", "5000")
        self.ip("addr", "replace", f"{self.address}/32", "dev", DEVICE)
        self.ip("route", "replace", "default", "dev", DEVICE)

    def pull_out(self) -> None:
        """Turn the device off. The host knows it, and sending fails."""
        self.ip("link", "set", DEVICE, "down")

    def move_to(self, address: str) -> None:
        """Replace the address, as in another network."""
        self.ip("addr", "flush", "dev", DEVICE)
        self.address = address
        self.plug_in()


@dataclass(frozen=True)
class Network:
    """Two hosts and their line."""

    one: Host
    other: Host
    line: Line


@contextmanager
def two_hosts() -> Iterator[Network]:
    """Two connected hosts. Raises :class:`Unavailable`."""
    need("ip")
    with ExitStack() as stack:
        hosts = [stack.enter_context(host) for host in (Host("one", FIRST), Host("other", OTHER))]
        line = stack.enter_context(Line((hosts[0].end, hosts[1].end)))
        yield Network(*hosts, line)


def need(*commands: str) -> None:
    """Raise :class:`Unavailable` if a program is not installed, or this is not Linux."""
    if sys.platform != "linux":
        raise Unavailable("network namespaces are a thing of Linux")
    if missing := [command for command in commands if not shutil.which(command)]:
        raise Unavailable(f"not installed: {', '.join(missing)}")


def _unshare() -> None:
    """Move this thread into a new namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _new_device() -> int:
    """Make the device. Returns its descriptor."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(end)
        raise
    return end
