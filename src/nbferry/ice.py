"""STUN and TURN servers, as people and browsers write them (RFC 7064, RFC 7065)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

PORT, TLS_PORT = 3478, 5349
PUBLIC_STUN = (
    "stun:stun.l.google.com:19302"  # says from which address our packets come, and sees nothing else
)

_URL = re.compile(
    r"(?P<scheme>stun|turn|turns):(?:(?P<username>[^:@]+):(?P<credential>[^@]+)@)?"
    r"(?P<host>[^:@?/\[\]\s]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[1-9]\d{0,4}))?(?:\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True)
class IceServer:
    """One that tells us our address (STUN) or passes our packets on (TURN)."""

    kind: Literal["stun", "turn"]
    host: str
    port: int
    transport: Literal["udp", "tcp"] = "udp"  # from us to it
    tls: bool = False
    username: str = ""
    credential: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Its address, without the credential."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = "?transport=tcp" if self.transport == "tcp" else ""
        return f"{self.kind}{'s' if self.tls else ''}:{host}:{self.port}{over}"


def ice_servers(named: str | Iterable[str | Mapping[str, object]]) -> tuple[IceServer, ...]:
    """Read servers: addresses, in a list or with commas between them, or objects as a browser's ``RTCIceServer``.

    An address is ``stun:host[:port]``, ``turn:user:secret@host[:port][?transport=tcp]`` or ``turns:…`` (TLS, and so
    TCP); what is special in user and secret is written ``%40``. Raises ValueError for anything else.
    """
    entries = [part.strip() for part in named.split(",")] if isinstance(named, str) else list(named)
    return tuple(server for entry in entries if entry for server in _servers(entry))


def _servers(entry: str | Mapping[str, object]) -> list[IceServer]:
    if isinstance(entry, str):
        return [_server(entry)]
    urls = entry.get("urls", ())
    user, secret = str(entry.get("username", "")), str(entry.get("credential", ""))
    if not isinstance(urls, str | list | tuple) or not urls:
        raise ValueError('an ICE server needs "urls"')
    return [_server(str(url), user, secret) for url in ([urls] if isinstance(urls, str) else urls)]


def _server(url: str, username: str = "", credential: str = "") -> IceServer:
    """One address; messages do not repeat it, because it can hold a secret."""
    parts = _URL.fullmatch(url)
    if not parts or int(parts["port"] or PORT) > 65_535:
        raise ValueError(
            "an ICE server is written stun:host:port, turn:user:secret@host:port?transport=tcp or turns:…"
        )
    tls, turn = parts["scheme"] == "turns", parts["scheme"] != "stun"
    username, credential = (
        username or unquote(parts["username"] or ""),
        credential or unquote(parts["credential"] or ""),
    )
    if turn and not (username and credential):
        raise ValueError(f"the TURN server at {parts['host']} needs a user name and a secret")
    if tls and parts["transport"] == "udp":
        raise ValueError(f"{parts['host']}: turns: is TLS, which needs transport=tcp")
    return IceServer(
        kind="turn" if turn else "stun",
        host=parts["host"].strip("[]"),
        port=int(parts["port"] or (TLS_PORT if tls else PORT)),
        transport="tcp" if tls or parts["transport"] == "tcp" else "udp",
        tls=tls,
        username=username if turn else "",
        credential=credential if turn else "",
    )
