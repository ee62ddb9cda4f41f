"""The rendezvous and relay: where two sides meet, and what carries their sealed bytes without a direct path.

    relay.py      the wire, specified; the core that speaks it, without I/O or a clock
    effects.py    what the core wants done
    wire.py       one control message: bytes to fields and back
    rooms.py      what the core remembers: connections, rooms, channels, ended rooms
    rates.py      token buckets      deadlines.py   what is due when      limits.py   every number
    driver.py     runs a core on an asyncio loop, over Tornado's WebSockets
    handlers.py   its two routes     app.py   a server of its own         extension.py   in a Jupyter server
    lines.py      what joins a kernel and the pages that show its cards, specified; without I/O
    pages.py      runs it, over Tornado's WebSockets; in a Jupyter server only

It runs in a process of its own (``nbferry relay``), inside a sender's process, or as an extension of a
Jupyter server; it never sees plaintext. Lines are there in a Jupyter server only, for its users. Importing this
package loads neither Tornado nor jupyter_server.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Where a Jupyter server finds the extension."""
    return [{"module": "nbferry.jupyter"}]


def _load_jupyter_server_extension(server_app: Any) -> None:
    """Put the relay's routes into a Jupyter server."""
    from nbferry.jupyter.extension import load  # noqa: PLC0415  (only a Jupyter server has what it needs)

    load(server_app)
