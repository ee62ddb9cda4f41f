"""Associations over a wire in memory, in virtual time: with each other, with aiortc's, with who breaks the rules."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from nbferry.transports.webrtc import sctp as module
from nbferry.transports.webrtc.description import BASE_PACKET, MAX_PACKET
from nbferry.transports.webrtc.reassembly import FIRST, LAST, RECEIVE_WINDOW
from nbferry.transports.webrtc.sctp import (
    ACK_DELAY_HERE,
    DEAD_AFTER,
    KNOWN,
    STREAMS,
    FastDtls,
    FastSctp,
    Timers,
)
from simulation import loop as virtual

PORT = 5000
PIECE = 64 << 10
TICK = 0.0005  # seconds that a packet takes
TURN = 2e-5  # seconds that the loop takes for a turn, as it may have to turn until an acknowledgement comes
PROBED = 4 * TICK  # after which probes have been answered
Fate = Callable[[bytes], list[float]]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end, as time passes only when nothing can be done; nothing may be left, or be complained of."""
    virtual.run(lambda _: scenario(), turn=TURN)


class Wire(FastDtls):
    """DTLS without encryption or a network: what is queued comes to the other end, if ``fate`` lets it."""

    def __init__(self, role: str) -> None:
        super().__init__(None, [None], None)  # type: ignore[arg-type, list-item]
        self._role = role
        self.other: Wire
        self.fate: Fate = lambda _: [TICK]
        self.sizes: list[int] = []

    def queue(self, packet: bytes) -> bool:
        """Packets go at once."""
        self.sizes.append(len(packet))
        for delay in self.fate(packet):
            asyncio.get_running_loop().call_later(delay, self.other.arrived, packet)
        return False

    def flush(self) -> None:
        """Nothing waits."""

    async def _send_data(self, data: bytes) -> None:
        self.queue(data)

    def _register_data_receiver(self, receiver: Any) -> None:
        self._data_receiver = receiver

    def arrived(self, packet: bytes) -> None:
        """A packet of the other end."""
        receiver: Any = self._data_receiver
        if isinstance(receiver, FastSctp):
            receiver.packet(packet)
            receiver.drained()
        elif receiver:
            asyncio.get_running_loop().create_task(receiver._handle_data(packet))


class NoPath:
    """What a fast association says to its path."""

    fragments = False

    def may_fragment(self) -> None:
        """Noted."""
        self.fragments = True


class End:
    """An association with one channel, and what came through it."""

    def __init__(self, wire: Wire, *, fast: bool = True, most_packet: int = BASE_PACKET) -> None:
        self.wire, self.path = wire, NoPath()
        path: Any = self.path
        self.sctp: RTCSctpTransport = (
            FastSctp(wire, PORT, path=path, most_packet=most_packet, window=16 << 20)
            if fast
            else RTCSctpTransport(wire, PORT)
        )
        self.channel = RTCDataChannel(self.sctp, RTCDataChannelParameters(negotiated=True, id=0))
        self.came: list[bytes] = []
        self.news, self.closed, self.opened = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.channel.on("message", self._message)
        self.channel.on("close", self.closed.set)
        self.channel.on("open", self.opened.set)

    def _message(self, message: bytes) -> None:
        self.came.append(message)
        self.news.set()

    async def until(self, count: int) -> None:
        """Wait for messages."""
        while len(self.came) < count:
            self.news.clear()
            await self.news.wait()

    @property
    def fast(self) -> FastSctp:
        """The association, as a fast one."""
        assert isinstance(self.sctp, FastSctp)
        return self.sctp


async def joined(
    one_fast: bool = True, other_fast: bool = True, *, fate: Fate = lambda _: [TICK], **options: Any
) -> tuple[End, End]:
    """Two ends that have shaken hands."""
    wires = Wire("server"), Wire("client")
    wires[0].fate = fate
    wires[0].other, wires[1].other = wires[1], wires[0]
    ends = End(wires[0], fast=one_fast, **options), End(wires[1], fast=other_fast, **options)
    for end in ends:
        await end.sctp.start(RTCSctpCapabilities(PIECE), PORT)
    for end in ends:
        await end.opened.wait()
    return ends


