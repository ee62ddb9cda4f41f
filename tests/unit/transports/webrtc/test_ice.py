"""Candidates, and the servers that give some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aioice import stun

from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer, ice_servers
from nbferry.transports.webrtc import ice as module
from nbferry.transports.webrtc.datachannel import Peer
from nbferry.transports.webrtc.description import MAX_CANDIDATES, Description
from nbferry.transports.webrtc.ice import Gatherer

HERE = "127.0.0.1"
PATIENCE = 60  # seconds after which something hangs
LIMITS = Limits(gather_timeout=PATIENCE / 2)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


class StunServer(asyncio.DatagramProtocol):
    """Says that we are at a documentation address; ``port`` None: with the port that we have."""

    def __init__(self, mapped: str, port: int | None = 4242) -> None:
        self.mapped = mapped
        self.port = port

    async def open(self) -> IceServer:
        """Where it is."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("0.0.0.0", 0))
        return IceServer("stun", HERE, self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question."""
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = (self.mapped, self.port or addr[1])
        self.transport.sendto(bytes(answer), addr)


class SilentServer(asyncio.DatagramProtocol):
    """A server that hears and says nothing."""

    async def open(self) -> IceServer:
        """Where it is."""
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(HERE, 0))
        return IceServer("stun", HERE, self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question."""
        self.asked.set()


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one address beside loopback, which is loopback as well."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.2"])


def test_loopback_is_a_candidate(hosts):
    """The last one, for two kernels on a machine without a network."""

    async def scenario() -> None:
        peer = await Peer.start(controlling=True, servers=(), limits=Limits())
        assert [each.ip for each in peer.description.candidates] == ["127.0.0.2", HERE]
        priorities = [each.priority for each in peer.description.candidates]
        assert priorities[0] > priorities[1]
        await peer.aclose()
        await peer.aclose()

    run(scenario)


def test_a_machine_with_many_addresses_names_a_few(monkeypatch):
    """As many as a peer would try."""
    many = [f"127.0.1.{n}" for n in range(40)]
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: many)

    async def scenario() -> None:
        peer = await Peer.start(controlling=True, servers=(), limits=Limits())
        assert len(peer.description.candidates) == module.MAX_DIALLED
        await peer.aclose()

    run(scenario)


def test_an_address_that_cannot_be_bound_is_passed_over(monkeypatch):
    """It went away between being listed and being used."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["192.0.2.77"])

    async def scenario() -> None:
        peer = await Peer.start(controlling=True, servers=(), limits=Limits())
        assert [each.ip for each in peer.description.candidates] == [HERE]
        await peer.aclose()

    run(scenario)


def test_every_server_is_asked(hosts, monkeypatch):
    """What two of them say is known, though a third is silent, and that costs no more than its time."""
    monkeypatch.setattr(module, "LOOPBACK", "127.0.0.3")
    ask, answers = module.server_reflexive_candidate, []

    async def answered(*arguments: Any) -> Any:
        answers.append(await ask(*arguments))
        if len(answers) == 2:
            _let_pass(LIMITS.gather_timeout)
        return answers[-1]

    monkeypatch.setattr(module, "server_reflexive_candidate", answered)

    async def scenario() -> None:
        servers, silent = [StunServer("192.0.2.1"), StunServer("192.0.2.2")], SilentServer()
        asked = [await silent.open(), *[await server.open() for server in servers]]
        peer = await Peer.start(controlling=True, servers=asked, limits=LIMITS)
        found = {each.ip for each in peer.description.candidates if each.kind == "srflx"}
        assert found == {"192.0.2.1", "192.0.2.2"}
        await peer.aclose()
        for each in (silent, *servers):
            each.transport.close()

    run(scenario)


def _let_pass(seconds: float) -> None:
    """Have the loop's clock show a later time."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]


async def gathered(servers: list[StunServer]) -> Description:
    """What we say of ourselves when these have been asked."""
    asked = [await server.open() for server in servers]
    peer = await Peer.start(controlling=True, servers=asked, limits=LIMITS)
    await peer.aclose()
    for server in servers:
        server.transport.close()
    return peer.description


def test_an_address_that_several_servers_see_is_named_once(hosts):
    """More would keep a peer from trying others."""

    async def scenario() -> None:
        description = await gathered(
            [StunServer(mapped) for mapped in ("192.0.2.1", "192.0.2.2", "192.0.2.1")]
        )
        seen = [each.ip for each in description.candidates if each.kind == "srflx"]
        assert sorted(seen) == ["192.0.2.1", "192.0.2.2"]

    run(scenario)


