"""Two hosts on one machine, each with a network namespace of its own, and the line between them.

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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

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


class Host:
    """A network namespace with one device, which has one address and leads everywhere."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.end = -1
        self._thread = ThreadPoolExecutor(1, f"host-{name}")

    def open(self) -> None:
        """Make it; raises :class:`Unavailable`."""
        try:
            self.end = self.call(_new_namespace)
            self.call(lambda: _ip("link", "set", "lo", "up"))
            self.plug_in()
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            raise Unavailable(f"no network namespaces here: {error}") from error

    def close(self) -> None:
        """Let go of it."""
        if self.end >= 0:
            os.close(self.end)
        self._thread.shutdown()

    def call(self, work: Callable[[], T]) -> T:
        """Do something in this host's network, the start of a process for instance."""
        return self._thread.submit(work).result(PATIENCE)

    def plug_in(self, mtu: int = MTU) -> None:
        """Set the device up, with its address and a route to everywhere."""
        self._ip("link", "set", DEVICE, "up", "mtu", str(mtu), "txqueuelen", "5000")
        self._ip("addr", "replace", f"{self.address}/32", "dev", DEVICE)
        self._ip("route", "replace", "default", "dev", DEVICE)

    def pull_out(self) -> None:
        """Set the device down: what is sent fails, and the host knows it."""
        self._ip("link", "set", DEVICE, "down")

    def move_to(self, address: str) -> None:
        """Give up the address and take another one, as in another network."""
        self._ip("addr", "flush", "dev", DEVICE)
        self.address = address
        self.plug_in()

    def _ip(self, *arguments: str) -> None:
        self.call(lambda: _ip(*arguments))


@dataclass(frozen=True)
class Network:
    """Two hosts and their line."""

    one: Host
    other: Host
    line: Line


@contextmanager
def two_hosts() -> Iterator[Network]:
    """Two hosts, joined; raises :class:`Unavailable`."""
    if why := _missing():
        raise Unavailable(why)
    with ExitStack() as stack:
        hosts = Host("one", FIRST), Host("other", OTHER)
        for host in hosts:
            host.open()
            stack.callback(host.close)
        line = stack.enter_context(Line((hosts[0].end, hosts[1].end)))
        yield Network(*hosts, line)


def _missing() -> str:
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    return "" if shutil.which("ip") else "iproute2 is not installed"


def _new_namespace() -> int:
    """Take this thread into a new namespace and make its device; the device's other end."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(end)
        raise
    return end


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE)
