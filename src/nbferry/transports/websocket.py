"""WebSocket, by picows: the only module that imports the library.

Compression is off. A message is written into a buffer with room for the WebSocket header in front, so that it is sent
without a copy. A received message is passed on as a view of the read buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSParsedURL,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)
from picows import WSError as PicowsError
from typing_extensions import override

from nbferry.errors import ConnectFailed, NbferryError, TransportBroken, TransportClosed
from nbferry.limits import MAX_MESSAGE, KiB, Limits, MiB
from nbferry.model.paths import Via
from nbferry.transports.base import Fill, Transport, closed_here

DIAL = "nbferry-dial"  # name of tasks that must not be cancelled: they would leave a socket open
HEADROOM = 16  # picows wants 14 bytes for the header; 16 keep the message aligned
OVERHEAD = 64 * KiB  # above MAX_MESSAGE, for the tag of a sealed frame and a mailbox's envelope
PING_IDLE, PING_REPLY = 20.0, 20.0  # seconds: proxies close connections that are silent for a minute
REUSED_FROM = 256 * KiB  # smaller messages get a new buffer: cheap, and sizes vary

_OPTIONS: dict[str, Any] = {
    "max_frame_size": MAX_MESSAGE + OVERHEAD,
    "read_buffer_init_size": 1 * MiB + OVERHEAD,
    "enable_auto_ping": True,
    "auto_ping_idle_timeout": PING_IDLE,
    "auto_ping_reply_timeout": PING_REPLY,
}

# Without picows' own socket layer (aiofastnet) 1 GiB took 1.32 s instead of 1.47 to 2.0 s, three runs each on a busy
# machine: asyncio releases the GIL while it reads. With TLS, by single runs only, aiofastnet seemed the quicker one.
_PLAIN, _TLS = {"use_aiofastnet": False, **_OPTIONS}, {"use_aiofastnet": None, **_OPTIONS}


class WebSocketTransport(Transport):
    """One WebSocket, of either end."""

    def __init__(self, via: Via, limits: Limits) -> None:
        super().__init__(via)
        self._limits = limits
        self._socket: WSTransport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._buffer = bytearray()
        self._fragments = bytearray()

    @override
    async def send(self, size: int, fill: Fill) -> None:
        self._check_open()
        assert self._socket is not None  # connected before it is handed out
        if len(self._buffer) != HEADROOM + size or size < REUSED_FROM:
            self._buffer = bytearray(HEADROOM + size)
        with memoryview(self._buffer) as whole, whole[HEADROOM:] as message:
            fill(message)
        self._socket.send_reuse_external_bytearray(WSMsgType.BINARY, self._buffer, HEADROOM)
        if not self._writable.is_set():
            await self._writable.wait()
            self._check_open()

    @override
    async def aclose(self) -> None:
        if self._socket is None:
            return
        if not self._end:
            self._ended(closed_here())
            self._writable.set()
            self._socket.send_close(WSCloseCode.OK)
        # The socket is still open if the other side closed the WebSocket.
        self._socket.disconnect()
        try:
            async with asyncio.timeout(2):
                # picows raises here the error that broke the connection, which was reported before.
                await asyncio.gather(self._socket.wait_disconnected(), return_exceptions=True)
        except TimeoutError:
            self._socket.disconnect(graceful=False)

    @property
    def is_open(self) -> bool:
        """Whether the handshake of the WebSocket is done, and neither side has closed it."""
        return self._socket is not None and self._end is None

    # ---------------------------------------------------------------- called by the listener
    def opened(self, socket: WSTransport) -> None:
        """The handshake of the WebSocket is done."""
        self._socket = socket
        high = self._limits.high_water
        socket.underlying_transport.set_write_buffer_limits(high=high, low=high // 4)

    def frame_arrived(self, frame: WSFrame) -> None:
        """One WebSocket frame; proxies may have cut a message into several."""
        match frame.msg_type:
            case WSMsgType.BINARY if frame.fin:
                self._message_arrived(frame.get_payload_as_memoryview())
            case WSMsgType.BINARY | WSMsgType.CONTINUATION:
                self._fragments += frame.get_payload_as_memoryview()
                if len(self._fragments) > MAX_MESSAGE + OVERHEAD:
                    raise TransportBroken("A message is too large.")
                if frame.fin:
                    message, self._fragments = self._fragments, bytearray()
                    self._message_arrived(memoryview(message))
            case WSMsgType.CLOSE:
                self._ended(TransportClosed())
            case WSMsgType.TEXT:
                raise TransportBroken("A text message arrived; only binary ones are expected.")

    def lost(self) -> None:
        """The socket is lost."""
        self._ended(TransportBroken())
        self._writable.set()

    def write_paused(self, paused: bool) -> None:
        """The socket has passed its high water mark, or has fallen below the low one."""
        if paused:
            self._writable.clear()
        else:
            self._writable.set()


class _Listener(WSListener):
    """Passes picows' callbacks on."""

    def __init__(self, transport: WebSocketTransport, connected: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._transport = transport
        self._connected = connected

    @override
    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport.opened(transport)
        if self._connected:
            self._connected()

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            self._transport.frame_arrived(frame)
        except NbferryError:
            transport.disconnect(graceful=False)

    @override
    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport.lost()

    @override
    def pause_writing(self) -> None:
        self._transport.write_paused(True)

    @override
    def resume_writing(self) -> None:
        self._transport.write_paused(False)


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address (``https_proxy``, ``no_proxy`` and so on)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # costs 30 ms

    return None if proxy_bypass(host) else getproxies().get("https" if parts.scheme == "wss" else "http")


async def connect(url: str, *, via: Via, limits: Limits, headers: dict[str, str] | None = None) -> Transport:
    """Open a WebSocket to a ``ws(s)://`` or ``http(s)://`` URL; raises :class:`ConnectFailed` with the reason."""
    if url.startswith("http"):
        url = "ws" + url.removeprefix("http")
    transport, dial = WebSocketTransport(via, limits), _Dial()
    opening = asyncio.create_task(
        ws_connect(
            lambda: _Listener(transport),
            url,
            extra_headers=headers,
            proxy=_proxy_for(url) if via is Via.RELAY else None,
            max_redirects=0,
            socket_factory=dial.open,
            **(_TLS if url.startswith("wss:") else _PLAIN),
        ),
        name=DIAL,
    )
    try:
        async with asyncio.timeout(limits.connect_timeout):
            await asyncio.shield(opening)
    except asyncio.CancelledError:
        dial.give_up(opening)
        raise
    except WSHandshakeError as error:
        status = getattr(error.response, "status", None)
        answer = f" (HTTP {int(status)})" if status else ""
        raise ConnectFailed(f"The server at {_place(url)} is no nbferry relay{answer}.") from error
    except TimeoutError as error:
        dial.give_up(opening)
        raise ConnectFailed(f"Nothing answered at {_place(url)} in time.") from error
    except (OSError, PicowsError, ValueError) as error:
        raise ConnectFailed(f"{_place(url)} cannot be reached ({_why(error)}).") from error
    # picows reports no error if a server closes the connection before it has answered.
    if not transport.is_open:
        await transport.aclose()
        raise ConnectFailed(f"{_place(url)} closed the connection.")
    return transport


class _Dial:
    """The socket of a connection that is being opened. If it is cancelled, picows leaves the socket open."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    async def open(self, address: WSParsedURL) -> socket.socket:
        """Connect to the first of a host's addresses that answers."""
        loop = asyncio.get_running_loop()
        failure = OSError(f"{address.host} has no address")
        found = await loop.getaddrinfo(str(address.host), address.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            dialled = socket.socket(family, kind, protocol)
            dialled.setblocking(False)
            try:
                await loop.sock_connect(dialled, place)
            except OSError as error:
                dialled.close()
                failure = error
            except BaseException:
                dialled.close()
                raise
            else:
                self._socket = dialled
                return dialled
        raise failure

    def give_up(self, opening: asyncio.Task[tuple[WSTransport, WSListener]]) -> None:
        """End the connection. An open socket is shut down, so that picows closes it."""
        if self._socket is None:
            opening.cancel()
            return
        opening.add_done_callback(_drop)
        with contextlib.suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)


def _drop(opening: asyncio.Future[tuple[WSTransport, WSListener]]) -> None:
    """Close a connection that came up after the caller had given up."""
    if not opening.cancelled() and not opening.exception():
        opening.result()[0].disconnect(graceful=False)


def _place(url: str) -> str:
    """The part of a URL that may be shown: the path can hold a secret."""
    return urlsplit(url).netloc


def _why(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else type(error).__name__


class Listener:
    """Waits for WebSockets on a random port, under one unguessable path."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._arrived: asyncio.Queue[Transport] = asyncio.Queue(8)
        self._server: asyncio.Server

    @classmethod
    async def start(cls, path: str, limits: Limits, *, host: str | None = None) -> Listener:
        """Listen on ``host``, on all interfaces if it is None; raises :class:`ConnectFailed`."""
        listener = cls(path, limits)
        try:
            listener._server = await ws_create_server(listener._route, host or None, 0, **_PLAIN)
        except OSError as error:
            raise ConnectFailed(f"Cannot listen ({_why(error)}).") from error
        return listener

    @property
    def ports(self) -> list[tuple[str, int]]:
        """Address and port of each socket that listens."""
        return [socket.getsockname()[:2] for socket in self._server.sockets]

    def _route(self, request: WSUpgradeRequest) -> WSListener | None:
        if request.path.decode("ascii", "replace") != self._path:
            return None
        if self._arrived.full() or not self._server.is_serving():  # a socket may outlive its server
            return None
        transport = WebSocketTransport(Via.DIRECT, self._limits)
        return _Listener(transport, lambda: self._arrived.put_nowait(transport))

    async def accept(self) -> Transport:
        """The next WebSocket that a client has opened."""
        return await self._arrived.get()

    async def aclose(self) -> None:
        """Stop listening; close WebSockets that were not accepted."""
        self._server.close()
        while not self._arrived.empty():
            await self._arrived.get_nowait().aclose()
