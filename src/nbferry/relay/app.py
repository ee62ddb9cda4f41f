"""A relay with a server of its own: stand-alone by ``nbferry relay``, or inside a sender's process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import platform
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler
from typing_extensions import override

from nbferry.errors import RendezvousError
from nbferry.limits import KiB, MiB
from nbferry.relay.driver import RelayDriver
from nbferry.relay.effects import RelayStatistics
from nbferry.relay.handlers import VERSION_PATH, WS_PATH, RelaySocket, VersionHandler
from nbferry.relay.limits import DEFAULT_RELAY_LIMITS, RelayLimits

Authorize: TypeAlias = Callable[[HTTPServerRequest], bool]
"""Whether a request may create rooms."""

HANDSHAKE_SECONDS = 10  # for the headers of a request; a slower client only holds a socket
MAX_HEADERS = 16 * KiB
WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  (compared with, not bound to)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>

logger = logging.getLogger("nbferry.relay")


class RunningRelay:
    """A relay that listens. ``url`` is where, as ``http://host:port/``."""

    def __init__(self, server: HTTPServer, driver: RelayDriver, url: str) -> None:
        self.url = url
        self._server = server
        self._driver = driver

    def statistics(self) -> RelayStatistics:
        """Describe the relay at this instant."""
        return self._driver.statistics()

    async def aclose(self) -> None:
        """Stop listening and close every socket. May be called twice."""
        self._server.stop()
        # First, so that no connection becomes a WebSocket later.
        await self._server.close_all_connections()
        await self._driver.aclose()


class _OwnSocket(RelaySocket):
    """A socket of a server of our own."""

    @override
    def initialize(self, driver: RelayDriver, authorize: Authorize | None = None) -> None:
        """Take the route's arguments; ask once whether this request may create rooms."""
        super().initialize(driver)
        self.may_create = authorize is None or authorize(self.request)


async def start_relay(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    limits: RelayLimits = DEFAULT_RELAY_LIMITS,
    authorize: Authorize | None = None,
    behind_proxy: bool = False,
) -> RunningRelay:
    """Listen on ``host`` (empty: everywhere) and ``port`` (0: any free one), in the running loop.

    ``authorize`` says whether a request may create rooms; without it all may. ``behind_proxy``: rates count for the
    address in X-Real-IP or X-Forwarded-For, which a client without a proxy could forge. Raises
    :class:`RendezvousError` if the address is not available.
    """
    driver = RelayDriver(limits)
    routes: list[Any] = [
        (WS_PATH, _OwnSocket, {"driver": driver, "authorize": authorize}),
        (VERSION_PATH, VersionHandler),
    ]
    server = HTTPServer(
        Application(routes, log_function=_log_request),
        xheaders=behind_proxy,
        max_header_size=MAX_HEADERS,
        max_body_size=MAX_HEADERS,  # no route uses a body
        idle_connection_timeout=HANDSHAKE_SECONDS,
        body_timeout=HANDSHAKE_SECONDS,
    )
    listener = _listen(host, port)
    server.add_socket(listener)
    relay = RunningRelay(server, driver, _url(host, listener.getsockname()[1]))
    logger.info("the relay listens on %s", relay.url)
    return relay


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    limits: RelayLimits = DEFAULT_RELAY_LIMITS,
    *,
    behind_proxy: bool = False,
    started: Callable[[RunningRelay], None] = lambda _: None,
) -> None:
    """Run a relay as the only task of this process, until SIGTERM or a cancellation; ``started`` is called with it.

    Arguments and errors are those of :func:`start_relay`.
    """
    raise_mmap_threshold()
    relay = await start_relay(host, port, limits=limits, behind_proxy=behind_proxy)
    try:
        async with _terminated() as terminated:
            started(relay)
            await terminated.wait()
    finally:
        await relay.aclose()


@contextlib.asynccontextmanager
async def _terminated() -> AsyncIterator[asyncio.Event]:
    loop, terminated = asyncio.get_running_loop(), asyncio.Event()
    cannot = contextlib.suppress(NotImplementedError, RuntimeError)  # Windows; not the main thread
    with cannot:
        loop.add_signal_handler(signal.SIGTERM, terminated.set)
    try:
        yield terminated
    finally:
        with cannot:
            loop.remove_signal_handler(signal.SIGTERM)


def raise_mmap_threshold() -> bool:
    """Let glibc keep the memory of large messages instead of mapping and clearing it anew for each.

    Messages of 1 MiB pass faster then. It affects the whole process, so only a process that is nothing but a relay may
    do it. Returns whether it was done: other platforms have no such threshold.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, 32 * MiB) and mallopt(M_TRIM_THRESHOLD, 64 * MiB))


def _listen(host: str, port: int) -> socket.socket:
    """Bind. Unlike tornado.netutil.bind_sockets it leaves no socket open when it fails."""
    try:
        if not host and socket.has_dualstack_ipv6():
            listener = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = min(found)  # IPv4 before IPv6, for a name that has both
            listener = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:  # the latter: a name that no host can have
        why = str(getattr(error, "strerror", None) or "not the name of a host").partition(" (")[0]
        message = f"No relay can listen on {host}:{port} ({why})."
        raise RendezvousError(message, hint="Choose another port or address.") from error
    listener.setblocking(False)
    return listener


def _url(host: str, port: int) -> str:
    if host in WILDCARDS:
        host = "127.0.0.1"  # a wildcard is not an address to dial
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _log_request(handler: RequestHandler) -> None:
    # Never the URL: a stranger may have chosen it.
    logger.debug("%s answers %d", type(handler).__name__, handler.get_status())
