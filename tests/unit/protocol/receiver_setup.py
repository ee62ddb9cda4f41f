"""A receiver, and a sender that the test plays by hand."""

from __future__ import annotations

from typing import Any

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import RemoteProtocolError
from nbferry.limits import Limits
from nbferry.model.manifest import Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Compare, Store
from nbferry.protocol.frames import ChunkData, Control, encode_leaves
from nbferry.protocol.leaves import Leaves
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from rig import SMALL, bytes_of, manifest_of
from wire import chunk_frame, control, drain, hello, names, piece

CHUNK = SMALL.chunk_size
# File a has chunks 0 and 1, b has chunk 2, c has chunk 3.
FILES = {"a": b"A" * CHUNK + b"a" * CHUNK, "b": b"b" * 100, "c": b""}
MANIFEST = manifest_of(FILES)
EVERYTHING = RangeSet.span(0, 4)


class Peer:
    """A receiver, and the sender's part of the conversation."""

    def __init__(self, manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> None:
        self.manifest = manifest
        self.files = FILES
        self.receiver = Receiver(limits, **options)

    def connect(self, now: float = 0.0) -> list[Control]:
        """Say hello, and return what the receiver says before it knows the offer."""
        self.receiver.connected(now)
        self.say(hello("sender"))
        return drain(self.receiver, now)

    def say(self, frame: memoryview, now: float = 0.0) -> None:
        """Say something to the receiver."""
        self.receiver.receive(frame, now)

    def heard(self, now: float = 0.0) -> list[Control]:
        """Everything that the receiver has to say."""
        return drain(self.receiver, now)

    def offer(self, now: float = 0.0, **changes: Any) -> list[Control]:
        """Make the offer, perhaps with other fields, and return the receiver's reply."""
        manifest = self.manifest
        fields = {"id": manifest.id, "entries": len(manifest.entries), "files": manifest.file_count}
        fields |= {"bytes": manifest.total_bytes, "chunk_size": manifest.chunk_size}
        self.say(control("offer", **fields | changes), now)
        return self.heard(now)

    def list(self) -> None:
        """List all entries on one page."""
        entries = [entry.to_wire() for entry in self.manifest.entries]
        self.say(control("entries", first=0, entries=entries))

    def send(self, *chunks: int, now: float = 0.0) -> list[ChunkData]:
        """Send chunks in one frame, and return those that the receiver wants stored."""
        parts = []
        for chunk in chunks:
            data = bytes_of(chunk, self.manifest, self.files)
            parts.append(piece(chunk, data, chunk_digest(data)))
        self.say(chunk_frame(*parts), now)
        return self.to_store()

    def to_store(self) -> list[ChunkData]:
        """The chunks that the receiver wanted stored since the last call."""
        events = self.receiver.events()
        return [chunk for event in events if isinstance(event, Store) for chunk in event.chunks]

    def store(self, chunks: list[ChunkData], now: float = 0.0, right: RangeSet | None = None) -> None:
        """Say that chunks were stored, by default all of them with the right digest."""
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        self.receiver.chunks_stored(tried, RangeSet.of(*tried) if right is None else right, now)

    def digests(self, *entries: int) -> None:
        """Send the right digests of files."""
        self.say(control("digests", digests=[[entry, self.digest_of(entry)] for entry in entries]))

    def tell(self, first: int, stop: int | None = None) -> None:
        """Send the digests of some chunks."""
        digests = self.leaves().run(first, stop or first + 1)
        self.say(memoryview(encode_leaves(first, digests)))

    def to_compare(self) -> list[int]:
        """The chunks that the receiver wanted compared since the last call."""
        events = self.receiver.events()
        return [chunk for event in events if isinstance(event, Compare) for chunk, _ in event.pairs]

    def leaves(self) -> Leaves:
        """The digests of all chunks."""
        leaves = Leaves(self.manifest)
        leaves.update(
            {
                n: chunk_digest(bytes_of(n, self.manifest, self.files))
                for n in range(self.manifest.chunk_count)
            }
        )
        return leaves

    def runs(self, *chunks: int) -> list[tuple[int, bytes]]:
        """The digests of some chunks as a journal has them."""
        leaves = self.leaves()
        return [(chunk, leaves.run(chunk, chunk + 1)) for chunk in chunks]

    def digest_of(self, entry: int) -> str:
        """The right digest of a file."""
        return self.leaves().file(entry).hex()

    def events(self, kind: type) -> int:
        """How many events of a kind have happened since the last call."""
        return sum(isinstance(event, kind) for event in self.receiver.events())


def offered(manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> Peer:
    """A receiver that knows the whole offer."""
    peer = Peer(manifest, limits, **options)
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    return peer


def accepted(manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> Peer:
    """A receiver that accepted the offer and wants what its window holds."""
    peer = offered(manifest, limits, **options)
    peer.receiver.accept(0.0)
    return peer


def stored(*, digests: bool = False) -> Peer:
    """A receiver that has all chunks, and perhaps the files' digests."""
    peer = accepted()
    peer.store(peer.send(0, 1, 2, 3))
    if digests:
        peer.digests(0, 1, 2)
    peer.heard()
    return peer


def finished() -> Peer:
    """A receiver that is done and has said so."""
    peer = stored(digests=True)
    peer.receiver.published(5.0)
    return peer


def fails(peer: Peer, kind: type[Exception] = RemoteProtocolError) -> bool:
    """Whether the receiver has failed with this error and has told the sender."""
    assert isinstance(peer.receiver.error, kind), peer.receiver.error
    assert peer.receiver.phase is Phase.FAILED
    return names(peer.heard())[-1] == "error"


def resumed(have: tuple[int, ...] = (), candidates: RangeSet | None = None) -> Peer:
    """A receiver that knows the offer from an earlier run, and accepts it with the chunks that it has."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    assert peer.offer() == []
    peer.receiver.accept(0.0, RangeSet.of(*have), peer.runs(*have), candidates or RangeSet())
    return peer


def pieces_of(chunk: int, *sizes: int) -> list[bytes]:
    """Pieces of these sizes from the beginning of a chunk."""
    data = bytes_of(chunk, MANIFEST, FILES)
    parts, at = [], 0
    for size in sizes:
        parts.append(piece(chunk, data[at : at + size], chunk_digest(data), offset=at))
        at += size
    return parts
