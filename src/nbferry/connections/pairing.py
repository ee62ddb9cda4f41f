"""From a code to a shared secret: the messages of :mod:`nbferry.crypto.pake` through a mailbox.

The sharer hosts the room, each joiner runs its own exchange, and the joiner proves first that it knows the code. Three
wrong proofs burn a code. A ticket's secret is too long to guess, so wrong proofs never burn it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from nbferry.crypto.keys import SessionKeys
from nbferry.crypto.pake import Joiner, Sharer
from nbferry.errors import CodeBurnt, RemoteProtocolError, TransportError, WrongCode
from nbferry.model.codes import Code, Ticket
from nbferry.relay.client import Mailbox, MailboxMessage, MemberJoined, MemberLeft

MAX_GUESSES = 3
_WRONG = json.dumps({"error": WrongCode.code})


async def join(
    mailbox: Mailbox, ticket: Code | Ticket, keep: Callable[[SessionKeys], Awaitable[None]]
) -> SessionKeys:
    """Prove that we know the code, and check that the sharer does; raises :class:`WrongCode`.

    ``keep`` stores the keys before the proof goes out: the proof uses up the code, even if this process dies then.
    """
    joiner = Joiner(ticket.password, ticket.room)
    await mailbox.send((await asyncio.to_thread(joiner.start)).decode())
    proof = await asyncio.to_thread(joiner.confirm, await _reply(mailbox))
    await keep(SessionKeys(joiner.unproved_root))
    await mailbox.send(proof.decode())
    joiner.finish(await _reply(mailbox))
    return SessionKeys(joiner.root)


async def _reply(mailbox: Mailbox) -> bytes:
    while True:
        match await mailbox.receive():
            case MailboxMessage(body=body) if body == _WRONG:
                raise WrongCode
            case MailboxMessage(body=body):
                return body.encode()


class CodeHost:
    """The sharer's side: pairs with joiners that know the code."""

    def __init__(
        self,
        mailbox: Mailbox,
        ticket: Code | Ticket,
        *,
        wrong: int = 0,
        guessed: Callable[[int], Awaitable[None]],
        paired: Callable[[SessionKeys], Awaitable[None]],
    ) -> None:
        self._mailbox = mailbox
        self._ticket = ticket
        self._guessed = guessed
        self._paired = paired
        self._joiners: dict[int, Sharer | None] = {}
        self._wrong = wrong  # guesses count for the code, however often the relay is lost

    async def run(self) -> None:
        """Serve until the code is used (a ticket: forever). Raises :class:`CodeBurnt` after the third wrong guess."""
        while True:
            match await self._mailbox.receive():
                case MemberJoined(member):
                    self._joiners[member] = None
                case MemberLeft(member):
                    self._joiners.pop(member, None)
                case MailboxMessage(member, body) if member in self._joiners:
                    paired = await self._answer(member, body.encode())
                    if paired and not self._ticket.many:
                        return

    async def _answer(self, member: int, message: bytes) -> bool:
        """Take the next message of a joiner; return whether it has proved that it knows the code."""
        try:
            return await self._next_step(member, message)
        except (WrongCode, RemoteProtocolError):
            self._joiners.pop(member)
            # Counted before anything can fail: a relay that hangs up here gets no free guess.
            self._wrong += 1
            await self._guessed(self._wrong)
            await self._tell_wrong(member)
            return False

    async def _next_step(self, member: int, message: bytes) -> bool:
        sharer = self._joiners[member]
        if sharer is None:
            sharer = self._joiners[member] = Sharer(self._ticket.password, self._ticket.room)
            reply = await asyncio.to_thread(sharer.respond, message)
            await self._mailbox.send(reply.decode(), to=member)
            return False
        proof = sharer.finish(message)
        del self._joiners[member]
        # First, so that the joiner finds our new room.
        await self._paired(SessionKeys(sharer.root))
        await self._mailbox.send(proof.decode(), to=member)
        return True

    async def _tell_wrong(self, member: int) -> None:
        burnt = self._wrong >= MAX_GUESSES and not self._ticket.many
        with suppress(TransportError):  # the reader of the next message reports it
            await self._mailbox.send(_WRONG, to=member)
            if burnt:
                await self._mailbox.close_room("burnt")
        if burnt:
            raise CodeBurnt
