"""How this process runs transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer
from nbferry.model.paths import Via


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the caller, the record of the transfer and the environment say, in this order.

    ``via`` is the path to take. ``relay`` is the address of a relay; without one the Jupyter server's is used, or one
    in this process. ``host`` is the only address to listen on, None for all. ``ice`` are the STUN and TURN servers to
    ask. With ``asks`` the caller decides about every offer, small ones too.
    """

    limits: Limits = field(default_factory=Limits)
    via: Via = Via.AUTO
    relay: str = ""
    host: str | None = None
    ice: tuple[IceServer, ...] = ()
    asks: bool = False
