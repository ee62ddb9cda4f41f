"""The relay and the lines as an extension of a Jupyter server: the only module that imports jupyter_server.

The relay's routes are public, because the other side of a transfer has no account here: a room is protected by its
name. Only a user of this server may create a room or open an end of a line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import ensure_async, url_path_join
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler
from typing_extensions import override

from nbferry.jupyter.lines import PAGES_VERSION, LineHubs
from nbferry.jupyter.page_sockets import PAGE_PATH, PageSocket
from nbferry.relay.driver import RelayDriver
from nbferry.relay.handlers import VERSION_PATH, WS_PATH, RelaySocket, version_fields

AUTH_RESOURCE = "nbferry"


class JupyterRelaySocket(RelaySocket, WebSocketMixin, WebSocketHandler, JupyterHandler):
    """A relay's socket whose users, origin check and host check are the server's.

    Its keep-alive is the relay's: ``RelaySocket.open`` stands before the mixin's, which would start a second.
    """

    auth_resource = AUTH_RESOURCE

    @override
    def set_default_headers(self) -> None:
        """Undo JupyterHandler's, which are for pages."""

    @allow_unauthenticated
    @override
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Open the socket to all; only users of this server may create rooms."""
        self.may_create = await _is_user(self)
        await super().get(*args, **kwargs)


class JupyterPageSocket(PageSocket, WebSocketMixin, WebSocketHandler, JupyterHandler):
    """An end of a line, for users of this server; the page of another site cannot open it.

    Users, origin and host check are the server's, as for its own sockets to kernels.
    """

    auth_resource = AUTH_RESOURCE

    @override
    def set_default_headers(self) -> None:
        """Undo JupyterHandler's, which are for pages."""

    @ws_authenticated
    @override
    async def get(self, name: str) -> None:
        """Open the socket to users that may write on this server."""
        if not await _is_user(self):
            raise HTTPError(403)
        await super().get(name)


async def _is_user(handler: JupyterHandler) -> bool:
    user = handler.current_user
    return bool(user) and await ensure_async(
        handler.authorizer.is_authorized(handler, user, "write", AUTH_RESOURCE)
    )


class JupyterVersionHandler(JupyterHandler):
    """Says that a relay and lines run here, and which versions."""

    @allow_unauthenticated
    @override
    async def get(self) -> None:
        """Answer as JSON, to all: a client must know before it has any credentials."""
        self.finish(version_fields() | {"pages": PAGES_VERSION})


def activity(
    settings: MutableMapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> Callable[[], None]:
    """Return a function that notes in a server's settings that it is in use, so that no transfer is culled.

    The server looks at every setting that ends in ``_last_activity``. Once a second is enough, and costs nothing.
    """
    noted = -math.inf

    def note() -> None:
        nonlocal noted
        if (now := clock()) - noted >= 1:
            noted = now
            settings["nbferry_last_activity"] = datetime.now(UTC)

    return note


def load(server_app: ServerApp) -> None:
    """Put the routes under a Jupyter server's base URL."""
    web_app = server_app.web_app
    traffic = activity(web_app.settings)
    driver = web_app.settings["nbferry_relay"] = RelayDriver(traffic=traffic)
    lines = web_app.settings["nbferry_lines"] = LineHubs()
    base = web_app.settings["base_url"]
    web_app.add_handlers(  # type: ignore[no-untyped-call]  # it has no types
        ".*$",
        [
            (url_path_join(base, WS_PATH), JupyterRelaySocket, {"driver": driver}),
            (url_path_join(base, VERSION_PATH), JupyterVersionHandler),
            (
                url_path_join(base, PAGE_PATH),
                JupyterPageSocket,
                {"lines": lines, "traffic": traffic},
            ),
        ],
    )
    server_app.log.info("nbferry: relay at %s", url_path_join(base, WS_PATH))
