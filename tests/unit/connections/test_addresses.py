"""The addresses of a listener, and which addresses a peer may make us dial."""

from __future__ import annotations

import errno
import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest

from nbferry.connections import addresses
from nbferry.connections.addresses import MAX_ADDRESSES, dialable, local_addresses, machine_id, urls_for

PATH = "/nbferry/" + "0123456789abcdef" * 2


def may(url: Any, *, same_machine: bool) -> bool:
    """Whether an address may be dialled."""
    return dialable([url], same_machine=same_machine) == [url]


# ---------------------------------------------------------------- T36: what may be dialled
@pytest.mark.parametrize("host", ["192.168.1.5", "10.0.0.1", "203.0.113.9", "[2001:db8::5]", "[fe80::1]"])
def test_t36_a_plain_address_may_be_dialled(host: str) -> None:
    """A plain IP with a port and a listener's path may be dialled if the peer is on another machine."""
    assert may(f"ws://{host}:1024{PATH}", same_machine=False)
    assert not may(f"ws://{host}:1024{PATH}", same_machine=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.1.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
)
def test_t36_loopback_only_on_the_same_machine(host: str) -> None:
    """Our loopback addresses, in any notation, may be dialled only if the peer is on this machine."""
    assert may(f"ws://{host}:65535{PATH}", same_machine=True)
    assert not may(f"ws://{host}:65535{PATH}", same_machine=False)


@pytest.mark.parametrize(
    "url",
    [
        f"ws://localhost:80{PATH}",
        f"ws://printer.local:80{PATH}",
        f"ws://example.org:80{PATH}",
        f"wss://10.0.0.1:80{PATH}",
        f"http://10.0.0.1:80{PATH}",
        f"WS://10.0.0.1:80{PATH}",
        f"//10.0.0.1:80{PATH}",
        f"10.0.0.1:80{PATH}",
        f"ws://10.0.0.1{PATH}",
        f"ws://10.0.0.1:{PATH}",
        f"ws://10.0.0.1:0{PATH}",
        f"ws://10.0.0.1:080{PATH}",
        f"ws://10.0.0.1:65536{PATH}",
        f"ws://10.0.0.1:99999{PATH}",
        f"ws://10.0.0.1:\u0661\u0662{PATH}",
        f"ws://user@10.0.0.1:80{PATH}",
        f"ws://user:secret@10.0.0.1:80{PATH}",
        f"ws://10.0.0.1@evil.example:80{PATH}",
        f"ws://10.1:80{PATH}",
        f"ws://167772161:80{PATH}",
        f"ws://0x0a.0.0.1:80{PATH}",
        f"ws://010.0.0.1:80{PATH}",
        f"ws://10.0.0.256:80{PATH}",
        f"ws://0.0.0.0:80{PATH}",
        f"ws://[::]:80{PATH}",
        f"ws://[::ffff:0.0.0.0]:80{PATH}",
        f"ws://224.0.0.1:80{PATH}",
        f"ws://[ff02::1]:80{PATH}",
        f"ws://[fe80::1%eth0]:80{PATH}",
        f"ws://[10.0.0.1:80{PATH}",
        f"ws://[:::]:80{PATH}",
        f"ws://[v1.x]:80{PATH}",
        "ws://10.0.0.1:80/",
        "ws://10.0.0.1:80/nbferry/ws",
        f"ws://10.0.0.1:80{PATH}0",
        f"ws://10.0.0.1:80{PATH[:-1]}",
        f"ws://10.0.0.1:80{PATH.upper()}",
        f"ws://10.0.0.1:80/admin{PATH}",
        f"ws://10.0.0.1:80/x/..{PATH}",
        f"ws://10.0.0.1:80{PATH}/",
        f"ws://10.0.0.1:80{PATH}?do=it",
        f"ws://10.0.0.1:80{PATH}?",
        f"ws://10.0.0.1:80{PATH}#x",
        f"ws://10.0.0.1:80{PATH};x",
        f"ws://10.0.0.1:80{PATH}\n",
        f" ws://10.0.0.1:80{PATH}",
        f"ws://10.0.0.1:80/nbf\nerry/{PATH[9:]}",
        f"ws://10.0.0.1:80{PATH} HTTP/1.1\r\nX: y",
        "",
        None,
        5,
        ["ws"],
    ],
)
@pytest.mark.parametrize("same_machine", [True, False])
def test_t36_nothing_else_may_be_dialled(url: Any, same_machine: bool) -> None:
    """Names, other schemes, ports and paths, queries, odd notations and lists of hosts are never dialled."""
    assert not may(url, same_machine=same_machine)


