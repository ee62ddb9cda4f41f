"""What a connection needs: the relay, where to listen, which servers help through a NAT."""

from __future__ import annotations

from dataclasses import dataclass, field

from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer
from nbferry.model.paths import Via
from nbferry.transports import websocket
from nbferry.transports.base import Transport


@dataclass(frozen=True)
class RelayAddress:
    """A relay: where we reach it, where others do, and the headers that let us open a room."""

    url: str  # http(s)://host:port/base/
    public_url: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    own_port: int = 0  # where it listens, if it runs in this process

    @property
    def share_url(self) -> str:
        """The address that goes into a code."""
        return self.public_url or self.url

    async def dial(self, limits: Limits, *, as_host: bool = False) -> Transport:
        """Open a socket to it; raises :class:`ConnectFailed`."""
        headers = self.headers if as_host else None
        return await websocket.connect(f"{self.url}nbferry/ws", via=Via.RELAY, limits=limits, headers=headers)


@dataclass(frozen=True)
class ConnectContext:
    """What a connection needs: the relay, the paths that are allowed, where to listen (None: everywhere).

    ``ice`` are the STUN and TURN servers that WebRTC may ask.
    """

    relay: RelayAddress
    via: Via
    limits: Limits
    host: str | None = None
    ice: tuple[IceServer, ...] = ()
