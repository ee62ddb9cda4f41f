"""The links of one call, of which one is in use at a time.

The receiver leads. An empty frame on a link says that it uses this one from now on, and the sender answers with an
empty frame there. So both know of everything that arrives whether it was sent before or after: what was sent on a link
before it was turned to is late, and dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from nbferry.engine.link import AnyLink, Lease, Received
from nbferry.errors import TransportClosed, TransportError

TURN = b""
MOST = 16  # links of one call that are kept: twice as many as there are paths


class Strand:
    """One link of a bundle."""

    def __init__(self, link: AnyLink) -> None:
        self.link = link
        self.unanswered = 0  # times that the leader has turned here and not heard the answer

    @property
    def via(self) -> str:
        """Which path it takes."""
        return self.link.via


Turned = Callable[["Strand | None"], None]
"""Told at once which strand is in use from now on; None: none is, and perhaps none is left."""


class Bundle:
    """See the module. ``received`` is given what comes on the strand in use."""

    def __init__(self, *, leads: bool, received: Received, turned: Turned) -> None:
        self.strands: list[Strand] = []
        self.current: Strand | None = None
        self.error: TransportError | None = None  # what the last strand was lost by
        self._leads = leads
        self._received = received
        self._turned = turned
        self._closing: set[asyncio.Task[None]] = set()

    def add(self, link: AnyLink) -> Strand:
        """One more link has come up."""
        strand = Strand(link)
        self.strands.append(strand)
        link.deliver_to(partial(self._arrived, strand), partial(self.lose, strand))
        if len(self.strands) > MOST:
            self.lose(strand, TransportClosed("There are too many connections."))
        return strand

    def turn_to(self, strand: Strand) -> None:
        """Use this one from now on (the leader decides)."""
        strand.unanswered += 1
        self._use(strand)

    async def announce(self, strand: Strand) -> None:
        """Say so, or answer it. Raises :class:`TransportError`."""
        await strand.link.send(TURN)

    def lose(self, strand: Strand, error: TransportError) -> None:
        """It is lost, or not wanted any more: close it."""
        if strand not in self.strands:
            return
        self.strands.remove(strand)
        self.error = error
        task = asyncio.create_task(strand.link.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        if strand is self.current or not self.strands:
            self._use(None)

    async def aclose(self) -> None:
        """Close all of them."""
        for strand in list(self.strands):
            self.lose(strand, TransportClosed())
        await asyncio.gather(*self._closing)

    def _use(self, strand: Strand | None) -> None:
        self.current = strand
        self._turned(strand)

    def _arrived(self, strand: Strand, frame: memoryview, lease: Lease | None) -> None:
        if not len(frame) and not self._leads:
            self._use(strand)
        elif not len(frame) and strand.unanswered:
            strand.unanswered -= 1
        elif strand is self.current and not strand.unanswered:
            self._received(frame, lease)
        elif lease:
            lease.release()
