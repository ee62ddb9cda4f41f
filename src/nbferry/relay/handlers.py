"""The relay's two routes, for any Tornado application."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from tornado.web import RequestHandler
from tornado.websocket import WebSocketProtocol13
from typing_extensions import override

from nbferry.relay.core import PROTOCOL_VERSION
from nbferry.relay.driver import DrivenSocket, RelayDriver
from nbferry.relay.sockets import QuietSocket

WS_PATH = "/nbferry/ws"
VERSION_PATH = "/nbferry/version"


def version_fields() -> dict[str, str | int]:
    """The version of the package, and of the relay's protocol."""
    try:
        package = version("nbferry")
    except PackageNotFoundError:  # run from its sources
        package = "unknown"
    return {"nbferry": package, "relay": PROTOCOL_VERSION}


class RelaySocket(QuietSocket):
    """One WebSocket: what Tornado tells it goes to its :class:`DrivenSocket`."""

    may_create = True
    """Whether this request may create a room. An application that asks for authorization sets it."""

    _driven: DrivenSocket  # since the handshake

    @override
    def initialize(self, driver: RelayDriver) -> None:
        """Take the route's arguments."""
        self._driver = driver

    @property
    @override
    def max_message_size(self) -> int:
        """Bytes of one message until the socket is paired. Above the limit, so that the core can refuse politely."""
        return 2 * self._driver.limits.max_control

    @override
    def open(self, *args: str, **kwargs: str) -> None:
        """Enter the relay, now that the handshake is done."""
        self.set_nodelay(True)
        connection = cast("WebSocketProtocol13", self.ws_connection)  # Tornado knows no other
        address = self.request.remote_ip or ""
        self._driven = self._driver.opened(connection, address, may_create=self.may_create)
        # A socket that closed before the handshake has already had its on_close.
        if connection.stream.closed():
            self._driven.closed()

    @override
    def on_message(self, message: str | bytes) -> Any:
        """Pass a message on; Tornado reads the next one only when the returned awaitable is done."""
        return self._driven.received(message)

    @override
    def on_pong(self, data: bytes) -> None:
        """Pass on that a ping was answered."""
        self._driven.heard()

    @override
    def on_close(self) -> None:
        """Leave the relay."""
        # The socket may close while the request is still being authorized.
        if hasattr(self, "_driven"):
            self._driven.closed()


class VersionHandler(RequestHandler):
    """Says that a relay runs here, and which."""

    @override
    def get(self) -> None:
        """Answer with :func:`version_fields` as JSON."""
        self.finish(version_fields())
