"""Where this machine can be reached, and which of a peer's addresses may be dialled."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import uuid
from collections.abc import Iterable
from pathlib import Path

MAX_ADDRESSES = 8  # a peer cannot make us dial more
_URL = re.compile(r"ws://([0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{0,4})/nbferry/[0-9a-f]{32}")
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


def machine_id() -> str:
    """Equal in two processes if and only if they share a loopback interface. It tells nothing else."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        parts = [boot, str(Path("/proc/self/ns/net").readlink())]
    except OSError:
        parts = [socket.gethostname(), hex(uuid.getnode())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def machine_mark(nonce: bytes) -> str:
    """A mark that only a process on our loopback interface recognises. It differs for each nonce."""
    return hashlib.sha256(machine_id().encode() + nonce).hexdigest()[:32]


def local_addresses(host: str | None = None) -> list[str]:
    """IP addresses at which others may reach a socket that listens on ``host``; loopback first."""
    if host and host not in _ANYWHERE:
        return [host]
    found = ["127.0.0.1", *filter(None, map(_outward_address, (socket.AF_INET, socket.AF_INET6)))]
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]


def _outward_address(family: socket.AddressFamily) -> str | None:
    """The address that packets to the internet would carry. Connecting a UDP socket sends nothing."""
    # Addresses for documentation, RFC 5737 and 3849.
    target = "192.0.2.1" if family is socket.AF_INET else "2001:db8::1"
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def urls_for(ports: Iterable[tuple[str, int]], path: str, host: str | None) -> list[str]:
    """WebSocket addresses of a listener whose sockets are bound to ``ports``; ``host`` is the one it was given."""
    bound = [(ipaddress.ip_address(address), port) for address, port in ports]
    by_family = {ip.version: port for ip, port in bound}
    # A host name may stand for several addresses.
    named = [str(ip) for ip, _ in bound if not ip.is_unspecified]
    urls = [
        f"ws://{f'[{ip}]' if ip.version == 6 else ip}:{by_family[ip.version]}{path}"
        for ip in map(ipaddress.ip_address, named or local_addresses(host))
        if ip.version in by_family
    ]
    return urls[:MAX_ADDRESSES]


def dialable(urls: object, *, same_machine: bool) -> list[str]:
    """Of a peer's addresses those that may be dialled: only loopback on the same machine, else everything but loopback.

    A peer could name any server in our network. So an address must be a plain IP with a path that only an nbferry
    listener has, and we send it one WebSocket handshake and nothing else.
    """
    if not isinstance(urls, list):
        return []
    return [
        url
        for url in urls[:MAX_ADDRESSES]
        if isinstance(url, str) and _may_dial(url, same_machine=same_machine)
    ]


def _may_dial(url: str, *, same_machine: bool) -> bool:
    """Whether this has exactly the form that :func:`urls_for` writes."""
    parts = _URL.fullmatch(url)
    if not parts or int(parts[2]) > 65_535:
        return False
    try:
        ip = ipaddress.ip_address(parts[1].strip("[]"))
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip  # ::ffff:127.0.0.1 leads to our own loopback
    return ip.is_loopback == same_machine and not ip.is_multicast and not ip.is_unspecified
