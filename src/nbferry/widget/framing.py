"""A message as one run of bytes, for a line: ``u32 big-endian length of the JSON | JSON (UTF-8) | buffer``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nbferry.errors import RemoteProtocolError

LENGTH_BYTES = 4


def pack(message: Mapping[str, Any]) -> bytes:
    """What stands in front of the buffer."""
    fields = json.dumps(message, separators=(",", ":")).encode()
    return len(fields).to_bytes(LENGTH_BYTES) + fields


def unpack(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """The message, and its buffer as a view of the same bytes; raises :class:`RemoteProtocolError`."""
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES])
    if not LENGTH_BYTES <= end <= len(data):
        raise RemoteProtocolError("A message on a line is shorter than it says.")
    return unpack_fields(data[LENGTH_BYTES:end]), data[end:]


def unpack_fields(data: memoryview) -> dict[str, Any]:
    """A JSON object; raises :class:`RemoteProtocolError`."""
    try:
        fields = json.loads(str(data, "utf-8"))
    except (ValueError, RecursionError):
        raise RemoteProtocolError("A message on a line is no JSON.") from None
    if not isinstance(fields, dict):
        raise RemoteProtocolError("A message on a line is no JSON object.")
    return fields
