"""The driver: one machine, over one link after the other, until it has finished.

    until the machine has finished:
        connect, waiting longer after each failure
        give it every frame that arrives, send every frame that it has
        call it when a deadline passes
        when a better link is up: let what was asked for arrive, then switch to that link
        when the link is lost, dead or superseded: tell the machine, then switch to another one, or connect anew
    when several tries in a row have failed: say that the other side is away, and keep trying

Everything but the storage's work happens on the event loop, and every input ends in ``pump``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from nbferry.connections.backoff import Backoff
from nbferry.connections.bundle import Bundle, BundledLink
from nbferry.connections.connector import Connector
from nbferry.connections.link import AnyLink, Lease
from nbferry.connections.path_selector import PathSelector
from nbferry.connections.waiting import either
from nbferry.errors import Expired, NbferryError, TransportBroken, TransportClosed, TransportError
from nbferry.limits import Limits
from nbferry.model.paths import Via
from nbferry.protocol.events import Event, Store
from nbferry.protocol.frames import CHUNK_TYPE
from nbferry.protocol.machine import Machine
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver

log = logging.getLogger("nbferry")

Handle = Callable[[Event, Lease | None], None]
Worker = Callable[[], Coroutine[Any, Any, None]]


class Session:
    """Runs a machine.

    ``handle`` is called with every event, ``changed`` after every input, ``frame_sent`` with the time each frame took.
    """

    def __init__(
        self,
        machine: Machine,
        connector: Connector,
        limits: Limits,
        *,
        handle: Handle,
        changed: Callable[[], None],
        frame_sent: Callable[[AnyLink, float], None] = lambda link, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.machine = machine
        self.via: Via | None = None
        self.via_since: float | None = None  # when it replaced another path: seconds since 1970
        self.trouble = ""  # why there is no connection, in words
        self._failures = 0  # failed tries in a row
        self._away = asyncio.Event()
        self.final = asyncio.Event()  # set when the outcome is known, perhaps before the other side is told
        self._connector = connector
        self._limits = limits
        self._handle = handle
        self._changed = changed
        self._frame_sent = frame_sent
        self.now = clock
        self._wake = asyncio.Event()
        self._leader = machine if isinstance(machine, Receiver) else None
        self._bundle: Bundle | None = None
        self._selector = PathSelector([], limits)
        self._gathering: asyncio.Task[None]  # adds the links that follow the first
        self._settling: asyncio.Task[None] | None = None
        self._moves = 0  # how often the link in use has changed in this bundle
        self._moved = asyncio.Event()
        self._drain_until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    async def run(self, worker: Worker) -> None:
        """Run until the machine has finished; ``worker`` does the storage's part until the outcome is known."""
        try:
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(self._guard(worker()))
                connecting = tasks.create_task(self._guard(self._keep_connected()))
                connecting.add_done_callback(lambda _: self._ended.set())
                await self.final.wait()
                working.cancel()
                await self._ended.wait()
                connecting.cancel()
        finally:
            self.final.set()
            self._cancel_timer()
            phase = self.machine.phase
            # A failed transfer may be resumed, so its pairing stays open.
            await self._connector.aclose(over=phase.final and phase is not Phase.FAILED)

    async def _guard(self, task: Coroutine[Any, Any, None]) -> None:
        """Run a task; an error in it fails the transfer."""
        try:
            await task
        except NbferryError as error:
            self.machine.fail(error, self.now())
        except Exception as error:
            # Our own bug must end this transfer, on both sides, and not the engine.
            log.exception("a transfer failed unexpectedly")
            message = f"Something unexpected went wrong ({type(error).__name__})."
            self.machine.fail(NbferryError(message, hint="Please report it."), self.now())
        self.pump()

    # ---------------------------------------------------------------- inputs
    def pump(self) -> None:
        """Called after any input to the machine: pass on its events, send its frames, set its timer."""
        self._select_link()
        self._dispatch(None)
        self._wake.set()
        self._set_timer()
        self._changed()
        if self.machine.phase.final:
            self.final.set()
        if self.machine.finished and self._bundle is None:  # all links are closed
            self._ended.set()

    def _received(self, frame: memoryview, lease: Lease | None) -> None:
        if len(frame) and frame[0] == CHUNK_TYPE:
            self._selector.arrived(len(frame), self.now())
        self.machine.receive(frame, self.now())
        if not self._dispatch(lease) and lease:
            lease.release()
        self.pump()

    def _dispatch(self, lease: Lease | None) -> bool:
        """Pass every event on; return whether the frame that caused them is still needed."""
        needed = False
        for event in self.machine.events():
            holds = isinstance(event, Store) and not event.assembled
            needed = needed or holds
            self._handle(event, lease if holds else None)
        return needed

    # ---------------------------------------------------------------- time
    def _set_timer(self) -> None:
        deadlines = [self.machine.next_deadline(), self._drain_until]
        if self._leader:
            deadlines.append(self._selector.next_deadline())
        known = [deadline for deadline in deadlines if deadline is not None]
        if not known or self._ended.is_set():
            self._cancel_timer()
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, min(known) - self.now())
        if self._timer is None or when < self._timer.when() or self._timer.cancelled():
            self._cancel_timer()
            self._timer = loop.call_at(when, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._timer = None
        self.machine.deadline_passed(self.now())
        if self.machine.is_dead(self.now()):
            self._lose_current(TransportBroken("The other side has gone silent."))
        self.pump()

    def _lose_current(self, error: TransportError) -> None:
        if self._bundle and self._bundle.current:
            self._bundle.lose(self._bundle.current, error)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # ---------------------------------------------------------------- connections
    @property
    def away(self) -> bool:
        """Whether the other side was out of reach for so long that the transfer is paused until it is back."""
        return self._away.is_set()

    async def final_or_away(self) -> None:
        """Return when the outcome is known, or the other side is away."""
        await either(self.final.wait(), self._away.wait())

    async def _keep_connected(self) -> None:
        backoff = Backoff(self._limits)
        lost_at = self.now()
        while not self.machine.finished:
            try:
                link = await self._connector.connect()
            except NbferryError as error:
                self._failed_to_connect(error, lost_at)
                await self._until_next_try(backoff)
                continue
            backoff.reset()
            self._failures = 0
            self._away.clear()
            self._note("")
            try:
                await self._serve(link)
            except TransportError as error:
                self.trouble = f"connection lost: {error.message} Waiting for the other side."
            finally:
                lost_at = self.now()
                self.pump()

    def _failed_to_connect(self, error: NbferryError, lost_at: float) -> None:
        self._failures += 1
        if self._failures >= self._limits.retries_before_paused:
            self._away.set()
        self._note(f"cannot connect: {error.message}")
        if self.now() - lost_at > self._limits.keep_unfinished:
            self.machine.fail(Expired("The other side was away for too long."), self.now())
            self.pump()

    async def _until_next_try(self, backoff: Backoff) -> None:
        """Wait, longer each time, or until the other side calls."""
        await either(self._connector.superseded(), backoff.wait())

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        self._changed()

    async def _serve(self, first: AnyLink) -> None:
        """Use the links of a call until the machine has finished; raises :class:`TransportError` when none is left."""
        leads = self._leader is not None
        self._bundle = bundle = Bundle(leads=leads, received=self._received, used=self._use)
        self._selector, self._moves = PathSelector(bundle.links, self._limits), 0
        superseded = asyncio.create_task(self._connector.superseded())
        self._gathering = asyncio.create_task(self._gather(bundle))
        try:
            bundle.add(first)
            while not await self._use_current(bundle, superseded):
                continue
        finally:
            for task in (superseded, self._gathering):
                task.cancel()
            await asyncio.gather(superseded, self._gathering, return_exceptions=True)
            self._drain_until = None
            self._disconnect()
            await bundle.aclose()
            if self._settling:
                await self._settling
            self._bundle = None

    async def _gather(self, bundle: Bundle) -> None:
        """Add the other links of the same call as they come up."""
        while True:
            bundle.add(await self._connector.another())
            self.pump()

    async def _use_current(self, bundle: Bundle, superseded: asyncio.Task[None]) -> bool:
        """Send on the link in use until that changes; a leader without one takes the best that is left.

        Returns whether the machine has finished and its last frame is out.
        """
        while self._leader and bundle.links and bundle.current is None:  # the new link may be lost at once
            bundle.switch_to(self._selector.best())
        if not bundle.links:
            raise bundle.error or TransportClosed()
        self._moved.clear()
        bundled = bundle.current
        writing = asyncio.create_task(
            self._write(bundle, bundled, self._moves) if bundled else self._await_leader()
        )
        moved = asyncio.create_task(self._moved.wait())
        try:
            await asyncio.wait({writing, moved, superseded}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, moved):
                task.cancel()
            outcome, _ = await asyncio.gather(writing, moved, return_exceptions=True)
        if superseded.done():
            raise TransportBroken("The other side has started a new connection.")
        if isinstance(outcome, TransportError) and bundled:
            bundle.lose(bundled, outcome)
        elif isinstance(outcome, Exception):
            raise outcome
        return outcome is None and self.machine.finished and not self._moved.is_set()

    async def _await_leader(self) -> None:
        """Wait for the receiver to notice the loss, and to switch to another link or to call."""
        try:
            async with asyncio.timeout(self._limits.dead_after + self._limits.connect_timeout):
                while not self.machine.finished:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            raise TransportBroken("The other side has gone silent.") from None

    async def _write(self, bundle: Bundle, bundled: BundledLink, move: int) -> None:
        if self._moves == move:
            await bundle.announce(bundled)
        # After a move the machine's frames belong behind the next announcement.
        while self._moves == move:
            started = self.now()
            frame = self.machine.next_frame(started)
            if frame is not None:
                await bundled.link.send(frame)
                self._frame_sent(bundled.link, self.now() - started)
                await asyncio.sleep(0)  # let the loop take in what arrived meanwhile
            elif self.machine.finished:
                return
            else:
                self._changed()
                self._wake.clear()
                await self._wake.wait()

    # ---------------------------------------------------------------- several links
    def _use(self, bundled: BundledLink | None) -> None:
        """Continue on this link; the machine asks again for what was under way on the one before."""
        self._disconnect()
        self._drain_until = None
        self._moves += 1
        self._moved.set()
        if bundled:
            self._note_path(bundled.via)
            self._selector.begin(bundled, self.now())
            self.machine.connected(self.now())
            if self._moves == 1 and bundled.via is Via.DIRECT:  # no path is better
                self._gathering.cancel()
                self._settling = asyncio.create_task(self._connector.settle())
        self.pump()

    def _note_path(self, via: Via) -> None:
        if self.via not in (None, via):
            self.via_since = time.time()
        self.via = via

    def _disconnect(self) -> None:
        if self.machine.is_connected:
            self.machine.disconnected()

    def _select_link(self) -> None:
        """As the leader, switch to the best link as soon as what was asked for has arrived, or is late."""
        leader, bundle, now = self._leader, self._bundle, self.now()
        if not (leader and bundle and bundle.current):
            return
        if leader.phase is not Phase.TRANSFERRING or leader.paused:
            self._selector.reset(now)
            self._drain(leader, None)
            return
        best = self._selector.choose(now, left=lambda: leader.left, awaits=not leader.drained)
        if best is bundle.current:
            self._drain(leader, None)
        else:
            self._drain(leader, self._drain_until or now + self._limits.path_trial)
            if leader.drained or not self._selector.carries or now >= (self._drain_until or now):
                bundle.switch_to(best)
        for bundled in self._selector.slower():
            bundle.lose(bundled, TransportClosed())

    def _drain(self, leader: Receiver, until: float | None) -> None:
        """Ask for no more until what was asked for has arrived, or until this time; None: ask for more."""
        if self._drain_until != until:
            self._drain_until = until
            leader.drain(until is not None)
