"""The state folder of a notebook: private, known to no repository, and made when something is first kept in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nbferry.errors import UnsafePath
from nbferry.storage.directory import Directory
from nbferry.storage.staging import IGNORE, _private, _write_ignore
from nbferry.storage.system import CREATE, REAL_DISK

README = "README.txt"
README_TEXT = """\
nbferry keeps here what it needs to go on with transfers that are not finished.
This folder may be deleted when no transfer is unfinished; then nothing is lost.
It holds secrets of unfinished transfers: do not share it, do not commit it.
`nbferry list` shows the unfinished transfers.
`nbferry discard` gives one up and removes what is here of it.
"""


@contextmanager
def existing_state(folder: Path) -> Iterator[Directory]:
    """Open a state folder; FileNotFoundError if there is none yet.

    Raises :class:`UnsafePath` if it is a link, no folder, or somebody else's, and OSError.
    """
    with Directory.open(folder.parent) as parent:
        if parent.look(folder.name) is None:
            raise FileNotFoundError(folder)
        with _private(parent, folder.name) as state:
            yield state


@contextmanager
def made_state(folder: Path, sync: Callable[[int], None] = REAL_DISK.sync) -> Iterator[Directory]:
    """Open a state folder, made if need be, its own name durable. Raises like :func:`existing_state`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Directory.open(folder.parent) as parent, _private(parent, folder.name) as state:
        _write_ignore(state)
        _write_readme(state)
        parent.sync(sync)
        yield state


def remove_unused(folder: Path) -> None:
    """Remove a state folder in which nothing is kept; one that is used, or gone, stays as it is."""
    with suppress(OSError, UnsafePath), existing_state(folder) as state:
        if not set(state.names()) <= {IGNORE, README}:
            return
        for name in state.names():
            state.unlink(name)
        with Directory.open(folder.parent) as parent:
            parent.rmdir(folder.name)


def _write_readme(state: Directory) -> None:
    with suppress(FileExistsError):
        fd = state.file(README, CREATE)
        try:
            os.write(fd, README_TEXT.encode())
        finally:
            os.close(fd)
