"""How a receiver obtains its keys: once, by the code. From then on its record has them."""

from __future__ import annotations

import asyncio
import time

from nbferry.connections.backoff import Backoff
from nbferry.connections.pairing import join
from nbferry.connections.relay_address import RelayAddress
from nbferry.crypto.keys import SessionKeys
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.threads import Threads
from nbferry.errors import CodeNotFound, CodeUsed, ConnectFailed, RendezvousError, TransportError, WrongCode
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket
from nbferry.relay.client import Mailbox
from nbferry.storage.records.record import ReceiveRecord


async def obtain_keys(
    relay: RelayAddress,
    ticket: Code | Ticket,
    store: RecordStore[ReceiveRecord],
    threads: Threads,
    limits: Limits,
) -> SessionKeys:
    """The keys of this pairing: those in the record, or new ones by the code.

    A receiver that was stopped during the pairing cannot know whether the code was used. So it tries both in turn: the
    code, and the room that the sender hosts once it has verified the receiver's proof.
    """
    if store.record.paired:
        return SessionKeys(store.record.root)
    backoff, until = Backoff(limits), time.monotonic() + limits.connect_timeout
    while True:
        try:
            keys = await _pair(relay, ticket, store, threads, limits)
        except (CodeUsed, CodeNotFound, TransportError):
            if not store.record.root:
                raise
            keys = SessionKeys(store.record.root)
            if not await _is_awaited(relay, keys, limits):
                if time.monotonic() > until:
                    raise
                await backoff.wait()
                continue
        await store.update_in(threads, paired=True)
        return keys


async def _pair(
    relay: RelayAddress,
    ticket: Code | Ticket,
    store: RecordStore[ReceiveRecord],
    threads: Threads,
    limits: Limits,
) -> SessionKeys:
    async def keep(keys: SessionKeys) -> None:
        await store.update_in(threads, root=keys.root)

    transport = await relay.dial(limits)
    try:
        async with asyncio.timeout(limits.dead_after):
            mailbox = await Mailbox.join(transport, ticket.room, within=limits.connect_timeout)
            return await join(mailbox, ticket, keep)
    except WrongCode:
        await store.update_in(threads, root=b"")
        raise
    except TimeoutError:
        raise ConnectFailed("The sender does not answer.", hint="Check that it is still running.") from None
    finally:
        await transport.aclose()


async def _is_awaited(relay: RelayAddress, keys: SessionKeys, limits: Limits) -> bool:
    """Whether the sender has verified our proof: then it hosts the room of this pairing."""
    try:
        transport = await relay.dial(limits)
        try:
            await Mailbox.join(transport, keys.room, within=limits.connect_timeout)
        finally:
            await transport.aclose()
    except (RendezvousError, TransportError):
        return False
    return True
