"""The room of a code: opened at the relay, kept there, closed when the code is used up."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from nbferry.connections.backoff import Backoff
from nbferry.connections.context import RelayAddress
from nbferry.connections.pairing import CodeHost
from nbferry.crypto.keys import SessionKeys
from nbferry.errors import RelayRefused, TransportError
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, is_ticket, parse
from nbferry.relay.client import Mailbox
from nbferry.storage.records.record import SendRecord


@dataclass(frozen=True)
class Invitation:
    """A ticket, or the words of a code, which gets its number from the relay; and the key of that room.

    With a ``room`` an earlier run goes on that had one, and ``wrong`` guesses so far.
    """

    secret: Ticket | tuple[str, ...] = field(repr=False)
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    room: str = ""
    wrong: int = 0

    @classmethod
    def of(cls, record: SendRecord) -> Invitation:
        """What a memo keeps of it."""
        return cls(secret_of(record.invitation), record.key, record.room, record.wrong_guesses)

    @property
    def ticket(self) -> Code | Ticket | None:
        """The code or ticket, once it has a room."""
        if isinstance(self.secret, Ticket):
            return self.secret
        return Code(self.room, self.secret, None) if self.room else None


def secret_of(invitation: str) -> Ticket | tuple[str, ...]:
    """What a memo keeps of a ticket, or of the words of a code."""
    if is_ticket(invitation):
        ticket = parse(invitation)
        assert isinstance(ticket, Ticket)  # that is how it begins
        return ticket
    return tuple(invitation.split("-"))


@dataclass(frozen=True)
class InvitationListener:
    """Who is told what happens to a code; ``issued`` and ``guessed`` write it down before they return."""

    issued: Callable[[Code | Ticket], Awaitable[None]]  # the code, address and all
    guessed: Callable[[int], Awaitable[None]]  # wrongly, so many times by now
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
        reception: InvitationListener,
    ) -> None:
        self._invitation = invitation
        self._relay = relay
        self._seconds = seconds
        self._limits = limits
        self._reception = reception
        # what late-comers are told if this is cancelled; None leaves the room to another process
        self.ending: str | None = "closed"

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
            except (TransportError, RelayRefused) as error:
                if not self._invitation.room:
                    raise
                self._reception.troubled(f"{error.message} Nobody can use the code until the relay is back.")
                await backoff.wait()
            else:
                return

    async def _open_room(self) -> Mailbox:
        before = self._invitation.ticket
        transport = await self._relay.dial(self._limits, as_host=True)
        mailbox = await Mailbox.create(
            transport,
            key=self._invitation.key,
            room=before.room if before else None,
            seconds=self._seconds,
            within=self._limits.connect_timeout,
        )
        self._invitation = replace(self._invitation, room=mailbox.room)
        try:
            await self._reception.issued(self._ticket.with_url(self._relay.share_url))
        except BaseException:
            await mailbox.aclose()
            raise
        self._reception.troubled("")
        return mailbox

    @property
    def _ticket(self) -> Code | Ticket:
        ticket = self._invitation.ticket
        assert ticket  # given, or made with the first room
        return ticket

    async def _let_in(self, mailbox: Mailbox) -> None:
        try:
            host = CodeHost(
                mailbox,
                self._ticket,
                wrong=self._invitation.wrong,
                guessed=self._guessed,
                paired=self._reception.paired,
            )
            await host.run()
            await self._close_room(mailbox, "used")
        except asyncio.CancelledError:
            if self.ending:
                await self._close_room(mailbox, self.ending)
            raise
        finally:
            await mailbox.aclose()

    async def _close_room(self, mailbox: Mailbox, reason: str) -> None:
        """Tell the relay, if it is there: if not, that is no reason to come back with the same code."""
        with suppress(TransportError):
            await mailbox.close_room(reason)

    async def _guessed(self, times: int) -> None:
        self._invitation = replace(self._invitation, wrong=times)
        await self._reception.guessed(times)
