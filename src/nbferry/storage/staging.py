"""Where a transfer waits until it is complete: ``<to>/.nbferry/<transfer>/data``.

It is private and not reached through a link, and below the destination, so that publishing is a rename.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Self

from nbferry.errors import UnsafePath
from nbferry.names import STATE_FOLDER
from nbferry.storage.directory import Directory
from nbferry.storage.journal import PREFIX
from nbferry.storage.runlog import log_names
from nbferry.storage.system import CREATE
from nbferry.storage.whole import belongs_to

DATA = "data"
MANIFEST = "manifest.json"
IGNORE = ".gitignore"  # keeps unfinished transfers out of a repository around the destination
ATTEMPTS = 10  # to find the state folder, which the end of another transfer may remove at the same moment
NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})  # a link: Linux says the first, macOS the second


@dataclass(frozen=True, slots=True)
class Staging:
    """An open staging folder: ``data`` holds the tree of the offer, ``root`` its manifest and the journal.

    What else lies in ``root`` is not ours: where the destination is the folder of the notebook, the memo does.
    """

    root: Directory
    data: Directory

    @classmethod
    def open(
        cls, to: Directory, transfer: str, *, resume: bool, sync: Callable[[int], None] = os.fsync
    ) -> Staging:
        """Open the staging folder of a transfer, made if need be; unless ``resume``, what was staged in it goes.

        ``sync`` makes the way to it durable, so that what is stored there is found again after a power loss.
        Raises :class:`UnsafePath` if anything on the way is a link, no folder, or somebody else's.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(FileNotFoundError):
                return cls._open(to, transfer, resume, sync)
        return cls._open(to, transfer, resume, sync)

    @classmethod
    def _open(cls, to: Directory, transfer: str, resume: bool, sync: Callable[[int], None]) -> Staging:
        with _private(to, STATE_FOLDER) as state:
            _write_ignore(state)
            with ExitStack() as opened:
                root = opened.enter_context(_private(state, transfer))
                if not resume:
                    _clear(root)
                data = opened.enter_context(_private(root, DATA))
                for folder in (root, state, to):
                    folder.sync(sync)
                opened.pop_all()  # they stay open
                return cls(root, data)

    def close(self) -> None:
        """Let go of the folders; what is in them stays. May be called twice."""
        self.data.close()
        self.root.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_staging(to: Directory, transfer: str, *, everything: bool = True) -> None:
    """Remove what is left of a transfer, and the state folder if it held nothing else.

    Not ``everything``: what was staged alone, and the folders only if they held nothing else.
    """
    try:
        state = to.child(STATE_FOLDER)
    except OSError as error:
        if error.errno in NOT_A_FOLDER | {errno.ENOENT}:
            return  # whatever that is, it is not ours
        raise
    with state:
        if everything:
            state.remove_tree(transfer)
        else:
            _remove_staged(state, transfer)
        if set(state.names()) <= {IGNORE}:
            _remove_state(to, state)


def _remove_staged(state: Directory, transfer: str) -> None:
    try:
        root = state.child(transfer)
    except OSError as error:
        if error.errno in NOT_A_FOLDER | {errno.ENOENT}:
            return
        raise
    with root:
        _clear(root)
    with suppress(OSError):  # there is something else in it
        state.rmdir(transfer)


def _clear(root: Directory) -> None:
    """Remove the data, the manifest and the journal of an earlier run."""
    logs = log_names(root, PREFIX)
    for name in root.names():
        if name == DATA or name in logs or belongs_to(name, MANIFEST):
            root.remove(name)


def _remove_state(to: Directory, state: Directory) -> None:
    with suppress(FileNotFoundError):
        state.unlink(IGNORE)
    try:
        to.rmdir(STATE_FOLDER)
    except OSError:  # another transfer has begun in it
        with suppress(OSError):
            _write_ignore(state)


def _write_ignore(state: Directory) -> None:
    with suppress(FileExistsError):
        fd = state.file(IGNORE, CREATE)
        try:
            os.write(fd, b"*\n")
        finally:
            os.close(fd)


def _private(parent: Directory, name: str) -> Directory:
    """Open a folder that is ours alone, made if need be."""
    with suppress(FileExistsError):
        parent.make(name, 0o700)
    try:
        folder = parent.child(name)
    except OSError as error:
        if error.errno in NOT_A_FOLDER:
            raise _refused(parent, name, "is a link or no folder") from error
        raise
    try:
        if folder.fd is not None:
            _claim(parent, name, folder, folder.fd)
    except BaseException:
        folder.close()
        raise
    return folder


def _claim(parent: Directory, name: str, folder: Directory, fd: int) -> None:
    """See that a folder is ours and that nobody else can look into it."""
    info = os.fstat(fd)
    if info.st_uid not in (os.geteuid(), _owner_of_new_files(folder, info.st_uid)):
        raise _refused(parent, name, "belongs to somebody else")
    if info.st_mode & 0o077:
        with suppress(PermissionError):  # file systems without modes say so, or say nothing
            os.fchmod(fd, 0o700)


def _owner_of_new_files(folder: Directory, owner: int) -> int:
    """Say who owns what we create: not us on network drives that map users, nor on mounts that know none."""
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