def test_t36_few_addresses() -> None:
    """Only the first few of a long list are dialled, and a value that is no list is empty."""
    good = f"ws://10.0.0.1:80{PATH}"
    assert dialable([good] * 100, same_machine=False) == [good] * MAX_ADDRESSES
    assert dialable(["x"] * MAX_ADDRESSES + [good], same_machine=False) == []
    for odd in (None, good, {good: 1}, 5):
        assert dialable(odd, same_machine=False) == []


# ---------------------------------------------------------------- what we announce
def test_where_a_listener_is() -> None:
    """A listener on one address announces it in a form that may be dialled."""
    assert urls_for([("127.0.0.1", 5000)], PATH, "127.0.0.1") == [f"ws://127.0.0.1:5000{PATH}"]
    assert urls_for([("::1", 5000)], PATH, "::1") == [f"ws://[::1]:5000{PATH}"]
    assert urls_for([("127.0.0.1", 5), ("::1", 6)], PATH, "localhost") == [
        f"ws://127.0.0.1:5{PATH}",
        f"ws://[::1]:6{PATH}",
    ]


@pytest.mark.parametrize("host", [None, "0.0.0.0", "::"])
def test_where_a_listener_on_all_addresses_is(host: str | None) -> None:
    """A listener on all addresses announces loopback and the outward ones, each with its family's port."""
    urls = urls_for([("0.0.0.0", 5000), ("::", 6000)], PATH, host)
    assert urls[0] == f"ws://127.0.0.1:5000{PATH}"
    assert len(urls) <= MAX_ADDRESSES
    for url in urls[1:]:
        assert ":5000/" in url or "]:6000/" in url
    assert len(urls_for([("0.0.0.0", 5000)], PATH, host)) <= len(urls)


def test_announced_addresses_may_be_dialled() -> None:
    """Each side may dial the addresses that the other announces."""
    urls = urls_for([("0.0.0.0", 5000), ("::", 6000)], PATH, None)
    here, elsewhere = dialable(urls, same_machine=True), dialable(urls, same_machine=False)
    assert f"ws://127.0.0.1:5000{PATH}" in here
    assert sorted(here + elsewhere) == sorted(urls)


def test_local_addresses() -> None:
    """Loopback comes first, and every item is an address. A listener on one address has only that one."""
    found = local_addresses()
    assert found[0] == "127.0.0.1"
    assert len(set(found)) == len(found)
    assert all(ipaddress.ip_address(address) for address in found)
    assert local_addresses("10.1.2.3") == ["10.1.2.3"]


def test_a_machine_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a route or a family only loopback is left."""

    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "no route")

    class NoRoute(socket.socket):
        connect = unreachable

    monkeypatch.setattr(addresses.socket, "socket", NoRoute)
    assert local_addresses() == ["127.0.0.1"]


def test_a_machine_with_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of outward packets follow loopback, without repetition."""

    class Routed(socket.socket):
        def connect(self, address: Any) -> None:
            assert address[1] == 9

        def getsockname(self) -> Any:
            return ("127.0.0.1", 1) if self.family is socket.AF_INET else ("2001:db8::7", 1, 0, 0)

    monkeypatch.setattr(addresses.socket, "socket", Routed)
    assert local_addresses() == ["127.0.0.1", "2001:db8::7"]


# ---------------------------------------------------------------- which machine
def test_a_machine_is_known_by_a_digest() -> None:
    """A machine's name is a constant digest that reveals nothing else."""
    assert machine_id() == machine_id()
    assert len(bytes.fromhex(machine_id())) == 16


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Linux's boot id cannot be read, host name and network card are used."""
    linux = machine_id()

    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert machine_id() == machine_id() != linux
