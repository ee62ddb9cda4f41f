"""The room of a code: opened at the relay, kept there, closed when the code is used up."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from nbferry.crypto.keys import SessionKeys
from nbferry.engine.backoff import Backoff
from nbferry.engine.connect import RelayAddress
from nbferry.engine.pairing import Host
from nbferry.errors import TransportError
from nbferry.limits import Limits
from nbferry.rendezvous import Mailbox
from nbferry.ticket import Code, Ticket

Invitation = Ticket | tuple[str, ...]
"""A ticket, or the words of a code, which gets its number from the relay."""


@dataclass(frozen=True)
class Reception:
    """Who is told what happens to a code."""

    issued: Callable[[str], None]  # the code, address and all
    guessed: Callable[[int], None]  # wrongly, so many times by now
    troubled: Callable[[str], None]  # why nobody can come at the moment; "" when it is over
    paired: Callable[[SessionKeys], Awaitable[None]]  # somebody knew the code


class Inviter:
    """Has a code and lets in whoever knows it."""

    def __init__(
        self,
        invitation: Invitation,
        relay: RelayAddress,
        seconds: float,
        limits: Limits,
        reception: Reception,
    ) -> None:
        self._invitation = invitation
        self._relay = relay
        self._seconds = seconds
        self._limits = limits
        self._reception = reception
        self._key = secrets.token_hex(16)
        self._wrong = 0
        self.ending = (
            "closed"  # what late-comers are told if this is cancelled: "used" and "expired" say more
        )
        self._ticket: Code | Ticket | None = invitation if isinstance(invitation, Ticket) else None

    async def run(self) -> None:
        """Until the code is used; never ends with a ticket. Comes back to a relay that was lost.

        Raises :class:`CodeBurnt`, and what keeps the relay from giving a first number.
        """
        backoff = Backoff(self._limits)
        while True:
            try:
                mailbox = await self._open_room()
                backoff.reset()
                await self._let_in(mailbox)
            except TransportError as error:
                if self._ticket is None:
                    raise
                self._reception.troubled(f"{error.message} Nobody can use the code until the relay is back.")
                await backoff.wait()
            else:
                return

    async def _open_room(self) -> Mailbox:
        room = self._ticket.room if self._ticket else None
        transport = await self._relay.dial(self._limits, as_host=True)
        within = self._limits.connect_timeout
        mailbox = await Mailbox.create(
            transport, key=self._key, room=room, seconds=self._seconds, within=within
        )
        if self._ticket is None and not isinstance(self._invitation, Ticket):
            self._ticket = Code(mailbox.room, self._invitation, None)
        self._reception.issued(str(self._known_ticket().with_url(self._relay.share_url)))
        self._reception.troubled("")
        return mailbox

    def _known_ticket(self) -> Code | Ticket:
        assert self._ticket  # given, or made with the first room
        return self._ticket

    async def _let_in(self, mailbox: Mailbox) -> None:
        try:
            host = Host(
                mailbox,
                self._known_ticket(),
                wrong=self._wrong,
                guessed=self._guessed,
                paired=self._reception.paired,
            )
            await host.run()
            await self._close_room(mailbox, "used")
        except asyncio.CancelledError:
            await self._close_room(mailbox, self.ending)
            raise
        finally:
            await mailbox.aclose()

    async def _close_room(self, mailbox: Mailbox, reason: str) -> None:
        """Tell the relay, if it is there: if not, that is no reason to come back with the same code."""
        with suppress(TransportError):
            await mailbox.close_room(reason)

    def _guessed(self, times: int) -> None:
        self._wrong = times
        self._reception.guessed(times)
