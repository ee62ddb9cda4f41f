"""A folder held open, not named: no link can take its place between two steps.

On POSIX every operation is relative to a file descriptor and follows no link. Where the system has no such
calls (Windows), the same class uses plain paths; making links takes a privilege there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Self

from nbferry.storage.disk.system import CANNOT, NOFOLLOW, OPEN_FOLDER

HELD = os.open in os.supports_dir_fd and bool(NOFOLLOW)

# An invalid descriptor: every use fails with EBADF, and none falls back on the path. os.listdir takes -1 for ".".
_CLOSED = (1 << 31) - 1


class Directory:
    """One open folder; ``path`` is for messages and for systems without descriptors.

    ``fd`` is None on those systems only.
    """

    def __init__(self, path: Path, fd: int | None) -> None:
        self.path = path
        self.fd = fd
        self.identity: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open a folder that the user named; links in the path are the user's choice."""
        return cls(path, os.open(path, OPEN_FOLDER) if HELD else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder. May be called twice."""
        if self.fd is None or self.fd == _CLOSED:
            return
        fd, self.fd = self.fd, _CLOSED
        os.close(fd)

    def at(self, name: str) -> str:
        """Return the name to pass to a call together with ``dir_fd=self.fd``."""
        return name if self.fd is not None else str(self.path / name)

    # -------------------------------------------------------------- folders
    def child(self, name: str) -> Directory:
        """Open a folder in here; raises NotADirectoryError if it is a link or no folder."""
        path = self.path / name
        if self.fd is not None:
            return Directory(path, self._open_child(name))
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or _is_junction(info):
            raise _no_folder(path)
        return Directory(path, None)

    def _open_child(self, name: str) -> int:
        try:
            return os.open(name, OPEN_FOLDER | NOFOLLOW, dir_fd=self.fd)
        except OSError as error:
            # macOS reports a link this way.
            if error.errno == errno.ELOOP:
                raise _no_folder(self.path / name) from error
            raise

    def descend(self, path: str) -> Directory:
        """Open a folder below, by its parts joined by ``/``, following no link; "" is this folder."""
        here = Directory(self.path, None if self.fd is None else os.open(".", OPEN_FOLDER, dir_fd=self.fd))
        for name in filter(None, path.split("/")):
            with here:
                here = here.child(name)
        return here

    def make(self, name: str, mode: int = 0o777) -> None:
        """Create a folder in here; raises FileExistsError if the name is taken."""
        os.mkdir(self.at(name), mode, dir_fd=self.fd)

    def names(self) -> list[str]:
        """List the names in here, in no particular order."""
        return os.listdir(self.path if self.fd is None else self.fd)  # noqa: PTH208  # not for descriptors

    # -------------------------------------------------------------- files
    def file(self, name: str, flags: int) -> int:
        """Open a file in here; a new one gets mode rw-rw-rw-, less the umask."""
        return os.open(self.at(name), flags, 0o666, dir_fd=self.fd)

    def look(self, name: str) -> os.stat_result | None:
        """Return the status of a name, of a link itself if it is one; None if it does not exist."""
        try:
            return os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_folder(self, name: str) -> bool:
        """Whether a folder has this name; a link to a folder does not count."""
        info = self.look(name)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def unlink(self, name: str) -> None:
        """Remove a file or a link."""
        os.unlink(self.at(name), dir_fd=self.fd)

    def remove_tree(self, name: str) -> None:
        """Remove a folder with its contents; leave a file or a link of that name alone."""
        if self.is_folder(name):
            shutil.rmtree(self.at(name), dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove what has this name: a folder with its contents, a file, or a link but not its target."""
        if self.is_folder(name):
            self.remove_tree(name)
        else:
            self.unlink(name)

    def replace(self, name: str, to: Directory, new: str) -> None:
        """Rename to ``new`` in another folder, replacing a file, a link or an empty folder."""
        os.replace(self.at(name), to.at(new), src_dir_fd=self.fd, dst_dir_fd=to.fd)

    # -------------------------------------------------------------- the folder itself
    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self.at(name), dir_fd=self.fd)

    def renew(self) -> None:
        """Reopen this folder by its path, after a network drive lost it; raises OSError.

        The path must still lead to the folder of :meth:`note_identity`, else the error is ``ESTALE``.
        """
        if self.fd is None:
            return
        fd = os.open(self.path, OPEN_FOLDER | NOFOLLOW)
        try:
            if self.identity != identity_of(os.fstat(fd)):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
            # Keep the number, because other threads may be using it.
            os.dup2(fd, self.fd, inheritable=False)
        finally:
            os.close(fd)

    def note_identity(self) -> None:
        """Remember which folder this is, for :meth:`renew`."""
        if self.fd is not None:
            self.identity = identity_of(os.fstat(self.fd))

    def set_mtime(self, mtime_ns: int) -> None:
        """Set the time of modification of this folder."""
        os.utime(self.path if self.fd is None else self.fd, ns=(mtime_ns, mtime_ns))

    def sync(self, sync: Callable[[int], None]) -> None:
        """Make the names in here durable, where the file system supports that."""
        if self.fd is None:
            return
        try:
            sync(self.fd)
        except OSError as error:
            if error.errno not in CANNOT:
                raise

    def free(self, free: Callable[[int | str], int]) -> int:
        """Return the free bytes of this folder's file system."""
        return free(str(self.path) if self.fd is None else self.fd)


def missing_folders(path: Path) -> list[Path]:
    """List the missing folders of a path, from the folder itself upwards."""
    return list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))


def make_path(path: Path, sync: Callable[[int], None], mode: int = 0o777) -> None:
    """Make a folder and its parents durably; raises OSError. ``mode`` applies to the folder itself."""
    missing = missing_folders(path)
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in missing:
        # The parent need not be readable.
        with suppress(PermissionError), Directory.open(folder.parent) as above:
            above.sync(sync)


def identity_of(info: os.stat_result) -> tuple[int, int]:
    """Return device and inode, which identify a file or folder under any name."""
    return info.st_dev, info.st_ino


def _no_folder(path: Path) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _is_junction(info: os.stat_result) -> bool:
    """Whether this is a junction, the Windows kind of link to a folder."""
    return bool(getattr(info, "st_reparse_tag", False))
