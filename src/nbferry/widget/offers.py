"""Files of a browser's machine, as a page lists them.

offer    entries of {path, size, mtime (ms since 1970), folder}; a long list comes in several requests, each with
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

MS = 1_000_000  # nanoseconds
MAX_PARTS = 10_000


class Offers:
    """Puts a list together that comes in parts."""

    def __init__(self, most: int = Limits.max_entries) -> None:
        self._most = most
        self._parts: dict[int, list[Entry]] = {}

    def add(self, message: Mapping[str, Any]) -> list[Entry] | None:
        """Take in one part; the whole list once all are here. Raises :class:`RemoteProtocolError` on nonsense."""
        part, parts, entries = message.get("part", 0), message.get("parts", 1), message.get("entries")
        if type(part) is not int or type(parts) is not int or not isinstance(entries, list):
            raise _nonsense()
        if not 0 <= part < parts <= MAX_PARTS:
            raise _nonsense()
        if part == 0:
            self._parts.clear()
        self._parts[part] = list(map(_entry, entries))
        if sum(map(len, self._parts.values())) > self._most:
            self._parts.clear()
            raise StorageError(f"These are more than {self._most:,} files and folders.", hint="Choose fewer.")
        if len(self._parts) < parts:
            return None
        whole = [entry for each in self._parts.values() for entry in each]
        self._parts.clear()
        if all(entry.folder for entry in whole):
            raise StorageError("There is no file in it.", hint="Choose another one.")
        return whole


def _entry(row: Any) -> Entry:
    if not isinstance(row, dict) or not isinstance(mtime := row.get("mtime", 0), int | float):
        raise _nonsense()
    if not isfinite(mtime):
        raise _nonsense()
    return Entry.from_wire({**row, "mtime": round(mtime) * MS, "executable": False})


def _nonsense() -> RemoteProtocolError:
    return RemoteProtocolError("The page sent a list of files that makes no sense.")


def same_files(manifest: Manifest, lent: Sequence[Entry]) -> None:
    """Check that all files of an offer are lent again. Raises :class:`SourceChanged` for the first that is not."""
    there = {entry.path: entry for entry in lent}
    for entry in manifest.entries:
        found = there.get(entry.path)
        name = display_name(entry.path)
        if found is None and not entry.folder:
            raise SourceChanged(f'"{name}" is not among these.', hint="Choose all of the same files.")
        if found and (found.size, found.mtime_ns) != (entry.size, entry.mtime_ns):
            hint = (
                "Cancel this, and begin anew with the files as they are now; what is there already is used."
            )
            raise SourceChanged(f'"{name}" is not the same file any more.', hint=hint)
