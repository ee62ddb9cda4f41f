"""Fixtures for the tests of the command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class _Silent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Find no page."""
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name for it
        """Log no request."""


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a server that is no relay."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
