"""Finding a path between two ends (ICE, RFC 8445), by aioice.

Unlike plain aioice and aiortc, this asks every server, not only the first of each kind. Servers get a bounded time to
answer, and the candidates that exist by then are used. Loopback is a candidate, for two kernels of a machine without a
network. A gathering that is cancelled leaves nothing open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from aioice import Candidate as IceCandidate
from aioice import Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, relayed_candidate, server_reflexive_candidate
from aiortc import RTCIceCandidate, RTCIceGatherer, RTCIceParameters, RTCIceTransport
from typing_extensions import override

from nbferry.errors import ConnectFailed
from nbferry.model.ice_servers import IceServer
from nbferry.transports.webrtc.datagrams import DatagramSocket
from nbferry.transports.webrtc.description import MAX_CANDIDATES, MAX_DIALLED, Candidate, Description, best

LOOPBACK = "127.0.0.1"
FAREWELL = 1.0  # seconds that a socket, or an address of a TURN server, may take to close
EARLY_DATAGRAMS = 100  # kept before DTLS runs; an honest peer sends a few

Found = tuple[IceCandidate, StunProtocol | None]

log = logging.getLogger("nbferry")


class DatagramProtocol(StunProtocol):
    """Tells datagrams apart by their first byte, as RFC 7983 has it, before aioice tries to read them as STUN."""

    @override
    def datagram_received(self, data: bytes | memoryview | str, addr: tuple[Any, ...]) -> None:
        """Take a datagram; ``data`` may be a view that is valid during the call only."""
        assert not isinstance(data, str)
        if len(data) and 20 <= data[0] < 64:
            self.receiver.data_received(data, 1)  # type: ignore[arg-type]  # ours takes views
        elif len(data) and data[0] < 4:
            super().datagram_received(bytes(data), addr)

    @override
    async def close(self) -> None:
        """Close, without the 30 s for which aioice asks a TURN server that does not answer."""
        try:
            async with asyncio.timeout(FAREWELL):
                await super().close()
        except TimeoutError:
            log.info("a TURN server does not answer; the address that it lent us expires by itself")


class SingleDatagramProtocol(DatagramProtocol):
    """For TURN and sockets of asyncio, which do not tell when a row of datagrams ends."""

    @override
    def datagram_received(self, data: bytes | memoryview | str, addr: tuple[Any, ...]) -> None:
        super().datagram_received(data, addr)
        paths = self.receiver
        assert isinstance(paths, Paths)
        paths.drained_soon()


class ProtocolSocket(DatagramSocket):
    """A socket that tells a protocol when it is closed, as asyncio's do."""

    def __init__(self, address: tuple[str, int], protocol: StunProtocol, drained: Callable[[], None]) -> None:
        super().__init__(address, protocol.datagram_received, drained)  # type: ignore[arg-type]  # views, too
        self._protocol = protocol

    @override
    def close(self) -> None:
        """Close at once, and tell the protocol in the loop's next cycle."""
        if not self.is_closing():
            super().close()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


