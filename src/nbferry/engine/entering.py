"""How a receiver gets its keys: by the code, once; from then on they are written down."""

from __future__ import annotations

import asyncio

from nbferry.crypto.keys import SessionKeys
from nbferry.engine.connect import Surroundings
from nbferry.engine.keeping import Keeper
from nbferry.engine.pairing import join
from nbferry.engine.threads import Threads
from nbferry.errors import CodeNotFound, CodeUsed, ConnectFailed, TransportError
from nbferry.rendezvous import Mailbox
from nbferry.storage.memos import ReceiveMemo
from nbferry.ticket import Code, Ticket


async def enter(
    around: Surroundings, ticket: Code | Ticket, keeper: Keeper[ReceiveMemo], threads: Threads
) -> SessionKeys:
    """The keys of this pairing: those written down, or new ones if the code was not used up by us."""
    memo = keeper.memo
    if memo.met:
        return SessionKeys(memo.root)
    try:
        keys = await _pair(around, ticket, keeper, threads)
    except (CodeUsed, CodeNotFound, TransportError):
        if not memo.root:
            raise
        return SessionKeys(memo.root)  # it was used up in the instant in which an earlier process ended
    await keeper.note(threads, met=True)
    return keys


async def _pair(
    around: Surroundings, ticket: Code | Ticket, keeper: Keeper[ReceiveMemo], threads: Threads
) -> SessionKeys:
    async def keep(keys: SessionKeys) -> None:
        await keeper.note(threads, root=keys.root)

    limits = around.limits
    transport = await around.relay.dial(limits)
    try:
        async with asyncio.timeout(limits.dead_after):
            mailbox = await Mailbox.join(transport, ticket.room, within=limits.connect_timeout)
            return await join(mailbox, ticket, keep)
    except TimeoutError:
        raise ConnectFailed("The sender does not answer.", hint="Check that it is still running.") from None
    finally:
        await transport.aclose()
