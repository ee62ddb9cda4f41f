"""Connections that break in every way, between two sides in this process, over the loopback interface."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import nbferry
from nbferry.connections import connector
from nbferry.engine import portal
from nbferry.relay.app import start_relay
from network.toxics import Faults, How, Pace, ToxicProxy

# Seconds after which a transfer counts as hung.
PATIENCE = 60
KIB = 1 << 10
MIB = 1 << 20
HASTY = nbferry.Limits(
    chunk_size=64 * KIB,
    window=512 * KIB,
    read_ahead=512 * KIB,
    backoff_first=0.01,
    connect_timeout=3.0,
    ping_interval=0.2,
    dead_after=1.0,
)


@pytest.fixture(scope="module")
def relay_port() -> Iterator[int]:
    """The port of a relay in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    relay = asyncio.run_coroutine_threadsafe(start_relay("127.0.0.1", 0), loop).result(PATIENCE)
    yield urlsplit(relay.url).port
    asyncio.run_coroutine_threadsafe(relay.aclose(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Trip:
    """Transfers files with each connection through a proxy."""

    def __init__(self, tmp_path, monkeypatch, relay_port: int) -> None:
        self._folder = tmp_path
        self._patch = monkeypatch
        self._relay_port = relay_port

    def make(self, proxy: ToxicProxy, size: int, via: str, limits: nbferry.Limits = HASTY) -> None:
        """Send a file of this size and check that it arrives unchanged."""
        content = os.urandom(size)
        (self._folder / "x.bin").write_bytes(content)
        with proxy:
            self._stand_between(proxy)
            relay = f"http://127.0.0.1:{proxy.front(self._relay_port)}/"
            sending = nbferry.send(self._folder / "x.bin", relay=relay, via=via, limits=limits)
            receiving = nbferry.receive(
                sending.code, to=self._folder / "to", accept=True, via=via, limits=limits
            )
            assert receiving.wait(PATIENCE).via == via
            sending.wait(PATIENCE)
            portal.stop()
        assert (self._folder / "to" / "x.bin").read_bytes() == content

    def _stand_between(self, proxy: ToxicProxy) -> None:
        """Make each side announce the proxy's ports instead of its own."""
        urls_for = connector.urls_for

        def fronted(ports, path, host):
            return urls_for([(address, proxy.front(port)) for address, port in ports], path, host)

        self._patch.setattr(connector, "urls_for", fronted)


@pytest.fixture
def trip(tmp_path, monkeypatch, relay_port) -> Iterator[Trip]:
    """Transfers through a proxy."""
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    monkeypatch.delenv("NBFERRY_RELAY", raising=False)
    yield Trip(tmp_path, monkeypatch, relay_port)
    portal.stop()


@pytest.mark.parametrize("via", ["direct", "relay"])
@pytest.mark.parametrize("how", How)
def test_a_connection_may_break_in_any_way(trip: Trip, how, via):
    """A file arrives over two connections that are reset, closed, half closed, or silent in one or both directions."""
    proxy = ToxicProxy(Faults([300 * KIB, 900 * KIB], how))
    trip.make(proxy, 3 * MIB, via)
    assert len(proxy.faults.times) == 2


@pytest.mark.parametrize("via", ["direct", "relay"])
@pytest.mark.parametrize(
    ("pace", "size"),
    [(Pace(slice=1), 20 * KIB), (Pace(delay=0.05), 512 * KIB), (Pace(rate=250e3), 256 * KIB)],
    ids=["single bytes", "50 ms", "2 Mbit/s"],
)
def test_a_slow_connection(trip: Trip, pace, size, via):
    """A file arrives over a connection that is late, throttled, or cut into segments of one byte."""
    trip.make(ToxicProxy(pace=pace), size, via, nbferry.Limits())


@pytest.mark.parametrize("via", ["direct", "relay"])
def test_twenty_cuts_cost_little(trip: Trip, via):
    """64 MiB over a connection that is cut twenty times cost at most 1.10 times their size on the wire."""
    lots = random.Random(20)  # noqa: S311  # repeatable, not secret
    proxy = ToxicProxy(Faults([lots.randrange(2 * MIB, 4 * MIB) for _ in range(20)]))
    trip.make(proxy, 64 * MIB, via, nbferry.Limits(chunk_size=64 * KIB, backoff_first=0.01))
    passes = 1 if via == "direct" else 2
    assert len(proxy.faults.times) == 20
    assert proxy.carried < 1.10 * passes * 64 * MIB
