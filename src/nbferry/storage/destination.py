"""Where one transfer's data go: what an earlier process left there, and what is left there in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nbferry.manifest import Manifest
from nbferry.names import display_name
from nbferry.ranges import RangeSet
from nbferry.storage.directory import Directory
from nbferry.storage.failures import translated
from nbferry.storage.publish import Overwrite
from nbferry.storage.receipts import Receipt, ReceiptFile, read_receipt, write_receipt
from nbferry.storage.sink import FolderSink
from nbferry.storage.staging import remove_staging
from nbferry.storage.unfinished import progress_of, read_manifest


@dataclass(frozen=True)
class Destination:
    """The folder ``to``, as the transfer ``id`` uses it."""

    to: Path
    id: str
    overwrite: Overwrite = "rename"
    allow_hidden: bool = False

    def open(self, manifest: Manifest, *, resume: bool) -> FolderSink:
        """Make a sink, not yet prepared; with ``resume`` it goes on with what is there."""
        return FolderSink(
            manifest,
            self.to,
            transfer_id=self.id,
            overwrite=self.overwrite,
            allow_hidden=self.allow_hidden,
            resume=resume,
        )

    def known(self) -> tuple[str, Manifest] | None:
        """The offer that was accepted, by its id; None if nothing is there any more."""
        return read_manifest(self.to, self.id)

    def progress(self) -> tuple[Manifest, RangeSet] | None:
        """The offer, and what of it is on the disk for good."""
        return progress_of(self.to, self.id)

    def receipt(self) -> Receipt | None:
        """The receipt of this transfer, if it has arrived."""
        return read_receipt(self.to, self.id)

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
        receipt = Receipt(
            id=self.id,
            digest=digest.hex(),
            chunk_size=manifest.chunk_size,
            files=tuple(
                ReceiptFile(path.relative_to(self.to).as_posix(), entry.size, each.hex())
                for path, (entry, each) in zip(files, entries, strict=True)
            ),
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
            try:
                to = Directory.open(self.to)
            except (FileNotFoundError, NotADirectoryError):
                return  # it is gone as a whole
            with to:
                remove_staging(to, self.id, everything=False)
