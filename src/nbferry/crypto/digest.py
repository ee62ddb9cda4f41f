"""Digests: what a chunk, a file and a whole transfer are recognised by.

    chunk digest    BLAKE3(chunk), plain, so that `b3sum` reproduces it
    page digest     BLAKE3-derive-key("nbferry v1 page",     u32 count, <= 1,024 chunk digests)
    file digest     BLAKE3-derive-key("nbferry v1 file",     u64 size, u32 chunk size, u64 n, page digests)
    content digest  BLAKE3-derive-key("nbferry v1 content",  for each entry: u32 length, path in UTF-8, kind;
                                                             and the file digest if it is a file)

Whole numbers are big-endian; kind is 0x00 for a folder, 0x01 for a file. The chunk digests of a file stand
in the order of its chunks; there are ``n = max(1, ceil(size / chunk size))`` of them, so an empty file has
one chunk, which is empty and is verified like any other.

Each level has a context of its own (domain separation), so that digests of one level never pass for data of
another: a page for a chunk, a file's digest for a page's. Each level commits to its lengths before the data, so
that a file cut at a chunk's end, or cut into chunks of another size, has another digest. A content digest covers
names and bytes, in order; not times and modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import pack

from blake3 import blake3

from nbferry.crypto import Buffer
from nbferry.errors import LocalProtocolError

DIGEST_SIZE = 32  # bytes of every digest here
PAGE_LEAVES = 1024  # a page of them is 32 KiB: the proof for one chunk of any file stays small

_FOLDER, _FILE = b"\x00", b"\x01"


def chunk_digest(data: Buffer) -> bytes:
    """Hash one chunk with BLAKE3: 32 bytes. One thread: the engine hashes several chunks side by side."""
    return blake3(data).digest()


def chunk_digest_of(parts: Sequence[memoryview]) -> bytes:
    """Hash a chunk that lies in several pieces, as if they were joined."""
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def file_digest(size: int, chunk_size: int, leaves: Buffer) -> bytes:
    """Name a file of ``size`` bytes by the concatenated 32-byte digests of its chunks.

    Raises :class:`LocalProtocolError` if there are not exactly as many as such a file has chunks.
    """
    view = memoryview(leaves)
    count = max(1, -(-size // chunk_size))
    if len(view) != count * DIGEST_SIZE:
        raise LocalProtocolError(f"A file of {count} chunks has {len(view)} bytes of digests.")
    hasher = blake3(pack("!QIQ", size, chunk_size, count), derive_key_context="nbferry v1 file")
    step = PAGE_LEAVES * DIGEST_SIZE
    for start in range(0, len(view), step):
        hasher.update(_page_digest(view[start : start + step]))
    return hasher.digest()


def _page_digest(leaves: memoryview) -> bytes:
    hasher = blake3(pack("!I", len(leaves) // DIGEST_SIZE), derive_key_context="nbferry v1 page")
    return hasher.update(leaves).digest()


def content_digest(entries: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Name a whole transfer by the path and the file digest of each entry, in order.

    A folder's digest is None. Paths may hold lone surrogates, as names from a file system do.
    """
    hasher = blake3(derive_key_context="nbferry v1 content")
    for path, digest in entries:
        name = path.encode("utf-8", "surrogatepass")
        hasher.update(pack("!I", len(name)) + name)
        hasher.update(_FOLDER if digest is None else _FILE + _whole(digest))
    return hasher.digest()


def _whole(digest: bytes) -> bytes:
    """Refuse a digest of the wrong length: it would let one entry read as two."""
    if len(digest) != DIGEST_SIZE:
        raise LocalProtocolError(f"A file digest of {len(digest)} bytes.")
    return digest
