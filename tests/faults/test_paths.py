"""Transfers that switch paths midway, between two sides in one process, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import nbferry
from faults.ends import MIB, PATIENCE, SMALL, Watch, make, tree
from nbferry.connections.link import AnyLink, Link
from nbferry.engine import portal
from nbferry.errors import TransportBroken
from nbferry.relay.app import start_relay
from nbferry.transfer.handle import Transfer
from nbferry.transports.webrtc.datachannel import DataChannelTransport
from network.toxics import Pace, ToxicProxy

# The first byte of a frame with chunks.
CHUNKS = 2
LIMITS = replace(SMALL, path_trial=0.5)


class Road:
    """The network between both sides, with a count of the frames that cross it."""

    def __init__(self, relay: str, pace: ToxicProxy) -> None:
        self.relay = relay
        self.pace = pace
        self.sent = 0
        # The paths of chunks, in order.
        self.paths: list[str] = []
        self.channels: list[DataChannelTransport] = []

    def transfer(self, source: Path, to: Path, via: str = "auto") -> tuple[Transfer, Transfer]:
        """Start a transfer."""
        options = {"relay": self.relay, "via": via, "limits": LIMITS}
        sending = nbferry.send(source, **options)  # type: ignore[arg-type]
        return sending, nbferry.receive(sending.code, to=to, accept=True, **options)  # type: ignore[arg-type]

    def count(self, link: AnyLink, frame: bytes | memoryview) -> None:
        """Count a frame."""
        if len(frame) and frame[0] == CHUNKS:
            self.sent += len(frame)
            if self.paths[-1:] != [link.via]:
                self.paths.append(link.via)

    def cut_channels(self) -> None:
        """Close the data channels of both ends."""

        def cut() -> None:
            for channel in self.channels:
                channel._ended(TransportBroken())
            self.channels.clear()

        portal.portal().call(cut)


@pytest.fixture
def road(monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """A relay behind a slow line. The two sides cannot dial each other."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = asyncio.run_coroutine_threadsafe(start_relay("127.0.0.1", 0), loop).result(PATIENCE)
    monkeypatch.setattr("nbferry.connections.race.dialable", lambda urls, same_machine: [])
    with ToxicProxy() as proxy:
        road = Road(f"http://127.0.0.1:{proxy.front(urlsplit(running.url).port or 0)}/", proxy)
        send, opened = Link.send, DataChannelTransport.opened

        async def counted(self: Link, frame: bytes | memoryview) -> None:
            road.count(self, frame)
            await send(self, frame)

        async def kept(self: DataChannelTransport) -> None:
            await opened(self)
            road.channels.append(self)

        monkeypatch.setattr(Link, "send", counted)
        monkeypatch.setattr(DataChannelTransport, "opened", kept)
        yield road
    asyncio.run_coroutine_threadsafe(running.aclose(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_transfer_moves_to_a_faster_path(road: Road, tmp_path: Path) -> None:
    """A transfer starts over the relay and moves to WebRTC, which is faster. No byte is sent twice."""
    road.pace.pace = Pace(rate=2 * MIB)
    source = make(tmp_path / "from" / "x.bin", 24 * MIB)
    sending, receiving = road.transfer(source, tmp_path / "to")
    moved = Watch(receiving, lambda view: view.via_since is not None)
    assert receiving.wait(PATIENCE).via == sending.wait(PATIENCE).via == "webrtc"
    assert moved.wait().via == "webrtc"
    assert sending.snapshot.via_since is not None
    assert road.paths == ["relay", "webrtc"]
    assert road.sent < source.stat().st_size * 1.002
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_a_transfer_leaves_a_slower_path(road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If WebRTC proves slower, the transfer returns to the relay without a new call."""
    send = DataChannelTransport.send

    async def wearily(self: DataChannelTransport, size: int, fill: object) -> None:
        await asyncio.sleep(size / MIB)
        await send(self, size, fill)  # type: ignore[arg-type]

    monkeypatch.setattr(DataChannelTransport, "send", wearily)
    road.pace.pace = Pace(rate=10 * MIB)
    source = make(tmp_path / "from" / "x.bin", 48 * MIB)
    sending, receiving = road.transfer(source, tmp_path / "to")
    assert receiving.wait(PATIENCE).via == sending.wait(PATIENCE).via == "relay"
    assert road.paths == ["relay", "webrtc", "relay"]
    assert road.sent < source.stat().st_size * 1.01 + 2 * LIMITS.window
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_a_path_that_dies_is_replaced(road: Road, tmp_path: Path) -> None:
    """A path that is cut repeatedly is replaced each time, and every byte is right."""
    source = make(tmp_path / "from" / "x.bin", 48 * MIB)
    sending, receiving = road.transfer(source, tmp_path / "to", via="webrtc")
    for part in range(1, 6):
        Watch(receiving, lambda view, least=part * 7 * MIB: view.verified >= least).wait()
        road.cut_channels()
    assert receiving.wait(PATIENCE).digest == sending.wait(PATIENCE).digest
    assert road.sent < source.stat().st_size * 1.01 + 5 * LIMITS.window
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_the_second_path_replaces_a_lost_one_at_once(road: Road, tmp_path: Path) -> None:
    """A transfer that loses its path uses the other open one, without a new call."""
    road.pace.pace = Pace(rate=1 * MIB)
    source = make(tmp_path / "from" / "x.bin", 4 * MIB)  # too small for a trial
    sending, receiving = road.transfer(source, tmp_path / "to")
    Watch(receiving, lambda view: view.verified > 0 and len(road.channels) == 2).wait()
    assert road.paths == ["relay"]
    road.pace.faults.after[:] = [0]
    assert receiving.wait(PATIENCE).via == sending.wait(PATIENCE).via == "webrtc"
    assert road.paths == ["relay", "webrtc"]
