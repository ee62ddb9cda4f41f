"""Every error has one sentence, a hint and a code for the wire."""

from __future__ import annotations

import re

import pytest

from nbferry import errors
from nbferry.errors import (
    BY_CODE,
    ConnectFailed,
    DiskFull,
    Interrupted,
    NbferryError,
    SourceAway,
    StorageError,
    TransportError,
    UnsafePath,
    from_code,
)

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NbferryError)]


def made(kind: type[NbferryError]) -> NbferryError:
    """An error with default texts."""
    return kind(5) if kind is DiskFull else kind()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_one_sentence_and_a_hint(kind: type[NbferryError]) -> None:
    """A message is one sentence; a hint is empty or separate sentences."""
    error = made(kind)
    assert re.fullmatch(r"[A-Z][^\n]*[^. ]\.", error.message)
    assert re.fullmatch(r"([A-Z][^\n]*\.)?", error.hint)
    assert str(error) == f"{error.message} {error.hint}".strip()
    assert error.args == (error.message,)


def test_codes_are_unique() -> None:
    """Each class has a unique code, which finds it."""
    assert sorted(kind.code for kind in ALL) == sorted(BY_CODE)
    assert set(BY_CODE.values()) == set(ALL)
    assert all(BY_CODE[kind.code] is kind for kind in ALL)


@pytest.mark.parametrize("kind", ALL)
def test_the_tree_is_as_documented(kind: type[NbferryError]) -> None:
    """The module's docstring lists every class below its parent."""
    line = next(
        line for line in (errors.__doc__ or "").splitlines() if re.search(rf"\b{kind.__name__}\b", line)
    )
    family = re.findall(r"\w+", line.partition("(")[0])
    if kind not in (NbferryError, errors.LocalProtocolError, errors.RemoteProtocolError):
        parent = kind.__mro__[1].__name__
        assert parent in family or parent == "NbferryError"


def test_retried_errors() -> None:
    """Lost connections, a full disk and an absent page are retried; an interrupted transfer can be resumed."""
    assert {kind for kind in ALL if kind.retryable} == {
        *(kind for kind in ALL if issubclass(kind, TransportError)),
        DiskFull,
        SourceAway,
        Interrupted,
    }


def test_own_texts() -> None:
    """A given message and hint replace those of the class, and an empty hint removes it."""
    error = UnsafePath("Bad.", hint="")
    assert (error.message, error.hint, str(error)) == ("Bad.", "", "Bad.")
    assert UnsafePath("Bad.").hint == UnsafePath.default_hint


def test_tried_paths() -> None:
    """A failed connection lists the tried paths with their results."""
    error = ConnectFailed(tried=("direct: refused", "relay: no answer"))
    assert error.message == "No connection could be made (direct: refused; relay: no answer)."
    assert error.tried == ("direct: refused", "relay: no answer")
    assert ConnectFailed("Gone", tried=("x",)).message == "Gone (x)."
    assert ConnectFailed("Gone.").message == "Gone."
    assert ConnectFailed().tried == ()


def test_a_full_disk_says_how_much() -> None:
    """A full disk reports the missing bytes, for people and for programs."""
    error = DiskFull(1_234_567)
    assert error.needed == 1_234_567
    assert "1,234,567" in error.message


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not DiskFull])
def test_errors_travel(kind: type[NbferryError]) -> None:
    """A code from the wire becomes its error, with the message sent with it."""
    error = from_code(kind.code, "Something happened there.")
    assert type(error) is kind
    assert error.message == "Something happened there."


def test_errors_that_change_on_the_wire() -> None:
    """A peer's full disk is not retried, an unknown code is a plain error, and an empty message gets the default."""
    assert type(from_code("disk-full", "Full.")) is StorageError
    assert type(from_code("from-the-future", "New.")) is NbferryError
    assert from_code("unsafe-path", "").message == UnsafePath().message
