"""One browser page that shows a card: which way it can be reached, and what was said to it. On the engine's loop."""

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

COMM_PART, LINE_PART = 512 * KiB, 2 * MiB  # the largest buffer on either carrier
MAX_FIELDS = 3 * MiB  # of an answer as JSON: a message on a line has 4 MiB
GONE_AFTER = 30.0  # seconds for which a page that is asked for something may say nothing

log = logging.getLogger("nbferry")


class PageLine(Protocol):
    """What a page needs of :class:`nbferry.widget.line.PageLine`."""

    async def send(self, number: int, message: PageMessage, buffer: Buffer = b"") -> None:
        """Send to the page's socket of this number; raises :class:`TransportError`."""


Comm = Callable[[PageMessage, Sequence[Buffer]], None]
"""Sends over the widget's comm; from any thread."""

Work = Callable[["Page", Request], Any]
"""Does what a page wants, in a worker thread: fields of the answer, or fields and buffers. Raises NbferryError."""


class Page:
    """See the module. ``gone`` is called, once, when it is clear that the page is not there any more."""

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
        """Bytes of the largest buffer that it may be sent just now."""
        return LINE_PART if self._line else COMM_PART

    # ---------------------------------------------------------------- carriers
    def reached_by(self, line: tuple[PageLine, int] | None) -> None:
        """The carrier on which it was just heard; a line is kept until it is lost, or there is another."""
        if line and line != self._line:
            self._line = line
            self._calls.repeat()  # what went another way may be lost with it, and on a line nothing is repeated
            self._flush()

    def line_lost(self, line: PageLine, number: int | None = None) -> None:
        """A socket of a line has gone, perhaps this page's; without a number, all of it."""
        if self._line and self._line[0] is line and number in (None, self._line[1]):
            self._line = None
            self._calls.repeat()
            self._flush()

    def show(self, view: PageMessage) -> None:
        """Say what there is to see; on the comm the widget's own trait does."""
        if self._line:
            self._view = view
            self._flush()

    # ---------------------------------------------------------------- both ways
    def received(self, message: Mapping[str, Any], buffer: Buffer) -> None:
        """It said something."""
        request = self._calls.received(message, buffer, self._clock())
        if request:
            self._spawn(self._do(request))
        self._flush()

    async def _do(self, request: Request) -> None:
        try:
            fields, buffers = await asyncio.to_thread(self._worked, request)
        except NbferryError as error:
            self._calls.refuse(request, error)
        except Exception as error:  # a fault of ours: the page is told, and the engine goes on
            log.exception("%s, asked for by a page, failed unexpectedly", request.op)
            self._calls.refuse(
                request, NbferryError(f"Something unexpected went wrong ({type(error).__name__}).")
            )
        else:
            self._calls.answer(request, fields, buffers)
        self._flush()

    def _worked(self, request: Request) -> tuple[Mapping[str, Any], Sequence[Buffer]]:
        """In a worker thread: fields of the answer, and buffers."""
        done = self._work(self, request)
        fields, buffers = done if isinstance(done, tuple) else (done, ())
        if len(pack(fields)) > MAX_FIELDS:
            raise StorageError("This list is too long.", hint="Choose fewer files, or pack them into one.")
        return fields, buffers

    def ask(self, op: str, **arguments: Any) -> Future[PageAnswer]:
        """Ask it for something."""
        future = self._calls.ask(op, self._clock(), **arguments)
        if self.is_gone:
            self._calls.close(SourceAway())
        else:
            self._flush()
        return future

    def close(self) -> None:
        """It is gone. May be called twice."""
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
        """Send over the line what there is; what a lost one did not take goes over the comm."""
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
        self._calls.deadline_passed(now, lossy=self._line is None)  # a line loses nothing but itself
        self._flush()


def page_of(message: Mapping[str, Any]) -> str:
    """Who says this. Raises :class:`RemoteProtocolError`."""
    name = message.get("page")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise RemoteProtocolError("A message does not say from which page it is.")
    return name
