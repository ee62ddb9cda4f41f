"""WebRTC data channels (RFC 8831) between two kernels, by aiortc.

Two channels have fixed numbers, so that neither needs a message to open. One carries the messages, cut into pieces. The
other is the transport's own: an end that closes says how many messages it has sent, and the other answers when it has
them all. So an end knows whether the pipe was closed or broke, and a close loses no message.

This loads aiortc, which takes a quarter of a second: import it where it is used first.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCIceTransport,
    RTCSctpCapabilities,
    RTCSctpTransport,
)
from typing_extensions import override

from nbferry.errors import ConnectFailed, TransportBroken, TransportClosed, TransportError
from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer
from nbferry.model.paths import Via
from nbferry.transports.base import Fill, Transport, closed_here
from nbferry.transports.webrtc.description import DEFAULT_MAX_MESSAGE, Description, binding
from nbferry.transports.webrtc.ice import Gatherer, find_path
from nbferry.transports.webrtc.pieces import PIECE, Cutter, PieceAssembler
from nbferry.transports.webrtc.sctp import FastSctp, Statistics, dtls_over, most_packet, sctp_over

__all__ = ["DataChannelTransport", "Description", "Peer", "Statistics", "binding"]

SCTP_PORT = 5000  # the usual one; RFC 8841 prescribes none
DATA, CONTROL = 0, 1  # numbers of the channels
GOODBYE_SECONDS = 2.0  # for unsent messages, and for the other side's goodbye, when a pipe is closed

_CLOSE, _BYE = 1, 2  # the transport's own messages; others are ignored
_GOODBYE = struct.Struct("!BQ")  # which of the two, and how many messages its sender has sent

log = logging.getLogger("nbferry")


class Stack:
    """ICE and DTLS of one end, and SCTP once the other end is known."""

    def __init__(self, gatherer: Gatherer) -> None:
        self._paths = gatherer.paths
        self.ice = RTCIceTransport(gatherer)
        self.dtls = dtls_over(self.ice, self._paths, RTCCertificate.generateCertificate())
        self._sctp: RTCSctpTransport | None = None

    def prepare(self, remote: Description, limits: Limits) -> RTCSctpTransport:
        """Make the SCTP transport, so that it can be given channels."""
        self._sctp = sctp_over(
            self.dtls, self._paths, SCTP_PORT, most_packet=remote.max_packet, window=limits.channel_window
        )
        return self._sctp

    async def connect(self, remote: Description, *, same_machine: bool) -> None:
        """Bring up ICE and DTLS, and start SCTP. Raises :class:`ConnectFailed`."""
        assert self._sctp
        await find_path(self.ice, remote, same_machine=same_machine)
        fingerprints = [RTCDtlsFingerprint(name, value) for name, value in remote.fingerprints]
        await self.dtls.start(RTCDtlsParameters(fingerprints))
        if self.dtls.state != "connected":
            raise ConnectFailed("A direct path led to a stranger instead of the other side")
        await self._sctp.start(RTCSctpCapabilities(remote.max_message), SCTP_PORT)

    async def aclose(self) -> None:
        """Close all layers. May be called twice."""
        if self._sctp:
            await self._sctp.stop()
        await self.dtls.stop()
        await self.ice.stop()


class DataChannelTransport(Transport):
    """One end of a pair of channels; it owns the stack under them."""

    def __init__(self, stack: Stack, remote: Description, limits: Limits) -> None:
        super().__init__(Via.WEBRTC)
        self._stack = stack
        self._sctp = stack.prepare(remote, limits)
        self._limits = limits
        self._cutter, self._joiner = Cutter(min(PIECE, remote.max_message or PIECE)), PieceAssembler()
        self._sent = self._received = 0  # messages
        self._to_come: int | None = None  # how many messages a closing side has sent
        self._open, self._low, self._bye = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        stack.dtls.on("statechange", self._dtls_changed)
        self._data = self._channel(DATA, self._data_arrived)
        self._data.bufferedAmountLowThreshold = limits.channel_low_water
        self._data.on("bufferedamountlow", self._low.set)
        self._control = self._channel(CONTROL, self._control_arrived)

    def _channel(self, number: int, arrived: Callable[[bytes | str], None]) -> RTCDataChannel:
        parameters = RTCDataChannelParameters(label="nbferry", negotiated=True, id=number)
        channel = RTCDataChannel(self._sctp, parameters)
        channel.on("open", self._open.set)
        channel.on("close", self._lost)
        channel.on("message", arrived)
        return channel

    def statistics(self) -> Statistics:
        """Figures of this instant."""
        if isinstance(self._sctp, FastSctp):
            return self._sctp.statistics(queued=self._data.bufferedAmount)
        return Statistics(queued=self._data.bufferedAmount)

    async def opened(self) -> None:
        """Wait until messages can be sent; raises :class:`ConnectFailed`."""
        await self._open.wait()
        if self._end:
            raise ConnectFailed("The other side closed the direct path")

    @override
    async def send(self, size: int, fill: Fill) -> None:
        self._check_open()
        with self._cutter.room(size) as room:
            fill(room)
        self._sent += 1
        for piece in self._cutter.pieces():
            self._data.send(piece)
        if self._data.bufferedAmount > self._limits.channel_high_water:
            await self._drained()

    async def _drained(self) -> None:
        """Wait for the low water mark. A path that moves nothing for ``dead_after`` seconds counts as broken."""
        self._low.clear()
        try:
            async with asyncio.timeout(self._limits.dead_after):
                await self._low.wait()
        except TimeoutError:
            self._ended(TransportBroken("The other side has taken nothing for a long time."))
        self._check_open()

    @override
    async def aclose(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if not self._end:
            self._ended(closed_here())
            self._control.send(_GOODBYE.pack(_CLOSE, self._sent))
            try:
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._bye.wait()
            except TimeoutError:
                log.info("a data channel was closed; the other side did not confirm it")
        await self._stack.aclose()

    @override
    def _ended(self, error: TransportError) -> None:
        super()._ended(error)
        for event in (self._open, self._low):
            event.set()

    # ---------------------------------------------------------------- called by aiortc
    def _data_arrived(self, piece: bytes | str) -> None:
        if self._end:
            return
        try:
            if (message := self._joiner.add(piece)) is not None:
                self._received += 1
                self._message_arrived(message)
        except TransportBroken as error:
            self._cut(error)
        self._closed_there()

    def _control_arrived(self, message: bytes | str) -> None:
        if not isinstance(message, bytes) or len(message) != _GOODBYE.size:
            return
        word, sent = _GOODBYE.unpack(message)
        if word == _CLOSE:
            self._to_come = sent
            self._closed_there()
        elif word == _BYE:
            self._bye.set()

    def _closed_there(self) -> None:
        """End the pipe if the other side has closed and all its messages have arrived."""
        if self._to_come is not None and self._received >= self._to_come:
            self._to_come = None
            self._control.send(_GOODBYE.pack(_BYE, self._sent))
            self._ended(TransportClosed())

    def _cut(self, error: TransportBroken) -> None:
        """Cut the connection to a side that breaks the rules."""
        self._ended(error)
        self._bye.set()
        if self._closing is None:
            self._closing = asyncio.create_task(self._stack.aclose())

    def _lost(self) -> None:
        self._ended(TransportBroken())
        self._bye.set()

    def _dtls_changed(self) -> None:
        if self._stack.dtls.state in ("closed", "failed"):
            self._lost()


class Peer:
    """One end of a connection that is being made."""

    def __init__(self, stack: Stack, description: Description, limits: Limits) -> None:
        self._stack = stack
        self._description = description
        self._limits = limits
        self._handed_over = False

    @classmethod
    async def start(cls, *, controlling: bool, servers: Sequence[IceServer], limits: Limits) -> Peer:
        """Gather candidates: at once without servers, and within ``gather_timeout`` seconds with servers.

        Exactly one of the two sides is ``controlling``. Each server is asked; a silent one only costs time.
        """
        gatherer = Gatherer(controlling=controlling, servers=servers, gather_timeout=limits.gather_timeout)
        try:
            await gatherer.gather()
            stack = Stack(gatherer)
        except BaseException:
            await gatherer.paths.close()
            raise
        return cls(stack, _description(stack, gatherer), limits)

    @property
    def description(self) -> Description:
        """What the other side needs to know to connect."""
        return self._description

    async def connect(self, remote: Description, *, same_machine: bool = False) -> DataChannelTransport:
        """Connect to the described end, once, within ``connect_timeout`` seconds; raises :class:`ConnectFailed`.

        A failure or a cancellation leaves nothing open. ``same_machine``: whether loopback leads to the other side.
        """
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                return await self._connect(remote, same_machine=same_machine)
        except TimeoutError:
            await self.aclose()
            raise ConnectFailed("No direct path to the other side was found in time") from None
        except BaseException:
            await self.aclose()
            raise

    async def _connect(self, remote: Description, *, same_machine: bool) -> DataChannelTransport:
        transport = DataChannelTransport(self._stack, remote, self._limits)
        await self._stack.connect(remote, same_machine=same_machine)
        await transport.opened()
        self._handed_over = True
        return transport

    async def aclose(self) -> None:
        """Close everything, unless it is connected: then the transport owns it and closes it."""
        if not self._handed_over:
            await self._stack.aclose()


def _description(stack: Stack, gatherer: Gatherer) -> Description:
    parameters = gatherer.getLocalParameters()
    assert parameters.usernameFragment is not None
    assert parameters.password is not None
    fingerprints = stack.dtls.getLocalParameters().fingerprints
    return Description(
        ufrag=parameters.usernameFragment,
        password=parameters.password,
        candidates=gatherer.candidates,
        fingerprints=tuple(
            (each.algorithm, each.value) for each in fingerprints if each.algorithm == "sha-256"
        ),
        max_message=DEFAULT_MAX_MESSAGE,
        max_packet=most_packet(stack.dtls),
    )
