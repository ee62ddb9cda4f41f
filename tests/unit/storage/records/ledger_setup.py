"""Records of transfers."""

from __future__ import annotations

from dataclasses import replace

from nbferry.model.manifest import Entry
from nbferry.model.overwrite import Overwrite
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import Pairing, ReceiveRecord, RelayNote, SendRecord, UploadRecord

NOW = 1_700_000_000.0
SECRET = "acid-acorn-tiger"
SEND = SendRecord(
    id="0123456789ab",
    created=NOW,
    names=("trips", "lone\udcff.csv"),
    total=1 << 40,
    relay=RelayNote(url="ws://127.0.0.1:8888/", public_url="https://hub.example/user/anna/", port=8888),
    via="relay",
    paths=("/home/anna/trips", "/home/anna/lone\udcff.csv"),
    follow_symlinks=True,
    chunk_size=1 << 20,
    receivers=None,
    invitation=SECRET,
    room="17",
    key="ab" * 16,
    wrong_guesses=2,
    expires_at=NOW + 3600,
    pairings=(Pairing(root=b"r" * 32), Pairing(root=b"q" * 32, state="done")),
)
RECEIVE = ReceiveRecord(
    id="ba9876543210",
    created=NOW + 1,
    code=f"17-{SECRET}",
    root=b"s" * 32,
    to="/home/bert/in",
    overwrite=Overwrite.RENAME,
    allow_hidden=False,
    paired=True,
    accepted=True,
    durable=1 << 30,
    digest="cd" * 32,
    reason="The relay is gone.",
)
UPLOAD = UploadRecord(
    id="ca9876543210",
    created=NOW + 2,
    to="/home/bert/in",
    overwrite=Overwrite.REPLACE,
    allow_hidden=True,
    accepted=True,
    entries=(
        Entry("trips", mtime_ns=-5, folder=True),
        Entry("trips/lone\udcff.csv", 1 << 40, 1_700_000_000_123_000_000),
        Entry("trips/empty"),
    ),
    chunk_size=1 << 20,
)
FROM_PAGE = replace(SEND, paths=(), entries=UPLOAD.entries)
KEY = bytes(range(32))


def no_sync(_: int) -> None:
    """Leave flushing to the system."""


def files(ledger: Ledger) -> list[str]:
    """Everything in the state folder."""
    return sorted(str(path.relative_to(ledger.folder)) for path in ledger.folder.rglob("*"))
