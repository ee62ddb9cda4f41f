"""Requests for slices of the files that a page lends.

    read    path, offset, length     answered by the bytes and the BLAKE3 that the page computed: ``digest`` (hex)
    digest  path, offset, length     answered by ``digest`` alone, to find what need not be sent

A page refuses with ``source-away`` (it has no such file), ``source-changed`` or ``storage`` (it cannot be read).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from typing_extensions import override

from nbferry.engine.portal import Portal
from nbferry.errors import NbferryError, RemoteProtocolError
from nbferry.storage.sources.pages import Reader, Slice
from nbferry.widget.calls import PageAnswer
from nbferry.widget.page import Page

T = TypeVar("T")


class PageReader(Reader):
    """Reads the files that one page lends. Thread-safe."""

    def __init__(self, page: Page, portal: Portal) -> None:
        self._page = page
        self._portal = portal

    @override
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        return self._ask("read", path, offset, length, lambda answer: Slice(answer.parts, _digest(answer)))

    @override
    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        return self._ask("digest", path, offset, length, _digest)

    def _ask(
        self, op: str, path: str, offset: int, length: int, read: Callable[[PageAnswer], T]
    ) -> Future[T]:
        outcome: Future[T] = Future()

        def answered(asked: Future[PageAnswer]) -> None:
            try:
                outcome.set_result(read(asked.result()))
            # The page's refusal, or an invalid answer.
            except NbferryError as error:
                outcome.set_exception(error)

        def ask() -> None:
            self._page.ask(op, path=path, offset=offset, length=length).add_done_callback(answered)

        self._portal.call(ask)
        return outcome


def _digest(answer: PageAnswer) -> bytes:
    try:
        return bytes.fromhex(answer.ok["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError("The page sent no digest with a slice.") from error
