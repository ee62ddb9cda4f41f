"""The staging folder, where a transfer's data waits until it is complete: ``<to>/.nbferry/<transfer>/data``.

It is private, not reached through a link, and below the destination, so that publishing is a rename.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nbferry.model.names import STATE_FOLDER
from nbferry.storage.disk.atomic_file import belongs_to
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.private import private_folder
from nbferry.storage.disk.run_log import log_names
from nbferry.storage.disk.state import IGNORE, insist, remove_if_unused, write_notes
from nbferry.storage.folder.journal import JOURNAL_PREFIX

DATA = "data"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Staging:
    """An open staging folder: ``data`` holds the tree of the offer, ``root`` its manifest and the journal.

    Other files in ``root`` are not ours: if the destination is the notebook's folder, the transfer's record is there.
    """

    root: Directory
    data: Directory

    @classmethod
    def open(
        cls, to: Directory, transfer: str, *, resume: bool, sync: Callable[[int], None] = os.fsync
    ) -> Staging:
        """Open the staging folder of a transfer, made if necessary; without ``resume``, empty it.

        ``sync`` makes the path to it durable, so that a power failure does not lose it. Raises :class:`UnsafePath` if
        a folder of the path is a link, no folder, or another user's.
        """
        return insist(lambda: cls._open(to, transfer, resume, sync))

    @classmethod
    def _open(cls, to: Directory, transfer: str, resume: bool, sync: Callable[[int], None]) -> Staging:
        with private_folder(to, STATE_FOLDER) as state:
            write_notes(state, IGNORE)
            with ExitStack() as opened:
                root = opened.enter_context(private_folder(state, transfer))
                if not resume:
                    _clear(root)
                data = opened.enter_context(private_folder(root, DATA))
                for folder in (root, state, to):
                    folder.sync(sync)
                # They stay open.
                opened.pop_all()
                return cls(root, data)

    def close(self) -> None:
        """Close the folders; their contents stay. May be called twice."""
        self.data.close()
        self.root.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_staging_in(path: Path, transfer: str, *, everything: bool) -> None:
    """Do :func:`remove_staging` in a folder that may be gone."""
    try:
        to = Directory.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    with to:
        remove_staging(to, transfer, everything=everything)


def remove_staging(to: Directory, transfer: str, *, everything: bool = True) -> None:
    """Remove what is left of a transfer, and the state folder if it is empty then.

    Without ``everything``, remove only staged data, and folders that are empty then. Leave alone anything with the
    name of our folder that is not a folder. Raises OSError.
    """
    state = _child(to, STATE_FOLDER)
    if state is None:
        return
    with state:
        if everything:
            state.remove_tree(transfer)
        else:
            _remove_staged(state, transfer)
        remove_if_unused(to, state)


def _child(folder: Directory, name: str) -> Directory | None:
    try:
        return folder.child(name)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _remove_staged(state: Directory, transfer: str) -> None:
    root = _child(state, transfer)
    if root is None:
        return
    with root:
        _clear(root)
    # It may contain other files.
    with suppress(OSError):
        state.rmdir(transfer)


def _clear(root: Directory) -> None:
    """Remove the data, the manifest and the journal of an earlier run."""
    logs = log_names(root, JOURNAL_PREFIX)
    for name in root.names():
        if name == DATA or name in logs or belongs_to(name, MANIFEST):
            root.remove(name)
