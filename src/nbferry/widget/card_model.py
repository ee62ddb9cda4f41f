"""The model of a card: its transfer, the pages that show it, and the line to them.

The sections of the class say which thread runs them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

from nbferry._version import AGENT
from nbferry.engine.portal import Portal
from nbferry.errors import LocalProtocolError, RemoteProtocolError
from nbferry.model.names import display_name
from nbferry.transfer.handle import Transfer
from nbferry.widget import view
from nbferry.widget.calls import Buffer
from nbferry.widget.line import Line
from nbferry.widget.page import Comm, Page, page_of
from nbferry.widget.requests import PageRequests
from nbferry.widget.saving import Saving
from nbferry.widget.view import CardKind

# A page may vanish without saying so. With more pages than this, the one that was silent for longest is dropped.
MAX_PAGES = 64

log = logging.getLogger("nbferry")

BeginChosen = Callable[[Any], Transfer]
"""Starts a transfer with what a person chose: paths of the kernel, a code, or entries of a browser's machine."""

PublishView = Callable[[dict[str, Any]], None]
"""Assigns a view to the widget's trait."""


class CardModel:
    """The model of one card.

    ``savable`` are the files of a download, and ``beside`` is the folder that their paths are relative to. ``begin``
    starts a transfer with what a person chose.
    """

    def __init__(
        self,
        kind: CardKind,
        used: Portal,
        *,
        begin: BeginChosen | None = None,
        savable: Sequence[Path] = (),
        beside: Path | None = None,
    ) -> None:
        self.kind = kind
        self.begun: Future[Transfer] = Future()
        # Cancelling a task that waits for it must not cancel it.
        self.begun.set_running_or_notify_cancel()
        # Set once a page has shown the card.
        self.met = threading.Event()
        self._portal = used
        self._begin = begin
        self._savable, self._beside = tuple(savable), beside
        # The page that was heard last comes last.
        self._pages: dict[str, Page] = {}
        # One sequence for all pages, because a page that was dropped may still answer.
        self._ids = count(1)
        self._line: Line | None = None
        self._closing: asyncio.Task[None] | None = None
        self._seq = 0
        self._requests = PageRequests(self, used)
        self._starting = threading.Lock()
        self._comm: Comm | None = None
        # Until ``open``, nothing is published: the widget is made with a view.
        self._publish: PublishView = lambda _: None

    # ---------------------------------------------------------------- any thread
    @property
    def transfer(self) -> Transfer | None:
        """The transfer that was started; None before that."""
        return self.begun.result() if self.begun.done() else None

    def saving(self) -> Saving:
        """The files that can be saved now. Raises :class:`StorageError` if one does not exist any more."""
        transfer = self.transfer
        if transfer and transfer.outcome and transfer.folder:
            return Saving(transfer.outcome.files, beside=transfer.folder)
        if not self._savable:
            raise LocalProtocolError("There is nothing to save yet.")
        return Saving(self._savable, beside=self._beside)

    def view(self) -> dict[str, Any]:
        """The present view."""
        return self._portal.ask(self._view)

    def begin(self, chosen: Any) -> Transfer:
        """Start a transfer with what a person chose. Raises what prevents that."""
        with self._starting:
            if self._begin is None or self.begun.done():
                raise LocalProtocolError("This has begun already.")
            transfer = self._begin(chosen)
            self.show(transfer)
            return transfer

    def show(self, transfer: Transfer) -> None:
        """Show this transfer from now on."""
        self.begun.set_result(transfer)
        transfer.subscribe(lambda _: self.refresh())

    def refresh(self) -> None:
        """Publish a new view."""
        self._portal.call(self._refresh)

    def open(self, name: str, comm: Comm, publish: PublishView) -> None:
        """Connect the widget of this name, so that messages can go to pages."""
        self._comm, self._publish = comm, publish
        self._portal.call(lambda: self._open_line(name))
        # The view may have changed meanwhile.
        self.refresh()

    def hang_up(self) -> None:
        """Close the line. Messages go to pages over the comm from now on."""
        self._portal.call(self._close_line)

    def hear(self, message: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        """Receive a message of a page from the comm."""
        self._portal.call(lambda: self._heard(message, buffers[0] if buffers else b"", None))

    # ---------------------------------------------------------------- the engine's thread
    def _view(self) -> dict[str, Any]:
        self._seq += 1
        transfer = self.transfer
        return {
            "seq": self._seq,
            "kind": self.kind,
            "phase": "transfer" if transfer else "pick",
            "agent": AGENT,
            "what": ", ".join(display_name(path.name) for path in self._savable[:3]),
            "transfer": view.of_transfer(transfer) if transfer else None,
        }

    def _open_line(self, name: str) -> None:
        self._line = Line(name, received=self._heard_on_line, left=self._left)
        self._line.start()

    def _close_line(self) -> None:
        line, self._line = self._line, None
        if line:
            for page in list(self._pages.values()):
                page.line_lost(line)
            self._closing = asyncio.create_task(line.aclose())

    def _heard_on_line(self, number: int, message: Mapping[str, Any], buffer: Buffer) -> None:
        # A closed line delivers nothing.
        assert self._line
        self._heard(message, buffer, (self._line, number))

    def _left(self, number: int) -> None:
        assert self._line
        for page in list(self._pages.values()):
            page.line_lost(self._line, number)

    def _heard(self, message: Mapping[str, Any], buffer: Buffer, line: tuple[Line, int] | None) -> None:
        try:
            name = page_of(message)
            if message.get("op") == "bye":
                if name in self._pages:
                    self._pages[name].close()
                return
            page = self._page(name)
            page.reached_by(line)
            page.received(message, buffer)
        except RemoteProtocolError as error:
            # A broken page may repeat this, so it must not fill a cell with warnings.
            log.debug("a page sent an invalid message: %s", error.message)

    def _page(self, name: str) -> Page:
        """The page of this name, moved to the end; a new one may drop the page that was silent for longest."""
        page = self._pages.pop(name, None) or self._new_page(name)
        self._pages[name] = page
        return page

    def _new_page(self, name: str) -> Page:
        # Pages come only after ``open``.
        assert self._comm
        if len(self._pages) >= MAX_PAGES:
            next(iter(self._pages.values())).close()
        self.met.set()
        return Page(name, self._comm, self._requests.do, self._gone, ids=self._ids)

    def _gone(self, page: Page) -> None:
        self._pages.pop(page.name, None)
        self._requests.forget(page)
        self._refresh()

    def _refresh(self) -> None:
        shown = self._view()
        self._publish(shown)
        for page in self._pages.values():
            page.show(shown)
