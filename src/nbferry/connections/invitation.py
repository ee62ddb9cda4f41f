"""The room of a code: opened at the relay, kept there, closed when the code is used up."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from nbferry.connections.backoff import Backoff
from nbferry.connections.pairing import CodeHost
from nbferry.connections.relay_address import RelayAddress
from nbferry.crypto.keys import SessionKeys
from nbferry.errors import RelayRefused, TransportError
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, is_ticket, parse
from nbferry.relay.client import Mailbox
from nbferry.storage.records.record import SendRecord


@dataclass(frozen=True)
class Invitation:
    """A ticket, or the words of a code, which gets its number from the relay; and the key of that room.

    An earlier run leaves its ``room`` and the number of ``wrong`` guesses so far.
    """

    secret: Ticket | tuple[str, ...] = field(repr=False)
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    room: str = ""
    wrong: int = 0

    @classmethod
    def of(cls, record: SendRecord) -> Invitation:
        """Restore the invitation of a record."""
        return cls(secret_of(record.invitation), record.key, record.room, record.wrong_guesses)

    @property
    def ticket(self) -> Code | Ticket | None:
        """The code or ticket, once it has a room."""
        if isinstance(self.secret, Ticket):
            return self.secret
        return Code(self.room, self.secret, None) if self.room else None


def secret_of(invitation: str) -> Ticket | tuple[str, ...]:
    """The ticket, or the words of a code, from what a record keeps of it."""
    if is_ticket(invitation):
        ticket = parse(invitation)
        assert isinstance(ticket, Ticket)  # by its prefix
        return ticket
    return tuple(invitation.split("-"))


@dataclass(frozen=True)
class InvitationListener:
    """Callbacks for what happens to a code; ``issued`` and ``guessed`` store it before they return."""

    issued: Callable[[Code | Ticket], Awaitable[None]]  # the code with its address
    guessed: Callable[[int], Awaitable[None]]  # the number of wrong guesses so far
    troubled: Callable[[str], None]  # why the code cannot be used now; "" when it can be used again
    paired: Callable[[SessionKeys], Awaitable[None]]  # a joiner knew the code


class Inviter:
    """Issues a code and pairs with joiners that know it."""

    def __init__(
        self,
        invitation: Invitation,
        relay: RelayAddress,
        seconds: float,
        limits: Limits,
        listener: InvitationListener,
    ) -> None:
        self._invitation = invitation
        self._relay = relay
        self._seconds = seconds
        self._limits = limits
        self._listener = listener
        # What late-comers are told if this is cancelled; None leaves the room to another process.
        self.ending: str | None = "closed"

    async def run(self) -> None:
        """Run until the code is used; a ticket has no end. Reconnects to a relay that was lost.

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
                self._listener.troubled(f"{error.message} The code works again when the relay is back.")
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
            await self._listener.issued(self._ticket.with_url(self._relay.share_url))
        except BaseException:
            await mailbox.aclose()
            raise
        self._listener.troubled("")
        return mailbox

    @property
    def _ticket(self) -> Code | Ticket:
        ticket = self._invitation.ticket
        assert ticket  # from the beginning, or since the first room
        return ticket

    async def _let_in(self, mailbox: Mailbox) -> None:
        try:
            host = CodeHost(
                mailbox,
                self._ticket,
                wrong=self._invitation.wrong,
                guessed=self._guessed,
                paired=self._listener.paired,
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
        """Tell the relay, if it can be reached. If not, that is no reason to reopen the room."""
        with suppress(TransportError):
            await mailbox.close_room(reason)

    async def _guessed(self, times: int) -> None:
        self._invitation = replace(self._invitation, wrong=times)
        await self._listener.guessed(times)