async def over(*ends: End) -> None:
    """Stop them."""
    for end in ends:
        await end.sctp.stop()


def weather(seed: int, loss: float, twice: float = 0.0, late: float = 0.0) -> Fate:
    """A line that loses, doubles and delays."""
    lots = random.Random(seed)  # noqa: S311  # repeatable, not secret

    def fate(_: bytes) -> list[float]:
        if lots.random() < loss:
            return []
        delay = TICK + (lots.random() * 0.005 if lots.random() < late else 0)
        return [delay] * (2 if lots.random() < twice else 1)

    return fate


@pytest.mark.parametrize(("one_fast", "other_fast"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("kind", ["fair", "foul"])
def test_messages_arrive_whole_and_in_order(one_fast, other_fast, kind):
    """Between fast ends, and with aiortc as it is at one of them; on good lines and bad ones."""

    async def scenario() -> None:
        ends = await joined(one_fast, other_fast)
        if kind == "foul":
            for end, seed in zip(ends, (1, 2), strict=True):
                end.wire.fate = weather(seed, 0.03, 0.02, 0.02)
        sent = [os.urandom(size) for size in (1, 1131, 1132, 1133, PIECE, 5000)]
        for one, other in (ends, ends[::-1]):
            for message in sent:
                one.channel.send(message)
            await other.until(len(sent))
            assert other.came == sent
        await over(*ends)

    run(scenario)


def test_heavy_losses_are_repaired():
    """A fifth of all packets, each way."""

    async def scenario() -> None:
        one, other = await joined()
        one.wire.fate, other.wire.fate = weather(3, 0.2), weather(4, 0.2)
        sent = [os.urandom(PIECE) for _ in range(8)]
        for message in sent:
            one.channel.send(message)
        await other.until(len(sent))
        assert other.came == sent
        await over(one, other)

    run(scenario)


def test_packets_grow_to_what_both_ends_and_the_path_take():
    """Probes say what the path carries; nothing larger is sent, and what is too large is lost once."""

    async def scenario() -> None:
        one, other = await joined(
            most_packet=MAX_PACKET, fate=lambda packet: [TICK] if len(packet) <= 9_000 else []
        )
        await asyncio.sleep(PROBED)
        one.wire.sizes.clear()
        for _ in range(4):
            one.channel.send(os.urandom(PIECE))
        await other.until(4)
        data = [size for size in one.wire.sizes if size < MAX_PACKET]
        assert 8_000 < max(data) <= 8_900
        await over(one, other)

    run(scenario)


def test_who_takes_no_large_packets_gets_none():
    """Not even a probe: aiortc as it is would choke on it."""

    async def scenario() -> None:
        one, other = await joined()
        one.channel.send(os.urandom(PIECE))
        await other.until(1)
        assert max(one.wire.sizes + other.wire.sizes) <= BASE_PACKET
        await over(one, other)

    run(scenario)


def test_large_packets_that_vanish_are_cut_to_pieces_then():
    """After two timeouts packets are small, and the path may fragment those that have been numbered."""

    async def scenario() -> None:
        one, other = await joined(most_packet=MAX_PACKET)
        await asyncio.sleep(PROBED)
        assert one.fast.statistics(queued=0).packet == MAX_PACKET
        one.wire.fate = lambda packet: [TICK] if len(packet) < 1_500 or one.path.fragments else []
        sent = [os.urandom(PIECE) for _ in range(3)]
        for message in sent:
            one.channel.send(message)
        await other.until(3)
        assert other.came == sent
        assert one.fast.statistics(queued=0).packet == BASE_PACKET
        await over(one, other)

    run(scenario)


def test_statistics():
    """What was sent is acknowledged in the end, and nothing is under way."""

    async def scenario() -> None:
        one, other = await joined()
        one.channel.send(os.urandom(PIECE))
        await other.until(1)
        await asyncio.sleep(2 * ACK_DELAY_HERE)
        told = one.fast.statistics(queued=5)
        assert told.queued == 5
        assert told.sent == told.acknowledged
        assert told.sent is not None
        assert told.sent > PIECE
        assert told.retransmitted == 0
        assert told.round_trip is not None
        assert 0 < told.round_trip < 1
        await over(one, other)

    run(scenario)


def test_the_window_of_the_other_side_is_kept_to():
    """No more is under way than it says that it has room for."""

    async def scenario() -> None:
        one, other = await joined()
        one.fast._peer_window = 20_000
        other.wire.fate = lambda _: []
        one.channel.send(os.urandom(PIECE))
        await asyncio.sleep(0.05)
        assert 0 < one.fast._recovery.flight <= 20_000
        other.wire.fate = lambda _: [TICK]
        await other.until(1)
        await over(one, other)

    run(scenario)


def test_who_is_silent_for_long_is_given_up():
    """The channel is closed, which its owner hears."""

    async def scenario() -> None:
        one, other = await joined()
        one.wire.fate = lambda _: []
        one.channel.send(b"is anybody there")
        began = asyncio.get_running_loop().time()
        await one.closed.wait()
        assert asyncio.get_running_loop().time() - began > DEAD_AFTER
        await over(one, other)

    run(scenario)


# ------------------------------------------------------------------ who breaks the rules
def packet_for(end: End, chunks: bytes) -> bytes:
    """A packet that passes for one of the other side's."""
    head = struct.pack("!HHL", PORT, PORT, end.sctp._local_verification_tag)
    return head + struct.pack("<L", crc32c(head + b"\0\0\0\0" + chunks)) + chunks


def data_chunk(
    tsn: int, payload: bytes, flags: int = FIRST | LAST, stream: int = 0, protocol: int = 53
) -> bytes:
    """A DATA chunk."""
    length = 16 + len(payload)
    return (
        struct.pack("!BBHLHHL", 0, flags, length, tsn & 0xFFFF_FFFF, stream, 0, protocol)
        + payload
        + bytes(-length % 4)
    )


CHUNK = st.builds(
    lambda kind, flags, body, lie: (
        struct.pack("!BBH", kind, flags, max(0, len(body) + 4 + lie) & 0xFFFF) + body + bytes(-len(body) % 4)
    ),
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 132, 192, 200]),
    st.integers(0, 255),
    st.binary(max_size=60),
    st.sampled_from([0, 0, 0, -3, 5]),
)


