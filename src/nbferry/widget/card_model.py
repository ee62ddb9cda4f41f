"""What stands behind a card: the transfer that it shows, the pages that show it, and the line to them.

On the engine's loop, unless it says otherwise.
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

MAX_PAGES = 64  # one that went without a word is gone when so many others have come

log = logging.getLogger("nbferry")

BeginChosen = Callable[[Any], Transfer]
"""Begins with what a person chose: paths of the kernel's files, a code, or entries of a browser's machine."""

PublishView = Callable[[dict[str, Any]], None]
"""Makes a view the widget's."""


class CardModel:
    """See the module.

    ``savable`` is what a download offers, and ``beside`` where its paths begin; ``begin`` what a choice leads to.
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
        self.begun.set_running_or_notify_cancel()  # who waits for it may be cancelled, and it stays
        self.met = threading.Event()  # once a page is there
        self._portal = used
        self._begin = begin
        self._savable, self._beside = tuple(savable), beside
        self._pages: dict[str, Page] = {}  # the one that was heard last comes last
        self._ids = count(1)  # of what is asked of pages: one that was given up may still answer
        self._line: Line | None = None
        self._closing: asyncio.Task[None] | None = None
        self._seq = 0
        self._requests = PageRequests(self, used)
        self._starting = threading.Lock()
        self._comm: Comm | None = None
        self._publish: PublishView = lambda _: None  # until there is the widget, which has a view of its own

    # ---------------------------------------------------------------- any thread
    @property
    def transfer(self) -> Transfer | None:
        """What has begun."""
        return self.begun.result() if self.begun.done() else None

    def saving(self) -> Saving:
        """What can be saved now. Raises :class:`StorageError` if it is not there any more."""
        transfer = self.transfer
        if transfer and transfer.outcome and transfer.folder:
            return Saving(transfer.outcome.files, beside=transfer.folder)
        if not self._savable:
            raise LocalProtocolError("There is nothing to save yet.")
        return Saving(self._savable, beside=self._beside)

    def view(self) -> dict[str, Any]:
        """What there is to see now."""
        return self._portal.ask(self._view)

    def begin(self, chosen: Any) -> Transfer:
        """A person has chosen. Raises what keeps it from beginning."""
        with self._starting:
            if self._begin is None or self.begun.done():
                raise LocalProtocolError("This has begun already.")
            transfer = self._begin(chosen)
            self.show(transfer)
            return transfer

    def show(self, transfer: Transfer) -> None:
        """From now on this is what there is to see."""
        self.begun.set_result(transfer)
        transfer.subscribe(lambda _: self.refresh())

    def refresh(self) -> None:
        """Something is to be seen that was not."""
        self._portal.call(self._refresh)

    def open(self, name: str, comm: Comm, publish: PublishView) -> None:
        """The widget is there, under this name: what goes to pages may go out."""
        self._comm, self._publish = comm, publish
        self._portal.call(lambda: self._open_line(name))
        self.refresh()  # what happened meanwhile

    def hang_up(self) -> None:
        """Do without a line: pages are reached over the comm from now on."""
        self._portal.call(self._close_line)

    def hear(self, message: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        """A page said something on the comm."""
        self._portal.call(lambda: self._heard(message, buffers[0] if buffers else b"", None))

    # ---------------------------------------------------------------- the loop's thread
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
        assert self._line  # it says nothing any more when it was closed
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
            log.debug(
                "a page said something that makes no sense: %s", error.message
            )  # and may go on like that

    def _page(self, name: str) -> Page:
        """Who says something; of too many pages the one that was silent for longest is gone."""
        page = self._pages.pop(name, None) or self._new_page(name)
        self._pages[name] = page
        return page

    def _new_page(self, name: str) -> Page:
        assert self._comm  # pages come when the widget is there
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
