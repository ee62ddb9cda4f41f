"""A small offer, its chunks, and a sink for it on a real disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nbferry.crypto.digest import chunk_digest
from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.publish import Overwrite
from nbferry.storage.folder.sink import FolderSink

CHUNK = 4 * KiB
# A sink takes this digest from the receiver and does not check it.
DIGEST = bytes(range(32))
FILES = {"data/a": b"a", "data/b/c": bytes(range(250)) * 50, "data/empty": b"", "notes.txt": b"hello"}
PUBLISHED = {**FILES, "data": None, "data/b": None}


def manifest(files: Mapping[str, bytes] = FILES, *folders: str, mtime_ns: int = 7) -> Manifest:
    """An offer of these files and folders."""
    entries = [Entry(folder, mtime_ns=5, folder=True) for folder in folders]
    return Manifest.of([*entries, *(Entry(path, len(data), mtime_ns) for path, data in files.items())], CHUNK)


def chunks(offer: Manifest, files: Mapping[str, bytes] = FILES) -> list[ChunkData]:
    """All chunks of an offer."""
    places = [offer.place(chunk) for chunk in range(offer.chunk_count)]
    parts = [memoryview(files[offer.entries[index].path])[at : at + length] for index, at, length in places]
    return [ChunkData(number, chunk_digest(part), part) for number, part in enumerate(parts)]


def sink_to(
    to: Path,
    offer: Manifest | None = None,
    *,
    overwrite: Overwrite = "rename",
    disk: Disk = REAL_DISK,
    resume: bool = False,
    prepared: bool = True,
) -> FolderSink:
    """A sink for the usual files."""
    made = FolderSink(
        offer or manifest(), to, transfer_id="t1", overwrite=overwrite, disk=disk, resume=resume
    )
    if prepared:
        made.prepare()
    return made


def everything(folder: Path) -> dict[str, object]:
    """The content of a folder: files with their bytes, folders, links."""
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def visible(to: Path) -> dict[str, object]:
    """The content of a destination, without nbferry's own state."""
    return {path: found for path, found in everything(to).items() if path.partition("/")[0] != ".nbferry"}
