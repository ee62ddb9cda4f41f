"""Moving to a name that is free, and never onto anything: file systems differ in how they can do that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nbferry.storage.directory import Directory
from nbferry.storage.system import CANNOT, CREATE, rename_exclusively

Way = Callable[[Directory, str, Directory, str], bool]
"""Moves a name in one folder to a name in another, or answers that it cannot do so here, having done nothing."""


def move_new(
    source: Directory, name: str, to: Directory, new: str, *, ways: Sequence[Way] | None = None
) -> None:
    """Move a file or a folder; FileExistsError if the new name is taken, even at the last moment."""
    for way in WAYS if ways is None else ways:
        if way(source, name, to, new):
            return
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def by_path(source: Directory, name: str, to: Directory, new: str) -> bool:
    """Rename as on Windows, which itself refuses to overwrite."""
    Path(source.at(name)).rename(to.at(new))
    return True


def by_rename(source: Directory, name: str, to: Directory, new: str) -> bool:
    """Rename with RENAME_NOREPLACE: Linux, on local file systems."""
    return source.fd is not None and to.fd is not None and rename_exclusively(source.fd, name, to.fd, new)


def by_link(source: Directory, name: str, to: Directory, new: str) -> bool:
    """Give a file its second name, then take the first away: wherever there are hard links, as on NFS."""
    if source.is_folder(name):
        return False
    try:
        os.link(source.at(name), to.at(new), src_dir_fd=source.fd, dst_dir_fd=to.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in CANNOT:
            return False
        raise
    source.unlink(name)
    return True


def by_taking_its_place(source: Directory, name: str, to: Directory, new: str) -> bool:
    """Take the name with something empty of our own, then rename onto that: works everywhere.

    A folder that somebody puts anything into meanwhile cannot be renamed onto; an empty file we trust for the
    instant that it exists.
    """
    folder = source.is_folder(name)
    if folder:
        to.make(new)
    else:
        os.close(to.file(new, CREATE))
    try:
        source.replace(name, to, new)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
        (to.rmdir if folder else to.unlink)(new)
        raise
    return True


WAYS: tuple[Way, ...] = (by_path,) if os.name == "nt" else (by_rename, by_link, by_taking_its_place)
