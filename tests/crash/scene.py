"""What is sent, what lies at the destination before, and what must lie there at the end."""

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
"""The destination is empty; or has the names of the offer, which gets numbers; or an older copy to be replaced."""

KIB = 1024
MIB = 1024 * KIB
STATE_FOLDER = ".nbferry"
OWN_FILES = frozenset({".gitignore", "README.txt"})  # what nbferry puts beside the receipts
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
"""Files of the small offer and their bytes; ``b.bin`` may be executed, and ``void`` is an empty folder."""

UNTOUCHED = f"{FOLDER}/mine"  # of an older copy, and not in the offer


@dataclass(frozen=True)
class Item:
    """A file, by its bytes' digest, or a folder; ``mtime`` in ns, None where it may be any."""

    digest: str
    mtime: int | None = None
    executable: bool = False


Tree = dict[str, Item]


@dataclass(frozen=True)
class Offer:
    """A folder ``path`` with what is sent: these names in it."""

    path: Path
    tree: Tree
    total: int

    @property
    def paths(self) -> list[Path]:
        """What ``send`` is given."""
        return [self.path / name for name in self.tree if "/" not in name]


def make_small(path: Path) -> Offer:
    """A few files, folders and chunks; two names are to be published."""
    for name, size in SMALL.items():
        _write(path / name, _bytes_of(name, size))
    (path / FOLDER / "void").mkdir()
    (path / FOLDER / "b.bin").chmod(0o755)
    _age(path)
    return Offer(path, tree_of(path), sum(SMALL.values()))


def make_large(path: Path, size: int) -> Offer:
    """One file of this many bytes, and a small one."""
    path.mkdir(parents=True)
    generator = random.Random(size)  # noqa: S311  # the same bytes every time are what is wanted
    with (path / "large.bin").open("wb") as file:
        for at in range(0, size, BLOCK):
            file.write(generator.randbytes(min(BLOCK, size - at)))
    _write(path / "note.txt", b"beside it")
    _age(path)
    return Offer(path, tree_of(path), size + len(b"beside it"))


def prepare(mode: Mode, offer: Offer, to: Path) -> Tree:
    """Fill the destination; what must be there at the end."""
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
    """How a path is called at the destination if its first name was taken."""
    top, slash, rest = path.partition("/")
    stem, dot, suffix = top.partition(".")
    return f"{stem} (1){dot}{suffix}{slash}{rest}"


def _put_names_there(offer: Offer, to: Path) -> None:
    for name in offer.tree:
        if "/" not in name:
            folder = (offer.path / name).is_dir()
            _write(to / name / "other" if folder else to / name, b"was here before")


def _put_older_copy_there(offer: Offer, to: Path) -> None:
    """The same tree, some of it changed: what is equal need not travel, what is not must be replaced."""
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
    return random.Random(name).randbytes(size)  # noqa: S311  # the same bytes every time are what is wanted


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _age(path: Path) -> None:
    """Give everything a time of its own, long ago and not of whole seconds."""
    for number, each in enumerate(sorted(path.rglob("*"), reverse=True)):
        when = 1_500_000_000_123_456_789 + number * 1_000_000_007
        os.utime(each, ns=(when, when))


# ------------------------------------------------------------------ what is there
def tree_of(path: Path) -> Tree:
    """Everything in a folder but nbferry's own one."""
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
    """What is not as it must be at the destination, in words; nothing if all is."""
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
    """What a finished transfer should have taken out of ``folder/.nbferry``."""
    state = folder / STATE_FOLDER
    kept = OWN_FILES | {"receipts", "ended", "digests"}
    return sorted(each.name for each in state.iterdir() if each.name not in kept) if state.is_dir() else []


def records(state: Path) -> list[str]:
    """Ids of the transfers that have not ended, by what lies beside a notebook."""
    found = {record.parent.name for record in state.glob(f"{STATE_FOLDER}/*/record.json")}
    return sorted(found - {ended.stem for ended in state.glob(f"{STATE_FOLDER}/ended/*.json")})


def right_bytes(offer: Offer, data: Path) -> int:
    """Bytes of a staging folder that are as in the offer: an upper bound for what can be durable there."""
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
