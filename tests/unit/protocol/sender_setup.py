"""A sender, and a receiver that the test plays by hand."""

from __future__ import annotations

from typing import Any

from nbferry.crypto.digest import chunk_digest, file_digest
from nbferry.limits import Limits
from nbferry.protocol.frames import Control
from nbferry.protocol.sender import ReadJob, Sender
from rig import SMALL, manifest_of, read_job
from wire import control, drain, hello

CHUNK = SMALL.chunk_size
# File a has chunks 0 to 2, b has chunk 3, c has chunk 4.
FILES = {"a": b"a" * (3 * CHUNK), "b": b"b" * 100, "c": b""}
EVERYTHING = [[0, 5]]


def sender_of(files: dict[str, bytes] | None = None, limits: Limits = SMALL, **options: Any) -> Sender:
    """A sender without a connection."""
    manifest = manifest_of(FILES if files is None else files, limits.chunk_size)
    return Sender(manifest, limits, **options)


def connect(sender: Sender, now: float = 0.0) -> list[Control]:
    """Connect a sender, greet it, and return its reply."""
    sender.connected(now)
    sender.receive(hello("receiver"), now)
    return drain(sender, now)


def accepted(files: dict[str, bytes] | None = None, limits: Limits = SMALL, **options: Any) -> Sender:
    """A sender whose offer was accepted."""
    sender = sender_of(files, limits, **options)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    return sender


def want(sender: Sender, chunks: list[list[int]], digests: list[list[int]] | None = None) -> None:
    """Want chunks and files' digests."""
    sender.receive(control("want", chunks=chunks, digests=digests or []), 0)


def read(sender: Sender, files: dict[str, bytes] | None = None) -> ReadJob | None:
    """Do the sender's next job, if it has one."""
    job = sender.next_read()
    if job is not None:
        sender.chunks_read(job, *read_job(job, sender.manifest, FILES if files is None else files))
    return job


def digest_of(data: bytes) -> str:
    """The digest of a file of these bytes."""
    leaves = [chunk_digest(data[at : at + CHUNK]) for at in range(0, max(1, len(data)), CHUNK)]
    return file_digest(len(data), CHUNK, b"".join(leaves)).hex()
