"""The driver: one machine, over one link after the other, until there is nothing left to say.

    until the machine has finished:
        connect, waiting longer after each failure
        give it every frame that arrives, send every frame that it has
        call it when a deadline passes
        when the link is lost, dead or superseded: tell it, and connect anew
    when several tries in a row were fruitless: say that the other side is away, and go on trying

Everything but the storage's work happens on the event loop, and every input ends in ``pump``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from nbferry.engine.backoff import Backoff
from nbferry.engine.connect import Connector
from nbferry.engine.link import AnyLink, Lease
from nbferry.errors import Expired, NbferryError, TransportBroken, TransportError
from nbferry.limits import Limits
from nbferry.protocol.events import Event, Store
from nbferry.protocol.machine import Machine
from nbferry.status import State

log = logging.getLogger("nbferry")

Handle = Callable[[Event, Lease | None], None]
Worker = Callable[[], Coroutine[Any, Any, None]]


class Session:
    """Runs a machine.

    ``handle`` is told every event, ``changed`` is called after every input, ``frame_sent`` hears how long each took.
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
        self.via: str | None = None
        self.trouble = ""  # why there is no connection, in words
        self._fruitless = 0  # tries in a row
        self._away = asyncio.Event()
        self.final = asyncio.Event()  # the outcome is known; the other side may still have to be told
        self._connector = connector
        self._limits = limits
        self._handle = handle
        self._changed = changed
        self._frame_sent = frame_sent
        self.now = clock
        self._wake = asyncio.Event()
        self._lost: asyncio.Future[TransportError] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    async def run(self, worker: Worker) -> None:
        """Until the machine has finished; ``worker`` does the storage's part until the outcome is known."""
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
            state = self.machine.state
            await self._connector.aclose(
                over=state.final and state is not State.FAILED
            )  # what failed may go on

    async def _guard(self, task: Coroutine[Any, Any, None]) -> None:
        """Run a task; what goes wrong in it fails the transfer."""
        try:
            await task
        except NbferryError as error:
            self.machine.fail(error, self.now())
        except Exception as error:  # a fault of ours must end the transfer, on both sides, not the engine
            log.exception("a transfer failed unexpectedly")
            message = f"Something unexpected went wrong ({type(error).__name__})."
            self.machine.fail(NbferryError(message, hint="Please report it."), self.now())
        self.pump()

    # ---------------------------------------------------------------- inputs
    def pump(self) -> None:
        """After any input to the machine: pass on its events, send its frames, set its timer."""
        self._dispatch(None)
        self._wake.set()
        self._set_timer()
        self._changed()
        if self.machine.state.final:
            self.final.set()
        if self.machine.finished and not self.machine.is_connected:
            self._ended.set()

    def _received(self, frame: memoryview, lease: Lease | None) -> None:
        self.machine.receive(frame, self.now())
        if not self._dispatch(lease) and lease:
            lease.release()
        self.pump()

    def _dispatch(self, lease: Lease | None) -> bool:
        """Hand every event on; whether the frame that caused them is still needed."""
        needed = False
        for event in self.machine.events():
            holds = isinstance(event, Store) and not event.assembled
            needed = needed or holds
            self._handle(event, lease if holds else None)
        return needed

    # ---------------------------------------------------------------- time
    def _set_timer(self) -> None:
        deadline = self.machine.next_deadline()
        closing = self._lost is not None and self._lost.done()  # whatever is due waits for the end of that
        if deadline is None or closing or self._ended.is_set():
            self._cancel_timer()
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, deadline - self.now())
        if self._timer is None or when < self._timer.when() or self._timer.cancelled():
            self._cancel_timer()
            self._timer = loop.call_at(when, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._timer = None
        self.machine.deadline_passed(self.now())
        if self.machine.is_dead(self.now()):
            self._lose(TransportBroken("The other side has gone silent."))
        self.pump()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # ---------------------------------------------------------------- connections
    @property
    def away(self) -> bool:
        """Whether the other side could not be had for so long that the transfer rests until it is back."""
        return self._away.is_set()

    async def final_or_away(self) -> None:
        """Return when the outcome is known, or the other side is away."""
        await _either(self.final.wait(), self._away.wait())

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
            self._fruitless = 0
            self._away.clear()
            self.via = link.via
            self._note("")
            try:
                await self._serve(link)
            except TransportError as error:
                self.trouble = f"connection lost: {error.message} Waiting for the other side."
            finally:
                lost_at = self.now()
                self._lost = None
                self.machine.disconnected()
                self.pump()

    def _failed_to_connect(self, error: NbferryError, lost_at: float) -> None:
        self._fruitless += 1
        if self._fruitless >= self._limits.retries:
            self._away.set()
        self._note(f"cannot connect: {error.message}")
        if self.now() - lost_at > self._limits.partials:
            self.machine.fail(Expired("The other side was away for too long."), self.now())
            self.pump()

    async def _until_next_try(self, backoff: Backoff) -> None:
        """Wait, longer each time, or until the other side calls."""
        await _either(self._connector.superseded(), backoff.wait())

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        self._changed()

    async def _serve(self, link: AnyLink) -> None:
        """Use a link until the machine has finished; raises :class:`TransportError` when it is lost."""
        self._lost = asyncio.get_running_loop().create_future()
        self.machine.connected(self.now())
        link.deliver_to(self._received, self._lose)
        self.pump()
        writing = asyncio.create_task(self._write(link))
        superseded = asyncio.create_task(self._connector.superseded())
        try:
            ends: set[asyncio.Future[Any]] = {writing, superseded, self._lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._lost.result()
            if writing.done():
                writing.result()
                return
            raise TransportBroken("The other side calls anew.")
        finally:
            for task in (writing, superseded):
                task.cancel()
            await asyncio.gather(writing, superseded, return_exceptions=True)
            await link.aclose()

    async def _write(self, link: AnyLink) -> None:
        while True:
            started = self.now()
            frame = self.machine.next_frame(started)
            if frame is not None:
                await link.send(frame)
                self._frame_sent(link, self.now() - started)
                await asyncio.sleep(0)  # let what arrived meanwhile be seen
            elif self.machine.finished:
                return
            else:
                self._changed()
                self._wake.clear()
                await self._wake.wait()

    def _lose(self, error: TransportError) -> None:
        if self._lost and not self._lost.done():
            self._lost.set_result(error)


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of them does; the others are cancelled."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
