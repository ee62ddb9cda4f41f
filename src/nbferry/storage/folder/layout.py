"""Which folder each entry of an offer lies in, and which chunks each file has."""

from __future__ import annotations

from collections.abc import Iterable

from nbferry.model.manifest import Entry, Manifest


def folders_of(entries: Iterable[Entry]) -> set[str]:
    """Return the paths of all folders, including those that only other paths imply."""
    found: set[str] = set()
    for entry in entries:
        path = entry.path if entry.folder else entry.path.rpartition("/")[0]
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return found


def files_by_folder(manifest: Manifest) -> dict[str, list[int]]:
    """Group the indexes of all files by the path of their folder."""
    found: dict[str, list[int]] = {}
    for index, entry in enumerate(manifest.entries):
        if not entry.folder:
            found.setdefault(entry.path.rpartition("/")[0], []).append(index)
    return found


def chunks_within(manifest: Manifest, index: int, start: int, stop: int) -> tuple[int, int]:
    """Return which chunks of a file lie wholly in these bytes of it: first, one after last. An empty file has none."""
    size, step = manifest.entries[index].size, manifest.chunk_size
    first, end = manifest.chunks_of(index)
    if not size:
        return first, first
    return first + -(-start // step), end if stop >= size else first + stop // step
