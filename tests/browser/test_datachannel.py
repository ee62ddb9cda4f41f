"""A browser as the peer of a data channel: the fast path between kernels is standard WebRTC."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page

from nbferry.errors import TransportClosed
from nbferry.limits import Limits
from nbferry.transports.base import Transport
from nbferry.transports.webrtc.datachannel import Description, Peer

T = TypeVar("T")

MIB = 1 << 20
MESSAGES = 4  # of 1 MiB, each way
PATIENCE = 60

PAGE = """
() => {
  const pc = new RTCPeerConnection({iceServers: []});
  const [data, control] = [0, 1].map(id => pc.createDataChannel("nbferry", {negotiated: true, id}));
  data.binaryType = control.binaryType = "arraybuffer";
  const pieces = [], opened = new Promise(done => { data.onopen = done; });
  data.onmessage = event => pieces.push(event.data);
  const gathered = new Promise(done => {
    pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && done();
  });
  const said = async (description) => {
    await pc.setLocalDescription(description);
    await gathered;
    return pc.localDescription.sdp;
  };
  window.offer = async () => said(await pc.createOffer());
  window.take = async (type, sdp) => pc.setRemoteDescription({type, sdp});
  window.answer = async () => said(await pc.createAnswer());
  window.have = () => pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  window.sendBack = async () => {
    await opened;
    for (const piece of pieces) {
      data.send(piece);
      if (data.bufferedAmount > (1 << 20)) await new Promise(done => { data.onbufferedamountlow = done; });
    }
  };
  window.close = (messages) => {
    const goodbye = new DataView(new ArrayBuffer(9));
    goodbye.setUint8(0, 1);
    goodbye.setBigUint64(1, BigInt(messages));
    control.send(goodbye.buffer);
  };
}
"""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page with only a peer connection."""
    context = chromium.new_context()
    page = context.new_page()
    page.evaluate(PAGE)
    yield page
    context.close()


class Loop:
    """An event loop in another thread, as Playwright occupies this one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def start(self, work: Coroutine[Any, Any, T]) -> Any:
        """Start a coroutine there. Returns a future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The loop of our end."""
    loop = Loop()
    yield loop
    loop.close()


def described(sdp: str) -> Description:
    """The fields of a browser's SDP."""

    def value(name: str) -> str:
        found = re.search(rf"^a={name}:(\S+)", sdp, re.MULTILINE)
        assert found, sdp
        return found[1]

    candidates = []
    for foundation, priority, ip, port, kind in re.findall(
        r"^a=candidate:(\S+) 1 udp (\d+) (\S+) (\d+) typ (\S+)", sdp, re.MULTILINE | re.IGNORECASE
    ):
        candidates.append([kind, ip, int(port), int(priority), foundation])
    fingerprint = re.search(r"^a=fingerprint:sha-256 (\S+)", sdp, re.MULTILINE)
    assert fingerprint
    return Description.from_json(
        {
            "ufrag": value("ice-ufrag"),
            "password": value("ice-pwd"),
            "candidates": candidates,
            "fingerprints": {"sha-256": fingerprint[1]},
            # Chromium states the size in an offer only.
            "max_message": 65_536,
        }
    )


def sdp_of(description: Description, setup: str) -> str:
    """The SDP that a browser accepts."""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        f"a=ice-ufrag:{description.ufrag}",
        f"a=ice-pwd:{description.password}",
        *(f"a=fingerprint:{name} {value}" for name, value in description.fingerprints),
        f"a=setup:{setup}",
        "a=sctp-port:5000",
        f"a=max-message-size:{description.max_message}",
        *(
            f"a=candidate:{each.foundation} 1 udp {each.priority} {each.ip} {each.port} typ {each.kind}"
            for each in description.candidates
        ),
    ]
    return "\r\n".join([*lines, ""])


def connected(page: Page, loop: Loop, *, browser_offers: bool) -> Transport:
    """Our end, connected to the page's."""
    peer = loop.run(Peer.start(controlling=not browser_offers, servers=(), limits=Limits()))
    if browser_offers:
        theirs = page.evaluate("offer()")
        coming = loop.start(peer.connect(described(theirs), same_machine=True))
        page.evaluate("sdp => take('answer', sdp)", sdp_of(peer.description, "active"))
    else:
        page.evaluate("sdp => take('offer', sdp)", sdp_of(peer.description, "actpass"))
        coming = loop.start(peer.connect(described(page.evaluate("answer()")), same_machine=True))
    transport: Transport = coming.result(PATIENCE)
    return transport


@pytest.mark.parametrize("browser_offers", [True, False])
def test_messages_to_a_browser_and_back(page, loop, browser_offers):
    """Megabytes arrive whole on both sides in packets that a browser accepts, and its close is understood."""
    transport = connected(page, loop, browser_offers=browser_offers)
    sent = [os.urandom(MIB) for _ in range(MESSAGES)]

    async def send() -> None:
        for message in sent:
            await transport.send_bytes(message)

    received: list[bytes] = []
    ends: list[Exception] = []
    over = threading.Event()

    async def listen() -> None:
        def ended(error: Exception) -> None:
            ends.append(error)
            over.set()

        transport.deliver_to(lambda message: received.append(bytes(message)), ended)

    loop.run(listen())
    loop.run(send())
    page.wait_for_function(f"() => have() === {MESSAGES * (MIB + 4)}")
    page.evaluate("sendBack()")
    page.evaluate(f"() => close({MESSAGES})")
    assert over.wait(PATIENCE)
    assert received == sent
    assert type(ends[0]) is TransportClosed
    loop.run(transport.aclose())
