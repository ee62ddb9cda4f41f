"""The MAC of this user's records: it distinguishes our own record from one that came with an archive.

A record names files to send and their receiver. nbferry must not obey one that a stranger put beside a notebook. So
each record carries a MAC under a key that never leaves the user's own state folder.

    <user's state folder>/key    32 random bytes, 0600
    <record>                     the body, a newline, {"mac": "<64 hex digits>"} with that one space, a newline

The MAC is BLAKE2b of 32 bytes over the body, under that key, personalised "nbferry memo".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nbferry.errors import NbferryError
from nbferry.storage.disk.atomic_file import read_whole, remove_quietly, write_temporary
from nbferry.storage.disk.directory import Directory, make_path
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.rename import rename_without_replacing
from nbferry.storage.disk.system import REAL_DISK

KEY = "key"
MAC_SIZE = 32
"""Bytes."""

log = logging.getLogger("nbferry")


def user_key(folder: Path, *, sync: Callable[[int], None] = REAL_DISK.sync) -> bytes:
    """Return the key in ``folder``; the first use makes it durably.

    If it cannot be stored, it is valid for this process only, and no other process can resume its transfers.
    """
    try:
        with translated(f'Storing the key in "{folder}"'):
            make_path(folder, sync, 0o700)
            with Directory.open(folder) as held:
                _make(held, sync)
                key = read_whole(held, KEY, MAC_SIZE, private=True)
    except (NbferryError, ValueError) as error:
        log.warning("other processes cannot resume transfers: %s", error)
        return secrets.token_bytes(MAC_SIZE)
    if key is None or len(key) != MAC_SIZE:
        log.warning("the key in %s is damaged; remove it", folder)
        return secrets.token_bytes(MAC_SIZE)
    return key


def _make(folder: Directory, sync: Callable[[int], None]) -> None:
    """Make a key unless there is one; if two processes do so at once, one wins.

    Its name is durable before its first use, so that no record outlives the key.
    """
    if folder.look(KEY) is not None:
        return
    temporary = write_temporary(folder, KEY, secrets.token_bytes(MAC_SIZE), sync=sync)
    try:
        with suppress(FileExistsError):
            rename_without_replacing(folder, temporary, folder, KEY)
        folder.sync(sync)
    finally:
        remove_quietly(folder, temporary)


def sealed(body: bytes, key: bytes) -> bytes:
    """Return a body of JSON, with a line for its MAC."""
    return body + b"\n" + _line(body, key) + b"\n"


def unsealed(data: bytes, key: bytes) -> bytes:
    """Return the body. Raises ValueError if its MAC does not match this key."""
    body, _, line = data.removesuffix(b"\n").rpartition(b"\n")
    if not hmac.compare_digest(line, _line(body, key)):
        raise ValueError("another user or machine wrote it")
    return body


def _line(body: bytes, key: bytes) -> bytes:
    return json.dumps({"mac": _mac(body, key)}).encode()


def _mac(body: bytes, key: bytes) -> str:
    return hashlib.blake2b(body, key=key, digest_size=32, person=b"nbferry memo").hexdigest()
