"""An offer that arrives in several runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.sink import FolderSink
from offers import FILES, chunks, manifest, sink_to

OFFER = manifest(FILES, "data", "data/b")
OFFERED = chunks(OFFER)
EVERY = RangeSet.span(0, len(OFFERED))
LATER = replace(REAL_DISK, boot=lambda: "another boot")


def partly(to: Path, *numbers: int, offer: Manifest = OFFER, disk: Disk = REAL_DISK) -> None:
    """Receive some chunks, make them durable, and stop."""
    sink = sink_to(to, offer, disk=disk)
    sink.store([OFFERED[number] for number in numbers])
    sink.sync()
    sink.close()


def resumed(to: Path, offer: Manifest = OFFER, **options: Any) -> FolderSink:
    """Resume the offer in another process."""
    return sink_to(to, offer, resume=True, **options)


def pairs(*numbers: int) -> list[tuple[int, bytes]]:
    """Chunks and their digests, as the sender tells them."""
    return [(number, OFFERED[number].digest) for number in numbers]


def part(to: Path, path: str) -> Path:
    """Where an unfinished file is."""
    return to / ".nbferry/t1/data" / path


def logs(to: Path) -> list[Path]:
    """The logs of the journal."""
    return list((to / ".nbferry/t1").glob("have.*.log"))


def damage(to: Path, chunk: int) -> None:
    """Flip a bit of a stored chunk."""
    place = OFFER.place(chunk)
    with part(to, OFFER.entries[place.entry].path).open("r+b") as file:
        file.seek(place.offset)
        byte = file.read(1)[0] ^ 1
        file.seek(place.offset)
        file.write(bytes([byte]))
