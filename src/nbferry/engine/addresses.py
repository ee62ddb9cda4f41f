"""Where this machine can be reached, and which of a peer's addresses may be dialled."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import uuid
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

MAX_ADDRESSES = 8  # a peer cannot make us knock at more doors than that
_PATH = re.compile(r"/nbferry/[0-9a-f]{32}")


def machine_id() -> str:
    """The same for two processes that share a loopback interface, and only for them. Says nothing else."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        parts = [boot, str(Path("/proc/self/ns/net").readlink())]
    except OSError:
        parts = [socket.gethostname(), hex(uuid.getnode())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def local_addresses(host: str | None = None) -> list[str]:
    """IP addresses at which others may reach a socket that listens on ``host``; loopback first."""
    if host:
        return [host]
    found = ["127.0.0.1", *filter(None, map(_outward_address, (socket.AF_INET, socket.AF_INET6)))]
    return list(dict.fromkeys(found))[:MAX_ADDRESSES]


def _outward_address(family: socket.AddressFamily) -> str | None:
    """The address that packets to the internet would carry. Connecting a UDP socket sends nothing."""
    target = (
        "192.0.2.1" if family is socket.AF_INET else "2001:db8::1"
    )  # documentation addresses, RFC 5737 and 3849
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def urls_for(ports: Iterable[tuple[str, int]], path: str, host: str | None) -> list[str]:
    """WebSocket addresses of a listener."""
    by_family = {ipaddress.ip_address(bound).version: port for bound, port in ports}
    urls = []
    for address in local_addresses(host):
        ip = ipaddress.ip_address(address)
        if port := by_family.get(ip.version):
            urls.append(f"ws://{f'[{ip}]' if ip.version == 6 else ip}:{port}{path}")
    return urls[:MAX_ADDRESSES]


def dialable(urls: object, *, same_machine: bool) -> list[str]:
    """Of a peer's addresses those that may be dialled: ours, loopback, if it is on this machine; else no loopback.

    A peer could name any door in our network, so an address must be a plain IP with a path that only an nbferry
    listener has; nothing but a WebSocket handshake is ever sent to it, once.
    """
    if not isinstance(urls, list):
        return []
    return [
        url
        for url in urls[:MAX_ADDRESSES]
        if isinstance(url, str) and len(url) < 200 and _may_dial(url, same_machine=same_machine)
    ]


def _may_dial(url: str, *, same_machine: bool) -> bool:
    try:
        parts = urlsplit(url)
        ip = ipaddress.ip_address(parts.hostname or "")
        port = parts.port
    except ValueError:
        return False
    if parts.scheme != "ws" or not port or "@" in parts.netloc or not _PATH.fullmatch(parts.path):
        return False
    return ip.is_loopback == same_machine and not ip.is_multicast and not ip.is_unspecified
