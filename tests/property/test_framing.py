"""Every message of a line is read back, and any bytes are a message or an error."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbferry.errors import RemoteProtocolError
from nbferry.widget.framing import pack, unpack, unpack_fields

TEXT = st.text(st.characters(categories=None), max_size=20)  # lone surrogates, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(TEXT, JSON, max_size=6), st.binary(max_size=100))
def test_round_trip(message: dict[str, Any], buffer: bytes) -> None:
    """Object and buffer are read back unchanged."""
    assert unpack(memoryview(pack(message) + buffer)) == (message, buffer)


@given(st.binary(max_size=100))
@example(b"")
@example(b"\0\0\0\0")
@example(b"\0\0\0\2[]")
@example(b"\xff\xff\xff\xff{}")
@example(b"\0\0\0\1\xff")
def test_anything(data: bytes) -> None:
    """Any bytes give a message or RemoteProtocolError."""
    with suppress(RemoteProtocolError):
        message, buffer = unpack(memoryview(data))
        assert isinstance(message, dict)
        assert data.endswith(buffer)


@given(st.dictionaries(TEXT, JSON, max_size=3), st.data())
def test_cut_short(message: dict[str, Any], data: st.DataObject) -> None:
    """A truncated message is an error."""
    packed = pack(message)
    with pytest.raises(RemoteProtocolError):
        unpack(memoryview(packed[: data.draw(st.integers(0, len(packed) - 1))]))


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[1]", b'"x"', b"{", b"{}{}", b"\xff", b'{"a":' * 100_000, b"9" * 5_000]
)
def test_no_object(text: bytes) -> None:
    """Text that is no JSON object is an error, however deep or long it is."""
    with pytest.raises(RemoteProtocolError):
        unpack_fields(memoryview(text))


def test_the_buffer_is_not_copied() -> None:
    """The buffer that is read is a view of the message."""
    came = bytearray(pack({"re": 1}) + b"old")
    _, buffer = unpack(memoryview(came))
    came[-3:] = b"new"
    assert buffer == b"new"