def test_no_more_is_named_than_a_peer_reads(monkeypatch):
    """Seven interfaces and nine servers that see each of them at another address; those of the machine stay."""
    many = [f"127.0.1.{n}" for n in range(7)]
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: many)

    async def scenario() -> None:
        description = await gathered([StunServer(f"192.0.2.{n}", None) for n in range(9)])
        assert Description.from_json(description.to_json()) == description
        assert len(description.candidates) == MAX_CANDIDATES
        assert {each.ip for each in description.candidates if each.kind == "host"} == {*many, HERE}

    run(scenario)


@pytest.mark.parametrize(
    "address",
    [
        "turn:u:p@127.0.0.1:9",
        "turn:u:p@127.0.0.1:9?transport=tcp",
        "turns:u:p@127.0.0.1:9",
        "stun:127.0.0.1:9",
    ],
)
def test_a_server_that_is_not_there(hosts, address):
    """There are fewer candidates, and nothing is left open."""

    async def scenario() -> None:
        limits = Limits(gather_timeout=0.2)
        peer = await Peer.start(controlling=True, servers=ice_servers(address), limits=limits)
        assert {each.kind for each in peer.description.candidates} == {"host"}
        await peer.aclose()

    run(scenario)


def test_a_gathering_that_is_cancelled_leaves_nothing_open(hosts):
    """Neither sockets nor tasks."""

    async def scenario() -> None:
        silent = SilentServer()
        asked = await silent.open()
        gathering = asyncio.create_task(Peer.start(controlling=True, servers=[asked], limits=LIMITS))
        await silent.asked.wait()
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        silent.transport.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario)


def test_a_loop_that_cannot_wait_for_sockets(hosts, monkeypatch):
    """Windows' own loop: asyncio's sockets are used."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    limits = Limits(connect_timeout=PATIENCE)

    async def scenario() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module.ProtocolSocket, "__init__", refuse)
            one = await Peer.start(controlling=True, servers=(), limits=limits)
            other = await Peer.start(controlling=False, servers=(), limits=limits)
        here, there = await asyncio.gather(
            one.connect(other.description, same_machine=True),
            other.connect(one.description, same_machine=True),
        )
        await here.send_bytes(b"hello" * 100_000)
        inbox: asyncio.Queue[int] = asyncio.Queue()
        there.deliver_to(lambda message: inbox.put_nowait(len(message)), lambda _: None)
        assert await inbox.get() == 500_000
        for end in (here, there):
            await end.aclose()

    run(scenario)


def test_datagrams_that_are_nothing_are_passed_over(hosts):
    """An empty one, and first bytes that RFC 7983 gives to nobody, or to media."""

    async def scenario() -> None:
        gatherer = Gatherer(controlling=True, servers=(), gather_timeout=1)
        await gatherer.gather()
        protocol = gatherer.paths._protocols[0]
        for data in (b"", b"\x10", b"\x80media", b"\xff", b"\0", b"\0" * 20, b"\1" * 500):
            protocol.datagram_received(data, ("127.0.0.9", 9))
        assert gatherer.paths._queue.empty()
        await gatherer.paths.close()

    run(scenario)


def test_a_server_that_is_gone_is_not_waited_for(monkeypatch):
    """A TURN client says goodbye for half a minute; a close does not."""
    monkeypatch.setattr(module, "FAREWELL", 0.05)

    class Stuck:
        closed = False

        def close(self) -> None:
            self.closed = True

    async def scenario() -> None:
        gatherer = Gatherer(controlling=True, servers=(), gather_timeout=1)
        protocol, transport = module.SingleDatagramProtocol(gatherer.paths), Stuck()
        protocol.transport = transport
        await protocol.close()
        assert transport.closed
        protocol.connection_lost(None)

    run(scenario)


def test_nothing_can_be_sent_without_a_path():
    """It is an error, which the layers above know."""

    async def scenario() -> None:
        gatherer = Gatherer(controlling=True, servers=(), gather_timeout=1)
        with pytest.raises(ConnectionError):
            gatherer.paths.send_all([b"x"])

    run(scenario)


def test_what_is_described_is_what_was_gathered(hosts):
    """And it can be read by the other side."""

    async def scenario() -> None:
        peer = await Peer.start(controlling=True, servers=(), limits=Limits())
        assert Description.from_json(peer.description.to_json()) == peer.description
        await peer.aclose()

    run(scenario)
