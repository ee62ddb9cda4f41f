"""What two sides tell each other before they connect, sealed and through the relay: how each can be reached.

A *call* and its *answer* say where a side listens. A *description* says how a side can be reached by a path that needs
one, such as WebRTC; it follows later, because a side needs longer to find that out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbferry.errors import RemoteProtocolError
from nbferry.model.paths import Via

NONCE_BYTES = 16


@dataclass(frozen=True)
class Signal:
    """A call or an answer: a fresh nonce, the caller's nonce if it is an answer, where we listen, our mark."""

    nonce: bytes
    urls: list[str] = field(repr=False)  # their paths are secret
    machine: str  # a mark that only processes on our loopback interface recognise
    to: bytes = b""

    def encode(self) -> bytes:
        """As JSON, to be sealed."""
        return _encode(self.nonce, self.to, urls=self.urls, machine=self.machine)


@dataclass(frozen=True)
class Described:
    """A description for one path of one call, with the nonces of its sender and of its reader; it holds a password."""

    nonce: bytes
    to: bytes
    via: Via
    description: Mapping[str, Any] = field(repr=False)

    def encode(self) -> bytes:
        """As JSON, to be sealed."""
        return _encode(self.nonce, self.to, **{self.via: self.description})


class Descriptions:
    """The descriptions of one call, by path; what comes for another path is kept for it."""

    def __init__(self, receive: Callable[[], Awaitable[Described]], nonce: bytes, to: bytes) -> None:
        """``receive`` waits for the next one. Only those from ``nonce`` to ``to`` belong to this call."""
        self._receive = receive
        self._nonces = nonce, to
        self._known: dict[Via, Mapping[str, Any]] = {}
        self._receiving = asyncio.Lock()

    async def of(self, via: Via) -> Mapping[str, Any]:
        """The description for one path. Several paths may wait at once."""
        while via not in self._known:
            async with self._receiving:
                if via not in self._known:
                    described = await self._receive()
                    if (described.nonce, described.to) == self._nonces:
                        self._known[described.via] = described.description
        return self._known.pop(via)


def decode(raw: bytes) -> Signal | Described:
    """Read what the authenticated peer sent. Addresses and descriptions are checked later, where they are used."""
    try:
        fields = json.loads(raw)
        nonce, to = bytes.fromhex(fields["nonce"]), bytes.fromhex(fields["to"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable() from error
    if len(nonce) != NONCE_BYTES or len(to) not in (0, NONCE_BYTES):
        raise _unreadable()
    for via in Via.choices():
        if to and isinstance(description := fields.get(via), dict):
            return Described(nonce, to, via, description)
    match fields:
        case {"urls": list(urls), "machine": str(machine)}:
            return Signal(nonce, urls, machine, to)
    raise _unreadable()


def unhex(text: str) -> bytes:
    """What came through a mailbox, as bytes."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _unreadable() from error


def _encode(nonce: bytes, to: bytes, **fields: object) -> bytes:
    return json.dumps({"nonce": nonce.hex(), "to": to.hex(), **fields}).encode()


def _unreadable() -> RemoteProtocolError:
    return RemoteProtocolError("A call cannot be read.")
