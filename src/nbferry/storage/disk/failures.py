"""Turns errors of the operating system into ours: one sentence, and a hint on what to do next."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbferry.errors import DiskFull, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_HINTS = {
    errno.EACCES: "Check the permissions, or choose another folder.",
    errno.EPERM: "Check the permissions, or choose another folder.",
    errno.EROFS: "The disk is read-only; choose another folder.",
    errno.EIO: "The disk or its connection failed; what was saved before is kept.",
    errno.ENAMETOOLONG: "Choose a folder with a shorter path, or ask the sender for shorter names.",
    errno.EFBIG: "This file system cannot hold a file of that size; choose another folder.",
    errno.EMFILE: "Too many files are open in this process; close some, or raise `ulimit -n`.",
    errno.ENFILE: "Too many files are open on this computer; close some programs.",
    errno.ENOTDIR: "A file has the name of a folder that is needed; choose another folder.",
    errno.EISDIR: "A folder has the name of a file that is needed; choose another folder.",
    errno.EEXIST: "A file has the name of a folder that is needed; choose another folder.",
    errno.ELOOP: "The path contains a link, which nbferry does not follow.",
    errno.ENOENT: "Another program removed it; start again.",
    errno.ESTALE: "The network drive lost the file; check the drive, then start again.",
    errno.EILSEQ: "This file system cannot store that name; choose another folder.",
}


@contextmanager
def translated(doing: str, missing: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Turn an OSError into a :class:`StorageError`, a full disk into :class:`DiskFull`.

    ``doing`` completes the sentence "... failed"; ``missing`` returns how many bytes the disk lacks.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing, missing) from error


def storage_error(error: OSError, doing: str, missing: Callable[[], int] = lambda: 0) -> StorageError:
    """Explain an error of the system to a person."""
    if error.errno in _FULL:
        return DiskFull(max(1, missing()))
    why = error.strerror or type(error).__name__
    return StorageError(f"{doing} failed: {why}.", hint=_HINTS.get(error.errno or 0, ""))
