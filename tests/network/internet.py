"""A small internet on one machine: a public host, and two homes, each behind a router that translates addresses.

    one ──(192.168.1.0/24)── router ──┐                      ┌── router ──(192.168.1.0/24)── other
                                      └────── public ────────┘

Both homes have the same private addresses, as homes do. The rest is the kernel's own: pairs of virtual Ethernet
devices, and nftables. Namespaces belong to threads, see :mod:`network.namespaces`, so no device outlives a test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from network.namespaces import Namespace, Unavailable, need

PUBLIC, PUBLIC_TOO = "203.0.113.1", "203.0.113.2"  # the public host's; for documentation (RFC 5737)
HOME, GATEWAY = "192.168.1.2", "192.168.1.1"
OUTSIDE = "198.51.100.2", "198.51.100.6"  # the routers'; for documentation as well
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")  # for the network of the current thread


class Nat(Enum):
    """A router's translation and filter: an option of ``masquerade``, and rules for forwarded packets."""

    ORDINARY = ("", "")
    """Keeps the port if it can, and lets in only answers."""

    SYMMETRIC = ("fully-random", "")
    """Takes another port for each destination, so the address that a STUN server reports is useless to a peer."""

    NO_UDP = ("", "meta l4proto udp drop")
    """Drops UDP silently."""

    WEB_ONLY = ("", 'iifname "lan" tcp dport != 443 drop; iifname "lan" meta l4proto != tcp drop')
    """Lets out only traffic that could be HTTPS."""

    @property
    def rules(self) -> str:
        """The rules for nftables. Unasked packets are dropped before the kernel tracks them. An answer to one would
        otherwise take the port away from a later connection.
        """
        option, forbidden = self.value
        return f"""
            flush ruleset
            table ip home {{
                chain translate {{
                    type nat hook postrouting priority srcnat;
                    oifname "wan" masquerade {option}
                }}
                chain into {{
                    type filter hook input priority filter;
                    iifname "wan" ct state != {{ established, related }} drop
                }}
                chain through {{
                    type filter hook forward priority filter;
                    iifname "wan" ct state != {{ established, related }} drop
                    {forbidden}
                }}
            }}
        """


class Port(NamedTuple):
    """A device and its address with the length of the network's prefix."""

    device: str
    address: str


class Forwarding(Namespace):
    """Forwards packets."""

    def forward(self) -> None:
        """Turn forwarding on."""
        self.call(lambda: FORWARD.write_text("1"))


class Router(Forwarding):
    """Connects a home (``lan``) with the public host (``wan``)."""

    def be(self, nat: Nat) -> None:
        """Translate and filter with these rules from now on."""
        self.run("nft", "-f", "-", stdin=nat.rules)


class Public(Forwarding):
    """The public host, which also routes between the homes."""

    def stand_in_the_open(self) -> None:
        """Set the addresses and a default route that drops packets without a destination, such as private ones."""
        for address in (PUBLIC, PUBLIC_TOO):
            self.ip("addr", "add", f"{address}/32", "dev", "lo")
        self.ip("link", "add", "world", "type", "veth", "peer", "name", "void")
        for device in ("world", "void"):
            self.ip("link", "set", device, "arp", "off", "up")
        self.ip("route", "add", "default", "dev", "world")
        self.forward()

    def count(self, address: str, port: int) -> None:
        """Start to count the bytes, headers included, that arrive for a TCP port of one of its addresses."""
        rules = f"""
            flush ruleset
            table ip tally {{
                counter come {{ }}
                chain into {{
                    type filter hook input priority filter;
                    ip daddr {address} tcp dport {port} counter name "come"
                }}
            }}
        """
        self.run("nft", "-f", "-", stdin=rules)

    @property
    def counted(self) -> int:
        """The bytes counted so far."""
        listed = json.loads(self.run("nft", "-j", "list", "counter", "ip", "tally", "come"))
        return int(listed["nftables"][-1]["counter"]["bytes"])


class Internet:
    """The public host, the homes and their routers."""

    def __init__(self) -> None:
        self.public = Public("public")
        self.one, self.other = Namespace("one"), Namespace("other")
        self._routers = Router("router-one"), Router("router-other")

    def behind(self, one: Nat, other: Nat) -> None:
        """Use this kind of router at each home."""
        for router, nat in zip(self._routers, (one, other), strict=True):
            router.be(nat)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the internet with ordinary routers. Raises :class:`Unavailable`."""
        need("ip", "nft")
        with ExitStack() as stack:
            for each in (self.public, self.one, self.other, *self._routers):
                stack.enter_context(each)
            try:
                self._join()
            except OSError as error:
                raise Unavailable(f"no internet here: {error}") from error
            yield

    def _join(self) -> None:
        self.public.stand_in_the_open()
        for number, (router, home) in enumerate(zip(self._routers, (self.one, self.other), strict=True)):
            near, far = f"198.51.100.{4 * number + 1}", OUTSIDE[number]
            _join(self.public, Port(home.name, f"{near}/30"), router, Port("wan", f"{far}/30"))
            _join(router, Port("lan", f"{GATEWAY}/24"), home, Port("eth0", f"{HOME}/24"))
            router.forward()
        self.behind(Nat.ORDINARY, Nat.ORDINARY)


def _join(upper: Namespace, its: Port, lower: Namespace, own: Port) -> None:
    """Connect two networks by a cable. The lower network reaches everything else through it."""
    peer = ["peer", "name", own.device, "netns", str(lower.task)]
    upper.ip("link", "add", its.device, "type", "veth", *peer)
    for network, port in ((upper, its), (lower, own)):
        network.ip("addr", "add", port.address, "dev", port.device)
        network.ip("link", "set", port.device, "up")
    lower.ip("route", "add", "default", "via", its.address.partition("/")[0])
