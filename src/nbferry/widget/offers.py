"""Lists of files of a browser's machine, as a page sends them.

offer    entries of {path, size, mtime (ms since 1970), folder}; a long list takes several requests, each with
         ``part`` (from 0) and ``parts``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from nbferry.errors import RemoteProtocolError, SourceChanged, StorageError
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import display_name

MS = 1_000_000
"""Nanoseconds."""
MAX_PARTS = 10_000


class Offers:
    """Joins a list that arrives in parts."""

    def __init__(self, limit: int = Limits.max_entries) -> None:
        self._limit = limit
        self._parts: dict[int, list[Entry]] = {}

    def add(self, message: Mapping[str, Any]) -> list[Entry] | None:
        """Add a part; return the list when complete. Raises :class:`RemoteProtocolError` on invalid input."""
        part, parts, entries = message.get("part", 0), message.get("parts", 1), message.get("entries")
        if type(part) is not int or type(parts) is not int or not isinstance(entries, list):
            raise _invalid()
        if not 0 <= part < parts <= MAX_PARTS:
            raise _invalid()
        if part == 0:
            self._parts.clear()
        self._parts[part] = list(map(_entry, entries))
        if sum(map(len, self._parts.values())) > self._limit:
            self._parts.clear()
            raise StorageError(
                f"The selection has more than {self._limit:,} files and folders.", hint="Choose fewer."
            )
        if len(self._parts) < parts:
            return None
        complete = [entry for each in self._parts.values() for entry in each]
        self._parts.clear()
        if all(entry.folder for entry in complete):
            raise StorageError("The selection contains no file.", hint="Choose something else.")
        return complete


def _entry(row: Any) -> Entry:
    if not isinstance(row, dict) or not isinstance(mtime := row.get("mtime", 0), int | float):
        raise _invalid()
    if not isfinite(mtime):
        raise _invalid()
    return Entry.from_wire({**row, "mtime": round(mtime) * MS, "executable": False})


def _invalid() -> RemoteProtocolError:
    return RemoteProtocolError("The page sent an invalid list of files.")


def same_files(manifest: Manifest, lent: Sequence[Entry]) -> None:
    """Check that a page lends all files of an offer. Raises :class:`SourceChanged` for the first that differs."""
    there = {entry.path: entry for entry in lent}
    for entry in manifest.entries:
        found = there.get(entry.path)
        name = display_name(entry.path)
        if found is None and not entry.folder:
            raise SourceChanged(f'"{name}" is missing.', hint="Choose exactly the same files.")
        if found and (found.size, found.mtime_ns) != (entry.size, entry.mtime_ns):
            hint = "Cancel, and start again with the files as they are now. Data that arrived is reused."
            raise SourceChanged(f'"{name}" has changed.', hint=hint)
