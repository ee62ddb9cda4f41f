"""Renaming that never overwrites. File systems differ in how they can do that."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nbferry.storage.disk.directory import Directory, identity_of
from nbferry.storage.disk.system import CANNOT, CREATE, rename_exclusively


class RenameMethod(Protocol):
    """Moves a name in one folder to a name in another; returns False, having done nothing, if it cannot do so here.

    ``resume`` means that an earlier run may have stopped in the middle of this move.
    """

    def __call__(
        self, source: Directory, name: str, to: Directory, new: str, *, resume: bool = False
    ) -> bool:
        """Move; raises FileExistsError if the new name is taken."""


def rename_without_replacing(
    source: Directory,
    name: str,
    to: Directory,
    new: str,
    *,
    resume: bool = False,
    methods: Sequence[RenameMethod] | None = None,
) -> None:
    """Move a file or a folder; raises FileExistsError if the new name is taken, even at the last moment.

    ``resume`` completes a move that an earlier run may have begun: what it left under the new name is ours.
    """
    if resume and _has_both_names(source, name, to, new):
        source.unlink(name)
        return
    for method in RENAME_METHODS if methods is None else methods:
        if method(source, name, to, new, resume=resume):
            return
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _has_both_names(source: Directory, name: str, to: Directory, new: str) -> bool:
    """Whether :func:`by_link` stopped between its two steps."""
    ours, there = source.look(name), to.look(new)
    return bool(ours and there and stat.S_ISREG(ours.st_mode) and os.path.samestat(ours, there))


def by_path(source: Directory, name: str, to: Directory, new: str, *, resume: bool = False) -> bool:
    """Rename on Windows, which itself refuses to overwrite."""
    Path(source.at(name)).rename(to.at(new))
    return True


def by_rename(source: Directory, name: str, to: Directory, new: str, *, resume: bool = False) -> bool:
    """Rename with RENAME_NOREPLACE: on Linux, on local file systems."""
    return source.fd is not None and to.fd is not None and rename_exclusively(source.fd, name, to.fd, new)


def by_link(source: Directory, name: str, to: Directory, new: str, *, resume: bool = False) -> bool:
    """Give a file its second name, then remove the first: where there are hard links, as on NFS."""
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


def by_placeholder(source: Directory, name: str, to: Directory, new: str, *, resume: bool = False) -> bool:
    """Reserve the name with an empty file or folder, then rename onto that: works everywhere.

    The rename fails if another process puts something into the empty folder. An empty file is trusted for the instant
    that it exists. With ``resume``, an empty entry of the same kind and owner counts as ours.
    """
    info = source.look(name)
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    folder = stat.S_ISDIR(info.st_mode)
    taken = None
    try:
        taken = _reserve(to, new, folder=folder)
    except FileExistsError:
        if not (resume and _is_placeholder(to, new, info)):
            raise
    try:
        source.replace(name, to, new)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
        # Otherwise another process has moved the same entry onto it.
        if taken and taken == _identity(to, new):
            (to.rmdir if folder else to.unlink)(new)
        raise
    return True


def _reserve(to: Directory, new: str, *, folder: bool) -> tuple[int, int] | None:
    if folder:
        to.make(new)
    else:
        os.close(to.file(new, CREATE))
    return _identity(to, new)


def _identity(folder: Directory, name: str) -> tuple[int, int] | None:
    info = folder.look(name)
    return info and identity_of(info)


def _is_placeholder(to: Directory, new: str, ours: os.stat_result) -> bool:
    """Whether this may be our placeholder. Whether a folder is empty shows in the rename."""
    there = to.look(new)
    if there is None or there.st_uid != ours.st_uid:
        return False
    if stat.S_ISDIR(ours.st_mode):
        return stat.S_ISDIR(there.st_mode)
    return stat.S_ISREG(there.st_mode) and not there.st_size and there.st_nlink == 1


RENAME_METHODS: tuple[RenameMethod, ...] = (
    (by_path,) if os.name == "nt" else (by_rename, by_link, by_placeholder)
)
