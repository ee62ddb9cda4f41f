"""The kernel's files, for a person to choose from."""

from __future__ import annotations

import stat
from itertools import islice
from pathlib import Path
from typing import Any

from nbferry.errors import StorageError
from nbferry.model.names import display_name
from nbferry.storage.disk.failures import translated

MAX_LISTED = 1_000
"""Entries of one folder; a file in a larger one can be named in a cell."""


def list_folder(named: str | None) -> dict[str, Any]:
    """List a folder (None: the current one), folders first, without hidden names.

    Raises :class:`StorageError` if it cannot be read.
    """
    folder = Path(named or ".").expanduser().absolute()
    with translated(f'Looking into "{display_name(str(folder))}"'):
        if not folder.is_dir():
            raise StorageError(f'There is no folder "{display_name(str(folder))}".')
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    entries = filter(None, (_entry(folder / name) for name in names))
    rows = sorted(islice(entries, MAX_LISTED), key=lambda row: (not row["folder"], row["name"].casefold()))
    parent = str(folder.parent) if folder.parent != folder else None
    return {"folder": str(folder), "parent": parent, "entries": rows, "more": max(0, len(names) - MAX_LISTED)}


def _entry(path: Path) -> dict[str, Any] | None:
    """Return one row; None for an entry that cannot be sent or is gone."""
    try:
        info = path.stat()
    except OSError:
        return None
    folder = stat.S_ISDIR(info.st_mode)
    if not folder and not stat.S_ISREG(info.st_mode):
        return None
    return {
        "name": display_name(path.name),
        "path": str(path),
        "size": 0 if folder else info.st_size,
        "mtime": info.st_mtime_ns // 1_000_000,
        "folder": folder,
    }
