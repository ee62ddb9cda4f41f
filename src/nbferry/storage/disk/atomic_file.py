"""Small files that are there whole or not at all, found without following a link."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import CREATE, NOFOLLOW, READ, REAL_DISK

_LEFT = re.compile(r"(.+)\.[0-9a-f]{16}\.tmp")


def write_whole(
    folder: Directory,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    sync: Callable[[int], None] = REAL_DISK.sync,
) -> None:
    """Put a file in the place of what has this name; durable when this returns. Raises OSError."""
    left = write_temporary(folder, name, data, mode=mode, sync=sync)
    try:
        folder.replace(left, folder, name)
    except BaseException:
        remove_quietly(folder, left)
        raise
    folder.sync(sync)


def write_temporary(
    folder: Directory,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    sync: Callable[[int], None] = REAL_DISK.sync,
) -> str:
    """Write a file that is to get this name, under another that nobody else has; that other name."""
    beside = f"{name}.{token_hex(8)}.tmp"
    fd = os.open(folder.at(beside), CREATE, mode, dir_fd=folder.fd)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        sync(fd)
    except BaseException:
        remove_quietly(folder, beside)
        raise
    finally:
        os.close(fd)
    return beside


def belongs_to(name: str, *owners: str) -> bool:
    """Whether this is one of these files, or what a crash left of writing one."""
    left = _LEFT.fullmatch(name)
    return (left[1] if left else name) in owners


def remove_quietly(folder: Directory, name: str) -> None:
    """Remove a file; one that is gone, or will not go, is no failure of what was to be done."""
    with suppress(OSError):
        folder.unlink(name)


def read_whole(folder: Directory, name: str, most: int, *, private: bool = False) -> bytes | None:
    """Read a file of at most ``most`` bytes; None if there is none.

    ``private`` refuses one that is not its folder's owner's, or that others may read: we did not write that.
    Raises ValueError for what we cannot have written, and OSError.
    """
    try:
        fd = folder.file(name, READ | NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > most:
            raise ValueError("it is no file, or too large")
        if private and folder.fd is not None:
            _check_private(info, os.fstat(folder.fd))
        with open(fd, "rb", closefd=False) as file:
            return file.read(info.st_size)  # which takes the memory at once, so no more than there is
    finally:
        os.close(fd)


def _check_private(info: os.stat_result, folder: os.stat_result) -> None:
    """Refuse what came with an archive or a repository: those give a file modes that ours never have."""
    if info.st_uid != folder.st_uid:
        raise ValueError("it belongs to somebody else")
    if info.st_mode & 0o077 and not folder.st_mode & 0o077:  # else the file system knows no modes
        raise ValueError("others may read it, so nbferry did not write it")
