"""Folders with files in them, as values."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Tree = dict[str, bytes | None]
"""Path, joined by "/" -> bytes of a file, None for a folder."""


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A temporary folder, in memory if the system allows it."""
    memory = Path("/dev/shm")  # noqa: S108  # the test makes its own folder there
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def tree_of(folder: Path) -> Tree:
    """Everything below a folder but nbferry's own state."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if ".nbferry" not in path.parts
    }


def write_tree(folder: Path, tree: Tree) -> None:
    """Make a folder if it is missing, and fill it with files and folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in tree.items():
        path = folder / name
        (path if data is None else path.parent).mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data)
