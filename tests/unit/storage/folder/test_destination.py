"""What is left at a destination. Most of it is seen through whole transfers, in tests/faults and tests/simulation."""

from __future__ import annotations

from pathlib import Path

from nbferry.model.manifest import Entry, Manifest
from nbferry.storage.folder.destination import Destination
from nbferry.storage.records.receipts import read_receipt, verify
from offers import CHUNK, DIGEST, FILES, chunks


def test_folders_in_a_receipt(tmp_path: Path) -> None:
    """Folders are named as they are at the destination, so that an empty one of them can be verified, too."""
    folders = [Entry(path, folder=True) for path in ("alone", "data", "data/b", "data/hollow")]
    offer = Manifest.of([*folders, *(Entry(path, len(data)) for path, data in FILES.items())], CHUNK)
    (tmp_path / "data").mkdir()
    place = Destination(tmp_path, "0" * 12)
    sink = place.open(offer, resume=False)
    sink.prepare()
    sink.store(chunks(offer))
    files = sink.publish(DIGEST)
    sink.close()
    digests = [None if entry.folder else bytes(32) for entry in offer.entries]
    receipt = place.leave_receipt(offer, files, DIGEST, digests)
    assert receipt == read_receipt(tmp_path, "0" * 12)
    assert receipt.folders == ("data (1)", "data (1)/b", "data (1)/hollow")
    assert verify(tmp_path / "data (1)/hollow").files == ()
    place.discard()
    assert sorted(path.name for path in (tmp_path / ".nbferry").iterdir()) == [".gitignore", "receipts"]
