"""One browser page that shows a card: how to reach it, and the requests both ways. Runs on the engine's loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from nbferry.errors import NbferryError, RemoteProtocolError, SourceAway, StorageError, TransportError
from nbferry.limits import KiB, MiB
from nbferry.widget.calls import Buffer, Calls, Outgoing, PageAnswer, PageMessage, Request
from nbferry.widget.framing import pack

COMM_PART, LINE_PART = 512 * KiB, 2 * MiB
"""The largest buffer on each carrier."""
MAX_FIELDS = 3 * MiB
"""Bytes of an answer as JSON; a message on a line has at most 4 MiB."""
GONE_AFTER = 30.0
"""Seconds for which a page may leave a request unanswered."""

log = logging.getLogger("nbferry")


class PageLine(Protocol):
    """The part of :class:`nbferry.widget.line.Line` that a page needs."""

    async def send(self, number: int, message: PageMessage, buffer: Buffer = b"") -> None:
        """Send to the page's socket of this number; raises :class:`TransportError`."""


Comm = Callable[[PageMessage, Sequence[Buffer]], None]
"""Sends over the widget's comm, from any thread."""

Work = Callable[["Page", Request], Any]
"""Handles a request in a worker thread; returns the answer's fields, or fields and buffers. Raises NbferryError."""


class Page:
    """A browser page. Calls ``gone`` once when the page is gone."""

    def __init__(
        self,
        name: str,
        comm: Comm,
        work: Work,
        gone: Callable[[Page], None],
        *,
        ids: Iterator[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.is_gone = False
        self._clock = clock
        self._calls = Calls(name, ids)
        self._comm, self._work, self._gone = comm, work, gone
        self._line: tuple[PageLine, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._view: PageMessage | None = None

    @property
    def part(self) -> int:
        """Bytes of the largest buffer that can be sent to it now."""
        return LINE_PART if self._line else COMM_PART

    # ---------------------------------------------------------------- carriers
    def reached_by(self, line: tuple[PageLine, int] | None) -> None:
        """Note the carrier on which the page was heard; a line is kept until it is lost or replaced."""
        if line and line != self._line:
            self._line = line
            # Messages on the earlier carrier may be lost, and a line repeats nothing by itself.
            self._calls.repeat()
            self._flush()

    def line_lost(self, line: PageLine, number: int | None = None) -> None:
        """Handle the loss of a line's socket, perhaps this page's; without a number, of the whole line."""
        if self._line and self._line[0] is line and number in (None, self._line[1]):
            self._line = None
            self._calls.repeat()
            self._flush()

    def show(self, view: PageMessage) -> None:
        """Send a view over the line; on the comm the widget's own trait does that."""
        if self._line:
            self._view = view
            self._flush()

    # ---------------------------------------------------------------- both ways
    def received(self, message: Mapping[str, Any], buffer: Buffer) -> None:
        """Handle a message from the page."""
        request = self._calls.received(message, buffer, self._clock())
        if request:
            self._spawn(self._do(request))
        self._flush()

    async def _do(self, request: Request) -> None:
        try:
            fields, buffers = await asyncio.to_thread(self._worked, request)
        except NbferryError as error:
            self._calls.refuse(request, error)
        # A bug in nbferry: tell the page, and keep the engine running.
        except Exception as error:
            log.exception("a page's request %s failed unexpectedly", request.op)
            self._calls.refuse(
                request, NbferryError(f"An unexpected error occurred ({type(error).__name__}).")
            )
        else:
            self._calls.answer(request, fields, buffers)
        self._flush()

    def _worked(self, request: Request) -> tuple[Mapping[str, Any], Sequence[Buffer]]:
        """Return the answer's fields and buffers; runs in a worker thread."""
        done = self._work(self, request)
        fields, buffers = done if isinstance(done, tuple) else (done, ())
        if len(pack(fields)) > MAX_FIELDS:
            raise StorageError(
                "The list of files is too long.", hint="Choose fewer files, or pack them into one."
            )
        return fields, buffers

    def ask(self, op: str, **arguments: Any) -> Future[PageAnswer]:
        """Send a request to the page."""
        future = self._calls.ask(op, self._clock(), **arguments)
        if self.is_gone:
            self._calls.close(SourceAway())
        else:
            self._flush()
        return future

    def close(self) -> None:
        """Handle that the page is gone. May be called twice."""
        if self.is_gone:
            return
        self.is_gone = True
        self._calls.close(SourceAway())
        if self._timer:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._gone(self)

    # ---------------------------------------------------------------- sending
    def _flush(self) -> None:
        if self._line is None:
            while self._calls.outbox:
                message, buffer = self._calls.outbox.pop(0)
                self._comm(message, [bytes(buffer)] if buffer else [])
        elif self._writing is None or self._writing.done():
            self._writing = self._spawn(self._write())
        self._set_timer()

    async def _write(self) -> None:
        """Send the outbox over the line; if the line is lost, the rest goes over the comm."""
        while self._line and (said := self._next()):
            line, number = self._line
            try:
                await line.send(number, said.message, said.buffer)
            except TransportError:
                self._calls.outbox.insert(0, said)
                self.line_lost(line, number)

    def _next(self) -> Outgoing | None:
        if self._calls.outbox:
            return self._calls.outbox.pop(0)
        view, self._view = self._view, None
        return Outgoing({"op": "view", "view": view}) if view else None

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---------------------------------------------------------------- time
    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadline = self._calls.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - self._clock()), self._deadline_passed)

    def _deadline_passed(self) -> None:
        now = self._clock()
        if self._calls.silent_for(now) >= GONE_AFTER:
            self.close()
            return
        # A line loses no single messages.
        self._calls.deadline_passed(now, lossy=self._line is None)
        self._flush()


def page_of(message: Mapping[str, Any]) -> str:
    """Return which page sent a message. Raises :class:`RemoteProtocolError`."""
    name = message.get("page")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise RemoteProtocolError("A message does not say from which page it is.")
    return name
