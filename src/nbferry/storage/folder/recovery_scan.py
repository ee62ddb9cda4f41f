"""Compares the staging data of an earlier run with the journal: what contradicts it, and what may be correct.

The scan removes what does not belong: entries that the manifest does not name, and anything but our own files with
one name each.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator
from typing import NamedTuple
from unicodedata import normalize

from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.directory import Directory, identity_of
from nbferry.storage.disk.system import NOFOLLOW, READ, WRITE, extents
from nbferry.storage.folder.layout import chunks_within, files_by_folder, folders_of

# Bytes of one unit of st_blocks, on every system.
_BLOCK = 512


class ScanResult(NamedTuple):
    """Recorded chunks that the files confirm, and chunks with other, unverified bytes."""

    have: RangeSet
    unsure: RangeSet


def scan_staging(
    manifest: Manifest, data: Directory, recorded: RangeSet, placed: Container[str] = ()
) -> ScanResult:
    """Scan everything in ``data`` except the top-level names in ``placed``; raises OSError."""
    return _Scan(manifest, data, recorded, placed).run()


class _Scan:
    def __init__(
        self, manifest: Manifest, data: Directory, recorded: RangeSet, placed: Container[str]
    ) -> None:
        self._manifest, self._data, self._recorded, self._placed = manifest, data, recorded, placed
        info = data.look(".")
        self._owner = info.st_uid if info else 0
        self._lost: list[tuple[int, int]] = []
        self._unsure: list[tuple[int, int]] = []

    def run(self) -> ScanResult:
        folders = folders_of(self._manifest.entries)
        inner: dict[str, set[str]] = {}
        for path in folders:
            above, _, name = path.rpartition("/")
            inner.setdefault(above, set()).add(name)
        files = files_by_folder(self._manifest)
        # From the top, so that anything in a folder's place is removed before the folder is opened.
        for path in ["", *sorted(folders)]:
            if path.partition("/")[0] not in self._placed:
                self._look_into(path, inner.get(path, set()), files.get(path, []))
        have = self._recorded - RangeSet.union(self._lost)
        return ScanResult(have, RangeSet.union(self._unsure) - have)

    def _look_into(self, path: str, inner: set[str], files: list[int]) -> None:
        entries = self._manifest.entries
        names = {entries[index].path.rpartition("/")[2]: index for index in files}
        try:
            folder = self._data.descend(path)
        except FileNotFoundError:
            self._lost += map(self._manifest.chunks_of, files)
            return
        with folder:
            for name in folder.names():
                known = name in names or (name in inner and folder.is_folder(name))
                if not known and not self._spared(path, name) and not _is_one_of(folder, name, names, inner):
                    folder.remove(name)
            for name, index in names.items():
                if not self._spared(path, name):
                    self._look_at(folder, name, index)

    def _spared(self, path: str, name: str) -> bool:
        return not path and name in self._placed

    def _look_at(self, folder: Directory, name: str, index: int) -> None:
        info, size = folder.look(name), self._manifest.entries[index].size
        chunks = self._manifest.chunks_of(index)
        if info is None or not self._is_ours(info):
            self._lost.append(chunks)
            if info is not None:
                folder.remove(name)
            return
        if info.st_size != size:
            self._lost.append(chunks)
        if info.st_size > size:
            _cut(folder, name, size)
        if info.st_size != size or RangeSet.span(*chunks) - self._recorded:
            for start, stop in _written(folder, name, info):
                self._unsure.append(chunks_within(self._manifest, index, start, stop))

    def _is_ours(self, info: os.stat_result) -> bool:
        return stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_uid == self._owner


def _is_one_of(folder: Directory, name: str, names: Container[str], inner: Container[str]) -> bool:
    """Whether this is another spelling of one of these names: macOS lists letters and accents separately."""
    whole = normalize("NFC", name)
    mine, info = folder.look(name), folder.look(whole)
    if whole == name or mine is None or info is None or identity_of(mine) != identity_of(info):
        return False
    return whole in inner if stat.S_ISDIR(info.st_mode) else whole in names and info.st_nlink == 1


def _cut(folder: Directory, name: str, size: int) -> None:
    fd = folder.file(name, WRITE)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _written(folder: Directory, name: str, info: os.stat_result) -> Iterator[tuple[int, int]]:
    """Find the bytes of a file outside holes, without opening a file that has none."""
    if getattr(info, "st_blocks", info.st_size) * _BLOCK >= info.st_size:
        yield 0, info.st_size
        return
    fd = folder.file(name, READ | NOFOLLOW)
    try:
        yield from extents(fd, info.st_size)
    finally:
        os.close(fd)
