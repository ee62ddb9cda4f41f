"""A peer that knows the code and breaks the rules: it pairs and connects, then sends the frames that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from nbferry.connections.bundle import switch
from nbferry.connections.connector import Answerer, Caller
from nbferry.connections.invitation import Invitation, InvitationListener, Inviter
from nbferry.connections.link import Lease, Link
from nbferry.connections.pairing import join
from nbferry.connections.relay_address import RelayAddress
from nbferry.connections.settings import Settings
from nbferry.crypto.keys import SessionKeys
from nbferry.errors import TransportError
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, new_code_words, parse
from nbferry.model.paths import Via
from nbferry.protocol.frames import LEAF, Control, LeafRun, decode
from nbferry.relay.app import start_relay
from nbferry.relay.client import Mailbox
from wire import hello

LIMITS = Limits()


class Peer:
    """One end of a connection with a victim."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._heard: asyncio.Queue[Control | TransportError] = asyncio.Queue()
        link.deliver_to(self._received, self._heard.put_nowait)

    def _received(self, frame: memoryview, lease: Lease | None) -> None:
        read = decode(frame) if frame != switch(1) else Control("switch", {})
        match read:
            case Control():
                self._heard.put_nowait(read)
            case LeafRun(first, digests):
                self._heard.put_nowait(Control("leaves", {"first": first, "count": len(digests) // LEAF}))
            case _:
                self._heard.put_nowait(Control("chunks", {}))
        if lease:
            lease.release()

    async def say(self, *frames: bytes | memoryview) -> None:
        """Send frames, correctly sealed."""
        for frame in frames:
            await self.link.send(frame)

    async def hear(self, *names: str) -> Control:
        """The next frame with one of these names. Raises the error that ended the connection."""
        while True:
            match await self._heard.get():
                case Control() as frame if frame.name in names:
                    return frame
                case TransportError() as end:
                    self._heard.put_nowait(end)
                    raise end

    async def ends(self) -> None:
        """Wait until the victim has closed the connection."""
        try:
            await self.hear("a name that no frame has")
        except TransportError:
            return

    @property
    def socket(self) -> object:
        """The operating system's socket, for a peer that does not read."""
        return self.link._transport._socket.underlying_transport  # type: ignore[attr-defined]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.aclose()


@asynccontextmanager
async def relay_of_ours() -> AsyncIterator[RelayAddress]:
    """A relay that keeps to the rules."""
    relay = await start_relay()
    try:
        yield RelayAddress(relay.url)
    finally:
        await relay.aclose()


class EvilSender:
    """Hosts a code. The victim joins with it and connects."""

    def __init__(self) -> None:
        self.code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._keys: asyncio.Future[SessionKeys] = asyncio.get_running_loop().create_future()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        relay = await self._stack.enter_async_context(relay_of_ours())
        self._relay_and_settings = relay, Settings(via=Via.RELAY, limits=LIMITS)
        listener = InvitationListener(self._issued, self._guessed, lambda _: None, self._paired)
        invitation = Invitation(new_code_words())
        self._inviting = asyncio.create_task(Inviter(invitation, relay, 60, LIMITS, listener).run())
        await self.code
        return self

    async def _issued(self, ticket: Code | Ticket) -> None:
        self.code.set_result(str(ticket))

    async def _guessed(self, times: int) -> None:
        """The victim of these tests never guesses wrong."""

    async def _paired(self, keys: SessionKeys) -> None:
        self._answerer = Answerer(*self._relay_and_settings, keys, seconds=60)
        self._stack.push_async_callback(self._answerer.aclose, over=True)
        await self._answerer.host()
        self._keys.set_result(keys)

    async def connect(self) -> Peer:
        """The victim's next connection."""
        await self._keys
        peer = await self._stack.enter_async_context(Peer(await self._answerer.connect()))
        await peer.hear("switch")
        await peer.say(switch(1))
        return peer

    async def greeted(self) -> Peer:
        """The same, with greetings exchanged."""
        peer = await self.connect()
        await peer.say(hello("sender"))
        await peer.hear("hello")
        return peer

    async def __aexit__(self, *_: object) -> None:
        self._inviting.cancel()
        await asyncio.gather(self._inviting, return_exceptions=True)
        await self._stack.aclose()


class EvilReceiver:
    """Joins with a victim's code, and connects to it."""

    def __init__(self, code: str) -> None:
        self._ticket = parse(code)
        assert self._ticket.url
        self._relay_and_settings = RelayAddress(self._ticket.url), Settings(via=Via.RELAY, limits=LIMITS)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        transport = await self._relay_and_settings[0].dial(LIMITS)
        mailbox = await Mailbox.join(transport, self._ticket.room)
        self._caller = Caller(*self._relay_and_settings, await join(mailbox, self._ticket, self._keep))
        await mailbox.aclose()
        return self

    async def _keep(self, keys: SessionKeys) -> None:
        """Store nothing."""

    async def connect(self) -> Peer:
        """A new connection to the victim."""
        peer = await self._stack.enter_async_context(Peer(await self._caller.connect()))
        await peer.say(switch(1))
        return peer

    async def offered(self) -> tuple[Peer, Control]:
        """The same, up to the victim's offer."""
        peer = await self.connect()
        await peer.say(hello("receiver"))
        return peer, await peer.hear("offer")

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
