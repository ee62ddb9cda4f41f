"""The links of one call, of which one is in use at a time.

The receiver leads. It says "switch", with a number that grows, on the link that it uses from now on, and the sender
answers with the same there. So both know of everything that arrives whether it was sent before or after: what was sent
on a link before it was turned to is late, and dropped; and so is a turn that another one has overtaken.

    turn  =  0x00 || u64 big-endian number      in a record like a frame of the protocol, of which none begins with 0x00
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

_TURN = struct.Struct("!BQ")
MAX_LINKS = 32  # links of one call that are kept: more than a race makes


def switch(number: int) -> bytes:
    """The frame that says it."""
    return _TURN.pack(0, number)


class BundledLink:
    """One link of a bundle."""

    def __init__(self, link: AnyLink) -> None:
        self.link = link
        # both sides have said that they use this one, and not turned to another one since
        self.agreed = False

    @property
    def via(self) -> Via:
        """Which path it takes."""
        return self.link.via


Used = Callable[["BundledLink | None"], None]
"""Told at once which strand is in use from now on; None: none is, and perhaps none is left."""


class Bundle:
    """See the module. ``received`` is given what comes on the strand in use."""

    def __init__(self, *, leads: bool, received: FrameHandler, used: Used) -> None:
        self.links: list[BundledLink] = []
        self.current: BundledLink | None = None
        self.error: TransportError | None = None  # what the last strand was lost by
        self._leads = leads
        self._turn = 0  # the last one
        self._received = received
        self._used = used
        self._closing: list[asyncio.Task[None]] = []

    def add(self, link: AnyLink) -> BundledLink:
        """One more link has come up."""
        strand = BundledLink(link)
        self.links.append(strand)
        link.deliver_to(partial(self._arrived, strand), partial(self.lose, strand))
        if len(self.links) > MAX_LINKS:
            self.lose(strand, TransportClosed("There are too many connections."))
        return strand

    def switch_to(self, strand: BundledLink) -> None:
        """Use this one from now on (the leader decides)."""
        self._turn += 1
        self._use(strand)

    async def announce(self, strand: BundledLink) -> None:
        """Say so, or answer it. Raises :class:`TransportError`."""
        await strand.link.send(switch(self._turn))

    def lose(self, strand: BundledLink, error: TransportError) -> None:
        """It is lost, or not wanted any more: close it."""
        if strand not in self.links:
            return
        self.links.remove(strand)
        self.error = error
        self._closing.append(asyncio.create_task(strand.link.aclose()))
        if strand is self.current or not self.links:
            self._use(None)

    async def aclose(self) -> None:
        """Close all of them."""
        for strand in list(self.links):
            self.lose(strand, TransportClosed())
        for outcome in await asyncio.gather(*self._closing, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a connection could not be closed", exc_info=outcome)

    def _use(self, strand: BundledLink | None, *, agreed: bool = False) -> None:
        if self.current:
            self.current.agreed = False
        if strand:
            strand.agreed = agreed
        self.current = strand
        self._used(strand)

    def _arrived(self, strand: BundledLink, frame: memoryview, lease: Lease | None) -> None:
        if strand in self.links and len(frame) == _TURN.size and frame[0] == 0:
            self._turn_arrived(strand, _TURN.unpack(frame)[1])
        elif strand.agreed:
            self._received(frame, lease)
        elif lease:
            lease.release()

    def _turn_arrived(self, strand: BundledLink, number: int) -> None:
        if self._leads:
            strand.agreed = strand.agreed or (strand is self.current and number == self._turn)
        elif number > self._turn:
            self._turn = number
            self._use(strand, agreed=True)
