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
    """Say what runs here: the package's version, and the version of the relay's protocol."""
    try:
        package = version("nbferry")
    except PackageNotFoundError:  # run from its sources
        package = "unknown"
    return {"nbferry": package, "relay": PROTOCOL_VERSION}


class RelaySocket(QuietSocket):
    """One WebSocket: what Tornado tells it goes to its :class:`DrivenSocket`."""

    may_create = True
    """Whether this request may create a room; an application that asks for authorization decides it."""

    _line: DrivenSocket  # since the handshake

    @override
    def initialize(self, driver: RelayDriver) -> None:
        """Take what the route names."""
        self._driver = driver

    @property
    @override
    def max_message_size(self) -> int:
        """Bytes of one message until the socket is paired; with room for a refusal of what is too long."""
        return 2 * self._driver.limits.max_control

    @override
    def open(self, *args: str, **kwargs: str) -> None:
        """Enter the relay, now that the handshake is done."""
        self.set_nodelay(True)
        connection = cast("WebSocketProtocol13", self.ws_connection)  # there is no other protocol
        address = self.request.remote_ip or ""
        self._line = self._driver.opened(connection, address, may_create=self.may_create)
        if connection.stream.closed():  # since before the handshake: on_close was called, and is not again
            self._line.closed()

    @override
    def on_message(self, message: str | bytes) -> Any:
        """Pass a message on; Tornado reads no further until what is returned is done."""
        return self._line.received(message)

    @override
    def on_pong(self, data: bytes) -> None:
        """Pass on that a ping was answered."""
        self._line.heard()

    @override
    def on_close(self) -> None:
        """Leave the relay, whatever the cause."""
        if hasattr(self, "_line"):  # not if the socket went while the request was being authorized
            self._line.closed()


class VersionHandler(RequestHandler):
    """Says that there is a relay, and which."""

    @override
    def get(self) -> None:
        """Answer with :func:`version_fields` as JSON."""
        self.finish(version_fields())
