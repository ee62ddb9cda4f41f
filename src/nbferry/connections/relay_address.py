"""Where a relay is, and what opens a room there."""

from __future__ import annotations

from dataclasses import dataclass, field

from nbferry.limits import Limits
from nbferry.model.paths import Via
from nbferry.transports import websocket
from nbferry.transports.base import Transport


@dataclass(frozen=True)
class RelayAddress:
    """A relay: where we reach it, where others do, and the headers that let us open a room."""

    # http(s)://host:port/base/
    url: str
    public_url: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    # where it listens, if it runs in this process
    own_port: int = 0

    @property
    def share_url(self) -> str:
        """The address that goes into a code."""
        return self.public_url or self.url

    async def dial(self, limits: Limits, *, as_host: bool = False) -> Transport:
        """Open a socket to it; raises :class:`ConnectFailed`."""
        headers = self.headers if as_host else None
        return await websocket.connect(f"{self.url}nbferry/ws", via=Via.RELAY, limits=limits, headers=headers)
