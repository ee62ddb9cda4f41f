"""The relay's client: mailboxes where two sides leave messages, and channels through which sealed bytes pass.

The docstring of :mod:`nbferry.relay.core` specifies the wire for both ends. This module speaks it over any transport.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

from nbferry.errors import (
    CodeBurnt,
    CodeExpired,
    CodeNotFound,
    CodeUsed,
    ConnectFailed,
    NbferryError,
    RelayRefused,
    RemoteProtocolError,
)
from nbferry.limits import Limits
from nbferry.transports.base import Transport

HOST = 0  # the number of the host among the members of a room

_REFUSALS: dict[str, type[NbferryError]] = {
    "room-unknown": CodeNotFound,
    "room-used": CodeUsed,
    "room-burnt": CodeBurnt,
    "room-expired": CodeExpired,
    "room-closed": CodeNotFound,
}


class Refused(RelayRefused):
    """The relay refused a request. ``reason`` is its code; ``retry_after`` seconds, if it named some."""

    def __init__(self, reason: str, message: str, retry_after: float | None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"The relay refused: {message}")


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member joined; ``HOST``: the host is back."""

    member: int


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member left; ``HOST``: the host left."""

    member: int


@dataclass(frozen=True, slots=True)
class MailboxMessage:
    """A message from a member, or from the host."""

    sender: int
    body: str


class Mailbox:
    """One socket in one room: the host's, or a member's."""

    def __init__(self, transport: Transport, room: str) -> None:
        self._transport = transport
        self.room = room

    @classmethod
    async def create(
        cls,
        transport: Transport,
        *,
        key: str,
        room: str | None,
        seconds: float,
        within: float = Limits.connect_timeout,
    ) -> Mailbox:
        """Host a room: a new one under a free number, or the one named. Takes over a room of the same key.

        The room lives for ``seconds``; the relay must answer ``within`` so many seconds.
        """
        request = {"type": "create", "room": room, "key": key, "seconds": math.ceil(seconds)}
        answer = await _ask_at_once(transport, request, "created", within)
        name = answer.get("room")
        if not isinstance(name, str):
            await transport.aclose()
            raise RemoteProtocolError("The relay named no room.")
        return cls(transport, name)

    @classmethod
    async def join(
        cls, transport: Transport, room: str, *, within: float = Limits.connect_timeout
    ) -> Mailbox:
        """Enter a room. Raises :class:`CodeNotFound`, :class:`CodeUsed`, :class:`CodeBurnt`, :class:`CodeExpired`."""
        await _ask_at_once(transport, {"type": "join", "room": room}, "joined", within)
        return cls(transport, room)

    async def send(self, body: str, *, to: int = HOST) -> None:
        """Leave a message for a member (as the host) or for the host."""
        await _say(self._transport, {"type": "message", "to": to, "body": body})

    async def receive(self) -> MemberJoined | MemberLeft | MailboxMessage:
        """Wait for the next event in the room; raises like :meth:`join` when the room ends."""
        while True:
            match await _hear(self._transport):
                case {"type": "joined", "member": int(member)}:
                    return MemberJoined(member)
                case {"type": "left", "member": int(member)}:
                    return MemberLeft(member)
                case {"type": "message", "from": int(sender), "body": str(body)}:
                    return MailboxMessage(sender, body)

    async def close_room(self, reason: str) -> None:
        """End the room, as its host. ``reason`` is "used", "burnt", "expired" or "closed"."""
        await _say(self._transport, {"type": "close", "reason": reason})

    async def aclose(self) -> None:
        """Leave."""
        await self._transport.aclose()


async def open_channel(transport: Transport, *, room: str, channel: str) -> Transport:
    """Wait for the other side in a channel; then the transport carries its messages."""
    await _ask(transport, {"type": "channel", "room": room, "channel": channel}, "paired")
    return transport


async def _ask_at_once(
    transport: Transport, request: dict[str, Any], expected: str, within: float
) -> dict[str, Any]:
    """Send a request and wait for the answer; close the transport on any failure."""
    try:
        async with asyncio.timeout(within):
            return await _ask(transport, request, expected)
    except TimeoutError:
        await transport.aclose()
        raise ConnectFailed("The relay does not answer.") from None
    except BaseException:
        await transport.aclose()
        raise


async def _ask(transport: Transport, request: dict[str, Any], expected: str) -> dict[str, Any]:
    await _say(transport, request)
    answer = await _hear(transport)
    if answer.get("type") != expected:
        raise RemoteProtocolError("The relay's answer does not match the request.")
    return answer


async def _say(transport: Transport, message: dict[str, Any]) -> None:
    await transport.send_bytes(json.dumps(message).encode())


async def _hear(transport: Transport) -> dict[str, Any]:
    raw = await transport.receive()
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("The relay sent something unreadable.") from error
    if not isinstance(message, dict):
        raise RemoteProtocolError("The relay sent something unreadable.")
    if message.get("type") == "error":
        raise _refusal(message)
    return message


def _refusal(message: dict[str, Any]) -> NbferryError:
    code, text, retry = message.get("code"), message.get("message"), message.get("retry_after")
    if isinstance(code, str) and code in _REFUSALS:
        return _REFUSALS[code]()
    return Refused(str(code), str(text)[:200], retry if isinstance(retry, int | float) else None)
