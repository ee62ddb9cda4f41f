"""The laboratory itself: which packets pass which router, with aioice alone, and the doctor's findings there."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import pytest
from aioice import Candidate, Connection

from nbferry.cli import doctor
from nbferry.model.ice_servers import IceServer, ice_servers
from network.coturn import WEB_PORT, Coturn
from network.internet import HOME, OUTSIDE, PUBLIC, Internet, Nat
from network.stun import StunServer

# Seconds for packets that arrive.
PATIENCE = 10.0
# Seconds for packets that do not: ten times as long as they would take.
BRIEF = 2.0
Servers = tuple[StunServer, StunServer]


class Description(NamedTuple):
    """What one side must know of the other."""

    candidates: list[Candidate]
    username: str
    password: str


class Side:
    """One of two ICE peers, in its network, with a STUN server or a TURN server."""

    def __init__(self, server: str, *, controlling: bool) -> None:
        self.description: Future[Description] = Future()
        self._server = ice_servers(server)[0]
        self._controlling = controlling

    async def meet(self, other: Side, within: float) -> set[str]:
        """Connect and exchange a packet. Returns the kinds of both candidates. Raises TimeoutError if no path works."""
        connection = Connection(ice_controlling=self._controlling, **_asking(self._server))
        try:
            await connection.gather_candidates()
            self.description.set_result(
                Description(connection.local_candidates, connection.local_username, connection.local_password)
            )
            await _learn(connection, await asyncio.wrap_future(other.description))
            async with asyncio.timeout(within):
                await connection.connect()
                await connection.send(b"hello")
                assert await connection.recv() == b"hello"
            way = connection._nominated[1]
            return {way.local_candidate.type, way.remote_candidate.type}
        finally:
            await connection.close()


def _asking(server: IceServer) -> dict[str, Any]:
    address = server.host, server.port
    if server.kind == "stun":
        return {"stun_server": address}
    return {
        "turn_server": address,
        "turn_username": server.username,
        "turn_password": server.credential,
        "turn_transport": server.transport,
        "turn_ssl": server.tls,
    }


async def _learn(connection: Connection, peer: Description) -> None:
    for candidate in [*peer.candidates, None]:
        await connection.add_remote_candidate(candidate)
    connection.remote_username, connection.remote_password = peer.username, peer.password


def meet(internet: Internet, one: str, other: str, within: float = PATIENCE) -> list[set[str]]:
    """Connect the homes, each with its server. Returns both ends of each home's path."""
    sides = Side(one, controlling=True), Side(other, controlling=False)
    ways = [
        home.start(partial(asyncio.run, side.meet(peer, within)))
        for home, side, peer in zip((internet.one, internet.other), sides, reversed(sides), strict=True)
    ]
    return [way.result(2 * PATIENCE) for way in ways]


# ------------------------------------------------------------------ the routers
def test_two_homes_connect_directly(internet: Internet, stun: Servers) -> None:
    """Behind ordinary routers the answers of STUN servers are enough for a direct path."""
    ways = meet(internet, stun[0].url, stun[1].url)
    assert not any("relay" in way for way in ways)
    assert {address for address, _ in (stun[0].heard[0], stun[1].heard[0])} == set(OUTSIDE)


@pytest.mark.parametrize(
    ("one", "other"), [(Nat.NO_UDP, Nat.ORDINARY), (Nat.SYMMETRIC, Nat.SYMMETRIC)], ids=lambda nat: nat.name
)
def test_two_homes_without_a_direct_path(
    internet: Internet, stun: Servers, one: Nat, other: Nat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STUN does not help if a router drops UDP, or if both take another port for each destination."""
    monkeypatch.setattr(
        Connection.get_component_candidates, "__defaults__", (0.5,)
    )  # seconds to wait for STUN servers
    internet.behind(one, other)
    with pytest.raises(TimeoutError):
        meet(internet, stun[0].url, stun[1].url, within=BRIEF)


@pytest.mark.parametrize(
    ("nat", "how"),
    [
        (Nat.SYMMETRIC, {"transport": "udp"}),
        (Nat.NO_UDP, {"transport": "tcp"}),
        (Nat.WEB_ONLY, {"transport": "tcp", "port": WEB_PORT, "tls": True}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_turn_server_helps(
    internet: Internet, coturn: Coturn, stun: Servers, nat: Nat, how: dict[str, Any]
) -> None:
    """A TURN server that the router lets out to connects a home that has no direct path."""
    internet.behind(nat, Nat.ORDINARY)
    assert all("relay" in way for way in meet(internet, coturn.url(**how), stun[0].url))


def test_unasked_packets_are_dropped(internet: Internet) -> None:
    """The public host cannot reach a listener in a home."""
    with internet.one.call(lambda: socket.create_server((HOME, 0))) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(TimeoutError):
            internet.public.call(lambda: socket.create_connection((OUTSIDE[0], port), timeout=0.2))


def test_bytes_of_a_port_are_counted(internet: Internet) -> None:
    """Bytes that arrive for a port are counted, and no others."""
    internet.public.count(PUBLIC, 7000)
    with internet.public.call(lambda: socket.create_server((PUBLIC, 7000))):
        before = internet.public.counted
        with internet.one.call(lambda: socket.create_connection((PUBLIC, 7000), timeout=PATIENCE)) as there:
            there.sendall(bytes(1000))
            there.shutdown(socket.SHUT_WR)
    assert before == 0
    assert 1000 < internet.public.counted < 2000


# ------------------------------------------------------------------ the doctor
@pytest.mark.parametrize(
    ("nat", "wrong"),
    [
        (Nat.ORDINARY, set()),
        (Nat.SYMMETRIC, {"NAT"}),
        (Nat.NO_UDP, {"UDP", "stun"}),
    ],
    ids=lambda value: value.name if isinstance(value, Nat) else "",
)
def test_findings_of_the_doctor(
    internet: Internet, stun: Servers, coturn: Coturn, nat: Nat, wrong: set[str]
) -> None:
    """Behind each router the doctor says what works and what does not."""
    internet.behind(nat, Nat.ORDINARY)
    servers = [stun[0].url, stun[1].url, coturn.url("tcp", WEB_PORT)]
    found = internet.one.call(lambda: list(doctor._webrtc(ice_servers(servers), BRIEF)))
    assert {check.what.partition(":")[0] for check in found if not check.good} == wrong
