"""Helpers for tests of whole transfers: files, and functions that wait for a state or an end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import nbferry
from nbferry import errors
from nbferry.model.names import STATE_FOLDER
from nbferry.status import Snapshot, State
from nbferry.transfer.handle import Transfer

# Seconds after which a transfer counts as hung.
PATIENCE = 60
KIB = 1 << 10
MIB = 1 << 20
CHUNK = 64 * KIB
SMALL = nbferry.Limits(chunk_size=CHUNK, window=8 * CHUNK, read_ahead=8 * CHUNK, backoff_first=0.01)


def make(path: Path, size: int) -> Path:
    """A file of random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def tree(folder: Path) -> dict[str, bytes | None]:
    """All received files and folders: contents of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if STATE_FOLDER not in path.parts
    }


class Watch:
    """Waits until a transfer has a matching snapshot."""

    def __init__(self, transfer: Transfer, wanted: Callable[[Snapshot], bool]) -> None:
        self._seen = threading.Event()
        self._wanted = wanted
        self.view = transfer.snapshot
        transfer.subscribe(self._look)
        self._look(transfer.snapshot)

    def _look(self, view: Snapshot) -> None:
        if not self._seen.is_set() and self._wanted(view):
            self.view = view
            self._seen.set()

    def wait(self) -> Snapshot:
        """Wait for the first snapshot that matches."""
        assert self._seen.wait(PATIENCE)
        return self.view


def until(transfer: Transfer, state: State) -> Snapshot:
    """Wait for the first snapshot in a state."""
    return Watch(transfer, lambda view: view.state is state).wait()


def both_end(sending: Transfer, receiving: Transfer) -> tuple[type | None, type | None]:
    """How each side ended: the class of its error, or None."""
    return error_of(sending), error_of(receiving)


def error_of(transfer: Transfer) -> type | None:
    """How a transfer ended: the class of its error, or None."""
    try:
        transfer.wait(PATIENCE)
    except errors.NbferryError as error:
        return type(error)
    return None
