"""The path that a transfer takes between two homes behind NAT routers, by the command line."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from network.coturn import WEB_PORT, Coturn
from network.internet import OUTSIDE, PUBLIC_TOO, Internet, Nat
from network.namespaces import Namespace
from network.stun import StunServer
from running import Command, Commands

KIB = 1 << 10
CONTENT = os.urandom(2048 * KIB)
# Bytes that two sides need to find each other.
FEW = 64 * KIB
Servers = tuple[StunServer, StunServer]


class Homes:
    """A sender in one home, a receiver in the other, and a relay on a public port that each router allows."""

    def __init__(self, internet: Internet, commands: Commands) -> None:
        self._internet = internet
        self._commands = commands
        where = ["--host", PUBLIC_TOO, "--port", str(WEB_PORT)]
        relay = internet.public.call(lambda: commands("relay", *where))
        self._relay = (relay.line() or "").removeprefix("The relay is at ")
        internet.public.count(PUBLIC_TOO, WEB_PORT)

    def transfer(self, via: str, ice_servers: str) -> str:
        """Send a file with these ICE servers on both sides. Returns the path that it took."""
        source = self._commands.file("from/data.bin", CONTENT)
        named = ["--ice-servers", ice_servers] if ice_servers else ["--no-stun"]
        sender = self._start(self._internet.one, "send", source, "--relay", self._relay, "--via", via, *named)
        take = ["receive", sender.code(), "--yes", "--to", self._commands.root / "to", "--via", via]
        receiver = self._start(self._internet.other, *take, servers=ice_servers)
        for side in (sender, receiver):
            assert side.end() == 0, side.said()
        assert (self._commands.root / "to" / "data.bin").read_bytes() == CONTENT
        assert sender.event_of("done")["via"] == receiver.event_of("done")["via"]
        return str(receiver.event_of("done")["via"])

    def _start(self, home: Namespace, *arguments: str | Path, servers: str = "") -> Command:
        environment = {"NBFERRY_HOST": None, "NBFERRY_ICE_SERVERS": servers}
        return home.call(partial(self._commands, *arguments, "--json", folder=home.name, **environment))

    @property
    def relayed(self) -> int:
        """Bytes that arrived at the relay."""
        return self._internet.public.counted


@pytest.fixture
def homes(internet: Internet, nbferry: Commands) -> Homes:
    """Sender and receiver in two homes."""
    return Homes(internet, nbferry)


def test_a_direct_path_through_two_routers(homes: Homes, stun: Servers) -> None:
    """With a STUN server the data go from home to home, and none of them through the relay."""
    assert homes.transfer("webrtc", stun[0].url) == "webrtc"
    assert homes.relayed < FEW
    assert {address for address, _ in stun[0].heard} == set(OUTSIDE)


@pytest.mark.parametrize("nat", [Nat.NO_UDP, Nat.SYMMETRIC, Nat.WEB_ONLY], ids=lambda nat: nat.name)
def test_the_relay_without_a_direct_path(homes: Homes, internet: Internet, stun: Servers, nat: Nat) -> None:
    """A transfer takes the relay by itself if a router allows no direct path."""
    internet.behind(nat, nat)
    assert homes.transfer("auto", stun[0].url) == "relay"
    assert homes.relayed > len(CONTENT)


@pytest.mark.parametrize(
    ("nat", "how"),
    [(Nat.NO_UDP, {}), (Nat.WEB_ONLY, {"port": WEB_PORT, "tls": True})],
    ids=["TCP", "TLS"],
)
def test_a_turn_server_where_udp_is_dropped(
    homes: Homes, internet: Internet, coturn: Coturn, nat: Nat, how: dict[str, Any]
) -> None:
    """If UDP is dropped, a TURN server over TCP or TLS gives WebRTC a path."""
    internet.behind(nat, Nat.ORDINARY)
    assert homes.transfer("webrtc", coturn.url("tcp", **how)) == "webrtc"
    assert homes.relayed < FEW


def test_no_stun_server_is_asked(homes: Homes, stun: Servers) -> None:
    """With --no-stun or an empty setting, a transfer works without asking a STUN server."""
    assert homes.transfer("auto", "") == "relay"
    assert not stun[0].heard
