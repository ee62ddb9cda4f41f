"""The seal of this user: what tells a memo of our own from one that came with an archive.

A memo names files to send and to whom. One that somebody else put beside a notebook must not be obeyed, so each carries
a MAC under a key that never leaves the user's own folder of state.

    <user's state folder>/key    32 random bytes, 0600
    <memo>                       the body, a newline, {"mac": "<64 hex digits>"} with that one space, a newline

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
MAC_SIZE = 32  # bytes

log = logging.getLogger("nbferry")


def user_key(folder: Path, *, sync: Callable[[int], None] = REAL_DISK.sync) -> bytes:
    """The key in ``folder``, made at the first use and durable from then on.

    Where it cannot be kept it is good for this process alone: then nothing can be resumed by another.
    """
    try:
        with translated(f'Keeping a key in "{folder}"'):
            make_path(folder, sync, 0o700)
            with Directory.open(folder) as held:
                _make(held, sync)
                key = read_whole(held, KEY, MAC_SIZE, private=True)
    except (NbferryError, ValueError) as error:
        log.warning("transfers cannot be resumed by another process: %s", error)
        return secrets.token_bytes(MAC_SIZE)
    if key is None or len(key) != MAC_SIZE:
        log.warning("the key in %s is damaged; remove it", folder)
        return secrets.token_bytes(MAC_SIZE)
    return key


def _make(folder: Directory, sync: Callable[[int], None]) -> None:
    """Make a key unless there is one; of two processes that do so at once, one wins.

    Its name is durable before anything is sealed under it: a memo must not outlive the key.
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
    """A body of JSON with its MAC: one more line."""
    return body + b"\n" + _line(body, key) + b"\n"


def unsealed(data: bytes, key: bytes) -> bytes:
    """The body. Raises ValueError if it is not sealed under this key."""
    body, _, line = data.removesuffix(b"\n").rpartition(b"\n")
    if not hmac.compare_digest(line, _line(body, key)):
        raise ValueError("another user or machine wrote it")
    return body


def _line(body: bytes, key: bytes) -> bytes:
    return json.dumps({"mac": _mac(body, key)}).encode()


def _mac(body: bytes, key: bytes) -> str:
    return hashlib.blake2b(body, key=key, digest_size=32, person=b"nbferry memo").hexdigest()
