"""What nbferry knows of Jupyter, on its two sides.

In a kernel:

    server.py         which Jupyter server started this kernel, its relay, and its address for others
    state_folder.py   where this process keeps its state: beside the notebook
    face_kind.py      which face transfers show: a widget, text or none

In a Jupyter server, which loads nbferry as an extension:

    extension.py      puts the relay and the lines into the server
    lines.py          joins a kernel and the pages that show its cards; specifies their wire, without I/O
    page_sockets.py   runs the lines over Tornado's WebSockets

A relay in a Jupyter server is :mod:`nbferry.relay` with the server's routes and users. Importing this package loads
neither Tornado nor jupyter_server.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Where a Jupyter server finds the extension."""
    return [{"module": "nbferry.jupyter"}]


def _load_jupyter_server_extension(server_app: Any) -> None:
    """Put the relay's routes into a Jupyter server."""
    from nbferry.jupyter.extension import load  # noqa: PLC0415  # loads jupyter_server

    load(server_app)
