"""Where one transfer's data go: what an earlier process left there, and what is left there in the end."""

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
    """What an earlier process left: the receipt if it is done, id and list of the offer, bytes on the disk."""

    receipt: Receipt | None
    offer: tuple[str, Manifest] | None
    durable: int


@dataclass(frozen=True)
class Destination:
    """The folder ``to``, as the transfer ``id`` uses it; ``disk`` as for :class:`FolderSink`."""

    to: Path
    id: str
    overwrite: Overwrite = Overwrite.RENAME
    allow_hidden: bool = False
    disk: Disk = REAL_DISK

    def open(self, manifest: Manifest, *, resume: bool) -> FolderSink:
        """Make a sink, not yet prepared; with ``resume`` it goes on with what is there."""
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
        """See what an earlier process left, and publish it if that had verified everything."""
        known = read_manifest(self.to, self.id)
        receipt = read_receipt(self.to, self.id)
        if receipt or known is None:
            return Leftovers(receipt, known, receipt.bytes if receipt else 0)
        sink = self.open(known[1], resume=True)
        try:
            with suppress(DiskFull):  # then it lacks something
                sink.prepare()
            if sink.finished:
                receipt = self._publish(sink, sink.finished)
            return Leftovers(receipt, known, known[1].bytes_in(sink.have))
        finally:
            sink.close()

    def _publish(self, sink: FolderSink, digest: bytes) -> Receipt | None:
        """Publish what is verified; None if something of it turns out to be damaged."""
        leaves = Leaves(sink.manifest)
        leaves.load_runs(sink.leaves())  # first: a check begins with a flush, after which they are let go of
        if sink.check():
            return None
        return self.leave_receipt(sink.manifest, sink.publish(digest), digest, leaves.files())

    def progress(self) -> tuple[Manifest, RangeSet] | None:
        """The offer, and what of it is on the disk for good."""
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
        """Write down what is now at ``files``; ``digests`` are those of the entries, None for folders."""
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
        """Remove what is not published; raises :class:`StorageError` if that cannot be done."""
        with translated(f'Cleaning up in "{display_name(str(self.to))}"'):
            remove_staging_in(self.to, self.id, everything=False)


def _placed_folders(manifest: Manifest, files: Sequence[str]) -> tuple[str, ...]:
    """Say where the folders of an offer are, by where files are; not of what has no file, as it may have a number."""
    sent = (entry.path for entry in manifest.entries if not entry.folder)
    tops = {path.partition("/")[0]: file.partition("/")[0] for path, file in zip(sent, files, strict=True)}
    folders = (entry.path.partition("/") for entry in manifest.entries if entry.folder)
    return tuple(f"{tops[top]}{slash}{rest}" for top, slash, rest in folders if top in tops)
