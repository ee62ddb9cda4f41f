"""Requests between a kernel and one page, both ways, over carriers that lose and repeat messages. Sans-I/O.

``outbox`` collects messages to send; time is an argument, in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from nbferry.errors import NbferryError, RemoteProtocolError, from_code
from nbferry.limits import MiB

MAX_KEPT_ANSWERS = 64
"""Enough, because a page has few requests open at once."""
MAX_KEPT_BUFFER = 4096
"""Bytes; a larger answer is not kept, because a request for bulk data may simply be repeated."""
FIRST_AGAIN, LONGEST_AGAIN = 2.0, 16.0
"""Seconds of silence after which requests are repeated: at first, and at most."""
MAX_PARTS = 64
MAX_ANSWER_BYTES = 64 * MiB
"""Bytes of an answer to a request without ``length``: the largest chunk."""
MAX_IN_WORK = 256
"""Requests of one page; its window holds only a few."""

Buffer = bytes | memoryview
PageMessage = dict[str, Any]


class Outgoing(NamedTuple):
    """One message for the page, with its buffer."""

    message: PageMessage
    buffer: Buffer = b""


class Request(NamedTuple):
    """A request from the page, to be answered once."""

    id: int
    op: str
    arguments: Mapping[str, Any]


class PageAnswer(NamedTuple):
    """The page's answer to a request of ours."""

    ok: Mapping[str, Any]
    parts: Sequence[Buffer]


@dataclass(eq=False)
class _Call:
    message: PageMessage
    future: Future[PageAnswer] = field(default_factory=Future)
    parts: dict[int, bytes] = field(default_factory=dict)
    count: int = 1
    """Number of parts."""
    ok: Mapping[str, Any] | None = None

    @property
    def is_too_long(self) -> bool:
        """Whether more bytes have arrived than were requested."""
        return sum(map(len, self.parts.values())) > int(self.message.get("length", MAX_ANSWER_BYTES))


