"""Files of the kernel on their way to the browser's machine: the page asks for slices and writes them.

files    the list: path (relative, parts joined by "/"), size, and url, the server's own download of the file,
         relative to the server's base URL, "" if it has none
fetch    file (its index in that list), offset, length: the bytes, and their BLAKE3 as ``digest`` (hex)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import SourceChanged, StorageError
from nbferry.limits import MiB
from nbferry.model.names import display_name
from nbferry.storage.disk.failures import translated

MAX_SAVED_FILES = 10_000
MAX_SLICE = 1 * MiB


@dataclass(frozen=True)
class SavedFile:
    """One file as it was when the list was made."""

    path: str
    local: Path
    size: int
    mtime_ns: int


class Saving:
    """The files and folders ``named`` that a page may save. Raises :class:`StorageError` if one is missing."""

    def __init__(self, named: Sequence[Path], *, beside: Path | None = None) -> None:
        found = list(islice(_walk(named, beside), MAX_SAVED_FILES + 1))
        if len(found) > MAX_SAVED_FILES:
            raise StorageError(
                f"The selection has more than {MAX_SAVED_FILES:,} files.",
                hint="Pack them into one file, and save that.",
            )
        if not found:
            raise StorageError("The selection contains no file.", hint="Choose something else.")
        self.files = [_saved(local, path) for path, local in found]

    def listed(self, root: str) -> list[dict[str, str | int]]:
        """Return the list for a page; ``root`` is the folder that the Jupyter server shows, "" if none."""
        return [{"path": file.path, "size": file.size, "url": _url(file.local, root)} for file in self.files]

    def fetch(self, index: int, offset: int, length: int) -> tuple[str, bytes]:
        """Return digest and bytes of a slice. Raises :class:`StorageError`, :class:`SourceChanged`."""
        if not (0 <= index < len(self.files) and offset >= 0 and 0 <= length <= MAX_SLICE):
            raise StorageError("This part of a file does not exist.")
        file = self.files[index]
        with translated(f'Reading "{display_name(file.path)}"'), file.local.open("rb") as opened:
            info = os.fstat(opened.fileno())
            opened.seek(offset)
            data = opened.read(length)
        if (info.st_size, info.st_mtime_ns) != (file.size, file.mtime_ns) or len(data) != min(
            length, max(0, file.size - offset)
        ):
            raise SourceChanged(
                f'"{display_name(file.path)}" was changed while it was being saved.', hint="Save it again."
            )
        return chunk_digest(data).hex(), data


def _walk(named: Sequence[Path], beside: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield each file with the path to save it under: relative to ``beside``, or its own name.

    A link that was named is followed; links inside folders are left out.
    """
    for path in named:
        base = beside if beside and path.is_relative_to(beside) else path.parent
        for each in _files_in(path) if path.is_dir() else [path]:
            yield each.relative_to(base).as_posix(), each


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if not path.is_dir() and not path.is_symlink())


def _saved(local: Path, path: str) -> SavedFile:
    with translated(f'Looking at "{display_name(path)}"'):
        info = local.stat()
    if not stat.S_ISREG(info.st_mode):
        raise StorageError(f'"{display_name(path)}" is not a file.')
    return SavedFile(path, local, info.st_size, info.st_mtime_ns)


def _url(local: Path, root: str) -> str:
    """Return the server's download URL; the server offers nothing hidden or outside its folder."""
    if not root or not local.is_relative_to(root):
        return ""
    parts = local.relative_to(root).parts
    return "" if any(part.startswith(".") for part in parts) else "files/" + "/".join(map(quote, parts))
