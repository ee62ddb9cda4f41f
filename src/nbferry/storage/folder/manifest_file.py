"""The manifest of an offer in the staging root. It explains the staged data beside it.

``manifest.json`` is a JSON object: ``version`` (1), ``id`` (32 hex digits, see :attr:`Manifest.id`), ``chunk_size``
(bytes) and ``entries``, a list of objects as in the protocol: ``path``, ``mtime`` (ns since 1970), for a file ``size``
(bytes), and where they apply ``"folder": true`` and ``"executable": true``. A file whose ``id`` does not match its
entries is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbferry.errors import RemoteProtocolError
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import STATE_FOLDER
from nbferry.model.ranges import RangeSet
from nbferry.storage.disk.atomic_file import read_whole, write_whole
from nbferry.storage.disk.directory import Directory
from nbferry.storage.folder.journal import Recorded, journal_key
from nbferry.storage.folder.staging import MANIFEST

MANIFEST_VERSION = 1
MAX_MANIFEST_BYTES = 1024 * MiB
"""Enough for 200,000 entries with the longest possible paths."""


def write_manifest(root: Directory, manifest: Manifest, sync: Callable[[int], None]) -> None:
    """Write the manifest into the staging root unless it is there; durable when this returns."""
    known = _read_manifest(root)
    if known is None or known[0] != manifest.id:
        entries = [entry.to_wire() for entry in manifest.entries]
        fields = {
            "version": MANIFEST_VERSION,
            "id": manifest.id,
            "chunk_size": manifest.chunk_size,
            "entries": entries,
        }
        write_whole(root, MANIFEST, json.dumps(fields).encode("ascii"), sync=sync)


def read_manifest(to: Path, transfer_id: str) -> tuple[str, Manifest] | None:
    """Read id and manifest of an unfinished transfer into ``to``; None if missing or damaged."""
    with _root_of(to, transfer_id) as root:
        return _read_manifest(root) if root else None


def progress_of(to: Path, transfer_id: str) -> tuple[Manifest, RangeSet] | None:
    """Return manifest and recorded chunks of an unfinished transfer; None without a manifest."""
    with _root_of(to, transfer_id) as root:
        known = _read_manifest(root) if root else None
        if not root or not known:
            return None
        manifest = known[1]
        return manifest, Recorded.read(root, journal_key(transfer_id, manifest), manifest.chunk_count).have


@contextmanager
def _root_of(to: Path, transfer_id: str) -> Iterator[Directory | None]:
    try:
        with Directory.open(to) as folder:
            root = folder.descend(f"{STATE_FOLDER}/{transfer_id}")
    # It is missing, or not readable for us.
    except OSError:
        yield None
        return
    with root:
        yield root


def _read_manifest(root: Directory) -> tuple[str, Manifest] | None:
    try:
        data = read_whole(root, MANIFEST, MAX_MANIFEST_BYTES)
        manifest = _decoded(json.loads(data)) if data else None
    # The sender will send it again.
    except (OSError, ValueError, RecursionError, RemoteProtocolError):
        return None
    return (manifest.id, manifest) if manifest else None


def _decoded(fields: Any) -> Manifest:
    """Rebuild a manifest; raises ValueError or RemoteProtocolError unless it is exactly as written."""
    match fields:
        case {"version": version, "id": str(known), "chunk_size": int(size), "entries": list(entries)} if (
            version == MANIFEST_VERSION and size > 0
        ):
            manifest = Manifest.of(map(Entry.from_wire, entries), size)
            if manifest.id == known:
                return manifest
    raise ValueError("nbferry did not write this manifest")
