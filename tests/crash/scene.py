"""The files that are sent, the destination's content before, and what it must be at the end."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["fresh", "rename", "replace"]
"""An empty destination; one where the offered names exist; or one with an older copy that is replaced."""

KIB = 1024
MIB = 1024 * KIB
STATE_FOLDER = ".nbferry"
# Files that nbferry puts beside the receipts.
OWN_FILES = frozenset({".gitignore", "README.txt"})
BLOCK = MIB

FOLDER, BESIDE = "set", "beside.bin"
SMALL = {
    f"{FOLDER}/empty": 0,
    f"{FOLDER}/a.txt": 11,
    f"{FOLDER}/b.bin": 5_000,
    f"{FOLDER}/deep/c": 64 * KIB,
    f"{FOLDER}/several": 300 * KIB + 17,
    BESIDE: 70 * KIB,
}
"""Files of the small offer with their sizes. ``b.bin`` is executable, and ``void`` is an empty folder."""

UNTOUCHED = f"{FOLDER}/mine"  # in the older copy only


@dataclass(frozen=True)
class Item:
    """A file, known by its digest, or a folder. ``mtime`` is in ns; None accepts any."""

    digest: str
    mtime: int | None = None
    executable: bool = False


Tree = dict[str, Item]


@dataclass(frozen=True)
class Offer:
    """The offered names and items in the folder ``path``."""

    path: Path
    tree: Tree
    total: int

    @property
    def paths(self) -> list[Path]:
        """The arguments of ``send``."""
        return [self.path / name for name in self.tree if "/" not in name]


def make_small(path: Path) -> Offer:
    """A few files, folders and chunks, under two top-level names."""
    for name, size in SMALL.items():
        _write(path / name, _bytes_of(name, size))
    (path / FOLDER / "void").mkdir()
    (path / FOLDER / "b.bin").chmod(0o755)
    _age(path)
    return Offer(path, tree_of(path), sum(SMALL.values()))


def make_large(path: Path, size: int) -> Offer:
    """One large file of this size, and a small one."""
    path.mkdir(parents=True)
    generator = random.Random(size)  # noqa: S311  # the same in every run
    with (path / "large.bin").open("wb") as file:
        for at in range(0, size, BLOCK):
            file.write(generator.randbytes(min(BLOCK, size - at)))
    _write(path / "note.txt", b"beside it")
    _age(path)
    return Offer(path, tree_of(path), size + len(b"beside it"))


def prepare(mode: Mode, offer: Offer, to: Path) -> Tree:
    """Fill the destination. Returns what it must contain at the end."""
    if mode == "fresh":
        return dict(offer.tree)
    to.mkdir()
    if mode == "rename":
        _put_names_there(offer, to)
        return tree_of(to) | {numbered(name): item for name, item in offer.tree.items()}
    _put_older_copy_there(offer, to)
    found = tree_of(to) | offer.tree
    return {name: _of_any_age(item) if item.digest == "folder" else item for name, item in found.items()}


def _of_any_age(item: Item) -> Item:
    return Item(item.digest, None, item.executable)


def numbered(path: str) -> str:
    """A path at the destination when its top-level name already existed."""
    top, slash, rest = path.partition("/")
    stem, dot, suffix = top.partition(".")
    return f"{stem} (1){dot}{suffix}{slash}{rest}"


def _put_names_there(offer: Offer, to: Path) -> None:
    for name in offer.tree:
        if "/" not in name:
            folder = (offer.path / name).is_dir()
            _write(to / name / "other" if folder else to / name, b"was here before")


def _put_older_copy_there(offer: Offer, to: Path) -> None:
    """Put a copy of the tree at the destination and change some files of it."""
    for name in offer.tree:
        if "/" not in name:
            here = offer.path / name
            (shutil.copytree if here.is_dir() else shutil.copy2)(here, to / name)
    for name in (f"{FOLDER}/a.txt", f"{FOLDER}/several"):
        if (to / name).exists():
            _write(to / name, _bytes_of("older" + name, (to / name).stat().st_size // 2))
    if (to / FOLDER).exists():
        _write(to / UNTOUCHED, b"not of the offer")


def _bytes_of(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)  # noqa: S311  # the same in every run


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _age(path: Path) -> None:
    """Give each file a different old time with a fraction of a second."""
    for number, each in enumerate(sorted(path.rglob("*"), reverse=True)):
        when = 1_500_000_000_123_456_789 + number * 1_000_000_007
        os.utime(each, ns=(when, when))


# ------------------------------------------------------------------ what is found
def tree_of(path: Path) -> Tree:
    """Everything in a folder but nbferry's own state."""
    found = {}
    for each in sorted(path.rglob("*")):
        name = each.relative_to(path).as_posix()
        if name.partition("/")[0] != STATE_FOLDER:
            found[name] = _item(each)
    return found


def _item(path: Path) -> Item:
    info = path.lstat()
    if stat.S_ISDIR(info.st_mode):
        return Item("folder", info.st_mtime_ns)
    if not stat.S_ISREG(info.st_mode):
        return Item("neither file nor folder")
    return Item(_digest(path), info.st_mtime_ns, bool(info.st_mode & 0o100))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def differences(expected: Tree, to: Path) -> list[str]:
    """The destination's differences from what it must be, in words."""
    found = tree_of(to)
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} should not be there" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        wrong += [f"{name} has another {what}" for what in _unlike(expected[name], found[name])]
    return sorted(wrong)


def _unlike(expected: Item, found: Item) -> list[str]:
    wrong = [] if expected.digest == found.digest else ["content"]
    if expected.mtime is not None and expected.mtime != found.mtime:
        wrong.append("time")
    return wrong if expected.executable == found.executable else [*wrong, "mode"]


def left_over(folder: Path) -> list[str]:
    """Files in ``folder/.nbferry`` that a finished transfer should have removed."""
    state = folder / STATE_FOLDER
    kept = OWN_FILES | {"receipts", "ended", "digests"}
    return sorted(each.name for each in state.iterdir() if each.name not in kept) if state.is_dir() else []


def records(state: Path) -> list[str]:
    """Ids of the unfinished transfers that are recorded beside a notebook."""
    found = {record.parent.name for record in state.glob(f"{STATE_FOLDER}/*/record.json")}
    return sorted(found - {ended.stem for ended in state.glob(f"{STATE_FOLDER}/ended/*.json")})


def right_bytes(offer: Offer, data: Path) -> int:
    """Bytes of a staging folder that equal the offer: an upper bound for the durable ones."""
    total = 0
    for name, item in offer.tree.items():
        if item.digest != "folder" and (data / name).is_file():
            total += _equal_bytes(offer.path / name, data / name)
    return total


def _equal_bytes(left: Path, right: Path) -> int:
    equal = 0
    with left.open("rb") as one, right.open("rb") as other:
        while block := one.read(64 * KIB):
            equal += len(block) if block == other.read(64 * KIB) else 0
    return equal
