"""A destination across runs: recovers what an earlier process left, and writes the receipt at the end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from nbferry.errors import DiskFull
from nbferry.model.manifest import Manifest
from nbferry.model.names import display_name
from nbferry.model.overwrite import Overwrite
from nbferry.model.ranges import RangeSet
from nbferry.protocol.leaves import Leaves
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.system import REAL_DISK, Disk
from nbferry.storage.folder.manifest_file import progress_of, read_manifest
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.folder.staging import remove_staging_in
from nbferry.storage.records.receipts import Receipt, ReceiptFile, read_receipt, write_receipt


class Leftovers(NamedTuple):
    """What an earlier process left: the receipt of a finished transfer, the offer's id and manifest, durable bytes."""

    receipt: Receipt | None
    offer: tuple[str, Manifest] | None
    durable: int


@dataclass(frozen=True)
class Destination:
    """The folder ``to`` for the transfer ``id``; ``disk`` as for :class:`FolderSink`."""

    to: Path
    id: str
    overwrite: Overwrite = Overwrite.RENAME
    allow_hidden: bool = False
    disk: Disk = REAL_DISK

    def open(self, manifest: Manifest, *, resume: bool) -> FolderSink:
        """Make a sink, not yet prepared; with ``resume`` it keeps what an earlier run stored."""
        return FolderSink(
            manifest,
            self.to,
            transfer_id=self.id,
            overwrite=self.overwrite,
            allow_hidden=self.allow_hidden,
            resume=resume,
            disk=self.disk,
        )

    def recover(self) -> Leftovers:
        """Find what an earlier process left, and publish it if that process had verified everything."""
        known = read_manifest(self.to, self.id)
        receipt = read_receipt(self.to, self.id)
        if receipt or known is None:
            return Leftovers(receipt, known, receipt.bytes if receipt else 0)
        sink = self.open(known[1], resume=True)
        try:
            # On a full disk the offer is incomplete, so nothing is published.
            with suppress(DiskFull):
                sink.prepare()
            if sink.finished:
                receipt = self._publish(sink, sink.finished)
            return Leftovers(receipt, known, known[1].bytes_in(sink.have))
        finally:
            sink.close()

    def _publish(self, sink: FolderSink, digest: bytes) -> Receipt | None:
        """Publish what is verified; None if some of it turns out to be damaged."""
        leaves = Leaves(sink.manifest)
        # First, because a check begins with a flush, which drops them.
        leaves.load_runs(sink.leaves())
        if sink.check():
            return None
        return self.leave_receipt(sink.manifest, sink.publish(digest), digest, leaves.files())

    def progress(self) -> tuple[Manifest, RangeSet] | None:
        """Return the offer and its durable chunks."""
        return progress_of(self.to, self.id)

    def leave_receipt(
        self,
        manifest: Manifest,
        files: Sequence[Path],
        digest: bytes,
        digests: Sequence[bytes | None],
        *,
        reused: int = 0,
        via: str = "",
    ) -> Receipt:
        """Write a receipt of ``files``; ``digests`` belong to the entries, None for folders."""
        entries = [(entry, each) for entry, each in zip(manifest.entries, digests, strict=True) if each]
        paths = [path.relative_to(self.to).as_posix() for path in files]
        receipt = Receipt(
            id=self.id,
            digest=digest.hex(),
            chunk_size=manifest.chunk_size,
            files=tuple(
                ReceiptFile(path, entry.size, each.hex())
                for path, (entry, each) in zip(paths, entries, strict=True)
            ),
            folders=_placed_folders(manifest, paths),
            bytes=manifest.total_bytes,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            via=via,
            reused=reused,
        )
        write_receipt(self.to, receipt)
        return receipt

    def discard(self) -> None:
        """Remove unpublished data; raises :class:`StorageError` if that fails."""
        with translated(f'Cleaning up in "{display_name(str(self.to))}"'):
            remove_staging_in(self.to, self.id, everything=False)


def _placed_folders(manifest: Manifest, files: Sequence[str]) -> tuple[str, ...]:
    """Find the published folders by the published files. A folder without files is unknown: it may have a number."""
    sent = (entry.path for entry in manifest.entries if not entry.folder)
    tops = {path.partition("/")[0]: file.partition("/")[0] for path, file in zip(sent, files, strict=True)}
    folders = (entry.path.partition("/") for entry in manifest.entries if entry.folder)
    return tuple(f"{tops[top]}{slash}{rest}" for top, slash, rest in folders if top in tops)
