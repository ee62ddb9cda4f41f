"""The pages that lend the files of a transfer. The engine's questions are passed on to them."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import count
from typing import Any

from nbferry.engine.client import EngineClient
from nbferry.engine.messages import AnswerPage, LendFiles, PageQuestion, WithdrawFiles
from nbferry.errors import NbferryError, SourceAway, StorageError
from nbferry.model.manifest import Manifest
from nbferry.storage.sources.pages import Reader, Slice


class Lending:
    """The files that one transfer needs, and the pages that lend them. Any thread may use it."""

    def __init__(self, id: str, manifest: Manifest, engine: EngineClient) -> None:  # noqa: A002  # what it is
        self.manifest = manifest
        self._id = id
        self._engine = engine
        self._names = count(1)
        self._pages: dict[Reader, str] = {}

    @property
    def present(self) -> bool:
        """Whether a page lends the files."""
        return bool(self._pages)

    def lend(self, reader: Reader) -> None:
        """Add a page that lends all files. The newest page is asked first."""
        page = self._pages.setdefault(reader, str(next(self._names)))
        self._engine.post(LendFiles(self._id, page))

    def lend_again(self) -> None:
        """The transfer was resumed, and its new activity knows no page. Late answers to the old one go nowhere."""
        for reader in list(self._pages):
            self._pages[reader] = str(next(self._names))
            self._engine.post(LendFiles(self._id, self._pages[reader]))

    def gone(self, reader: Reader) -> None:
        """Remove a page that was closed or reloaded."""
        if page := self._pages.pop(reader, None):
            self._engine.post(WithdrawFiles(self._id, page))

    def ask(self, question: PageQuestion) -> None:
        """Pass a question of the engine on to the page that it is for."""
        reader = next((each for each, page in list(self._pages.items()) if page == question.page), None)
        if reader is None:
            self._answer(question, SourceAway())
            return
        read = reader.read if question.op == "read" else reader.digest
        asked: Future[Any] = read(question.path, question.offset, question.length)
        asked.add_done_callback(lambda done: self._answered(question, reader, done))

    def _answered(self, question: PageQuestion, reader: Reader, done: Future[Any]) -> None:
        error = SourceAway() if done.cancelled() else done.exception()
        if error is None:
            self._answer(question, done.result())
            return
        # The page does not have the files any more.
        if isinstance(error, SourceAway):
            self._pages.pop(reader, None)
        ours = isinstance(error, NbferryError)
        self._answer(question, error if ours else StorageError("The page failed to read the file."))  # type: ignore[arg-type]  # mypy forgets what ``ours`` says

    def _answer(self, question: PageQuestion, answer: Slice | bytes | NbferryError) -> None:
        self._engine.post(AnswerPage(question.id, question.page, question.number, answer))
