"""The way to the engine, for any thread. :mod:`nbferry.engine.messages` has what crosses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar, cast

from nbferry.engine.engine import Engine, FindRelay
from nbferry.engine.messages import Command, GetFiles, GetOffer, GetSkipped, Notice, Start
from nbferry.engine.portal import Portal
from nbferry.model.manifest import Manifest
from nbferry.status import FileProgress
from nbferry.storage.base import Skipped

T = TypeVar("T")


class EngineClient:
    """Makes the engine of a portal. ``hear`` is called with each notice, on the portal's thread."""

    def __init__(self, portal: Portal, find_relay: FindRelay, hear: Callable[[Notice], None]) -> None:
        self._portal = portal
        self._hear = hear
        self._engine = Engine(find_relay, self._deliver)
        portal.at_stop(self._engine.aclose)

    def crossing(self, value: T) -> T:
        """Return a value as the other side receives it. A test overrides this, and pickles it."""
        return value

    def _deliver(self, notice: Notice) -> None:
        self._hear(self.crossing(notice))

    def start(self, start: Start) -> Future[None]:
        """Run a transfer; the future is done once it runs, or fails with what kept it from that."""
        started: Future[None] = Future()
        crossed = self.crossing(start)
        self._portal.call(lambda: self._engine.start(crossed, started))
        return started

    def post(self, command: Command) -> None:
        """Have a command obeyed, soon, after the starts and commands before it."""
        crossed = self.crossing(command)
        self._portal.call(lambda: self._engine.post(crossed))

    def files(self, query: GetFiles) -> tuple[FileProgress, ...]:
        """The present progress of files."""
        return cast("tuple[FileProgress, ...]", self._ask(query))

    def offer(self, query: GetOffer) -> Manifest | None:
        """What is sent or received, once that is known."""
        return cast("Manifest | None", self._ask(query))

    def skipped(self, query: GetSkipped) -> tuple[Skipped, ...]:
        """What was found in the folders and is not sent."""
        return cast("tuple[Skipped, ...]", self._ask(query))

    def _ask(self, query: GetFiles | GetOffer | GetSkipped) -> object:
        crossed = self.crossing(query)
        return self.crossing(self._portal.ask(lambda: self._engine.ask(crossed)))

    def on_thread(self, function: Callable[[], T]) -> T:
        """Call a function on the thread of the notices, between two of them."""
        return self._portal.ask(function)

    @property
    def is_on_thread(self) -> bool:
        """Whether the caller is on that thread, which must not wait."""
        return self._portal.is_current
