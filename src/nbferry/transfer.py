"""The user's handle on one send or receive, usable from any thread and any event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

from nbferry import render
from nbferry.engine.activity import Activity
from nbferry.engine.portal import Portal
from nbferry.engine.receiving import Receiving
from nbferry.engine.sending import Sending
from nbferry.errors import LocalProtocolError, TimedOut
from nbferry.manifest import Manifest
from nbferry.status import FileProgress, Result, Snapshot
from nbferry.storage.base import Skipped

SLICE = 0.2  # seconds: Ctrl-C is seen between two slices where a wait on a lock cannot be interrupted
CODE_WITHIN = 30.0  # seconds that a relay may take to give a number

Ask = Callable[[Manifest], "bool | str"]


class Transfer:
    """One send or receive. It goes on whether or not anybody waits for it."""

    def __init__(self, activity: Activity, portal: Portal, ask: Ask | None = None) -> None:
        self._first = activity
        self._portal = portal
        self._ask = ask

    @property
    def _activity(self) -> Activity:
        """What runs, rests or has ended; what rested may go on as another one."""
        return self._first.latest

    # ---------------------------------------------------------------- views
    @property
    def id(self) -> str:
        """The name of this transfer, 12 hex digits; also what ``nbferry.resume`` takes, here or later."""
        return self._activity.id

    @property
    def code(self) -> str:
        """What the receiver needs; waits until the relay has given a number. Raises what kept it from doing so."""
        if not isinstance(self._activity, Sending):
            raise LocalProtocolError("Only a transfer that sends has a code.")
        try:
            return self._activity.code.result(CODE_WITHIN)
        except concurrent.futures.TimeoutError:
            raise TimedOut(f"There is no code after {CODE_WITHIN:.0f} seconds.") from None

    @property
    def code_works(self) -> bool:
        """On a sender: whether somebody can still come with the code. One that goes on needs none."""
        return isinstance(self._activity, Sending) and self._activity.invites

    @property
    def begun(self) -> bool:
        """Whether the offer was accepted: from then on ``nbferry.resume`` goes on without a new code."""
        return self._activity.begun

    @property
    def snapshot(self) -> Snapshot:
        """How it stands at this instant."""
        return self._activity.snapshot

    @property
    def files(self) -> tuple[FileProgress, ...]:
        """How each file stands at this instant; empty before an offer is known."""
        return self._portal.ask(self._activity.files)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """On a sender: what was found in the folders and is not sent, links for instance, each with why."""
        return self._activity.skipped if isinstance(self._activity, Sending) else ()

    @property
    def waits_for_decision(self) -> bool:
        """Whether ``accept`` or ``reject`` has to decide about the offer."""
        return isinstance(self._activity, Receiving) and self._activity.waits_for_decision

    @property
    def offer(self) -> Manifest | None:
        """On a receiver: what is offered, once the whole list is here."""
        return self._activity.offer if isinstance(self._activity, Receiving) else None

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Have ``callback`` called with the snapshot as it is and with each new one; returns what ends that.

        It is called in the engine's thread and must return quickly. State changes come at once, progress at most
        five times a second.
        """

        def begin() -> Callable[[], None]:
            callback(
                self._activity.snapshot
            )  # on the thread that makes them, so that none is missed or too late
            return self._activity.subscribe(callback)

        return self._portal.ask(begin)

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called once the result, or the error, is there; at once if it is."""
        self._activity.result.add_done_callback(lambda _: callback())

    # ---------------------------------------------------------------- wishes
    def pause(self) -> None:
        """Hold the transfer on both sides."""
        self._portal.call(self._activity.pause)

    def resume(self) -> None:
        """Go on after ``pause``, or with what an earlier process left."""
        self._portal.call(self._activity.resume)

    def cancel(self, reason: str = "") -> None:
        """End the transfer on both sides; part data are removed, and it cannot be resumed."""
        self._portal.call(lambda: self._activity.cancel(reason))

    def accept(self) -> None:
        """Take the offer that waits for a decision."""
        self._portal.call(self._receiving().accept)

    def reject(self, reason: str = "") -> None:
        """Decline the offer that waits for a decision; the sender is told why."""
        receiving = self._receiving()
        self._portal.call(lambda: receiving.reject(reason))

    def _receiving(self) -> Receiving:
        if not isinstance(self._activity, Receiving):
            raise LocalProtocolError("Only a transfer that receives can be accepted or rejected.")
        return self._activity

    # ---------------------------------------------------------------- waiting
    def wait(self, timeout: float | None = None) -> Result:
        """The result, once there is one; raises the :class:`NbferryError` that ended the transfer otherwise.

        Raises :class:`TimedOut` after ``timeout`` seconds. Neither that nor Ctrl-C ends the transfer.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                left = SLICE if until is None else min(SLICE, until - time.monotonic())
                try:
                    return self._activity.result.result(max(0.0, left))
                except concurrent.futures.TimeoutError:
                    self._decide_if_asked()
                if until is not None and time.monotonic() >= until:
                    raise TimedOut
        except KeyboardInterrupt:
            self._say_that_it_goes_on()
            raise

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Result:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        unsubscribe = self._activity.subscribe(wake)
        self._activity.result.add_done_callback(wake)
        try:
            while not self._activity.result.done():
                news.clear()
                self._decide_if_asked()
                await news.wait()
            return self._activity.result.result()
        except asyncio.CancelledError:
            if _in_a_cell() and not self._activity.result.done():
                self._say_that_it_goes_on()
            raise
        finally:
            unsubscribe()

    def _say_that_it_goes_on(self) -> None:
        sys.stderr.write(f"\nThe transfer {self.id} goes on. To end it: transfer.cancel()\n")

    def _decide_if_asked(self) -> None:
        """An offer waits, and so does a person: ask."""
        offer = self.offer
        if self._ask is None or offer is None or not self.waits_for_decision:
            return
        ask, self._ask = self._ask, None
        verdict = ask(offer)
        if verdict is True:
            self.accept()
        else:
            self.reject(verdict or "")

    # ---------------------------------------------------------------- faces
    def __repr__(self) -> str:
        return render.line(self.snapshot)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        code = None
        if (
            isinstance(self._activity, Sending)
            and self._activity.code.done()
            and not self._activity.code.exception()
            and self.code_works
        ):
            code = self._activity.code.result()
        shown = None if self.snapshot.state.final else code
        return {
            "text/plain": render.text(self.snapshot, shown),
            "text/html": render.html(self.snapshot, shown),
        }


def _in_a_cell() -> bool:
    """Whether a person waits, not a program: in IPython Ctrl-C cancels what a cell awaits."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
