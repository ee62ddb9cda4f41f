"""State folders, ``.nbferry`` beside a notebook and in a destination: private, and known to no repository.

They are made when something is first kept in them, and go with the last thing that is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from nbferry.errors import UnsafePath
from nbferry.storage.disk.directory import Directory, make_path
from nbferry.storage.disk.private import private_folder
from nbferry.storage.disk.system import CREATE, REAL_DISK

IGNORE = ".gitignore"  # keeps unfinished transfers out of a repository around the folder
README = "README.txt"
README_TEXT = """\
nbferry keeps here what it needs to go on with transfers that are not finished.
This folder may be deleted when no transfer is unfinished; then nothing is lost.
It holds secrets of unfinished transfers: do not share it, do not commit it.
`nbferry list` shows the unfinished transfers.
`nbferry discard` gives one up and removes what is here of it.
"""
MAX_ATTEMPTS = 10

_TEXTS = {IGNORE: "*\n", README: README_TEXT}

T = TypeVar("T")


@contextmanager
def existing_state(folder: Path) -> Iterator[Directory]:
    """Open a state folder; FileNotFoundError if there is none yet.

    Raises :class:`UnsafePath` if it is a link, no folder, or somebody else's, and OSError.
    """
    with Directory.open(folder.parent) as parent:
        if parent.look(folder.name) is None:
            raise FileNotFoundError(folder)
        with private_folder(parent, folder.name) as state:
            yield state


@contextmanager
def made_state(folder: Path, sync: Callable[[int], None] = REAL_DISK.sync) -> Iterator[Directory]:
    """Open a state folder, made if need be, its own name durable. Raises like :func:`existing_state`."""
    make_path(folder.parent, sync)
    with Directory.open(folder.parent) as parent, private_folder(parent, folder.name) as state:
        write_notes(state, IGNORE, README)
        parent.sync(sync)
        yield state


def insist(step: Callable[[], T]) -> T:
    """Try again while folders are missing: the end of another transfer may remove the state folder at that moment."""
    for _ in range(MAX_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return step()
    return step()


def write_notes(state: Directory, *names: str) -> None:
    """Write those of these that are not there: what tells people and programs about the folder."""
    for name in names:
        with suppress(FileExistsError):
            fd = state.file(name, CREATE)
            try:
                os.write(fd, _TEXTS[name].encode())
            finally:
                os.close(fd)


def remove_unused(folder: Path) -> None:
    """Remove a state folder in which nothing is kept; one that is used, or gone, stays as it is."""
    with (
        suppress(OSError, UnsafePath),
        existing_state(folder) as state,
        Directory.open(folder.parent) as parent,
    ):
        remove_if_unused(parent, state)


def remove_if_unused(parent: Directory, state: Directory) -> None:
    """Do the same with an open one. Raises OSError if it cannot be looked at."""
    notes = state.names()
    if not set(notes) <= {IGNORE, README}:
        return
    for name in notes:
        with suppress(FileNotFoundError):
            state.unlink(name)
    try:
        parent.rmdir(state.path.name)
    except OSError:  # another transfer has begun in it
        with suppress(OSError):
            write_notes(state, *notes)
