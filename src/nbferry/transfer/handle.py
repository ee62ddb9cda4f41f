"""The user's handle on one send or receive, usable from any thread and any event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from nbferry.engine.activities.activity import Activity
from nbferry.engine.activities.receive import ReceiveActivity
from nbferry.engine.activities.send import SendActivity
from nbferry.engine.portal import Portal
from nbferry.errors import LocalProtocolError, NoPage, TimedOut
from nbferry.jupyter import server
from nbferry.model.manifest import Manifest
from nbferry.status import FileProgress, Result, Snapshot
from nbferry.storage.base import Skipped
from nbferry.storage.sources.pages import PageFiles
from nbferry.text import rendering

SLICE = 0.2  # seconds: Ctrl-C is seen between two slices where a wait on a lock cannot be interrupted
CODE_WITHIN = 30.0  # seconds that a relay may take to give a number


class Face:
    """How a transfer meets a person. This one does not: nothing is shown, and nobody is asked."""

    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str | None:
        """Somebody waits, and an offer waits for a decision: whether to take it, or why not; None: not decided here."""
        return None

    def following(self, transfer: Transfer) -> AbstractContextManager[object]:
        """Show how it goes, while somebody waits."""
        return nullcontext()

    def card(self, transfer: Transfer) -> Mapping[str, Any] | None:
        """What a notebook displays it as, by MIME type; None: it has no card."""
        return None

    def cards(self, transfers: Sequence[Transfer]) -> Mapping[str, Any] | None:
        """The same for several."""
        return None

    def saving(self, transfer: Transfer) -> Any:
        """What :meth:`Transfer.save` returns."""
        raise NoPage


FACELESS = Face()


class Transfer:
    """One send or receive. It goes on whether or not anybody waits for it. All handles on the same one are equal."""

    def __init__(
        self, activity: Activity, portal: Portal, face: Face = FACELESS, *, asks: bool = False
    ) -> None:
        self._first = activity
        self._portal = portal
        self._face = face
        self._asks = asks

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
        if not isinstance(self._activity, SendActivity):
            raise LocalProtocolError("Only a transfer that sends has a code.")
        try:
            return server.outside(self._activity.code.result(CODE_WITHIN))
        except concurrent.futures.TimeoutError:
            raise TimedOut(f"There is no code after {CODE_WITHIN:.0f} seconds.") from None

    @property
    def has_code(self) -> bool:
        """On a sender: whether there is a code already, and somebody can still come with it."""
        activity = self._activity
        if not isinstance(activity, SendActivity) or not activity.invites or activity.snapshot.state.final:
            return False
        return activity.code.done() and not activity.code.exception()

    @property
    def code_works(self) -> bool:
        """On a sender: whether somebody can still come with the code. One that goes on needs none."""
        return isinstance(self._activity, SendActivity) and self._activity.invites

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

    def files_from(self, first: int, count: int) -> tuple[FileProgress, ...]:
        """How some of the files stand: quick, however many there are."""
        return self._portal.ask(lambda: self._activity.files(first, count))

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """On a sender: what was found in the folders and is not sent, links for instance, each with why."""
        return self._activity.skipped if isinstance(self._activity, SendActivity) else ()

    @property
    def waits_for_decision(self) -> bool:
        """Whether ``accept`` or ``reject`` has to decide about the offer."""
        return isinstance(self._activity, ReceiveActivity) and self._activity.waits_for_decision

    @property
    def offer(self) -> Manifest | None:
        """On a receiver: what is offered, once the whole list is here."""
        return self._activity.offer if isinstance(self._activity, ReceiveActivity) else None

    @property
    def outcome(self) -> Result | None:
        """What it amounts to, once it went well."""
        result = self._activity.result
        return result.result() if result.done() and not result.exception() else None

    @property
    def is_over(self) -> bool:
        """Whether nothing follows in this process; it may be one that can be resumed."""
        return self._activity.result.done()

    @property
    def is_resting(self) -> bool:
        """Whether an earlier process left it, and nobody has gone on with it here."""
        return self._activity.resting

    @property
    def is_held(self) -> bool:
        """Whether it waits for ``resume``: it rests, or somebody here has paused it."""
        return self.is_resting or any(machine.paused_here for machine in self._activity.machines())

    @property
    def page_files(self) -> PageFiles | None:
        """The files of a browser's machine that it sends or takes in; None if they are the kernel's."""
        return self._activity.page_files

    @property
    def folder(self) -> Path | None:
        """On a receiver: where the files go."""
        return self._activity.folder

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Have ``callback`` called with the snapshot as it is and with each new one; returns what ends that.

        It is called in the engine's thread and must return quickly. State changes come at once, progress at most
        five times a second.
        """

        def begin() -> Callable[[], None]:
            callback(self._activity.snapshot)  # on the thread that makes them: none is missed, or too late
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

    def _receiving(self) -> ReceiveActivity:
        if not isinstance(self._activity, ReceiveActivity):
            raise LocalProtocolError("Only a transfer that receives can be accepted or rejected.")
        return self._activity

    # ---------------------------------------------------------------- waiting
    def wait(self, timeout: float | None = None) -> Result:
        """The result, once there is one; raises the :class:`NbferryError` that ended the transfer otherwise.

        Raises :class:`TimedOut` after ``timeout`` seconds. Neither that nor Ctrl-C ends the transfer.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            with self._followed():
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
            with self._followed():
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

    def _followed(self) -> AbstractContextManager[object]:
        """Show how it goes, unless it is over or this process has let go of it."""
        return nullcontext() if self._activity.result.done() else self._face.following(self)

    def _say_that_it_goes_on(self) -> None:
        sys.stderr.write(f"\nThe transfer {self.id} goes on. To end it: transfer.cancel()\n")

    def _decide_if_asked(self) -> None:
        """An offer waits, and so does a person: ask."""
        offer = self.offer
        if not self._asks or offer is None or not self.waits_for_decision:
            return
        self._asks = False
        verdict = self._face.ask(self, offer)
        if verdict is True:
            self.accept()
        elif verdict is not None:
            self.reject(verdict or "")

    # ---------------------------------------------------------------- faces
    def save(self) -> Any:
        """Save what was received onto the browser's machine: a card with a button for it, to be displayed.

        Raises :class:`NoPage` where there is no notebook in a browser, and :class:`LocalProtocolError` before the
        transfer is done.
        """
        return self._face.saving(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transfer) and self._activity is other._activity

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return rendering.line(self.snapshot)

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, Any]:
        card = self._face.card(self)
        if card is not None:
            return card
        code = self.code if self.has_code else None
        return {
            "text/plain": rendering.text(self.snapshot, code),
            "text/html": rendering.html(self.snapshot, code),
        }


class Transfers(list[Transfer]):
    """Several of them; a notebook shows a card for each."""

    def __init__(self, transfers: Iterable[Transfer], face: Face = FACELESS) -> None:
        super().__init__(transfers)
        self._face = face

    def _repr_mimebundle_(self, **_: object) -> Mapping[str, Any]:
        return self._face.cards(self) or {"text/plain": repr(self)}

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "There are no unfinished transfers here."


def _in_a_cell() -> bool:
    """Whether a person waits, not a program: in IPython Ctrl-C cancels what a cell awaits."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
