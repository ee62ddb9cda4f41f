"""Where a transfer waits until it is complete: ``<to>/.nbferry/<transfer>/data``.

It is private and not reached through a link, and below the destination, so that publishing is a rename.
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


def remove_staging_in(path: Path, transfer: str, *, everything: bool) -> None:
    """Do :func:`remove_staging` in a folder that may be gone as a whole."""
    try:
        to = Directory.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    with to:
        remove_staging(to, transfer, everything=everything)


def remove_staging(to: Directory, transfer: str, *, everything: bool = True) -> None:
    """Remove what is left of a transfer, and the state folder if it held nothing else.

    Not ``everything``: what was staged alone, and the folders only if they held nothing else. What has the name of
    a folder of ours and is none is left alone. Raises OSError.
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
    with suppress(OSError):  # there is something else in it
        state.rmdir(transfer)


def _clear(root: Directory) -> None:
    """Remove the data, the manifest and the journal of an earlier run."""
    logs = log_names(root, JOURNAL_PREFIX)
    for name in root.names():
        if name == DATA or name in logs or belongs_to(name, MANIFEST):
            root.remove(name)
