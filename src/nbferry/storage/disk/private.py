"""Private folders: no link leads to them, and no other user owns or can read them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from nbferry.errors import UnsafePath
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.system import CREATE


def private_folder(parent: Directory, name: str) -> Directory:
    """Open a private folder, made if necessary.

    Raises :class:`UnsafePath` if it is a link, no folder, or another user's, and OSError.
    """
    with suppress(FileExistsError):
        parent.make(name, 0o700)
    try:
        folder = parent.child(name)
    except NotADirectoryError as error:
        raise _refused(parent, name, "is a link or not a folder") from error
    try:
        if folder.fd is not None:
            _secure(parent, name, folder, folder.fd)
    except BaseException:
        folder.close()
        raise
    return folder


def _secure(parent: Directory, name: str, folder: Directory, fd: int) -> None:
    """Check that a folder is ours, and let no other user read it."""
    info = os.fstat(fd)
    if info.st_uid not in (os.geteuid(), _owner_of_new_files(folder, info.st_uid)):
        raise _refused(parent, name, "belongs to another user")
    if info.st_mode & 0o077:
        # A file system without modes may refuse this.
        with suppress(PermissionError):
            os.fchmod(fd, 0o700)


def _owner_of_new_files(folder: Directory, owner: int) -> int:
    """Find out who owns our new files: network drives may map users, and some mounts know none."""
    if owner == os.geteuid():
        return owner
    name = f"probe-{os.getpid()}-{threading.get_ident()}"
    try:
        fd = folder.file(name, CREATE)
    except OSError:
        return os.geteuid()
    try:
        return os.fstat(fd).st_uid
    finally:
        os.close(fd)
        folder.unlink(name)


def _refused(parent: Directory, name: str, why: str) -> UnsafePath:
    return UnsafePath(
        f'"{name}" in "{parent.path}" {why}, so nothing was written.',
        hint="Remove it, or choose another folder.",
    )
