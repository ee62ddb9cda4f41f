"""STUN and TURN servers, as people and browsers write them (RFC 7064, RFC 7065).

Error messages never repeat the input, because it can contain a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from typing_extensions import override

PORT, TLS_PORT = 3478, 5349
MAX_ICE_SERVERS = 20
"""Every server is asked before the first packet goes to the other side."""
MAX_SECRET = 1024
"""Characters of a user name or credential. RFC 8489 allows user names of 512; tokens are longer."""
PUBLIC_STUN = "stun:stun.l.google.com:19302"
"""Reports the address from which our packets come, and sees nothing else."""

Named = str | Iterable[str | Mapping[str, object]]
"""Servers as a caller names them; see :func:`ice_servers`."""

_URL = re.compile(
    r"(?P<scheme>stun|turn|turns):(?:(?P<username>[^:@]+):(?P<credential>[^@]+)@)?"
    r"(?P<host>[\w.-]{1,255}|\[[0-9a-fA-F:.]{2,45}\])(?::(?P<port>[1-9][0-9]{0,4}))?(?:\?transport=(?P<transport>udp|tcp))?"
)
_FORMS = "stun:host:port, turn:user:secret@host:port?transport=tcp or turns:…"


@dataclass(frozen=True)
class IceServer:
    """A server that reports our address (STUN) or forwards our packets (TURN)."""

    kind: Literal["stun", "turn"]
    host: str
    port: int
    transport: Literal["udp", "tcp"] = "udp"
    """Between us and the server."""
    tls: bool = False
    username: str = ""
    credential: str = field(default="", repr=False)

    @override
    def __str__(self) -> str:
        """Return its address, without the credential."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = "?transport=tcp" if self.transport == "tcp" else ""
        return f"{self.kind}{'s' if self.tls else ''}:{host}:{self.port}{over}"

    def as_object(self) -> dict[str, str]:
        """Return a browser's ``RTCIceServer``, with the credential; :func:`ice_servers` reads it back."""
        secrets = {"username": self.username, "credential": self.credential}
        return {"urls": str(self), **(secrets if self.kind == "turn" else {})}


def ice_servers(named: Named) -> tuple[IceServer, ...]:
    """Read servers: addresses in a list or separated by commas, or objects like a browser's ``RTCIceServer``.

    An address is ``stun:host[:port]``, ``turn:user:secret@host[:port][?transport=tcp]`` or ``turns:…`` (TLS, and so
    TCP). Special characters in user and secret are percent-encoded, as in ``%40``. An empty text or list means no
    server. Raises ValueError for anything else.
    """
    entries = named.split(",") if isinstance(named, str) else list(named)
    found = tuple(server for entry in entries for server in _servers(entry))
    if len(found) > MAX_ICE_SERVERS:
        raise ValueError(f"at most {MAX_ICE_SERVERS} ICE servers are allowed, not {len(found)}")
    return found


def _servers(entry: object) -> list[IceServer]:
    if isinstance(entry, str):
        return [_server(entry)] if entry.strip() else []
    if not isinstance(entry, Mapping):
        raise ValueError(f'an ICE server is an address ({_FORMS}) or an object with "urls"')  # noqa: TRY004  # as documented
    urls = entry.get("urls")
    each = [urls] if isinstance(urls, str) else urls
    if not isinstance(each, list | tuple) or not each or not all(isinstance(url, str) for url in each):
        raise ValueError('an ICE server needs "urls": an address or a list of them')
    return [_server(url, entry.get("username"), entry.get("credential")) for url in each]


def _server(url: str, username: object = None, credential: object = None) -> IceServer:
    parts = _URL.fullmatch(url.strip())
    if not parts or int(parts["port"] or PORT) > 65_535:
        raise ValueError(f"an ICE server is written {_FORMS}")
    tls, turn, where = parts["scheme"] == "turns", parts["scheme"] != "stun", parts["host"]
    if tls and parts["transport"] == "udp":
        raise ValueError(f"{where}: turns: is TLS, which needs transport=tcp")
    if not turn and parts["transport"] == "tcp":
        raise ValueError(f"{where}: stun: uses UDP only")
    return IceServer(
        kind="turn" if turn else "stun",
        host=where.strip("[]"),
        port=int(parts["port"] or (TLS_PORT if tls else PORT)),
        transport="tcp" if tls or parts["transport"] == "tcp" else "udp",
        tls=tls,
        username=_secret(username, parts["username"], where) if turn else "",
        credential=_secret(credential, parts["credential"], where) if turn else "",
    )


def _secret(given: object, in_url: str | None, host: str) -> str:
    """Return a user name or credential: the one beside the address, else the one inside it."""
    found = given or unquote(in_url or "")
    if not isinstance(found, str) or not found:
        raise ValueError(f"the TURN server at {host} needs a user name and a secret")
    if len(found) > MAX_SECRET or not found.isprintable():
        raise ValueError(f"the TURN server at {host} has an invalid user name or secret")
    return found
