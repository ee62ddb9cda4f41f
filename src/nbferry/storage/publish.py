"""From the staging folder to the destination, by renames: whoever looks sees nothing or a complete file.

rename    to the next free name: "trips.csv", "trips (1).csv", ...
replace   files over files; a folder onto a folder of that name, file by file
refuse    to that name or not at all
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

from nbferry.errors import DestinationExists
from nbferry.names import MAX_NAME, display_name
from nbferry.storage.directory import Directory
from nbferry.storage.moving import move_new

Overwrite = Literal["rename", "replace", "refuse"]

LONGEST_SUFFIX = 16  # characters; what follows a dot later than that is no suffix
PACKED = frozenset({"gz", "bz2", "xz", "zst", "lz4", "br"})  # follow another suffix: trips.csv.gz


def publish(
    staged: Directory,
    to: Directory,
    names: Iterable[str],
    *,
    overwrite: Overwrite,
    placed: dict[str, str],
    sync: Callable[[int], None],
) -> None:
    """Move each of the top-level names that is not yet in ``placed``; note there where it went.

    May be called again after it failed. Raises :class:`DestinationExists` before anything is moved, or when
    something appears in the way meanwhile.
    """
    left = [name for name in names if name not in placed]
    if overwrite == "refuse":
        check_free(to, left)
    elif overwrite == "replace":
        for name in left:
            _check_replaceable(staged, to, name, name)
    for name in left:
        placed[name] = _MOVES[overwrite](staged, to, name, sync)
    to.sync(sync)


def check_free(to: Directory, names: Iterable[str]) -> None:
    """Raise :class:`DestinationExists` if one of these names is taken."""
    for name in names:
        if to.look(name) is not None:
            raise _exists(to, name)


def _exists(to: Directory, path: str, what: str = "there already") -> DestinationExists:
    return DestinationExists(f'"{display_name(path)}" is {what}, in "{display_name(str(to.path))}".')


# ------------------------------------------------------------------ refuse
def _to_its_name(staged: Directory, to: Directory, name: str, _: Callable[[int], None]) -> str:
    try:
        move_new(staged, name, to, name)
    except FileExistsError as error:
        raise _exists(to, name) from error
    return name


# ------------------------------------------------------------------ rename
def _to_free_name(staged: Directory, to: Directory, name: str, _: Callable[[int], None]) -> str:
    folder = staged.is_folder(name)
    number = 0
    while True:
        new = numbered(name, number, folder=folder)
        with suppress(FileExistsError):
            move_new(staged, name, to, new)
            return new
        number += 1


def numbered(name: str, number: int, *, folder: bool = False) -> str:
    """Put a number into a name, before its suffix, within 255 bytes; 0 leaves it as it is."""
    if not number:
        return name
    stem, suffix = (name, "") if folder else _split(name)
    suffix = f" ({number}){suffix}"
    room = MAX_NAME - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


def _split(name: str) -> tuple[str, str]:
    """Part the stem from the suffix, which ``.tar.gz`` is as a whole."""
    stem, _, suffix = name.rpartition(".")
    if not stem or len(suffix) > LONGEST_SUFFIX:
        return name, ""
    if suffix.lower() in PACKED:
        inner, _, kind = stem.rpartition(".")
        if inner and len(kind) <= LONGEST_SUFFIX:
            return inner, f".{kind}.{suffix}"
    return stem, f".{suffix}"


# ------------------------------------------------------------------ replace
def _over_what_is_there(staged: Directory, to: Directory, name: str, sync: Callable[[int], None]) -> str:
    _check_replaceable(staged, to, name, name, deep=False)
    if to.look(name) is None:
        return _to_its_name(staged, to, name, sync)
    if staged.is_folder(name):
        _merge(staged, to, name, sync)
    else:
        staged.replace(name, to, name)
    return name


def _merge(staged: Directory, to: Directory, name: str, sync: Callable[[int], None]) -> None:
    with staged.child(name) as ours, to.child(name) as theirs:
        for each in ours.names():
            _over_what_is_there(ours, theirs, each, sync)
        theirs.sync(sync)


def _check_replaceable(staged: Directory, to: Directory, name: str, path: str, *, deep: bool = True) -> None:
    """Raise :class:`DestinationExists` unless files meet files and folders folders; a link is neither."""
    there = to.look(name)
    if there is None:
        return
    folder = staged.is_folder(name)
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(there.st_mode):
        raise _exists(to, path, "there already and something else")
    if folder and deep:
        with staged.child(name) as ours, to.child(name) as theirs:
            for each in ours.names():
                _check_replaceable(ours, theirs, each, f"{path}/{each}")


_MOVES: dict[Overwrite, Callable[[Directory, Directory, str, Callable[[int], None]], str]] = {
    "rename": _to_free_name,
    "replace": _over_what_is_there,
    "refuse": _to_its_name,
}
