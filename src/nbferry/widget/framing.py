"""A message on a line, as bytes: ``u32 big-endian length of the JSON | JSON (UTF-8) | buffer``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nbferry.errors import RemoteProtocolError

LENGTH_BYTES = 4


def pack(message: Mapping[str, Any]) -> bytes:
    """Return the bytes that precede the buffer."""
    fields = json.dumps(message, separators=(",", ":")).encode()
    return len(fields).to_bytes(LENGTH_BYTES) + fields


def unpack(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Return the message, and its buffer as a view of the same bytes; raises :class:`RemoteProtocolError`."""
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES])
    if not LENGTH_BYTES <= end <= len(data):
        raise RemoteProtocolError("A message on a line is too short.")
    return unpack_fields(data[LENGTH_BYTES:end]), data[end:]


def unpack_fields(data: memoryview) -> dict[str, Any]:
    """Parse a JSON object; raises :class:`RemoteProtocolError`."""
    try:
        fields = json.loads(str(data, "utf-8"))
    except (ValueError, RecursionError):
        raise RemoteProtocolError("A message on a line is not JSON.") from None
    if not isinstance(fields, dict):
        raise RemoteProtocolError("A message on a line is not a JSON object.")
    return fields
