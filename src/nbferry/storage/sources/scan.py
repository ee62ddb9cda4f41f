"""Finds what to send by listing folders, not by reading files, so that even a terabyte is offered at once."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Sequence
from pathlib import Path

from nbferry.errors import StorageError
from nbferry.model.manifest import MAX_SIZE, Entry
from nbferry.model.names import MAX_DEPTH, check_paths, display_name, is_obeyed
from nbferry.storage.base import Skipped
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.system import WORD

_COPY = "Copy its output into a file, and send the file."


class Scan:
    """Entries in the order of the offer, and where each of them is on this computer.

    A file is offered under its own name, a folder as ``trips/...``; the contents of a folder are sorted by name.
    """

    def __init__(self, *, follow_symlinks: bool, max_entries: int) -> None:
        self.entries: list[Entry] = []
        self.skipped: list[Skipped] = []
        self._follow = follow_symlinks
        self._max_entries = max_entries
        # Top-level name -> its path on this computer.
        self._roots: dict[str, Path] = {}
        self._devices, self._inodes = array("Q"), array("Q")

    def where(self, index: int) -> str:
        """Return the path of an entry on this computer."""
        top, slash, rest = self.entries[index].path.partition("/")
        return f"{self._roots[top]}{os.sep if slash else ''}{rest}"

    def look(self, index: int) -> os.stat_result:
        """Return the current status of an entry. Raises OSError."""
        return os.stat(self.where(index), follow_symlinks=self._follow)  # noqa: PTH116  # 100,000 paths

    def is_same(self, index: int, info: os.stat_result) -> bool:
        """Whether this is the file that was found, and unchanged."""
        entry = self.entries[index]
        return (info.st_size, info.st_mtime_ns) == (entry.size, entry.mtime_ns) and (
            info.st_dev & WORD,
            info.st_ino & WORD,
        ) == (self._devices[index], self._inodes[index])

    @property
    def inodes(self) -> Sequence[int]:
        """The inode of each entry, its low 64 bits."""
        return self._inodes

    # -------------------------------------------------------------- what was named
    def add(self, named: Path) -> None:
        """Add a file or folder that the user named; follow a link, because the user chose it."""
        shown = display_name(str(named))
        with translated(f'Looking at "{shown}"'):
            try:
                info, real = named.stat(), named.resolve()
            # ValueError: the name contains a NUL.
            except (FileNotFoundError, NotADirectoryError, ValueError) as error:
                hint = f'Check the spelling; this notebook runs in "{display_name(str(Path.cwd()))}".'
                raise StorageError(f'There is no file or folder "{shown}".', hint=hint) from error
        name = real.name if named.name in ("", "..") else named.name
        self._take_name(name, real, shown)
        if stat.S_ISDIR(info.st_mode):
            self._add_folder(name, str(real), info, ())
        elif stat.S_ISREG(info.st_mode):
            self._add_entry(name, info)
        else:
            raise StorageError(f'"{shown}" is not a file: it is a pipe, a socket or a device.', hint=_COPY)

    def _take_name(self, name: str, real: Path, shown: str) -> None:
        if not name:
            raise StorageError(f'"{shown}" is a whole file system.', hint="Name the folders to send.")
        if name in self._roots:
            both = f'"{display_name(str(self._roots[name]))}" and "{display_name(str(real))}"'
            raise StorageError(f"{both} have the same name.", hint="Send them one after the other.")
        self._roots[name] = real

    # -------------------------------------------------------------- what is in it
    def _add_folder(
        self, path: str, local: str, info: os.stat_result, above: Sequence[tuple[int, int]]
    ) -> None:
        self._add_entry(path, info)
        if path.count("/") >= MAX_DEPTH:
            # Raises, which ends a tree of endless depth here.
            check_paths([path])
        with translated(f'Reading the folder "{display_name(local)}"'), os.scandir(local) as found:
            inside = sorted(found, key=lambda each: each.name)
        above = (*above, (info.st_dev, info.st_ino))
        for each in inside:
            if why := self._add_found(f"{path}/{each.name}", each, above):
                self.skipped.append(Skipped(f"{path}/{each.name}", why))

    def _add_found(self, path: str, each: os.DirEntry[str], above: Sequence[tuple[int, int]]) -> str:
        """Add an entry of a folder, or return why it is skipped."""
        if is_obeyed(each.name):
            return "programs act on it without asking"
        if each.is_symlink() and not self._follow:
            return "a link"
        try:
            info = _look(each, follow=self._follow)
        except OSError:
            return "a broken link, or removed meanwhile"
        if stat.S_ISREG(info.st_mode):
            self._add_entry(path, info)
        elif not stat.S_ISDIR(info.st_mode):
            return "a pipe, a socket or a device"
        elif (info.st_dev, info.st_ino) in above:
            return "a link to a folder that contains it"
        else:
            self._add_folder(path, each.path, info, above)
        return ""

    def _add_entry(self, path: str, info: os.stat_result) -> None:
        if len(self.entries) >= self._max_entries:
            hint = "Pack them into one file, or send fewer at once."
            raise StorageError(
                f"The selection has more than {self._max_entries:,} files and folders.", hint=hint
            )
        folder = stat.S_ISDIR(info.st_mode)
        size = 0 if folder else info.st_size
        if size > MAX_SIZE:
            raise StorageError(
                f'"{display_name(path)}" is larger than {MAX_SIZE:,} bytes.', hint="Send parts of it."
            )
        executable = not folder and bool(info.st_mode & 0o111)
        self.entries.append(Entry(path, size, info.st_mtime_ns, executable, folder))
        self._devices.append(info.st_dev & WORD)
        self._inodes.append(info.st_ino & WORD)


def _look(each: os.DirEntry[str], *, follow: bool) -> os.stat_result:
    if os.name == "nt":
        return os.stat(each.path, follow_symlinks=follow)  # noqa: PTH116  # a listing has no inodes there
    return each.stat(follow_symlinks=follow)
