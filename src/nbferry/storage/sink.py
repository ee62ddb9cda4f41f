"""A destination folder: chunks become files in a staging folder, which renames move to their place at the end.

    prepare    judge the names; see that there is room; make .nbferry/<transfer>/data and its folders
    store      verify -> write at the final offset
    sync       flush what was written
    publish    times, modes -> flush -> rename into place -> flush the folders -> remove the staging folder

A crash leaves nothing or complete files at the destination, and the staging folder to go on with.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import DiskFull, LocalProtocolError, StorageError
from nbferry.limits import KiB, MiB
from nbferry.manifest import Manifest
from nbferry.names import check_paths, display_name
from nbferry.protocol.frames import ChunkData
from nbferry.ranges import RangeSet
from nbferry.storage.base import Sink
from nbferry.storage.directory import Directory
from nbferry.storage.failures import translated
from nbferry.storage.parts import Parts
from nbferry.storage.publish import Overwrite, check_free, publish
from nbferry.storage.staging import Staging, remove_staging
from nbferry.storage.system import REAL_DISK, Disk

BLOCK = 4 * KiB  # what the smallest file takes on most file systems
RESERVE = 16 * MiB  # left to others on a disk that we fill: folders, a journal, a notebook that is saved

_TRANSFER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FolderSink(Sink):
    """Writes an offer into the folder ``to``, which is made if need be.

    ``transfer_id`` names the staging folder: letters, digits, "-" and "_". ``overwrite`` says what happens to
    names that are taken: "rename" gives ours a number, "replace" puts files over files, "refuse" ends it.
    ``have`` goes on with what an earlier run stored, by its journal; None starts afresh.

    If ``sync`` or ``publish`` raises DiskFull or StorageError, nothing counts as stored that was not durable before.
    """

    def __init__(
        self,
        manifest: Manifest,
        to: Path,
        *,
        transfer_id: str,
        overwrite: Overwrite = "rename",
        allow_hidden: bool = False,
        have: RangeSet | None = None,
        disk: Disk = REAL_DISK,
    ) -> None:
        if not _TRANSFER.fullmatch(transfer_id):
            raise LocalProtocolError(f'"{display_name(transfer_id)}" cannot name a staging folder.')
        self.manifest, self.path = manifest, Path(to).absolute()
        self._transfer_id, self._overwrite, self._disk = transfer_id, overwrite, disk
        self._allow_hidden = allow_hidden
        self._resumed = have
        self._have = self._durable = have or RangeSet()
        self._lock = threading.Lock()  # for those two
        self._to: Directory | None = None
        self._staging: Staging | None = None
        self._parts: Parts | None = None
        self._tops = list(dict.fromkeys(entry.path.partition("/")[0] for entry in manifest.entries))
        self._finished = False
        self._placed: dict[str, str] = {}  # top-level name in the offer -> at the destination
