"""From the staging folder to the destination, by renames: a file is visible there completely or not at all.

rename    to the next free name: "trips.csv", "trips (1).csv", ...
replace   files over files; a folder onto a folder of that name, file by file
refuse    to that name or not at all

Before the first rename all intents are recorded: which top-level name goes where, and the inode that identifies it
there. A later run, or another process that publishes the same, finds what is done and does the rest.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from nbferry.errors import DestinationExists
from nbferry.model.names import MAX_NAME, display_name
from nbferry.model.overwrite import Overwrite
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.rename import rename_without_replacing
from nbferry.storage.disk.system import WORD
from nbferry.storage.folder.journal import Intent

LONGEST_SUFFIX = 16
"""Characters; more of them after a dot are no suffix."""
PACKED = frozenset({"gz", "bz2", "xz", "zst", "lz4", "br"})
"""Suffixes that follow another one: trips.csv.gz."""


class Intents(Protocol):
    """The part of the journal that records intents."""

    intents: dict[str, list[Intent]]

    def place(self, intents: Mapping[str, Intent]) -> None:
        """Record these durably, in addition to earlier ones."""

    def refresh_intents(self) -> None:
        """Read what other processes have recorded."""


def publish(
    staged: Directory,
    to: Directory,
    names: Iterable[str],
    *,
    overwrite: Overwrite,
    journal: Intents,
    sync: Callable[[int], None],
) -> dict[str, str]:
    """Move these top-level names into place, except those already there; return the final name of each.

    May be called again after a failure, also by another process. Raises :class:`DestinationExists` before the first
    move, or later if a name becomes taken meanwhile; FileNotFoundError if an entry is neither staged nor placed.
    """
    return _Publishing(staged, to, overwrite, journal, sync).run(list(names))


def begun(staged: Directory, to: Directory, intents: Mapping[str, list[Intent]]) -> frozenset[str]:
    """Return the names that an earlier run placed or was about to place."""
    return frozenset(
        name for name, each in intents.items() if staged.look(name) or where_placed(to, each) is not None
    )


def moved(staged: Directory, to: Directory, intents: Mapping[str, list[Intent]]) -> frozenset[str]:
    """Return the names that are placed, or whose folder may be partly merged into an existing one."""
    return frozenset(name for name, each in intents.items() if _has_moved(staged, to, name, each))


def _has_moved(staged: Directory, to: Directory, name: str, intents: Iterable[Intent]) -> bool:
    if where_placed(to, intents) is not None:
        return True
    return staged.is_folder(name) and any(to.look(intent.new) for intent in intents)


def where_placed(to: Directory, intents: Iterable[Intent]) -> str | None:
    """Return the name of an entry at the destination, identified by its inode; None if it is not there."""
    for intent in intents:
        there = to.look(intent.new)
        if there and there.st_ino & WORD == intent.inode:
            return intent.new
    return None


class _Publishing:
    """One run of :func:`publish`. ``placed`` maps top-level names in the offer to names at the destination."""

    def __init__(
        self,
        staged: Directory,
        to: Directory,
        overwrite: Overwrite,
        journal: Intents,
        sync: Callable[[int], None],
    ) -> None:
        self._staged, self._to, self._overwrite = staged, to, overwrite
        self._journal, self._sync = journal, sync
        self._earlier = {name: list(intents) for name, intents in journal.intents.items()}
        self._chosen: dict[str, Intent] = {}

    def run(self, names: list[str]) -> dict[str, str]:
        if not all(map(self._staged.look, names)):
            self._journal.refresh_intents()
        placed = {name: new for name in names if (new := self._found(name)) is not None}
        left = [name for name in names if name not in placed]
        self._check(left)
        for name in left:
            self._chosen[name] = self._choose(name)
        if fresh := {name: each for name, each in self._chosen.items() if not self._is_earlier(name)}:
            self._journal.place(fresh)
        for name in left:
            placed[name] = self._place(name)
        self._to.sync(self._sync)
        return placed

    def _found(self, name: str) -> str | None:
        """Return the final name of an entry that is no longer staged."""
        if self._staged.look(name):
            return None
        return where_placed(self._to, self._journal.intents.get(name, ()))

    def _check(self, names: list[str]) -> None:
        if self._overwrite is Overwrite.REFUSE:
            check_free(self._to, [name for name in names if name not in self._earlier])
        elif self._overwrite is Overwrite.REPLACE:
            for name in names:
                _check_replaceable(self._staged, self._to, name, name)

    # -------------------------------------------------------------- where to
    def _choose(self, name: str) -> Intent:
        """Choose a name at the destination: the one of an earlier run, if its rename may have begun."""
        if earlier := self._earlier.get(name):
            return earlier[-1]
        return Intent(
            name if self._overwrite is not Overwrite.RENAME else self._free(name), self._inode(name)
        )

    def _free(self, name: str) -> str:
        taken = {intent.new for intent in self._chosen.values()}
        folder = self._staged.is_folder(name)
        number = 0
        while (new := numbered(name, number, folder=folder)) in taken or self._to.look(new) is not None:
            number += 1
        return new

    def _inode(self, name: str) -> int:
        info = self._staged.look(name)
        return info.st_ino & WORD if info else 0

    def _is_earlier(self, name: str) -> bool:
        return self._chosen[name] in self._earlier.get(name, ())

    # -------------------------------------------------------------- move
    def _place(self, name: str) -> str:
        try:
            return self._move(name)
        except FileNotFoundError:
            self._journal.refresh_intents()
            # Another process may have been faster.
            new = self._found(name)
            if new is None:
                raise
            return new

    def _move(self, name: str) -> str:
        match self._overwrite:
            case Overwrite.RENAME:
                return self._to_free_name(name)
            case Overwrite.REFUSE:
                _to_its_name(self._staged, self._to, name, resume=self._is_earlier(name))
            case Overwrite.REPLACE:
                _over_what_is_there(self._staged, self._to, name, self._sync)
        return name

    def _to_free_name(self, name: str) -> str:
        while True:
            new, resume = self._chosen[name].new, self._is_earlier(name)
            with suppress(FileExistsError):
                rename_without_replacing(self._staged, name, self._to, new, resume=resume)
                return new
            self._chosen[name] = Intent(self._free(name), self._inode(name))
            self._journal.place({name: self._chosen[name]})


def check_free(to: Directory, names: Iterable[str]) -> None:
    """Raise :class:`DestinationExists` if one of these names is taken."""
    for name in names:
        if to.look(name) is not None:
            raise _exists(to, name)


def _exists(to: Directory, path: str, what: str = "exists already") -> DestinationExists:
    return DestinationExists(f'"{display_name(path)}" {what} in "{display_name(str(to.path))}".')


def _to_its_name(staged: Directory, to: Directory, name: str, *, resume: bool = False) -> None:
    try:
        rename_without_replacing(staged, name, to, name, resume=resume)
    except FileExistsError as error:
        raise _exists(to, name) from error


# ------------------------------------------------------------------ rename
def numbered(name: str, number: int, *, folder: bool = False) -> str:
    """Insert a number before the suffix of a name, within 255 bytes; 0 leaves the name unchanged."""
    if not number:
        return name
    stem, suffix = (name, "") if folder else _split(name)
    suffix = f" ({number}){suffix}"
    room = MAX_NAME - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


def _split(name: str) -> tuple[str, str]:
    """Split a name into stem and suffix; ``.tar.gz`` is one suffix."""
    stem, _, suffix = name.rpartition(".")
    if not stem or len(suffix) > LONGEST_SUFFIX:
        return name, ""
    if suffix.lower() in PACKED:
        inner, _, kind = stem.rpartition(".")
        if inner and len(kind) <= LONGEST_SUFFIX:
            return inner, f".{kind}.{suffix}"
    return stem, f".{suffix}"


# ------------------------------------------------------------------ replace
def _over_what_is_there(staged: Directory, to: Directory, name: str, sync: Callable[[int], None]) -> None:
    _check_replaceable(staged, to, name, name, deep=False)
    if to.look(name) is None:
        _to_its_name(staged, to, name)
    elif staged.is_folder(name):
        _merge(staged, to, name, sync)
    else:
        staged.replace(name, to, name)
        # After a crash one file may have both names; renaming it onto itself does nothing.
        if staged.look(name):
            staged.unlink(name)


def _merge(staged: Directory, to: Directory, name: str, sync: Callable[[int], None]) -> None:
    with staged.child(name) as ours, to.child(name) as theirs:
        for each in ours.names():
            try:
                _over_what_is_there(ours, theirs, each, sync)
            except FileNotFoundError:
                # Otherwise another process was faster.
                if ours.look(each) or not theirs.look(each):
                    raise
        theirs.sync(sync)


def _check_replaceable(staged: Directory, to: Directory, name: str, path: str, *, deep: bool = True) -> None:
    """Raise :class:`DestinationExists` unless files replace files and folders folders; a link is neither."""
    there = to.look(name)
    if there is None:
        return
    folder = staged.is_folder(name)
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(there.st_mode):
        raise _exists(to, path, "exists already, as something else,")
    if folder and deep:
        with staged.child(name) as ours, to.child(name) as theirs:
            for each in ours.names():
                _check_replaceable(ours, theirs, each, f"{path}/{each}")
