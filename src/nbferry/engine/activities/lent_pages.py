"""The pages that lend files to an activity. The engine knows them by name, and reads by a question and its answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any

from typing_extensions import override

from nbferry.engine.messages import AnswerPage, PageQuestion
from nbferry.storage.sources.pages import PageFiles, Reader, Slice, settle


class LentPages:
    """The pages that lend the files of one transfer. Runs on the engine's thread; any thread may use the readers."""

    def __init__(self, id: str, files: PageFiles, tell: Callable[[PageQuestion], None]) -> None:  # noqa: A002  # what it is
        self.files = files
        self._id = id
        self._tell = tell
        self._readers: dict[str, QuestioningReader] = {}

    @property
    def present(self) -> bool:
        """Whether a page lends the files."""
        return self.files.present

    def lend(self, page: str) -> None:
        """Add a page that lends all files. The newest page is asked first."""
        reader = self._readers.get(page) or QuestioningReader(self._id, page, self._tell)
        self._readers[page] = reader
        self.files.lend(reader)

    def withdraw(self, page: str) -> None:
        """Remove a page that does not lend them any more."""
        if reader := self._readers.pop(page, None):
            self.files.gone(reader)

    def answer(self, answer: AnswerPage) -> None:
        """Pass on the answer of a page. An answer that comes too late is ignored."""
        if reader := self._readers.get(answer.page):
            reader.answer(answer)


class QuestioningReader(Reader):
    """Reads from one page. Any thread may use it."""

    def __init__(self, id: str, page: str, tell: Callable[[PageQuestion], None]) -> None:  # noqa: A002  # as above
        self._id, self._page = id, page
        self._tell = tell
        self._numbers = count(1)
        self._waiting: dict[int, Future[Any]] = {}

    @override
    def read(self, path: str, offset: int, length: int) -> Future[Slice]:
        return self._ask("read", path, offset, length)

    @override
    def digest(self, path: str, offset: int, length: int) -> Future[bytes]:
        return self._ask("digest", path, offset, length)

    def _ask(self, op: str, path: str, offset: int, length: int) -> Future[Any]:
        number, answer = next(self._numbers), Future[Any]()
        self._waiting[number] = answer
        self._tell(PageQuestion(self._id, self._page, number, op, path, offset, length))
        return answer

    def answer(self, answer: AnswerPage) -> None:
        """Settle the question that has the answer's number."""
        if waiting := self._waiting.pop(answer.number, None):
            settle(waiting, answer.answer)
