"""Counts a process's I/O calls, and kills the process at one of them.

To be imported before nbferry, whose modules bind some of these functions when they are imported. Until
:func:`start` is called in a process, every call goes straight through.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

When = Literal["before", "after"]

NAMES = (
    "open",
    "preadv",
    "read",
    "write",
    "pwrite",
    "pwritev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "truncate",
    "posix_fallocate",
    "copy_file_range",
    "sendfile",
    "rename",
    "replace",
    "link",
    "symlink",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "utime",
    "chmod",
    "fchmod",
)
"""Functions of ``os`` that count."""

LIBC_NAMES = ("syncfs", "renameat2")
"""Functions of libc that nbferry calls, found in ``nbferry.storage.disk.system`` with an underscore before them."""

real_read, real_write = os.read, os.write


@dataclass
class Count:
    """The calls of one process. The one numbered ``fatal``, counted from 1, kills it; with None it survives."""

    fatal: int | None = None
    when: When = "before"
    total: int = 0
    names: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, name: str) -> int:
        """Number a call."""
        with self.lock:
            self.total += 1
            self.names[name] += 1
            return self.total

    def die_if_fatal(self, number: int, when: When) -> None:
        """Kill the process as ``kill -9`` does, if this is its fatal call."""
        if number == self.fatal and when == self.when:
            os.kill(os.getpid(), signal.SIGKILL)
            # Another thread may take the signal, an instant later.
            signal.pause()


_count: Count | None = None


def start(count: Count) -> None:
    """Count this process's calls from now on."""
    global _count  # noqa: PLW0603  # the wrappers replace functions of the whole process
    _count = count


def _counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        count = _count
        if count is None:
            return real(*arguments, **options)
        number = count.next(name)
        count.die_if_fatal(number, "before")
        try:
            return real(*arguments, **options)
        finally:
            count.die_if_fatal(number, "after")

    call.__name__ = name
    return call


def wrap_os() -> None:
    """Replace functions of ``os`` by counting ones that support the same options."""
    abilities = (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks)
    for name in NAMES:
        if (real := getattr(os, name, None)) is None:
            continue
        counted = _counted(name, real)
        for able in abilities:
            if real in able:
                able.add(counted)
        setattr(os, name, counted)


def wrap_libc(module: Any) -> None:
    """Count the calls that ``nbferry.storage.disk.system`` makes by ctypes."""
    for name in LIBC_NAMES:
        if (real := getattr(module, f"_{name}", None)) is not None:
            setattr(module, f"_{name}", _counted(name, real))


wrap_os()
