"""Network namespaces; and two hosts on one machine, each in one of its own, with the line between them.

A namespace belongs to a thread of this process, its device to a file descriptor: both are gone with the process,
however that ends, and nothing of them is on a disk. What is started from the thread lives in its namespace.
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
    """Network namespaces, or TUN devices, cannot be had here; says why."""


class Namespace:
    """A network of its own, with a loopback device to begin with; made when it is entered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task = 0  # the number of its thread, by which ``ip`` finds it
        self._thread = ThreadPoolExecutor(1, f"host-{name}")

    def __enter__(self) -> Self:
        """Make it; raises :class:`Unavailable`."""
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
        """Let go of it."""
        self._thread.shutdown()

    def _furnish(self) -> None:
        """Put in what is to be there from the start."""

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Begin with something in this network, after what was begun before."""
        return self._thread.submit(work)

    def call(self, work: Callable[[], T]) -> T:
        """Do something in this network, the start of a process for instance."""
        return self.start(work).result(PATIENCE)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command to its end; what it prints. Raises OSError with what it says if it fails."""
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
    """A network with one device, which has one address and leads everywhere."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address = address
        self.end = -1

    def _furnish(self) -> None:
        self.end = self.call(_new_device)
        self.plug_in()

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        if self.end >= 0:
            os.close(self.end)
        super().__exit__()

    def plug_in(self, mtu: int = MTU) -> None:
        """Set the device up, with its address and a route to everywhere."""
        self.ip("link", "set", DEVICE, "up", "mtu", str(mtu), "txqueuelen", "5000")
        self.ip("addr", "replace", f"{self.address}/32", "dev", DEVICE)
        self.ip("route", "replace", "default", "dev", DEVICE)

    def pull_out(self) -> None:
        """Set the device down: what is sent fails, and the host knows it."""
        self.ip("link", "set", DEVICE, "down")

    def move_to(self, address: str) -> None:
        """Give up the address and take another one, as in another network."""
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
    """Two hosts, joined; raises :class:`Unavailable`."""
    need("ip")
    with ExitStack() as stack:
        hosts = [stack.enter_context(host) for host in (Host("one", FIRST), Host("other", OTHER))]
        line = stack.enter_context(Line((hosts[0].end, hosts[1].end)))
        yield Network(*hosts, line)


def need(*commands: str) -> None:
    """Raise :class:`Unavailable` if one of these is not installed, or this is no Linux."""
    if sys.platform != "linux":
        raise Unavailable("network namespaces are a thing of Linux")
    if missing := [command for command in commands if not shutil.which(command)]:
        raise Unavailable(f"not installed: {', '.join(missing)}")


def _unshare() -> None:
    """Take this thread into a new namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _new_device() -> int:
    """Make the device; its other end."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(end)
        raise
    return end
