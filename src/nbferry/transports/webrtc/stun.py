"""Ask STUN and TURN servers whether they answer, and at which address others see us, or could reach us.

Every request ends in time, look-ups of names included. Nothing is raised: silence is a result too.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from aioice import stun, turn
from typing_extensions import override

from nbferry.model.ice_servers import IceServer
from nbferry.model.names import display_name

# To give an address back to a TURN server, which takes it back itself after ten minutes.
FAREWELL_SECONDS = 0.5
_SHOWN = 100  # characters of a server's reason

T = TypeVar("T")

Address = tuple[str, int]


@dataclass(frozen=True)
class StunAnswer:
    """A server's answer: our address as it sees us (STUN), or one that it lends us (TURN); else the problem.

    ``asked`` is the IP address of its name, "" if that was not found; ``heard`` is whether it answered, even with a
    refusal.
    """

    server: IceServer
    address: Address | None = None
    problem: str = ""
    asked: str = ""
    heard: bool = False


async def ask_server(servers: Iterable[IceServer], within: float) -> list[StunAnswer]:
    """Ask all at once, for ``within`` seconds, and answer in their order.

    STUN servers are asked from one socket, so that their answers tell whether a NAT gives it one port for all.
    """
    sockets = _Sockets()
    try:
        return await asyncio.gather(*(_ask(server, sockets, within) for server in servers))
    finally:
        sockets.close()


async def _ask(server: IceServer, sockets: _Sockets, within: float) -> StunAnswer:
    asked = ""
    try:
        async with asyncio.timeout(within):
            family, where = await _look_up(server)
            asked = where[0]
            if server.kind == "stun":
                address = await (await sockets.of(family)).ask(where)
            else:
                address = await _lent_by(server)
            return StunAnswer(server, address, asked=asked, heard=True)
    except (OSError, stun.TransactionError, ValueError) as error:  # TimeoutError is an OSError
        heard = bool(asked) and isinstance(error, (stun.TransactionFailed, ValueError))
        return StunAnswer(server, problem=_in_words(error), asked=asked, heard=heard)


async def _lent_by(server: IceServer) -> Address:
    """Borrow an address and give it back. The name was looked up before, because aioice's look-up has no timeout."""
    lent, end = await turn.create_turn_endpoint(
        _End,
        (server.host, server.port),
        server.username,
        server.credential,
        ssl=server.tls,
        transport=server.transport,
    )
    address: Address = lent.get_extra_info("sockname")
    lent.close()
    await asyncio.wait([end.lost], timeout=FAREWELL_SECONDS)
    return address


class _End(asyncio.DatagramProtocol):
    """Our end of an address that a TURN server lends."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


class _Sockets:
    """UDP sockets, one for each family of addresses, opened when they are needed."""

    def __init__(self) -> None:
        self._open: dict[int, _Socket] = {}
        self._opening = asyncio.Lock()

    async def of(self, family: int) -> _Socket:
        """The socket of a family. Raises OSError if this machine has no such addresses."""
        async with self._opening:
            if family not in self._open:
                loop = asyncio.get_running_loop()
                _, self._open[family] = await loop.create_datagram_endpoint(_Socket, family=family)
            return self._open[family]

    def close(self) -> None:
        for each in self._open.values():
            each.close()


class _Socket(asyncio.DatagramProtocol):
    """A UDP socket from which STUN servers are asked; requests are repeated by aioice."""

    _transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self._asked: dict[bytes, stun.Transaction] = {}

    async def ask(self, address: Address) -> Address:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        self._asked[request.transaction_id] = transaction = stun.Transaction(request, address, self)
        response, _ = await transaction.run()
        seen = response.attributes
        found: Address | None = seen.get("XOR-MAPPED-ADDRESS") or seen.get("MAPPED-ADDRESS")
        if not found:
            raise ValueError("it does not say our address")
        return found

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own transport does not inherit from it.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def send_stun(self, message: stun.Message, addr: Address) -> None:
        """Send what a transaction wants sent."""
        self._transport.sendto(bytes(message), addr)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        with suppress(ValueError, struct.error):  # a stranger's datagram is no STUN message
            message = stun.parse_message(data)
            if transaction := self._asked.get(message.transaction_id):
                transaction.response_received(message, addr)

    def close(self) -> None:
        self._transport.close()


_PROBLEMS: list[tuple[type[Exception] | tuple[type[Exception], ...], str]] = [
    ((TimeoutError, stun.TransactionTimeout), "does not answer"),
    ((socket.gaierror, UnicodeError), "is a name that is not known here"),
    (ssl.SSLCertVerificationError, "has a certificate that is not trusted here"),
]


def _in_words(error: Exception) -> str:
    if known := next((words for kind, words in _PROBLEMS if isinstance(error, kind)), ""):
        return known
    if isinstance(error, stun.TransactionFailed):
        return _refusal(*error.response.attributes.get("ERROR-CODE", (0, "")))
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else "no connection"
        return f"cannot be reached ({why.lower()})"
    return "answers, but not as such a server does"


def _refusal(code: int, reason: str) -> str:
    if code == 401:
        return "refuses this user name or secret"
    return f"refuses ({code}: {display_name(reason, _SHOWN)})"


# ------------------------------------------------------------------ names
async def _look_up(server: IceServer) -> tuple[int, Address]:
    """Family and address of a server, IPv4 if it has one, because NATs concern IPv4.

    A separate thread looks it up, so that a timeout can leave it behind: a look-up without a network can take minutes.
    """
    kind = socket.SOCK_DGRAM if server.transport == "udp" else socket.SOCK_STREAM
    found = await _in_own_thread(lambda: socket.getaddrinfo(server.host, server.port, type=kind))
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def _in_own_thread(work: Callable[[], T]) -> Awaitable[T]:
    """The result of ``work``. The thread ends with the process at the latest."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(say: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so the caller is gone
            loop.call_soon_threadsafe(lambda: None if outcome.done() else say(what))

    def run() -> None:
        try:
            found = work()
        except (OSError, UnicodeError) as error:
            tell(outcome.set_exception, error)
        else:
            tell(outcome.set_result, found)

    threading.Thread(target=run, name="look-up", daemon=True).start()
    return outcome
