"""SCTP and DTLS of aiortc with a data path of our own, several times to thirty times as fast.

aiortc handles each packet by itself. Each packet costs a task's wake-up, an acknowledgement and two system calls, each
acknowledgement a walk through all that was sent, and a single loss halves the window. Here

- datagrams pass from the socket to the channel in one call, without a task or a queue between them;
- one SACK acknowledges a whole row, at once when something is missing (RFC 9260, section 6.2, asks for one in two
  packets at least: a SACK is delayed only while more packets come out of the socket);
- recovery and rate are :mod:`.recovery` and :mod:`.congestion`;
- packets grow to what the path carries (:mod:`.probing`), if the other side has said that it takes them;
- chunks are made when they are sent, and only one message is put together at any time.

aiortc still does the rest: INIT, cookies, stream resets, channels. On the wire this is plain SCTP over DTLS.

Methods of the base classes that begin with an underscore are private to aiortc. So this data path is used only with
versions of aiortc that it was tested with. With others the functions at the end return aiortc's own classes, which are
slow and work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import aiortc.rtcsctptransport as base
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import DataReceiver
from google_crc32c import value as crc32c
from OpenSSL import SSL
from typing_extensions import override

from nbferry.errors import TransportBroken
from nbferry.transports.webrtc.congestion import Controller
from nbferry.transports.webrtc.datagrams import MAX_ROW
from nbferry.transports.webrtc.description import BASE_PACKET, MAX_PACKET
from nbferry.transports.webrtc.probing import INTERVAL, PathSize
from nbferry.transports.webrtc.reassembly import RECEIVE_WINDOW, TWICE, Inbound
from nbferry.transports.webrtc.recovery import Packet, Recovery, Timeout

KNOWN = ("1.16.0",)  # versions of aiortc

STREAMS = 16  # that the other side may use
ACK_DELAY_HERE = 0.02  # seconds for which the acknowledgement of a single packet waits for another
ACK_DELAY_SOME = 0.002  # the same for several packets
# Packets for one acknowledgement, if the sender paces: it does not need one to open its window.
ACK_TOGETHER = 8
CLOCK_STEP = 1e-4  # seconds by which asyncio's timers may be early
DEAD_AFTER = 30.0  # seconds without any answer
# Seconds until an INIT is repeated. RFC 9260 says 1, but ICE has just shown that this path is alive.
INITIAL_RTO = 0.5

_M, _HALF = 0xFFFF_FFFF, 1 << 31  # TSNs are numbers modulo 2^32
_DATA, _SACK, _PAD = 0, 3, 0x84  # types of chunks; PAD: RFC 4820
_PARAMETERS_AT = {1: 16, 2: 16, 4: 0, 5: 0, 6: 0, 9: 0, 130: 0}  # where they begin in the body of a chunk
_LAST, _FIRST, _UNORDERED = 1, 2, 4
_PROBE_INFO = 1  # "Heartbeat Info" (RFC 9260, section 3.3.5)
_OVERHEAD = 28  # bytes of a packet with one DATA chunk before its payload
_SACK_OVERHEAD = 28 + 4 * TWICE  # bytes of a packet with a SACK before its gaps
_ZERO = b"\0\0\0\0"  # where a checksum will be
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # to a multiple of four

_ports = struct.Struct("!HHL")  # with the verification tag: the common header without its checksum
_tag, _checksum = struct.Struct("!L"), struct.Struct("<L")
_chunk = struct.Struct("!BBH")
_data, _data_fields = struct.Struct("!BBHLHHL"), struct.Struct("!LHHL")
_sack, _sack_fields = struct.Struct("!BBHLLHH"), struct.Struct("!LLHH")
_gap = _parameter = struct.Struct("!HH")

log = logging.getLogger("nbferry")


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Figures of a data channel, in bytes and seconds; None: unknown. Plain aiortc knows only ``queued``."""

    queued: int  # given to ``send`` and not sent yet
    sent: int | None = None  # for the first time, with headers of SCTP
    acknowledged: int | None = None
    retransmitted: int | None = None
    under_way: int | None = None  # sent, and neither acknowledged nor lost
    round_trip: float | None = None
    packet: int | None = None  # size of the SCTP packets that are sent at the moment
    window: int | None = None  # that may be under way
    rate: float | None = None  # at which the path has lately delivered
    congested: bool | None = None  # whether long round trips show a queue


