"""The requests of pages and what each does. They run in worker threads, because many of them read the disk.

hello    base (address of the Jupyter server as the page reaches it, "" if it knows none): version, view
look     view
code     code, note: what the receiver needs, and a remark about it
pause resume cancel accept reject      reason
rows     first, count: rows of the list of files
list     folder (null: the current one): the kernel's files
send     paths of the kernel's files; begins
receive  code; begins
offer    entries: files of the page's machine, see :mod:`nbferry.widget.offers`; begins, or lends them again
files fetch    see :mod:`nbferry.widget.saving`
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nbferry.engine.portal import Portal
from nbferry.errors import LocalProtocolError, RemoteProtocolError
from nbferry.jupyter import server
from nbferry.model.roles import Role
from nbferry.storage.sources.pages import Reader
from nbferry.text import rendering
from nbferry.transfer.handle import Transfer
from nbferry.transfer.lending import Lending
from nbferry.widget import view
from nbferry.widget.calls import Buffer, Request
from nbferry.widget.chooser import list_folder
from nbferry.widget.offers import Offers, same_files
from nbferry.widget.page import Page
from nbferry.widget.reader import PageReader
from nbferry.widget.saving import Saving

PAGE_VERSION = 1
MAX_ROWS = 200
HERE_ONLY = "This code works on this machine only; relay= or NBFERRY_HOST change that."

Outcome = Mapping[str, Any] | tuple[Mapping[str, Any], list[Buffer]]
"""The fields of an answer, and its buffers if it has any."""


class CardPort(Protocol):
    """The part of :class:`nbferry.widget.card_model.CardModel` that these requests use."""

    kind: view.CardKind

    @property
    def transfer(self) -> Transfer | None:
        """The transfer that was started; None before that."""

    def view(self) -> dict[str, Any]:
        """The present view."""

    def begin(self, chosen: Any) -> Transfer:
        """Start a transfer with what a person chose."""

    def refresh(self) -> None:
        """Publish a new view."""

    def saving(self) -> Saving:
        """The files that can be saved now."""


class PageRequests:
    """Does the requests of the pages of one card."""

    def __init__(self, model: CardPort, portal: Portal) -> None:
        self._model = model
        self._portal = portal
        self._lock = threading.Lock()
        # Apart from the other lock, which the engine's loop takes: a long list takes a while.
        self._listing = threading.Lock()
        self._offers: dict[str, Offers] = {}
        self._lent: dict[str, tuple[Lending, Reader]] = {}
        self._savings: dict[str, Saving] = {}
        self._handlers: dict[str, Callable[[Page, Mapping[str, Any]], Outcome | None]] = {
            "hello": self._hello,
            "look": self._look,
            "code": self._code,
            "pause": lambda *_: self._transfer.pause(),
            "resume": lambda *_: self._transfer.resume(),
            "cancel": lambda _, args: self._transfer.cancel(_text(args, "reason")),
            "accept": lambda *_: self._transfer.accept(),
            "reject": lambda _, args: self._transfer.reject(_text(args, "reason")),
            "rows": self._rows,
            "list": self._list,
            Role.SEND: self._send,
            Role.RECEIVE: self._receive,
            "offer": self._offer,
            "files": self._files,
            "fetch": self._fetch,
        }

    def do(self, page: Page, request: Request) -> Outcome:
        """Do a request, and return its answer. Raises :class:`NbferryError`."""
        way = self._handlers.get(request.op)
        if way is None:
            raise RemoteProtocolError(
                f'The page asked for "{request.op[:40]}", which this nbferry does not know.'
            )
        return way(page, request.arguments) or {}

    def forget(self, page: Page) -> None:
        """Forget a page that has gone, and withdraw the files that it lent."""
        with self._lock:
            lent = self._lent.pop(page.name, None)
            self._offers.pop(page.name, None)
            self._savings.pop(page.name, None)
        if lent:
            files, reader = lent
            files.gone(reader)

    @property
    def _transfer(self) -> Transfer:
        if self._model.transfer is None:
            raise LocalProtocolError("Nothing has begun yet.")
        return self._model.transfer

    # ---------------------------------------------------------------- looking
    def _hello(self, page: Page, args: Mapping[str, Any]) -> Outcome:
        if base := _text(args, "base"):
            server.heard_from_page(base)
        return {"version": PAGE_VERSION, **self._look(page, args)}

    def _look(self, _page: Page, _asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"view": self._model.view()}

    def _code(self, _page: Page, _asked: Mapping[str, Any]) -> Outcome:
        code = self._transfer.code
        return {"code": code, "note": HERE_ONLY if rendering.here_only(code) else ""}

    def _rows(self, _page: Page, args: Mapping[str, Any]) -> Outcome:
        first, count = _number(args, "first"), min(MAX_ROWS, _number(args, "count"))
        return {"rows": [view.row(file) for file in self._transfer.files_from(first, count)]}

    def _list(self, _page: Page, args: Mapping[str, Any]) -> Outcome:
        return list_folder(_text(args, "folder") or None)

    # ---------------------------------------------------------------- beginning
    def _send(self, _page: Page, args: Mapping[str, Any]) -> None:
        paths = args.get("paths")
        if not isinstance(paths, list) or not paths or not all(isinstance(path, str) for path in paths):
            raise RemoteProtocolError("The page did not say what to send.")
        self._begin([str(path) for path in paths], Role.SEND)

    def _receive(self, _page: Page, args: Mapping[str, Any]) -> None:
        self._begin(_text(args, "code").strip(), Role.RECEIVE)

    def _begin(self, chosen: Any, *kinds: view.CardKind) -> Transfer:
        """Begin, if this card is of one of these kinds."""
        if self._model.kind not in kinds:
            raise RemoteProtocolError("The page asked for what this card is not for.")
        return self._model.begin(chosen)

    def _offer(self, page: Page, args: Mapping[str, Any]) -> None:
        with self._lock:
            offers = self._offers.setdefault(page.name, Offers())
        with self._listing:
            entries = offers.add(args)
        if entries is None:
            return
        transfer = self._model.transfer or self._begin(entries, *(role for role in Role if role.from_pages))
        files = transfer.page_files
        if files is None:
            raise LocalProtocolError("This transfer needs no files of this machine.")
        same_files(files.manifest, entries)
        self._lend(page, files)

    def _lend(self, page: Page, files: Lending) -> None:
        reader = PageReader(page, self._portal)
        with self._lock:
            if page.is_gone:
                return
            _, before = self._lent.get(page.name, (files, None))
            self._lent[page.name] = (files, reader)
            # While the lock is held, so that ``forget`` comes later.
            files.lend(reader)
        if before:
            files.gone(before)
        self._model.refresh()

    # ---------------------------------------------------------------- saving
    def _files(self, page: Page, _asked: Mapping[str, Any]) -> Outcome:
        saving = self._model.saving()
        with self._lock:
            if not page.is_gone:
                self._savings[page.name] = saving
        own = server.own_server()
        return {"files": saving.listed(own.root if own else "")}

    def _fetch(self, page: Page, args: Mapping[str, Any]) -> Outcome:
        saving = self._savings.get(page.name)
        if saving is None:
            raise LocalProtocolError("The page asked for a file before it asked which there are.")
        digest, data = saving.fetch(_number(args, "file"), _number(args, "offset"), _number(args, "length"))
        parts = [memoryview(data)[at : at + page.part] for at in range(0, len(data), page.part)]
        return {"digest": digest}, list(parts)


def _text(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name) or ""
    if not isinstance(value, str):
        raise RemoteProtocolError(f'The page sent no text as "{name}".')
    return value


def _number(args: Mapping[str, Any], name: str) -> int:
    value = args.get(name)
    if type(value) is not int or value < 0:
        raise RemoteProtocolError(f'The page sent no number as "{name}".')
    return value
