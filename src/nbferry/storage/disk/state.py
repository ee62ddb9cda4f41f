"""State folders, ``.nbferry`` beside a notebook and in a destination: private, and ignored by Git.

A state folder is made for the first thing kept in it, and removed after the last.
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

IGNORE = ".gitignore"
"""Keeps unfinished transfers out of a surrounding repository."""
README = "README.txt"
README_TEXT = """\
nbferry keeps here what it needs to resume unfinished transfers.
You may delete this folder when no transfer is unfinished.
It contains secrets of unfinished transfers: do not share or commit it.
`nbferry list` shows the unfinished transfers.
`nbferry discard` removes one of them.
"""
MAX_ATTEMPTS = 10

_TEXTS = {IGNORE: "*\n", README: README_TEXT}

T = TypeVar("T")


@contextmanager
def existing_state(folder: Path) -> Iterator[Directory]:
    """Open a state folder; raises FileNotFoundError if it does not exist yet.

    Raises :class:`UnsafePath` if it is a link, no folder, or another user's, and OSError.
    """
    with Directory.open(folder.parent) as parent:
        if parent.look(folder.name) is None:
            raise FileNotFoundError(folder)
        with private_folder(parent, folder.name) as state:
            yield state


@contextmanager
def made_state(folder: Path, sync: Callable[[int], None] = REAL_DISK.sync) -> Iterator[Directory]:
    """Open a state folder, made durably if necessary. Raises like :func:`existing_state`."""
    make_path(folder.parent, sync)
    with Directory.open(folder.parent) as parent, private_folder(parent, folder.name) as state:
        write_notes(state, IGNORE, README)
        parent.sync(sync)
        yield state


def insist(step: Callable[[], T]) -> T:
    """Retry while folders are missing: another transfer that ends may remove the state folder."""
    for _ in range(MAX_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return step()
    return step()


def write_notes(state: Directory, *names: str) -> None:
    """Write those of these notes that are missing; they tell people and programs about the folder."""
    for name in names:
        with suppress(FileExistsError):
            fd = state.file(name, CREATE)
            try:
                os.write(fd, _TEXTS[name].encode())
            finally:
                os.close(fd)


def remove_unused(folder: Path) -> None:
    """Remove a state folder in which nothing is kept; ignore one that is in use or gone."""
    with (
        suppress(OSError, UnsafePath),
        existing_state(folder) as state,
        Directory.open(folder.parent) as parent,
    ):
        remove_if_unused(parent, state)


def remove_if_unused(parent: Directory, state: Directory) -> None:
    """Do the same with an open folder. Raises OSError if it cannot be read."""
    notes = state.names()
    if not set(notes) <= {IGNORE, README}:
        return
    for name in notes:
        with suppress(FileNotFoundError):
            state.unlink(name)
    try:
        parent.rmdir(state.path.name)
    # Another transfer has begun in it.
    except OSError:
        with suppress(OSError):
            write_notes(state, *notes)