class Paths(Connection):
    """A connection of aioice with sockets and servers of our choice."""

    def __init__(self, *, controlling: bool, servers: Sequence[IceServer], gather_timeout: float) -> None:
        super().__init__(ice_controlling=controlling)
        self._servers = servers
        self._gather_timeout = gather_timeout
        self._received: Callable[[memoryview], None] | None = None
        self._drained: Callable[[], None] | None = None
        self._draining = False

    @override
    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # the name that aioice gives it
    ) -> list[IceCandidate]:
        """Gather host, reflexive and relayed candidates; aioice's ``gather_candidates`` calls this once."""
        for address in [*addresses[: MAX_DIALLED - 1], LOOPBACK]:
            try:
                await self._listen(component, address)
            except OSError as error:
                log.info("no data channel from %s: %s", address, error)
        found = await _answers(self._asked(component), self._gather_timeout)
        self._protocols += [protocol for _, protocol in found if protocol]
        return [protocol.local_candidate for protocol in self._host_protocols()] + [
            candidate for candidate, _ in found
        ]

    def _host_protocols(self) -> list[StunProtocol]:
        return [protocol for protocol in self._protocols if protocol.local_candidate.type == "host"]

    async def _listen(self, component: int, address: str) -> None:
        """Open a socket and make its address a candidate; loopback has the lowest priority."""
        protocol = await self._socket(address)
        host, port = protocol.transport.get_extra_info("sockname")[:2]
        preference = 0 if address == LOOPBACK else 65_535
        protocol.local_candidate = IceCandidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host", preference),
            host=host,
            port=port,
            type="host",
        )
        self._protocols.append(protocol)

    async def _socket(self, address: str) -> StunProtocol:
        """A socket of our own kind, or asyncio's where the loop cannot wait for ours (Windows)."""
        loop, protocol = asyncio.get_running_loop(), DatagramProtocol(self)
        try:
            transport: Any = ProtocolSocket((address, 0), protocol, self.drained)
        except NotImplementedError:
            _, single = await loop.create_datagram_endpoint(
                lambda: SingleDatagramProtocol(self), local_addr=(address, 0)
            )
            return single
        protocol.connection_made(transport)
        return protocol

    # ---------------------------------------------------------------- the data path, once ICE has found one
    def deliver_to(self, received: Callable[[memoryview], None], drained: Callable[[], None]) -> None:
        """From now on call ``received`` with each datagram that is not ICE's, and ``drained`` after some of them."""
        self._received, self._drained = received, drained
        while not self._queue.empty():
            if waiting := self._queue.get_nowait():
                received(memoryview(waiting[0]))
            else:
                self._queue.put_nowait(None)  # the end mark, for aiortc's reader of the queue
                break
        drained()

    @override
    def data_received(self, data: bytes | memoryview, component: int) -> None:
        """Take a datagram that is not ICE's. It may come from a stranger."""
        if not 20 <= data[0] < 64:  # not DTLS either
            return
        if self._received:
            self._received(memoryview(data))
        elif self._queue.qsize() < EARLY_DATAGRAMS:
            super().data_received(bytes(data), component)

    def drained(self) -> None:
        """Tell the receiver that a row of datagrams has ended."""
        if self._drained:
            self._drained()

    def drained_soon(self) -> None:
        """Call :meth:`drained` in the loop's next cycle, once."""
        if not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        self._draining = False
        self.drained()

    def send_all(self, datagrams: list[bytes]) -> None:
        """Send over the path that was found; raises ConnectionError if it is lost."""
        pair = self._nominated.get(1)
        if pair is None:
            raise ConnectionError("the path is lost")
        transport: Any = pair.protocol.transport
        if isinstance(transport, DatagramSocket):
            transport.send_all(datagrams, pair.remote_addr)
            return
        for datagram in datagrams:
            transport.sendto(datagram, pair.remote_addr)

    def may_fragment(self) -> None:
        """From now on let routers fragment datagrams."""
        for protocol in self._protocols:
            transport: Any = protocol.transport
            if isinstance(transport, DatagramSocket):
                transport.may_fragment()

    def _asked(self, component: int) -> list[Awaitable[Found]]:
        """One request to every TURN server, and one to every STUN server from each IPv4 socket (aioice's limit)."""
        asked: list[Awaitable[Found]] = []
        for server in self._servers:
            if server.kind == "turn":
                asked.append(self._relayed(component, server))
            else:
                asked += [
                    server_reflexive_candidate(protocol, (server.host, server.port))
                    for protocol in self._host_protocols()
                    if ":" not in protocol.local_candidate.host and protocol.local_candidate.host != LOOPBACK
                ]
        return asked

    def _relayed(self, component: int, server: IceServer) -> Awaitable[Found]:
        return relayed_candidate(
            component=component,
            hide_related_address=False,
            protocol_factory=lambda: SingleDatagramProtocol(self),
            turn_server=(server.host, server.port),
            turn_username=server.username,
            turn_password=server.credential,
            turn_ssl=server.tls,
            turn_transport=server.transport,
        )

    async def leave_loopback(self) -> None:
        """Close the sockets that lead to this machine only."""
        for protocol in self._host_protocols():
            if protocol.local_candidate.host == LOOPBACK:
                self._protocols.remove(protocol)
                await protocol.close()


async def _answers(asked: Iterable[Awaitable[Found]], seconds: float) -> list[Found]:
    """The answers that came in time; the others are cancelled."""
    tasks = [asyncio.ensure_future(question) for question in asked]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            log.info("no address from a STUN or TURN server: %s", outcome)
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


class Gatherer(RTCIceGatherer):
    """aiortc's gatherer around :class:`Paths`."""

    def __init__(self, *, controlling: bool, servers: Sequence[IceServer], gather_timeout: float) -> None:
        super().__init__(iceServers=[])
        self.paths = Paths(controlling=controlling, servers=servers, gather_timeout=gather_timeout)
        self._connection = self.paths

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates, each once (several servers may see the same address), and no more than a peer reads."""
        gathered = (
            Candidate(found.type, found.ip, found.port, found.priority, found.foundation)  # type: ignore[arg-type]  # of three kinds
            for found in self.getLocalCandidates()
        )
        different = {(each.kind, each.ip, each.port): each for each in gathered}
        return tuple(best(different.values(), MAX_CANDIDATES))


async def find_path(transport: RTCIceTransport, remote: Description, *, same_machine: bool) -> None:
    """Check the candidates until one pair works; raises :class:`ConnectFailed`."""
    gatherer = transport.iceGatherer
    assert isinstance(gatherer, Gatherer)
    if not same_machine:
        await gatherer.paths.leave_loopback()
    dialable = remote.dialable(same_machine=same_machine)
    for candidate in dialable:
        await transport.addRemoteCandidate(_for_aiortc(candidate))
    # Otherwise the list stays open: a check by the other side may reveal an address that we cannot dial.
    if len(dialable) == len(remote.candidates):
        await transport.addRemoteCandidate(None)
    await transport.start(RTCIceParameters(usernameFragment=remote.ufrag, password=remote.password))
    if transport.state != "completed":
        raise ConnectFailed(
            "No direct path to the other side was found",
            hint="A firewall or NAT on one side blocks it; a TURN server would help.",
        )


def _for_aiortc(candidate: Candidate) -> RTCIceCandidate:
    return RTCIceCandidate(
        component=1,
        foundation=candidate.foundation,
        ip=candidate.ip,
        port=candidate.port,
        priority=candidate.priority,
        protocol="udp",
        type=candidate.kind,
    )
