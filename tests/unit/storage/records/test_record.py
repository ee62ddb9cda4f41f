"""A record as bytes: any bytes are read as a record or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.storage.records.record import AnyRecord, Record, decode, encode
from unit.storage.records.ledger_setup import RECEIVE, SECRET, SEND, UPLOAD


def test_secrets_are_not_shown() -> None:
    """A record in a log or a traceback shows no secret."""
    shown = repr((SEND, RECEIVE))
    for secret in (SECRET, "ab" * 16, "rrrr", "ssss", (b"r" * 32).hex()):
        assert secret not in shown


@pytest.mark.parametrize(
    "entry",
    [
        ["a", 1],
        ["a", 1, 1, 1],
        {"path": "a"},
        ["", 1, 1],
        ["a\0", 1, 1],
        ["a" * 5_000, 1, 1],
        ["a", -1, 1],
        ["a", True, 1],
        ["a", 1 << 60, 1],
        ["a", 1, 1 << 70],
        ["a", 1, 0.5],
        [1, 1, 1],
    ],
    ids=str,
)
def test_impossible_entries(entry: object) -> None:
    """A record with an impossible entry is refused."""
    fields = json.loads(encode(UPLOAD))
    fields["entries"] = json.dumps([entry])
    assert read(json.dumps(fields).encode()) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["send", "/a", "00" * 32]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def read(data: bytes) -> Record | None:
    """The record in these bytes, or None if they are refused; any other error fails the test."""
    try:
        return decode(data)
    except ValueError:
        return None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are a record or are refused."""
    read(data)


@pytest.mark.parametrize("record", [SEND, RECEIVE, UPLOAD], ids=lambda record: record.role)
@given(data=st.data())
def test_any_field(record: AnyRecord, data: st.DataObject) -> None:
    """With any value in a field, the record is refused or can be encoded again."""
    fields = json.loads(encode(record))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    found = read(json.dumps(fields).encode())
    if found is not None:
        assert decode(encode(found)) == found
