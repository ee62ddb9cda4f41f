from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from struct import pack

import pytest
from blake3 import blake3

from nbferry.crypto.digest import (
    DIGEST_SIZE,
    PAGE_LEAVES,
    chunk_digest,
    chunk_digest_of,
    content_digest,
    file_digest,
)
from nbferry.errors import LocalProtocolError

# From test_vectors/test_vectors.json of https://github.com/BLAKE3-team/BLAKE3 (CC0): input length, first 32 bytes.
KNOWN = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    4097: "9b4052b38f1c5fc8b1f9ff7ac7b27cd242487b3d890d15c96a1c25b8aa0fb995",
}
DERIVED_EMPTY = "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"


def pattern(size: int) -> bytes:
    """The input of the official test vectors."""
    return bytes(n % 251 for n in range(size))


@pytest.mark.parametrize(("size", "digest"), KNOWN.items())
def test_known_answers(size: int, digest: str) -> None:
    """A chunk's digest is the BLAKE3 of the official test vectors."""
    assert chunk_digest(pattern(size)).hex() == digest


def test_known_answer_of_derive_key() -> None:
    """The library's derive_key mode, the base of the other digests, matches the official test vectors."""
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    assert blake3(derive_key_context=context).digest().hex() == DERIVED_EMPTY


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes(kind: type) -> None:
    """The type of the buffer does not change a chunk's digest."""
    assert chunk_digest(kind(pattern(100))) == chunk_digest(pattern(100))


@pytest.mark.parametrize("cuts", [[], [0], [1, 5000], [4097], [1000, 1000, 2000]])
def test_pieces(cuts: list[int]) -> None:
    """A chunk has one digest, no matter how it is cut into pieces."""
    data, bounds = memoryview(pattern(4097)), [0, *cuts, 4097]
    parts = [data[a:b] for a, b in pairwise(bounds)]
    assert chunk_digest_of(parts) == chunk_digest(data)


def leaves(count: int) -> bytes:
    """The digests of this many chunks."""
    return blake3(pack("!I", count)).digest(count * DIGEST_SIZE)


@pytest.mark.parametrize("count", [1, 2, PAGE_LEAVES, PAGE_LEAVES + 1, 3 * PAGE_LEAVES])
def test_file_digest_is_as_specified(count: int) -> None:
    """A file's digest commits to size, chunk size and number of chunks, then to pages of up to 1,024 digests."""
    size, chunk_size, all_leaves = count * 10 - 3, 10, leaves(count)
    spec = pack("!QIQ", size, chunk_size, count)
    for at in range(0, count, 1024):
        page = all_leaves[at * 32 : (at + 1024) * 32]
        spec += blake3(pack("!I", len(page) // 32) + page, derive_key_context="nbferry v1 page").digest()
    expected = blake3(spec, derive_key_context="nbferry v1 file").digest()
    assert file_digest(size, chunk_size, all_leaves) == expected


def test_an_empty_file_has_one_empty_chunk() -> None:
    """An empty file is verified like any other: by the digest of its one empty chunk."""
    assert len(file_digest(0, 10, chunk_digest(b""))) == DIGEST_SIZE
    with pytest.raises(LocalProtocolError):
        file_digest(0, 10, b"")


@pytest.mark.parametrize("size", [10, 21, 30])
def test_leaves_must_fit_the_size(size: int) -> None:
    """Digests that do not fit the file's size are a bug of the caller, and are not hashed."""
    with pytest.raises(LocalProtocolError):
        file_digest(size, 10, leaves(2))


def test_lengths_are_committed() -> None:
    """The same chunks with another size or chunk size are another file."""
    digests = [file_digest(20, 10, leaves(2)), file_digest(19, 10, leaves(2)), file_digest(20, 19, leaves(2))]
    assert len(set(digests)) == 3


def test_levels_do_not_mix() -> None:
    """The digest of a one-chunk file differs from its chunk's, and from that of a chunk with the file's input."""
    leaf = chunk_digest(b"x")
    page = blake3(pack("!I", 1) + leaf, derive_key_context="nbferry v1 page").digest()
    spelled_out = pack("!QIQ", 1, 10, 1) + page
    assert file_digest(1, 10, leaf) not in {leaf, page, chunk_digest(spelled_out)}


def test_content_digest_is_as_specified() -> None:
    """A transfer's digest is that of the paths, kinds and file digests, in order."""
    spec = pack("!I", 1) + b"a\x00" + pack("!I", 4) + "a/é".encode() + b"\x01" + bytes(32)
    expected = blake3(spec, derive_key_context="nbferry v1 content").digest()
    assert content_digest([("a", None), ("a/é", bytes(32))]) == expected


def test_content_digests_differ() -> None:
    """Another order, path, kind or file is another transfer."""
    one, other = bytes(32), bytes([1]) * 32
    transfers = [
        [],
        [("a", None)],
        [("a", one)],
        [("a", other)],
        [("b", one)],
        [("a", one), ("b", other)],
        [("b", other), ("a", one)],
        [("ab", one)],
        [("a", None), ("b", None)],
        [("ab", None)],
    ]
    assert len({content_digest(entries) for entries in transfers}) == len(transfers)


def test_any_name_of_a_file_system() -> None:
    """A name that is not UTF-8 on disk has a digest like any other."""
    name = os.fsdecode(b"\xff.csv")
    assert content_digest([(name, bytes(32))]) != content_digest([("?.csv", bytes(32))])


def test_content_needs_whole_digests() -> None:
    """A file digest of another length, which could pass for two entries, is refused."""
    with pytest.raises(LocalProtocolError):
        content_digest([("a", bytes(31))])


def test_the_package_imports_no_cryptography() -> None:
    """Importing the package loads no cryptography before a module of it is used."""
    code = "import sys, json, nbferry.crypto; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert not {"blake3", "cryptography", "spake2"} & set(loaded)