class Path(Protocol):
    """The layer below DTLS."""

    def send_all(self, datagrams: list[bytes]) -> None:
        """Send; raises ConnectionError if the path is lost."""

    def deliver_to(self, received: Callable[[memoryview], None], drained: Callable[[], None]) -> None:
        """Call ``received`` with each datagram from now on, and ``drained`` after some of them."""

    def may_fragment(self) -> None:
        """From now on let routers fragment datagrams."""


class FastDtls(RTCDtlsTransport):
    """DTLS (RFC 9147's predecessor, RFC 6347) with one record for each datagram, and no task."""

    def __init__(self, transport: RTCIceTransport, certificates: list[RTCCertificate], path: Path) -> None:
        super().__init__(transport, certificates)
        self._path = path
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._receiver: FastSctp | None = None

    @override
    async def start(self, remoteParameters: RTCDtlsParameters) -> None:  # aiortc's name
        """Shake hands as aiortc does; then take datagrams without aiortc's queue."""
        await super().start(remoteParameters)
        if self.state == "connected":
            self._path.deliver_to(self._datagram, self._drained)

    @override
    def _register_data_receiver(self, receiver: DataReceiver) -> None:
        super()._register_data_receiver(receiver)
        assert isinstance(receiver, FastSctp)
        self._receiver = receiver

    # ---------------------------------------------------------------- to the path
    def queue(self, packet: bytes) -> bool:
        """Encrypt a packet for the next :meth:`flush`. Sends now if a row is full, and returns whether it was."""
        ssl = self._ssl
        assert ssl
        try:
            ssl.send(packet)
        except SSL.Error:
            log.debug("a packet came too late for a connection that is being closed")
            return False
        datagram = ssl.bio_read(MAX_PACKET + 256)
        self._out.append(datagram)
        self._out_bytes += len(datagram)
        if self._out_bytes + len(datagram) < MAX_ROW:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Send what is queued."""
        if self._out:
            out, self._out, self._out_bytes = self._out, [], 0
            try:
                self._path.send_all(out)
            except ConnectionError:
                # aiortc notices the lost path where it reads.
                log.debug("%d datagrams were dropped: the path is lost", len(out))

    @override
    async def _write_ssl(self) -> None:
        """Send what OpenSSL itself has to send: a handshake, an alert."""
        self._flush_bio()

    def _flush_bio(self) -> None:
        assert self._ssl
        try:
            data = self._ssl.bio_read(1 << 16)
        except SSL.Error:
            return  # OpenSSL has nothing to send
        self._out += _flights(data)
        self.flush()

    # ---------------------------------------------------------------- from the path
    def _datagram(self, datagram: memoryview) -> None:
        """Decrypt a datagram, which may hold several DTLS records."""
        start = 0
        while start + 13 <= len(datagram):
            end = start + 13 + (datagram[start + 11] << 8) + datagram[start + 12]
            self._record(datagram[start:end])
            start = end

    def _record(self, record: memoryview) -> None:
        ssl = self._ssl
        assert ssl
        try:
            ssl.bio_write(record)
            packet = ssl.recv(MAX_PACKET)
        except SSL.ZeroReturnError:
            self._closed_there()
        except SSL.Error:
            # No data: a forged record, or a flight of the handshake that must be answered once more.
            self._flush_bio()
        else:
            if self._receiver:
                self._receiver.packet(packet)

    def _closed_there(self) -> None:
        """The other side has closed DTLS."""
        if self._task:
            self._task.cancel()

    def _drained(self) -> None:
        if self._receiver:
            self._receiver.drained()


def _flights(data: bytes) -> list[bytes]:
    """Pack DTLS records of the handshake into datagrams of at most the smallest packet size."""
    datagrams, start, begun = [], 0, 0
    while start < len(data):
        end = start + 13 + int.from_bytes(data[start + 11 : start + 13], "big")
        if end - begun > BASE_PACKET and start > begun:
            datagrams.append(data[begun:start])
            begun = start
        start = end
    return [*datagrams, data[begun:]]


class FastSctp(RTCSctpTransport):
    """An association whose data path is ours; the rest is aiortc's."""

    def __init__(self, transport: FastDtls, port: int, *, path: Path, most_packet: int, window: int) -> None:
        """``most_packet``: largest packet that the other side takes; ``window``: limit of bytes under way."""
        super().__init__(transport, port)
        self._dtls, self._path = transport, path
        self._window = window
        self._local_partial_reliability = False
        self._advertised_rwnd = RECEIVE_WINDOW
        self._inbound_streams_max = STREAMS
        self._rto = INITIAL_RTO
        self._size = PathSize(most_packet)
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._heard_at = loop.time()
        self._controller = Controller(BASE_PACKET, self._heard_at)
        self._recovery = Recovery(self._local_tsn)
        self._number = self._local_tsn  # of the next chunk; a TSN that does not wrap
        self._peer_window = RECEIVE_WINDOW
        self._offset = 0  # bytes of the first message in the queue that have been sent
        self._prefix = b""
        self._inbound: Inbound | None = None
        self._to_ack = 0  # packets
        self._together = 2 if most_packet == BASE_PACKET else ACK_TOGETHER
        self._ack_now = self._acked = False
        self._timers = Timers(loop)
        self._probes: dict[bytes, int] = {}

    # ---------------------------------------------------------------- life
    @override
    def _set_state(self, state: RTCSctpTransport.State) -> None:
        established = state is self.State.ESTABLISHED and self._association_state is not state
        if established:
            self._prefix = _ports.pack(self._local_port, self._remote_port, self._remote_verification_tag)
        super()._set_state(state)
        if established:
            self._probe()
        elif state is self.State.CLOSED:
            self._timers.cancel()

    @override
    async def _send_chunk(self, chunk: base.Chunk) -> None:
        port, tag = self._remote_port, self._remote_verification_tag
        assert port is not None
        self._dtls.queue(base.serialize_packet(self._local_port, port, tag, chunk))
        self._dtls.flush()

    def _broken(self, why: str) -> None:
        """Abort: the other side breaks the rules, or does not answer."""
        log.info("a data channel is given up: %s", why)
        _now(self._abort())
        self._set_state(self.State.CLOSED)

    # ---------------------------------------------------------------- sending
    @override
    async def _data_channel_flush(self) -> None:
        self._pump()

    @override
    async def _transmit(self) -> None:
        self._pump()

    def _pump(self, *, force: bool = False) -> None:
        """Send as much as window and rate allow; ``force``: at least one packet."""
        if self._association_state is not self.State.ESTABLISHED:
            return
        now, controller, recovery = self._clock(), self._controller, self._recovery
        window = min(controller.window, self._window, self._peer_window)
        if recovery.timeouts:
            window = 1  # one packet at a time until an answer comes
        controller.begin(now)
        sending = not recovery.flight
        while force or controller.next_at <= now - (0 if sending else controller.pause):
            sending = True
            packet = self._next(math.inf if force else window - recovery.flight)
            if packet is None:
                break
            controller.sent(packet, recovery.flight, now)
            recovery.sent(packet, now)
            force = False
            if self._dtls.queue(packet.payload):
                now = self._clock()
        self._dtls.flush()
        self._arm(window)

    def _next(self, room: float) -> Packet | None:
        """The packet to send now, if one fits. If nothing is under way, one always fits."""
        recovery = self._recovery
        fits = room >= self._size.size or not recovery.flight
        # Lost packets wait for the rate, not for the window: packets behind a lost one may fill the window.
        if recovery.lost:
            return recovery.lost.popitem(last=False)[1] if fits or not recovery.timeouts else None
        if not self._data_channel_queue:
            self._controller.nothing_to_send(recovery.flight)
            if self._reconfig_queue:
                _now(self._transmit_reconfig())
            return None
        return self._cut() if fits else None

    def _cut(self) -> Packet:
        """The next packet of the first message in the queue."""
        channel, protocol, message = self._data_channel_queue[0]
        stream, start = self._stream(channel), self._offset
        end = start + (self._size.size - _OVERHEAD) // 4 * 4
        flags = (
            (not start and _FIRST) | (end >= len(message) and _LAST) | (not channel.ordered and _UNORDERED)
        )
        sequence = self._outbound_stream_seq.get(stream, 0) if channel.ordered else 0
        payload = message[start:end]
        tsn = self._number & _M
        chunk = _data.pack(_DATA, flags, 16 + len(payload), tsn, stream, sequence, protocol) + payload
        packet = Packet(
            self._number, len(payload) + _OVERHEAD, self._sealed(chunk + _PADDING[len(payload) & 3])
        )
        self._number += 1
        self._local_tsn = self._number & _M
        self._offset = end
        if flags & _LAST:
            self._sent_whole(channel, protocol, len(message), stream, sequence)
        return packet

    def _sent_whole(
        self, channel: RTCDataChannel, protocol: int, size: int, stream: int, sequence: int
    ) -> None:
        self._data_channel_queue.popleft()
        self._offset = 0
        if channel.ordered:
            self._outbound_stream_seq[stream] = (sequence + 1) & 0xFFFF
        if protocol != base.WEBRTC_DCEP:
            channel._addBufferedAmount(-size)

    def _stream(self, channel: RTCDataChannel) -> int:
        """The channel's number. A channel without one gets the first free number (RFC 8832)."""
        if channel.id is None:
            number = self._data_channel_id or 0
            while number in self._data_channels:
                number += 2
            self._data_channels[number] = channel
            channel._setId(number)
        assert channel.id is not None
        return channel.id

    def _sealed(self, chunks: bytes) -> bytes:
        """A packet with its checksum."""
        checksum = crc32c(b"".join((self._prefix, _ZERO, chunks)))
        return b"".join((self._prefix, _checksum.pack(checksum), chunks))

    # ---------------------------------------------------------------- deadlines
    def _arm(self, window: int) -> None:
        """Set the timer for when a packet may leave, or an answer is overdue."""
        due = self._recovery.deadline()
        waiting = self._recovery.lost or self._data_channel_queue
        if waiting and window > self._recovery.flight:
            leaves = self._controller.next_at + self._controller.pause
            due = leaves if due is None else min(due, leaves)
        self._timers.at("send", due, self._due)

    def _due(self) -> None:
        now = self._clock()
        expired = self._recovery.expired(now)
        if expired is Timeout.TIMEOUT:
            self._timed_out(now)
        self._pump(force=expired is Timeout.PROBE)

    def _timed_out(self, now: float) -> None:
        self._controller.timed_out()
        if self._size.timed_out(self._recovery.timeouts):
            self._controller.packet = self._size.size
            # Chunks that have a number keep their size (RFC 9260, section 6.9).
            self._path.may_fragment()
        if now - self._heard_at > DEAD_AFTER:
            self._broken("the other side does not answer")

    # ---------------------------------------------------------------- the size of packets
    def _probe(self) -> None:
        sizes = self._size.probes()
        for size in sizes:
            heartbeat = base.HeartbeatChunk()
            info = os.urandom(8)
            self._probes[info] = size
            heartbeat.params = [(_PROBE_INFO, info)]
            chunk = bytes(heartbeat)
            padding = size - 12 - len(chunk)
            self._dtls.queue(self._sealed(chunk + _chunk.pack(_PAD, 0, padding) + bytes(padding - 4)))
            self._dtls.flush()
        if sizes:
            self._timers.at("probe", self._clock() + INTERVAL, self._probe)

    def _probe_answered(self, chunk: base.HeartbeatAckChunk) -> None:
        for kind, info in chunk.params:
            if kind == _PROBE_INFO and info in self._probes:
                self._size.arrived(self._probes.pop(info))
                self._controller.packet = self._size.size

    # ---------------------------------------------------------------- receiving
    def packet(self, data: bytes) -> None:
        """Take a packet of the other side. A wrong one can only end the association."""
        try:
            self._packet(data)
        except (AssertionError, ValueError, IndexError, struct.error, TransportBroken) as error:
            self._broken(str(error) or type(error).__name__)

    def _packet(self, data: bytes) -> None:
        if len(data) < 16 or self.state == "closed":
            return
        begins = data[12] == base.InitChunk.type  # an INIT comes alone, and has no tag yet
        tag, checksum = _tag.unpack_from(data, 4)[0], _checksum.unpack_from(data, 8)[0]
        expected = 0 if begins else self._local_verification_tag
        if tag != expected or checksum != crc32c(data[:8] + _ZERO + data[12:]):
            return
        position, end = 12, len(data)
        while position + 4 <= end:
            kind, flags, length = _chunk.unpack_from(data, position)
            if length < 4 or position + length > end:
                return
            self._chunk(kind, flags, data, position, position + length)
            if begins:
                return
            position += (length + 3) & ~3

    def _chunk(self, kind: int, flags: int, data: bytes, start: int, end: int) -> None:
        if kind == _DATA:
            tsn, stream, _, protocol = _data_fields.unpack_from(data, start + 4)
            self._data_arrived(flags, tsn, stream, protocol, data[start + 16 : end])
        elif kind == _SACK:
            self._sack_arrived(data, start, end)
        elif kind in base.CHUNK_TYPES:
            body = data[start + 4 : end]
            _check_parameters(kind, body)
            _now(self._receive_chunk(base.CHUNK_TYPES[kind](flags=flags, body=body)))

    @override
    async def _receive_chunk(self, chunk: base.Chunk) -> None:
        if isinstance(chunk, base.HeartbeatAckChunk):
            self._probe_answered(chunk)
        # A FORWARD-TSN is not allowed here: we have not offered that extension.
        elif not isinstance(chunk, base.ForwardTsnChunk):
            await super()._receive_chunk(chunk)

    def _data_arrived(self, flags: int, tsn: int, stream: int, protocol: int, payload: bytes) -> None:
        inbound = self._inbound
        if inbound is None:
            if self._last_received_tsn is None:
                return
            inbound = self._inbound = Inbound(self._last_received_tsn + 1)
        self._to_ack += 1
        for chunk in inbound.add(tsn, flags, stream, protocol, payload):
            self._chunk_in_order(inbound, *chunk)
        self._ack_now = self._ack_now or inbound.disturbed
        self._last_received_tsn = inbound.up_to & _M
        if self._reconfig_deferred is not None:
            _now(self._reset_deferred_streams())

    def _chunk_in_order(
        self, inbound: Inbound, flags: int, stream: int, protocol: int, payload: bytes
    ) -> None:
        message = inbound.join(flags, stream, protocol, payload)
        if message is None or stream >= STREAMS:
            return
        if protocol == base.WEBRTC_BINARY:
            if channel := self._data_channels.get(stream):
                channel.emit("message", message)
        else:
            _now(self._receive(stream, protocol, message))

    def _sack_arrived(self, data: bytes, start: int, end: int) -> None:
        up_to, window, gaps, _ = _sack_fields.unpack_from(data, start + 4)
        recovery, now = self._recovery, self._clock()
        ahead = (up_to - recovery.up_to) & _M
        number = recovery.up_to + ahead
        if ahead >= _HALF or number > recovery.highest or start + 16 + 4 * gaps > end:
            return
        pairs = (_gap.unpack_from(data, start + 16 + 4 * place) for place in range(gaps))
        blocks = [(number + first, number + last) for first, last in pairs]
        self._heard_at, self._peer_window = now, window
        news = recovery.acknowledged(number, blocks, now)
        self._controller.acknowledged(news, recovery.flight, now)
        self._acked = True

    def drained(self) -> None:
        """Acknowledge: a row of packets has ended."""
        if self._to_ack >= self._together or self._ack_now:
            self._acknowledge()
        elif self._to_ack:
            wait = ACK_DELAY_HERE if self._to_ack == 1 else ACK_DELAY_SOME
            self._timers.at("ack", self._clock() + wait, self._acknowledge)
        if self._acked:
            self._acked = False
            self._pump()

    def _acknowledge(self) -> None:
        """Send a SACK."""
        inbound = self._inbound
        if inbound is None or not self._prefix:
            return
        self._to_ack, self._ack_now = 0, False
        self._timers.at("ack", None, self._acknowledge)
        gaps, twice = inbound.gaps((self._size.size - _SACK_OVERHEAD) // 4), inbound.take_twice()
        room = max(0, RECEIVE_WINDOW - inbound.held)
        length = 16 + 4 * (len(gaps) + len(twice))
        chunk = _sack.pack(_SACK, 0, length, inbound.up_to & _M, room, len(gaps), len(twice))
        chunk += b"".join(_gap.pack(*gap) for gap in gaps) + b"".join(_tag.pack(tsn) for tsn in twice)
        self._dtls.queue(self._sealed(chunk))
        self._dtls.flush()

    def statistics(self, *, queued: int) -> Statistics:
        """Figures of the sending half."""
        recovery, controller = self._recovery, self._controller
        return Statistics(
            queued=queued,
            sent=recovery.sent_bytes,
            acknowledged=recovery.acknowledged_bytes,
            retransmitted=recovery.again,
            under_way=recovery.flight,
            round_trip=recovery.srtt or None,
            packet=self._size.size,
            window=controller.window,
            rate=controller.rate or None,
            congested=controller.crowded,
        )


class Timers:
    """A few timers by name. Moving one to a later time costs nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set: dict[str, tuple[float, asyncio.TimerHandle]] = {}

    def at(self, name: str, due: float | None, call: Callable[[], None]) -> None:
        """Call at a time, instead of at the time set before; None: not at all."""
        before = self._set.get(name)
        if before and due is not None and before[1].when() <= due:
            # The earlier handle fires first, and sets the timer to the new time then.
            self._set[name] = due, before[1]
            return
        if before:
            before[1].cancel()
            del self._set[name]
        if due is not None:
            self._set[name] = due, self._loop.call_at(due, self._fire, name, call)

    def _fire(self, name: str, call: Callable[[], None]) -> None:
        due, _ = self._set.pop(name)
        if due > self._loop.time() + CLOCK_STEP:
            self.at(name, due, call)
        else:
            call()

    def cancel(self) -> None:
        """Cancel all timers."""
        for _, handle in self._set.values():
            handle.cancel()
        self._set.clear()


def _check_parameters(kind: int, body: bytes) -> None:
    """Raise ValueError for a parameter that ends before it begins: aiortc would read it forever."""
    position = _PARAMETERS_AT.get(kind, len(body))
    while position + 4 <= len(body):
        length = _parameter.unpack_from(body, position)[1]
        if length < 4:
            raise ValueError("a parameter has no length")
        position += (length + 3) & ~3


def _now(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine of aiortc that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("aiortc waits where it did not before")


def dtls_over(ice: RTCIceTransport, path: Path, certificate: RTCCertificate) -> RTCDtlsTransport:
    """DTLS over a path: the fast one, if it was tested with this version of aiortc."""
    if version("aiortc") in KNOWN:
        return FastDtls(ice, [certificate], path)
    log.info("data channels will be slow: nbferry was not tested with this version of aiortc")
    return RTCDtlsTransport(ice, [certificate])


def sctp_over(
    dtls: RTCDtlsTransport, path: Path, port: int, *, most_packet: int, window: int
) -> RTCSctpTransport:
    """SCTP over DTLS; the fast one over fast DTLS."""
    if isinstance(dtls, FastDtls):
        return FastSctp(dtls, port, path=path, most_packet=most_packet, window=window)
    return RTCSctpTransport(dtls, port)


def most_packet(dtls: RTCDtlsTransport) -> int:
    """Bytes of the largest SCTP packet that this end takes."""
    return MAX_PACKET if isinstance(dtls, FastDtls) else BASE_PACKET
