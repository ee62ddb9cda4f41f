"""Frames written and read by hand, for tests that act as one side."""

from __future__ import annotations

import json
from typing import Any

from nbferry.protocol.frames import PIECE_HEADER, Control, decode
from nbferry.protocol.machine import Machine


def control(name: str, **fields: Any) -> memoryview:
    """A control frame."""
    return raw({"frame": name, **fields})


def raw(body: Any) -> memoryview:
    """A control frame of any JSON, right or wrong."""
    return memoryview(b"\x01" + json.dumps(body).encode())


def hello(role: str, **fields: Any) -> memoryview:
    """The greeting of a side."""
    return control("hello", **({"protocol": [1], "role": role, "agent": "test/1", "features": []} | fields))


def piece(chunk: int, data: bytes, digest: bytes = bytes(32), offset: int = 0) -> bytes:
    """A piece with its header."""
    return PIECE_HEADER.pack(chunk, offset, len(data), digest) + data


def chunk_frame(*pieces: bytes) -> memoryview:
    """A chunk frame of such pieces."""
    return memoryview(b"\x02" + b"".join(pieces))


def drain(machine: Machine, now: float = 0.0) -> list[Control]:
    """Every frame that a machine has to send; chunk frames appear as ``chunks`` with their numbers."""
    frames = []
    while (frame := machine.next_frame(now)) is not None:
        read = decode(memoryview(bytes(frame)))
        numbers = None if isinstance(read, Control) else [piece.chunk for piece in read]
        frames.append(read if isinstance(read, Control) else Control("chunks", {"numbers": numbers}))
    return frames


def names(frames: list[Control]) -> list[str]:
    """The names of frames."""
    return [frame.name for frame in frames]


def the(frames: list[Control], name: str) -> dict[str, Any]:
    """The fields of the only frame with this name."""
    (fields,) = [frame.fields for frame in frames if frame.name == name]
    return fields