@given(st.lists(st.lists(CHUNK, min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_packets_end_an_association_at_worst(packets):
    """Whatever a peer sends, nothing is raised, and the loop has nothing to complain of."""

    async def scenario() -> None:
        one, other = await joined()
        for chunks in packets:
            one.fast.packet(packet_for(one, b"".join(chunks)))
            one.fast.drained()
        await over(one, other)

    run(scenario)


@given(st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_bytes_that_are_no_packet_are_passed_over(data):
    """Too short, of another association, or damaged."""

    async def scenario() -> None:
        one, other = await joined()
        one.fast.packet(data)
        other.channel.send(b"still here")
        await one.until(1)
        await over(one, other)

    run(scenario)


@pytest.mark.parametrize(
    "chunks",
    [
        [b""],
        [b"a" * 100],
        [bytes(PIECE)] * 5,
    ],
)
def test_parts_that_make_no_message_end_the_association(chunks):
    """Nothing, a part without a beginning, and more than a message may have."""

    async def scenario() -> None:
        one, other = await joined()
        tsn = other.fast._local_tsn
        for place, payload in enumerate(chunks):
            flags = FIRST if len(chunks) > 1 and not place else 0
            for start in range(0, max(len(payload), 1), 1000):
                chunk = data_chunk(tsn, payload[start : start + 1000], flags if not start else 0)
                one.fast.packet(packet_for(one, chunk))
                tsn += 1
        await one.closed.wait()
        await over(one, other)

    run(scenario)


def test_what_waits_for_a_gap_is_bounded():
    """A flood beyond one that is never filled is not kept."""

    async def scenario() -> None:
        one, other = await joined()
        first = other.fast._local_tsn
        for number in range(2, 1_300):
            one.fast.packet(packet_for(one, data_chunk(first + number, bytes(8_000))))
        assert one.fast._inbound is not None
        assert one.fast._inbound.held <= RECEIVE_WINDOW
        await over(one, other)

    run(scenario)


def test_channels_that_nobody_wants_cost_nothing():
    """Messages on other streams are dropped; streams beyond the few that there are do not exist."""

    async def scenario() -> None:
        one, other = await joined()
        tsn = other.fast._local_tsn
        for stream in (3, STREAMS, 60_000):
            one.fast.packet(packet_for(one, data_chunk(tsn, b"hello", stream=stream)))
            tsn += 1
        for stream in range(100, 200):
            opens = struct.pack("!BBHLHH", 3, 0, 0, 0, 0, 0)
            one.fast.packet(packet_for(one, data_chunk(tsn, opens, stream=stream, protocol=50)))
            tsn += 1
        assert len(one.fast._data_channels) == 1
        assert one.came == []
        await over(one, other)

    run(scenario)


def test_acknowledgements_of_nothing():
    """Of what was not sent, or with more blocks than there are bytes."""

    async def scenario() -> None:
        one, other = await joined()
        for body in (
            struct.pack("!LLHH", one.fast._local_tsn + 5000, 1 << 20, 0, 0),
            struct.pack("!LLHH", one.fast._local_tsn - 1, 1 << 20, 9000, 0),
            struct.pack("!LLHHHH", one.fast._local_tsn - 1, 1 << 20, 1, 0, 1, 60_000),
        ):
            one.fast.packet(packet_for(one, struct.pack("!BBH", 3, 0, len(body) + 4) + body))
        one.channel.send(b"still here")
        await other.until(1)
        await over(one, other)

    run(scenario)


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 6, 9, 130])
def test_a_parameter_without_a_length_ends_the_association(kind):
    """Rather than being read for ever."""

    async def scenario() -> None:
        one, other = await joined()
        chunk = struct.pack("!BBH", kind, 0, 28) + bytes(24)
        head = struct.pack("!HHL", PORT, PORT, 0 if kind == 1 else one.sctp._local_verification_tag)
        one.fast.packet(head + struct.pack("<L", crc32c(head + b"\0\0\0\0" + chunk)) + chunk)
        await one.closed.wait()
        await over(one, other)

    run(scenario)


# ------------------------------------------------------------------ small things
def test_known_versions():
    """The one that is installed here is known: update both together."""
    assert module.version("aiortc") in KNOWN


def test_a_coroutine_that_waits_is_an_error():
    """As aiortc would have become another one."""

    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="aiortc waits"):
        module._now(waits())


def test_timers():
    """Set, moved, taken back; each by its name."""

    async def scenario() -> None:
        loop, rang = asyncio.get_running_loop(), []
        timers = Timers(loop)
        timers.at("a", loop.time() + 60, lambda: rang.append("a"))
        timers.at("a", loop.time() + 0.01, lambda: rang.append("a"))
        timers.at("b", loop.time() + 0.01, lambda: rang.append("b"))
        timers.at("b", None, lambda: None)
        timers.at("b", None, lambda: None)
        await asyncio.sleep(0.03)
        assert rang == ["a"]
        timers.at("c", loop.time() + 0.01, lambda: rang.append("c"))
        timers.cancel()
        await asyncio.sleep(0.03)
        assert rang == ["a"]

    run(scenario)
