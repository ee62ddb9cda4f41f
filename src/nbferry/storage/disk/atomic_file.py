"""Small files that appear whole or not at all, and are opened without following a link."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import CREATE, NOFOLLOW, READ, REAL_DISK

_TEMPORARY = re.compile(r"(.+)\.[0-9a-f]{16}\.tmp")


def write_whole(
    folder: Directory,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    sync: Callable[[int], None] = REAL_DISK.sync,
) -> None:
    """Write a file, replacing any file of this name; durable when this returns. Raises OSError."""
    temporary = write_temporary(folder, name, data, mode=mode, sync=sync)
    try:
        folder.replace(temporary, folder, name)
    except BaseException:
        remove_quietly(folder, temporary)
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
    """Write a durable file that is to get this name, under a unique temporary name; return that."""
    temporary = f"{name}.{token_hex(8)}.tmp"
    fd = os.open(folder.at(temporary), CREATE, mode, dir_fd=folder.fd)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        sync(fd)
    except BaseException:
        remove_quietly(folder, temporary)
        raise
    finally:
        os.close(fd)
    return temporary


def belongs_to(name: str, *owners: str) -> bool:
    """Whether this is one of these files, or a temporary file that a crash left of one."""
    temporary = _TEMPORARY.fullmatch(name)
    return (temporary[1] if temporary else name) in owners


def remove_quietly(folder: Directory, name: str) -> None:
    """Remove a file; a failure to do so does not matter to the caller."""
    with suppress(OSError):
        folder.unlink(name)


def read_whole(folder: Directory, name: str, limit: int, *, private: bool = False) -> bytes | None:
    """Read a file of at most ``limit`` bytes; None if it does not exist.

    ``private`` refuses a file that belongs to another user than its folder, or that others may read: nbferry did not
    write it. Raises ValueError for a file that nbferry cannot have written, and OSError.
    """
    try:
        fd = folder.file(name, READ | NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
            raise ValueError("it is not a file, or it is too large")
        if private and folder.fd is not None:
            _check_private(info, os.fstat(folder.fd))
        with open(fd, "rb", closefd=False) as file:
            # Not more than its size, because ``read`` allocates that much at once.
            return file.read(info.st_size)
    finally:
        os.close(fd)


def _check_private(info: os.stat_result, folder: os.stat_result) -> None:
    """Refuse a file from an archive or a repository: it has modes that nbferry never sets."""
    if info.st_uid != folder.st_uid:
        raise ValueError("it belongs to another user")
    # Where the folder too is open to all, the file system knows no modes.
    if info.st_mode & 0o077 and not folder.st_mode & 0o077:
        raise ValueError("others may read it, so nbferry did not write it")
