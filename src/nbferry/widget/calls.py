"""Requests between a kernel and one page, both ways, over carriers that lose messages and repeat them. Sans-I/O.

``outbox`` collects what is to be sent; time comes in as an argument, in seconds.
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

MAX_KEPT_ANSWERS = 64  # answers: a page has few requests under way at once
MAX_KEPT_BUFFER = (
    4096  # bytes; an answer with more is not kept, as what asks for bulk may simply be done again
)
FIRST_AGAIN, LONGEST_AGAIN = 2.0, 16.0  # seconds of silence after which requests are repeated
MAX_PARTS = 64
MAX_ANSWER_BYTES = 64 * MiB  # bytes of an answer of which nobody said how long it is to be: the largest chunk
MAX_IN_WORK = 256  # requests of one page: it has a window of a few

Buffer = bytes | memoryview
PageMessage = dict[str, Any]


class Outgoing(NamedTuple):
    """One message for the page, with its buffer."""

    message: PageMessage
    buffer: Buffer = b""


class Request(NamedTuple):
    """Something that the page wants; to be answered once."""

    id: int
    op: str
    arguments: Mapping[str, Any]


class PageAnswer(NamedTuple):
    """What came of a request of ours."""

    ok: Mapping[str, Any]
    parts: Sequence[Buffer]


@dataclass(eq=False)
class _Call:
    message: PageMessage
    future: Future[PageAnswer] = field(default_factory=Future)
    parts: dict[int, bytes] = field(default_factory=dict)
    count: int = 1  # of parts
    ok: Mapping[str, Any] | None = None

    @property
    def is_too_long(self) -> bool:
        """Whether more has come than what was asked for."""
        return sum(map(len, self.parts.values())) > int(self.message.get("length", MAX_ANSWER_BYTES))


class Calls:
    """See the module.

    ``ids`` are those of our requests; none is used twice, or a late answer would be taken for another.
    """

    def __init__(self, page: str, ids: Iterator[int] | None = None) -> None:
        self.page = page
        self._ids = ids or count(1)
        self.outbox: list[Outgoing] = []
        self._in_work: set[int] = set()
        self._answered: OrderedDict[int, Outgoing] = OrderedDict()
        self._calls: dict[int, _Call] = {}
        self._heard = 0.0  # when the page last said something, or was asked after it had answered everything
        self._again_at = 0.0
        self._wait = FIRST_AGAIN

    # ---------------------------------------------------------------- what the page wants
    def received(self, message: Mapping[str, Any], buffer: Buffer, now: float) -> Request | None:
        """Take in one message: a request that is new; None if it was an answer, or a request that is known."""
        self._listen(now)
        if "re" in message:
            self._answer_came(message, buffer)
            return None
        number, op = message.get("id"), message.get("op")
        if type(number) is not int or not isinstance(op, str):
            raise RemoteProtocolError("The page sent something that is no request.")
        if kept := self._answered.get(number):
            self.outbox.append(kept)
            return None
        if number in self._in_work:
            return None
        if len(self._in_work) >= MAX_IN_WORK:
            raise RemoteProtocolError("The page wants too much at once.")
        self._in_work.add(number)
        return Request(number, op, message)

    def answer(self, request: Request, ok: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """The request went well; of several buffers each goes out on its own."""
        *parts, last = buffers or (b"",)
        for at, part in enumerate(parts):
            self._say({"re": request.id, "part": at, "parts": len(buffers)}, part)
        final: PageMessage = {"re": request.id, "ok": dict(ok)}
        if parts:
            final |= {"part": len(parts), "parts": len(buffers)}
        self._conclude(request, final, last, keep=not parts and len(last) <= MAX_KEPT_BUFFER)

    def refuse(self, request: Request, error: NbferryError) -> None:
        """The request did not go well."""
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
        """Ask the page for something; a refusal, or that it is gone, is the future's exception."""
        number = next(self._ids)
        call = _Call({"id": number, "op": op, **arguments})
        if not self._calls:
            self._listen(now)
        self._calls[number] = call
        self._say(call.message)
        return call.future

    def _listen(self, now: float) -> None:
        """From now on silence counts."""
        self._heard, self._wait = now, FIRST_AGAIN
        self._again_at = now + self._wait

    def _answer_came(self, message: Mapping[str, Any], buffer: Buffer) -> None:
        call = self._calls.get(message["re"]) if type(message["re"]) is int else None
        if call is None:
            return  # it was repeated, and this is the second answer
        if isinstance(error := message.get("error"), dict):
            self._end(message["re"], refusal(error))
            return
        parts = message.get("parts", 1)
        part = message.get("part", 0)
        if type(parts) is not int or type(part) is not int or not 0 <= part < parts <= MAX_PARTS:
            self._end(message["re"], RemoteProtocolError("The page sent an answer that makes no sense."))
            return
        if parts != call.count:  # said again over the other carrier, and cut in another way
            call.count, call.ok = parts, None
            call.parts.clear()
        call.parts[part] = bytes(buffer)  # a carrier may use its memory again
        if call.is_too_long:
            self._end(message["re"], RemoteProtocolError("The page sent more than it was asked for."))
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
        """When ``deadline_passed`` is to be called."""
        return self._again_at if self._calls else None

    def deadline_passed(self, now: float, *, lossy: bool = True) -> None:
        """The page was silent for a while: on a carrier that loses messages, say again what it has not answered."""
        if not self._calls or now < self._again_at:
            return
        self._wait = min(2 * self._wait, LONGEST_AGAIN)
        self._again_at = now + self._wait
        if lossy:
            self.repeat()

    def repeat(self) -> None:
        """Say everything again that has no answer: what went out may not have arrived."""
        for call in self._calls.values():
            self._say(call.message)

    def silent_for(self, now: float) -> float:
        """Seconds for which the page has said nothing though something is asked of it."""
        return now - self._heard if self._calls else 0.0

    def close(self, error: NbferryError) -> None:
        """The page is gone: so is what was asked of it."""
        for number in list(self._calls):
            self._end(number, error)

    def _say(self, message: PageMessage, buffer: Buffer = b"") -> Outgoing:
        said = Outgoing({"page": self.page, **message}, buffer)
        self.outbox.append(said)
        return said


def refusal(said: Mapping[str, Any]) -> NbferryError:
    """What a page says against a request, as an error."""
    code, message = said.get("code"), said.get("message")
    return from_code(str(code)[:80], str(message)[:500])
