"""The links of one call, of which one is in use at a time.

The receiver leads. It says "switch", with a number that grows, on the link that it uses from now on, and the sender
answers with the same on that link. So each side knows of every frame that arrives whether it was sent before or after
the switch. What was sent on a link before the switch to it is late, and dropped. So is a switch that a newer one has
overtaken.

    switch  =  0x00 || u64 big-endian number      sealed like a frame of the protocol, of which none begins with 0x00
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from functools import partial

from nbferry.connections.link import AnyLink, FrameHandler, Lease
from nbferry.errors import TransportClosed, TransportError
from nbferry.model.paths import Via

log = logging.getLogger("nbferry")

_SWITCH = struct.Struct("!BQ")
MAX_LINKS = 32  # links of one call that are kept: more than a race makes


def switch(number: int) -> bytes:
    """The frame that announces a switch."""
    return _SWITCH.pack(0, number)


class BundledLink:
    """One link of a bundle."""

    def __init__(self, link: AnyLink) -> None:
        self.link = link
        # Both sides have said that they use this link, and have not switched to another since.
        self.agreed = False

    @property
    def via(self) -> Via:
        """Which path it takes."""
        return self.link.via


Used = Callable[["BundledLink | None"], None]
"""Called at once with the link that is in use from now on; None: none is, and perhaps none is left."""


class Bundle:
    """See the module. ``received`` is called with each frame that arrives on the link in use."""

    def __init__(self, *, leads: bool, received: FrameHandler, used: Used) -> None:
        self.links: list[BundledLink] = []
        self.current: BundledLink | None = None
        self.error: TransportError | None = None  # by which the last link was lost
        self._leads = leads
        self._number = 0  # of the newest switch
        self._received = received
        self._used = used
        self._closing: list[asyncio.Task[None]] = []

    def add(self, link: AnyLink) -> BundledLink:
        """Add a link that has come up."""
        bundled = BundledLink(link)
        self.links.append(bundled)
        link.deliver_to(partial(self._arrived, bundled), partial(self.lose, bundled))
        if len(self.links) > MAX_LINKS:
            self.lose(bundled, TransportClosed("There are too many connections."))
        return bundled

    def switch_to(self, bundled: BundledLink) -> None:
        """Use this link from now on. Only the leader calls this."""
        self._number += 1
        self._use(bundled)

    async def announce(self, bundled: BundledLink) -> None:
        """Send the newest switch on this link, or answer it. Raises :class:`TransportError`."""
        await bundled.link.send(switch(self._number))

    def lose(self, bundled: BundledLink, error: TransportError) -> None:
        """Close a link that is lost or no longer wanted."""
        if bundled not in self.links:
            return
        self.links.remove(bundled)
        self.error = error
        self._closing.append(asyncio.create_task(bundled.link.aclose()))
        if bundled is self.current or not self.links:
            self._use(None)

    async def aclose(self) -> None:
        """Close all links."""
        for bundled in list(self.links):
            self.lose(bundled, TransportClosed())
        for outcome in await asyncio.gather(*self._closing, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a connection could not be closed", exc_info=outcome)

    def _use(self, bundled: BundledLink | None, *, agreed: bool = False) -> None:
        if self.current:
            self.current.agreed = False
        if bundled:
            bundled.agreed = agreed
        self.current = bundled
        self._used(bundled)

    def _arrived(self, bundled: BundledLink, frame: memoryview, lease: Lease | None) -> None:
        if bundled in self.links and len(frame) == _SWITCH.size and frame[0] == 0:
            self._switch_arrived(bundled, _SWITCH.unpack(frame)[1])
        elif bundled.agreed:
            self._received(frame, lease)
        elif lease:
            lease.release()

    def _switch_arrived(self, bundled: BundledLink, number: int) -> None:
        if self._leads:
            bundled.agreed = bundled.agreed or (bundled is self.current and number == self._number)
        elif number > self._number:
            self._number = number
            self._use(bundled, agreed=True)
