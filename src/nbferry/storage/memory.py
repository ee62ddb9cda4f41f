"""Both ports without a disk, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from nbferry.crypto.digest import chunk_digest, chunk_digest_of
from nbferry.errors import LocalProtocolError
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import check_paths
from nbferry.model.ranges import RangeSet
from nbferry.protocol.frames import ChunkBatch, ChunkData
from nbferry.storage.base import Sink, Source


class MemorySource(Source):
    """Offers bytes under given paths."""

    def __init__(
        self, files: Mapping[str, bytes], *, chunk_size: int, folders: Iterable[str] = (), mtime_ns: int = 0
    ) -> None:
        entries = [Entry(path, mtime_ns=mtime_ns, folder=True) for path in folders]
        entries += [Entry(path, len(data), mtime_ns) for path, data in files.items()]
        entries.sort(key=lambda entry: entry.path)
        self.manifest = Manifest.of(entries, chunk_size)
        self._files = dict(files)

    @override
    def read(self, chunks: RangeSet, batch: ChunkBatch) -> RangeSet:
        done = []
        for chunk in chunks:
            data = self._data(chunk)
            slots = batch.reserve(chunk, len(data))
            if slots is None:
                break
            for slot in slots:
                slot[:], data = data[: len(slot)], data[len(slot) :]
            batch.commit(chunk, chunk_digest_of(slots))
            done.append(chunk)
        return RangeSet.of(*done)

    @override
    def digests(self, chunks: RangeSet) -> dict[int, bytes]:
        return {chunk: chunk_digest(self._data(chunk)) for chunk in chunks}

    @override
    def close(self) -> None:
        pass

    def _data(self, chunk: int) -> memoryview:
        index, offset, length = self.manifest.place(chunk)
        return memoryview(self._files[self.manifest.entries[index].path])[offset : offset + length]


class MemorySink(Sink):
    """Keeps chunks in memory; after ``publish``, ``files`` maps the paths of the offer to their bytes.

    ``have`` are the chunks stored, ``durable`` those before the last ``sync``.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._have = self.durable = RangeSet()
        self.files: dict[str, bytes] = {}
        self._parts: dict[int, bytearray] = {}

    @property
    @override
    def have(self) -> RangeSet:
        return self._have

    @override
    def prepare(self) -> None:
        entries = self.manifest.entries
        folders = {entry.path for entry in entries if entry.folder}
        check_paths((entry.path for entry in entries), folders=folders)
        self._parts = {at: bytearray(entry.size) for at, entry in enumerate(entries) if not entry.folder}

    @override
    def store(self, chunks: Sequence[ChunkData]) -> RangeSet:
        stored = RangeSet.of(*(chunk.chunk for chunk in chunks if self._store(chunk)))
        self._have |= stored
        return stored

    def _store(self, chunk: ChunkData) -> bool:
        if not 0 <= chunk.chunk < self.manifest.chunk_count:
            return False
        index, offset, length = self.manifest.place(chunk.chunk)
        if len(chunk.data) != length or chunk_digest(chunk.data) != chunk.digest:
            return False
        self._parts[index][offset : offset + length] = chunk.data
        return True

    @override
    def sync(self) -> None:
        self.durable = self.have

    @override
    def publish(self, digest: bytes) -> tuple[Path, ...]:
        if len(self.have) < self.manifest.chunk_count:
            raise LocalProtocolError("A transfer was published before all of it was stored.")
        entries = self.manifest.entries
        self.files = {entries[index].path: bytes(part) for index, part in self._parts.items()}
        self.finished = digest
        return tuple(map(Path, self.files))

    @override
    def missing_space(self) -> int:
        return 0

    @override
    def discard(self) -> None:
        self._parts = {}
        self._have = self.durable = RangeSet()

    @override
    def close(self) -> None:
        pass
