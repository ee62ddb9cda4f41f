"""The files that are sent, all their versions, and the files around them."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.storage.folder.publish import numbered
from simulation.trees import Tree, tree_of, write_tree

CHUNK = 4 * KiB
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7, 6 * CHUNK, 9 * CHUNK + 1)
NAMES = ("data/a", "data/b.bin", "data/deep/c", "data/deep/er/d", "notes.txt")
# When the files were made, in nanoseconds since 1970.
BEGIN = 1_600_000_000 * 10**9
# Numbers that a name may get at the destination.
MOST_COPIES = 6


class Offered:
    """Random files below ``here``, some of them also at the destination ``to`` in an older version.

    No two versions of a file have the same time of modification.
    """

    def __init__(self, folder: Path, random: Random) -> None:
        self.here, self.to = folder / "here", folder / "to"
        self._folder, self._random = folder, random
        self._versions: dict[tuple[str, int], bytes] = {}
        self._make()
        self.paths = sorted(self.here.iterdir())
        self.edited = False
        self.manifests: list[Manifest] = []
        self._before = self._neighbours()

    def _make(self) -> None:
        pick = self._random
        for name in sorted(pick.sample(NAMES, pick.randint(1, len(NAMES)))):
            self._write(name, pick.randbytes(pick.choice(SIZES)))
        if pick.random() < 0.3:
            (self.here / "data" / "empty").mkdir(parents=True)
        write_tree(self._folder / "around", {"keep.txt": b"not yours", "folder/x": b"1"})
        write_tree(self.to, {"other.txt": b"not yours"})
        if pick.random() < 0.4:
            self._leave_older_copy()

    def _leave_older_copy(self) -> None:
        for (name, _), data in self._versions.items():
            if self._random.random() < 0.7:
                older = bytearray(data)
                for _ in range(self._random.randint(0, 2) if older else 0):
                    older[self._random.randrange(len(older))] ^= 255
                cut = self._random.choice([len(older), len(older), len(older) // 2])
                write_tree(self.to, {name: bytes(older[:cut]) + self._random.choice([b"", b"more"])})

    def _write(self, name: str, data: bytes) -> None:
        write_tree(self.here, {name: data})
        when = BEGIN + len(self._versions) * 10**9
        os.utime(self.here / name, ns=(when, when))
        self._versions[name, when] = data

    @property
    def total(self) -> int:
        """Bytes of all versions."""
        return sum(map(len, self._versions.values()))

    def edit(self, how: float) -> None:
        """Change a file in place or replace it. ``how`` is from 1 to 60."""
        self.edited = True
        name, when = self._random.choice(sorted(self._versions))
        data = bytearray(self._versions[name, when])
        if data and how > 15:
            data[self._random.randrange(len(data))] ^= 255
        elif how > 10:
            data += b"grown"
        else:
            del data[len(data) // 2 :]
        if how > 40:
            (self.here / name).unlink()
        self._write(name, bytes(data))

    def version(self, entry: Entry) -> bytes:
        """The bytes of a file when it was offered."""
        return self._versions[entry.path, entry.mtime_ns]

    # ---------------------------------------------------------------- what became of it
    def _neighbours(self) -> Tree:
        tree = tree_of(self._folder)
        return {path: data for path, data in tree.items() if not path.startswith("here/")}

    def wrong(self, *, replaced: bool) -> str:
        """Wrong changes at the destination or around it (I1, I2); empty if all is well.

        ``replaced``: existing files may have been replaced.
        """
        after, before = self._neighbours(), self._before
        for path, data in after.items():
            if path not in before and not self._is_offered(path, data):
                return f"I1: {path} is no version of anything"
        for path, data in before.items():
            new = after.get(path, b"gone")
            if new != data and not (replaced and self._is_offered(path, new)):
                return f"I2: {path} has changed"
        added = {path.split("/")[1] for path in after if path not in before and path.startswith("to/")}
        if len(self.manifests) == 1 and len(added) > len(self.paths):
            return f"I1: more was published than was offered: {sorted(added)}"
        return ""

    def _is_offered(self, path: str, data: bytes | None) -> bool:
        """Whether this is a version of an offered file, under its name or a free one beside it."""
        where, _, inside = path.partition("/")
        entries = {entry for manifest in self.manifests for entry in manifest.entries}
        return where == "to" and any(
            inside in places_of(entry) and (None if entry.folder else self.version(entry)) == data
            for entry in entries
        )


def places_of(entry: Entry) -> list[str]:
    """Where an entry may be published."""
    top, slash, rest = entry.path.partition("/")
    folder = entry.folder or bool(slash)
    return [numbered(top, number, folder=folder) + slash + rest for number in range(MOST_COPIES)]
