"""Two hosts with commands on each; two homes on the internet with servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from network.coturn import Coturn
from network.internet import PUBLIC, PUBLIC_TOO, Internet, Nat
from network.line import FAIR
from network.namespaces import FIRST, OTHER, Host, Network, Unavailable, need, two_hosts
from network.stun import StunServer
from running import COMMAND, Command, Commands

HASTE = """
from dataclasses import replace
from nbferry import api
from nbferry.limits import Limits

HASTY = dict(dead_after=2.0, ping_interval=0.5, connect_timeout=2.0, chunk_size=1 << 16, backoff_most=0.5)

def hasty(start):
    def begin(*arguments, limits=None, **options):
        return start(*arguments, limits=replace(limits or Limits(), **HASTY), **options)
    return begin

api.send, api.receive = hasty(api.send), hasty(api.receive)
"""
"""The start of a program with small chunks, in which a silent link is dead after 2 s instead of 30."""


@pytest.fixture(scope="session")
def _two_hosts() -> Iterator[Network]:
    try:
        made = two_hosts()
        network = made.__enter__()
    except Unavailable as why:
        pytest.skip(str(why))
    yield network
    made.__exit__(None, None, None)


@pytest.fixture
def network(_two_hosts: Network) -> Iterator[Network]:
    """Two hosts with a good new line between them."""
    yield _two_hosts
    _two_hosts.line.weather = FAIR
    _two_hosts.one.move_to(FIRST)
    _two_hosts.other.move_to(OTHER)


class Pair:
    """A sender and a receiver on one host each. The sender has its own relay or the one of ``stand_alone``."""

    def __init__(self, network: Network, commands: Commands) -> None:
        self.network = network
        self.relay = ""
        self._commands = commands

    def start(
        self, source: Path, *, via: str = "auto", hasty: bool = False, fixed: bool = True
    ) -> tuple[Command, Command]:
        """Start sender and receiver. One that is not ``fixed`` listens on any address of its host."""
        sender = self.send(source, via=via, hasty=hasty, fixed=fixed)
        return sender, self.receive(sender.code(), via=via, hasty=hasty, fixed=fixed)

    def send(self, source: Path, *, via: str = "auto", hasty: bool = False, fixed: bool = True) -> Command:
        """Start the sender in a separate folder."""
        relay = ["--relay", self.relay] if self.relay else []
        return self.on(self.network.one, "send", source, *relay, via=via, hasty=hasty, fixed=fixed)

    def receive(self, code: str, *, via: str = "auto", hasty: bool = False, fixed: bool = True) -> Command:
        """Start the receiver in a separate folder."""
        take = ["receive", code, "--yes", "--to", self.destination]
        return self.on(self.network.other, *take, via=via, hasty=hasty, fixed=fixed)

    def on(self, host: Host, *arguments: str | Path, via: str, hasty: bool, fixed: bool) -> Command:
        """Start ``nbferry`` on a host."""
        options = {"NBFERRY_HOST": host.address if fixed else None, "folder": host.name}
        program = HASTE + COMMAND if hasty else ""
        start = partial(self._commands, *arguments, "--json", "--via", via, program=program, **options)
        return host.call(start)

    def stand_alone(self, port: int = 0) -> Command:
        """Start a relay on the receiver's host for all later commands."""
        host = self.network.other
        relay = host.call(lambda: self._commands("relay", "--host", host.address, "--port", str(port)))
        self.relay = (relay.line() or "").removeprefix("The relay is at ")
        return relay

    def file(self, content: bytes) -> Path:
        """Make the file to send."""
        self.source = self._commands.file("from/data.bin", content)
        return self.source

    @property
    def destination(self) -> Path:
        """The folder that receives."""
        return self._commands.root / "to"

    def arrived(self, content: bytes, *commands: Command) -> None:
        """Wait until the commands succeed, and check the file."""
        for command in commands:
            assert command.end() == 0, command.said()
        assert (self.destination / "data.bin").read_bytes() == content


@pytest.fixture
def pair(network: Network, nbferry: Commands) -> Pair:
    """Sender and receiver on two hosts."""
    return Pair(network, nbferry)


# ------------------------------------------------------------------ the internet
@pytest.fixture(scope="session")
def _internet() -> Iterator[Internet]:
    with ExitStack() as stack:
        internet = Internet()
        try:
            stack.enter_context(internet.opened())
        except Unavailable as why:
            pytest.skip(str(why))
        yield internet


@pytest.fixture
def internet(_internet: Internet) -> Iterator[Internet]:
    """Two homes behind new ordinary routers, and a public host."""
    yield _internet
    _internet.behind(Nat.ORDINARY, Nat.ORDINARY)


@pytest.fixture
def stun(internet: Internet) -> Iterator[tuple[StunServer, StunServer]]:
    """Two STUN servers on the public host, one on each of its addresses."""
    with ExitStack() as stack:
        made = [internet.public.call(partial(StunServer, address)) for address in (PUBLIC, PUBLIC_TOO)]
        one, other = map(stack.enter_context, made)
        yield one, other


@pytest.fixture(scope="session")
def _coturn(_internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    try:
        need("turnserver", "setpriv")
    except Unavailable as why:
        pytest.skip(str(why))
    folder = tmp_path_factory.mktemp("coturn")
    with _internet.public.call(lambda: Coturn(PUBLIC, folder)) as server:
        yield server


@pytest.fixture
def coturn(_coturn: Coturn, monkeypatch: pytest.MonkeyPatch) -> Coturn:
    """A TURN server on the public host with a trusted certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(_coturn.certificate))
    return _coturn
