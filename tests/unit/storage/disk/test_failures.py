"""What the errors of the system become."""

from __future__ import annotations

import errno
import os

import pytest

from nbferry.errors import DiskFull, NbferryError, StorageError, UnsafePath
from nbferry.storage.disk.failures import translated


def becomes(error: Exception, missing: int = 0) -> NbferryError:
    """What is raised in place of an error."""
    with pytest.raises(NbferryError) as caught, translated('Writing in "x"', lambda: missing):
        raise error
    return caught.value


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number: int) -> None:
    """No space and no quota are a full disk, on which the transfer goes on later."""
    error = becomes(OSError(number, "No space left on device"), 5000)
    assert isinstance(error, DiskFull)
    assert error.needed == 5000
    assert error.retryable
    least = becomes(OSError(number, ""))
    assert isinstance(least, DiskFull)
    assert least.needed == 1


NAMES = [
    "EACCES",
    "EPERM",
    "EROFS",
    "EIO",
    "ENAMETOOLONG",
    "EFBIG",
    "EMFILE",
    "ENOTDIR",
    "ELOOP",
    "ENOENT",
    "ESTALE",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_and_a_hint(name: str) -> None:
    """Each error is a sentence that says what failed and why, and a hint on what to do."""
    number = getattr(errno, name)
    error = becomes(OSError(number, os.strerror(number)))
    assert type(error) is StorageError
    assert not error.retryable
    assert error.message == f'Writing in "x" failed: {os.strerror(number)}.'
    assert error.hint.endswith(".")


def test_an_error_without_a_number() -> None:
    """An error that the system does not number still says something."""
    assert str(becomes(OSError())) == 'Writing in "x" failed: OSError.'


def test_our_own_errors_pass() -> None:
    """What is one of ours already stays as it is."""
    error = UnsafePath("x")
    assert becomes(error) is error


def test_nothing_fails() -> None:
    """Without an error nothing happens."""
    with translated("Nothing"):
        pass
