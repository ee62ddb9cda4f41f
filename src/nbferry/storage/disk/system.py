"""The system calls that storage needs, with substitutes where a platform lacks one."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

try:
    from fcntl import F_FULLFSYNC, fcntl  # type: ignore[attr-defined,unused-ignore]  # macOS only
except ImportError:
    F_FULLFSYNC = None


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))


NOFOLLOW = _flag("O_NOFOLLOW")
OPEN_FOLDER = os.O_RDONLY | _flag("O_DIRECTORY")
# O_NONBLOCK: opening a FIFO in place of a file must not wait for a writer.
READ = os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_NOCTTY") | _flag("O_BINARY")
WRITE = os.O_RDWR | _flag("O_NONBLOCK") | _flag("O_NOCTTY") | _flag("O_BINARY") | NOFOLLOW
CREATE = WRITE | os.O_CREAT | os.O_EXCL

SEEK_DATA: int | None = getattr(os, "SEEK_DATA", None)
SEEK_HOLE: int | None = getattr(os, "SEEK_HOLE", None)

WORD = (1 << 64) - 1
"""Masks device and inode numbers to the bits that are kept; those of Windows have 128."""

MAX_VIEWS = 1024
"""IOV_MAX of Linux and macOS."""

_seeking = threading.Lock()


def _seek_and_read(fd: int, views: Sequence[memoryview], offset: int) -> int:
    with _seeking:
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(views[0]))
    views[0][: len(data)] = data
    return len(data)


def _seek_and_write(fd: int, data: memoryview, offset: int) -> int:
    with _seeking:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


_preadv: Callable[[int, Sequence[memoryview], int], int] = getattr(os, "preadv", _seek_and_read)
_pwrite: Callable[[int, memoryview, int], int] = getattr(os, "pwrite", _seek_and_write)


def read_into(fd: int, views: Sequence[memoryview], offset: int) -> int:
    """Fill the views in order from ``offset`` on; return the bytes read, fewer only at the file's end."""
    total = 0
    left = [view for view in views if view]
    while left and (count := _preadv(fd, left[:MAX_VIEWS], offset + total)):
        total += count
        left = _after(left, count)
    return total


def _after(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """Return the views without their first ``count`` bytes."""
    at = 0
    while at < len(views) and count >= len(views[at]):
        count -= len(views[at])
        at += 1
    rest = list(views[at:])
    if count:
        rest[0] = rest[0][count:]
    return rest


def write_all(write: Callable[[int, memoryview, int], int], fd: int, data: memoryview, offset: int) -> None:
    """Write every byte at ``offset``, in as many calls of ``write`` as necessary."""
    while data:
        count = write(fd, data, offset)
        if not count:
            raise OSError(errno.EIO, "nothing was written")
        offset += count
        data = data[count:]


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Find where a file has data: ``(start, stop)`` in bytes; the rest are holes, which read as zeros.

    Where the file system cannot tell, the whole file counts as data.
    """
    at = 0
    while at < size:
        start = _seek(fd, at, SEEK_DATA, at)
        if start is None:
            return
        stop = _seek(fd, start, SEEK_HOLE, size) or size
        yield start, stop
        at = stop


def _seek(fd: int, at: int, whence: int | None, unable: int) -> int | None:
    """Find the next data or hole; None if none follows, ``unable`` if the system cannot tell."""
    if whence is None:
        return unable
    try:
        return os.lseek(fd, at, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in CANNOT:
            return unable
        raise


def forget_cached(fd: int) -> None:
    """Drop a file from the system's cache, where possible, so that the next read comes from the disk."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def boot_id() -> str:
    """Return the id of this boot of the computer, in ASCII; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _sync_file(fd: int) -> None:
    """Make a file or folder durable; on macOS ``fsync`` leaves the data in the drive's cache."""
    if F_FULLFSYNC is None:
        os.fsync(fd)
    else:
        fcntl(fd, F_FULLFSYNC)


def no_sync(_: int) -> None:
    """Do not wait: the system decides when data reaches the disk."""


# ------------------------------------------------------------------ through libc, where it is Linux's
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_syncfs = getattr(_libc, "syncfs", None)
_fstatfs = getattr(_libc, "fstatfs", None)
# From glibc 2.28; not in every musl.
_renameat2 = getattr(_libc, "renameat2", None)

RENAME_NOREPLACE = 1
CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})
"""Errors of a system, a container or a file system that lacks an operation."""

# statfs(2): ext, XFS, Btrfs, F2FS, tmpfs. Their syncfs makes data durable and reports every failed write.
_SYNCFS_REPORTS = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})


def sync_whole(fd: int) -> bool:
    """Flush the whole file system of ``fd``: one call instead of thousands.

    Returns whether that alone makes files durable. Since Linux 5.8 ``syncfs`` reports every write that failed
    since ``fd`` was opened, except on network and overlay file systems. Raises OSError if a write failed.
    """
    if _syncfs is None:
        return False
    if _syncfs(fd):
        error = _libc_error()
        if error.errno in CANNOT:
            return False
        raise error
    return _kernel() >= (5, 8) and _file_system(fd) in _SYNCFS_REPORTS


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())


def _file_system(fd: int) -> int:
    """Return the magic number of the file system of ``fd``: the first word of ``struct statfs``."""
    buffer = ctypes.create_string_buffer(256)
    if _fstatfs is None or _fstatfs(fd, buffer):
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def rename_exclusively(source: int, name: str, target: int, new: str) -> bool:
    """Rename unless ``new`` exists (FileExistsError); return False where the system cannot."""
    if _renameat2 is None:
        return False
    if _renameat2(source, os.fsencode(name), target, os.fsencode(new), RENAME_NOREPLACE) == 0:
        return True
    error = _libc_error()
    if error.errno in CANNOT:
        return False
    raise error


def _libc_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


# ------------------------------------------------------------------ what a test replaces
def _free(folder: int | str) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls that fail on a full or dying disk; tests replace them.

    ``write(fd, data, offset)`` returns the bytes written, ``read(fd, views, offset)`` is :func:`read_into`,
    ``sync(fd)`` makes one file or folder durable, ``sync_whole(fd)`` is the function above, ``free(folder)`` returns
    the free bytes, and ``boot()`` returns the boot id, whose change shows a possible power failure.
    """

    write: Callable[[int, memoryview, int], int] = _pwrite
    read: Callable[[int, Sequence[memoryview], int], int] = read_into
    sync: Callable[[int], None] = _sync_file
    sync_whole: Callable[[int], bool] = sync_whole
    free: Callable[[int | str], int] = _free
    boot: Callable[[], str] = boot_id


REAL_DISK = Disk()