class Calls:
    """The requests between this kernel and one page.

    ``ids`` are the ids of our requests. None is used twice, or a late answer would match another request.
    """

    def __init__(self, page: str, ids: Iterator[int] | None = None) -> None:
        self.page = page
        self._ids = ids or count(1)
        self.outbox: list[Outgoing] = []
        self._in_work: set[int] = set()
        self._answered: OrderedDict[int, Outgoing] = OrderedDict()
        self._calls: dict[int, _Call] = {}
        # When the page last sent something, or the first request was made after all were answered.
        self._heard = 0.0
        self._again_at = 0.0
        self._wait = FIRST_AGAIN

    # ---------------------------------------------------------------- what the page wants
    def received(self, message: Mapping[str, Any], buffer: Buffer, now: float) -> Request | None:
        """Handle one message; return a new request, or None for an answer or a repeated request."""
        self._listen(now)
        if "re" in message:
            self._answer_came(message, buffer)
            return None
        number, op = message.get("id"), message.get("op")
        if type(number) is not int or not isinstance(op, str):
            raise RemoteProtocolError("The page sent an invalid request.")
        if kept := self._answered.get(number):
            self.outbox.append(kept)
            return None
        if number in self._in_work:
            return None
        if len(self._in_work) >= MAX_IN_WORK:
            raise RemoteProtocolError("The page made too many requests at once.")
        self._in_work.add(number)
        return Request(number, op, message)

    def answer(self, request: Request, ok: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """Answer a request that succeeded; each of several buffers is sent in its own message."""
        *parts, last = buffers or (b"",)
        for at, part in enumerate(parts):
            self._say({"re": request.id, "part": at, "parts": len(buffers)}, part)
        final: PageMessage = {"re": request.id, "ok": dict(ok)}
        if parts:
            final |= {"part": len(parts), "parts": len(buffers)}
        self._conclude(request, final, last, keep=not parts and len(last) <= MAX_KEPT_BUFFER)

    def refuse(self, request: Request, error: NbferryError) -> None:
        """Answer a request that failed."""
        said = {"code": error.code, "message": error.message, "hint": error.hint}
        self._conclude(request, {"re": request.id, "error": said}, b"", keep=True)

    def _conclude(self, request: Request, message: PageMessage, buffer: Buffer, *, keep: bool) -> None:
        self._in_work.discard(request.id)
        said = self._say(message, buffer)
        if keep:
            self._answered[request.id] = said
            while len(self._answered) > MAX_KEPT_ANSWERS:
                self._answered.popitem(last=False)

    # ---------------------------------------------------------------- what we want
    def ask(self, op: str, now: float, **arguments: Any) -> Future[PageAnswer]:
        """Send a request to the page. The future fails if the page refuses or is gone."""
        number = next(self._ids)
        call = _Call({"id": number, "op": op, **arguments})
        if not self._calls:
            self._listen(now)
        self._calls[number] = call
        self._say(call.message)
        return call.future

    def _listen(self, now: float) -> None:
        """Start to measure silence."""
        self._heard, self._wait = now, FIRST_AGAIN
        self._again_at = now + self._wait

    def _answer_came(self, message: Mapping[str, Any], buffer: Buffer) -> None:
        call = self._calls.get(message["re"]) if type(message["re"]) is int else None
        # The request was repeated, and this is the second answer.
        if call is None:
            return
        if isinstance(error := message.get("error"), dict):
            self._end(message["re"], refusal(error))
            return
        parts = message.get("parts", 1)
        part = message.get("part", 0)
        if type(parts) is not int or type(part) is not int or not 0 <= part < parts <= MAX_PARTS:
            self._end(message["re"], RemoteProtocolError("The page sent an invalid answer."))
            return
        # The answer was repeated over the other carrier, and split in another way.
        if parts != call.count:
            call.count, call.ok = parts, None
            call.parts.clear()
        # A copy, because a carrier may reuse its memory.
        call.parts[part] = bytes(buffer)
        if call.is_too_long:
            self._end(message["re"], RemoteProtocolError("The page sent more data than requested."))
            return
        if isinstance(ok := message.get("ok"), dict):
            call.ok = ok
        if call.ok is not None and len(call.parts) == parts:
            del self._calls[message["re"]]
            call.future.set_result(PageAnswer(call.ok, list(filter(None, map(call.parts.get, range(parts))))))

    def _end(self, number: int, error: NbferryError) -> None:
        self._calls.pop(number).future.set_exception(error)

    # ---------------------------------------------------------------- time and carriers
    def next_deadline(self) -> float | None:
        """Return when to call :meth:`deadline_passed`."""
        return self._again_at if self._calls else None

    def deadline_passed(self, now: float, *, lossy: bool = True) -> None:
        """Handle silence of the page: on a lossy carrier, repeat unanswered requests."""
        if not self._calls or now < self._again_at:
            return
        self._wait = min(2 * self._wait, LONGEST_AGAIN)
        self._again_at = now + self._wait
        if lossy:
            self.repeat()

    def repeat(self) -> None:
        """Repeat all unanswered requests, because they may not have arrived."""
        for call in self._calls.values():
            self._say(call.message)

    def silent_for(self, now: float) -> float:
        """Return for how many seconds the page has not answered an open request."""
        return now - self._heard if self._calls else 0.0

    def close(self, error: NbferryError) -> None:
        """Fail all open requests, because the page is gone."""
        for number in list(self._calls):
            self._end(number, error)

    def _say(self, message: PageMessage, buffer: Buffer = b"") -> Outgoing:
        said = Outgoing({"page": self.page, **message}, buffer)
        self.outbox.append(said)
        return said


def refusal(said: Mapping[str, Any]) -> NbferryError:
    """Turn a page's refusal into an error."""
    code, message = said.get("code"), said.get("message")
    return from_code(str(code)[:80], str(message)[:500])
