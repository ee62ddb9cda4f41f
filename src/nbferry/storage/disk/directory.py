"""A folder that is held, not named: nobody can put a link in its place between two steps.

On POSIX every operation is relative to a file descriptor and follows no link. Where the system has no such
calls (Windows), the same class falls back on plain paths; making links takes a privilege there.
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

# no descriptor, so that every use fails with EBADF and none falls back on the path; os.listdir takes -1 for "."
_CLOSED = (1 << 31) - 1


class Directory:
    """One open folder; ``path`` is where it was found, for messages and for systems without descriptors.

    ``fd`` is None on those, and only there.
    """

    def __init__(self, path: Path, fd: int | None) -> None:
        self.path = path
        self.fd = fd
        self.identity: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open a folder that the user named: links on the way to it are the user's own."""
        return cls(path, os.open(path, OPEN_FOLDER) if HELD else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder. May be called twice."""
        if self.fd is None or self.fd == _CLOSED:
            return
        fd, self.fd = self.fd, _CLOSED
        os.close(fd)

    def at(self, name: str) -> str:
        """Name something in here for a call that also gets ``dir_fd=self.fd``."""
        return name if self.fd is not None else str(self.path / name)

    # -------------------------------------------------------------- folders
    def child(self, name: str) -> Directory:
        """Open a folder in here; NotADirectoryError if it is a link or anything else."""
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
            if error.errno == errno.ELOOP:  # so macOS says that it is a link
                raise _no_folder(self.path / name) from error
            raise

    def descend(self, path: str) -> Directory:
        """Open a folder below, by its parts joined by ``/``, following no link; "" is this one again."""
        here = Directory(self.path, None if self.fd is None else os.open(".", OPEN_FOLDER, dir_fd=self.fd))
        for name in filter(None, path.split("/")):
            with here:
                here = here.child(name)
        return here

    def make(self, name: str, mode: int = 0o777) -> None:
        """Create a folder in here; FileExistsError if anything has that name."""
        os.mkdir(self.at(name), mode, dir_fd=self.fd)

    def names(self) -> list[str]:
        """List what is in here, in no order."""
        return os.listdir(self.path if self.fd is None else self.fd)  # noqa: PTH208  # a Path has no descriptor

    # -------------------------------------------------------------- files
    def file(self, name: str, flags: int) -> int:
        """Open a file in here, created with what the user's umask leaves of rw-rw-rw-."""
        return os.open(self.at(name), flags, 0o666, dir_fd=self.fd)

    def look(self, name: str) -> os.stat_result | None:
        """Find out what is there under a name, the link itself if it is one; None if nothing is."""
        try:
            return os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_folder(self, name: str) -> bool:
        """Whether a folder has this name; a link to one is none."""
        info = self.look(name)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def unlink(self, name: str) -> None:
        """Remove a file or a link."""
        os.unlink(self.at(name), dir_fd=self.fd)

    def remove_tree(self, name: str) -> None:
        """Remove a folder with all that is in it; a file or a link of that name is left alone."""
        if self.is_folder(name):
            shutil.rmtree(self.at(name), dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove whatever has this name: a folder with all that is in it, a file, or a link but not its target."""
        if self.is_folder(name):
            self.remove_tree(name)
        else:
            self.unlink(name)

    def replace(self, name: str, to: Directory, new: str) -> None:
        """Rename to ``new`` in another folder, in place of a file, a link or an empty folder that is there."""
        os.replace(self.at(name), to.at(new), src_dir_fd=self.fd, dst_dir_fd=to.fd)

    # -------------------------------------------------------------- the folder itself
    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self.at(name), dir_fd=self.fd)

    def renew(self) -> None:
        """Open this folder again by its path, after a network drive has lost it; raises OSError.

        Whatever has the path now must be the same folder: ``ESTALE`` if it is not, or if none was noted.
        """
        if self.fd is None:
            return
        fd = os.open(self.path, OPEN_FOLDER | NOFOLLOW)
        try:
            if self.identity != identity_of(os.fstat(fd)):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
            os.dup2(fd, self.fd, inheritable=False)  # under the number that others may be using right now
        finally:
            os.close(fd)

    def note_identity(self) -> None:
        """Remember which folder this is, for :meth:`renew`."""
        if self.fd is not None:
            self.identity = identity_of(os.fstat(self.fd))

    def set_mtime(self, mtime_ns: int) -> None:
        """Say when this folder was modified."""
        os.utime(self.path if self.fd is None else self.fd, ns=(mtime_ns, mtime_ns))

    def sync(self, sync: Callable[[int], None]) -> None:
        """Make the names in here durable, where the file system knows such a thing."""
        if self.fd is None:
            return
        try:
            sync(self.fd)
        except OSError as error:
            if error.errno not in CANNOT:
                raise

    def free(self, free: Callable[[int | str], int]) -> int:
        """Bytes that are left on this folder's file system."""
        return free(str(self.path) if self.fd is None else self.fd)


def missing_folders(path: Path) -> list[Path]:
    """List what has to be made for this folder to be there, from the folder itself upwards."""
    return list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))


def make_path(path: Path, sync: Callable[[int], None], mode: int = 0o777) -> None:
    """Make a folder, and those above it, their names durable; raises OSError. ``mode`` is for the folder itself."""
    missing = missing_folders(path)
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in missing:
        with suppress(PermissionError), Directory.open(folder.parent) as above:  # it need not be readable
            above.sync(sync)


def identity_of(info: os.stat_result) -> tuple[int, int]:
    """Device and inode: which file or folder this is, whatever its name."""
    return info.st_dev, info.st_ino


def _no_folder(path: Path) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _is_junction(info: os.stat_result) -> bool:
    """Whether this is a link as Windows has them: a folder that carries the tag of another."""
    return bool(getattr(info, "st_reparse_tag", False))
