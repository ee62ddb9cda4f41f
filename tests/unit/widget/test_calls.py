"""Requests between a kernel and a page, on carriers that lose and repeat."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from nbferry.errors import NbferryError, RemoteProtocolError, SourceAway, SourceChanged
from nbferry.widget.calls import (
    FIRST_AGAIN,
    LONGEST_AGAIN,
    MAX_IN_WORK,
    MAX_KEPT_ANSWERS,
    MAX_KEPT_BUFFER,
    Calls,
    Request,
)

PAGE = "0123456789abcdef"


class Kernel:
    """The kernel's half at a time that the test sets."""

    def __init__(self) -> None:
        self.calls = Calls(PAGE)
        self.now = 100.0

    def hear(self, buffer: bytes = b"", **message: Any) -> Request | None:
        """The page says something."""
        return self.calls.received(message, buffer, self.now)

    def said(self) -> list[tuple[dict[str, Any], bytes]]:
        """What goes out, and is gone then."""
        out = [(message, bytes(buffer)) for message, buffer in self.calls.outbox]
        self.calls.outbox.clear()
        return out

    def wait(self, seconds: float, *, lossy: bool = True) -> None:
        """Time passes."""
        self.now += seconds
        self.calls.deadline_passed(self.now, lossy=lossy)


@pytest.fixture
def kernel() -> Kernel:
    """One page's calls."""
    return Kernel()


def asked(kernel: Kernel, number: int = 1, op: str = "pause") -> Request:
    """A request that is new."""
    request = kernel.hear(id=number, op=op)
    assert request
    return request


# ------------------------------------------------------------------ what the page wants
def test_a_request_is_answered_under_its_number(kernel: Kernel) -> None:
    """What the page asked for comes back with ``re``, for that page only."""
    request = asked(kernel, 7, "rows")
    assert (request.id, request.op) == (7, "rows")
    kernel.calls.answer(request, {"rows": []})
    assert kernel.said() == [({"page": PAGE, "re": 7, "ok": {"rows": []}}, b"")]


def test_a_request_that_comes_twice_is_done_once(kernel: Kernel) -> None:
    """While it is in work a repetition is nothing; afterwards it is given the same answer."""
    request = asked(kernel)
    assert kernel.hear(id=1, op="pause") is None
    assert kernel.said() == []
    kernel.calls.answer(request, {})
    first = kernel.said()
    assert kernel.hear(id=1, op="pause") is None
    assert kernel.said() == first


def test_a_refusal_is_kept_like_an_answer(kernel: Kernel) -> None:
    """The page hears the code, the sentence and the hint, as often as it asks."""
    kernel.calls.refuse(asked(kernel), SourceChanged("It was changed.", hint="Choose it again."))
    said = {"code": "source-changed", "message": "It was changed.", "hint": "Choose it again."}
    assert kernel.said() == [({"page": PAGE, "re": 1, "error": said}, b"")]
    kernel.hear(id=1, op="pause")
    assert kernel.said() == [({"page": PAGE, "re": 1, "error": said}, b"")]


def test_bulk_goes_out_in_parts_and_is_not_kept(kernel: Kernel) -> None:
    """The last part has the answer's fields; asked again, the work is done again."""
    kernel.calls.answer(asked(kernel, 3, "fetch"), {"digest": "d"}, [b"ab", b"cd", b"e"])
    assert kernel.said() == [
        ({"page": PAGE, "re": 3, "part": 0, "parts": 3}, b"ab"),
        ({"page": PAGE, "re": 3, "part": 1, "parts": 3}, b"cd"),
        ({"page": PAGE, "re": 3, "ok": {"digest": "d"}, "part": 2, "parts": 3}, b"e"),
    ]
    assert kernel.hear(id=3, op="fetch") is not None


def test_a_large_answer_is_not_kept(kernel: Kernel) -> None:
    """Nor is one with a large buffer in one part."""
    kernel.calls.answer(asked(kernel, 3, "fetch"), {}, [bytes(MAX_KEPT_BUFFER + 1)])
    assert kernel.hear(id=3, op="fetch") is not None


def test_only_the_last_answers_are_kept(kernel: Kernel) -> None:
    """Memory is bounded: the oldest is forgotten first."""
    for number in range(1, MAX_KEPT_ANSWERS + 2):
        kernel.calls.answer(asked(kernel, number), {})
    assert kernel.hear(id=MAX_KEPT_ANSWERS + 1, op="pause") is None
    assert kernel.hear(id=1, op="pause") is not None


@pytest.mark.parametrize("message", [{}, {"id": True, "op": "x"}, {"id": 1}, {"id": "1", "op": "x"}])
def test_what_is_no_request_is_an_error(kernel: Kernel, message: dict[str, Any]) -> None:
    """A number and an operation are what makes one."""
    with pytest.raises(RemoteProtocolError):
        kernel.calls.received(message, b"", 0.0)


def test_a_page_cannot_want_without_end(kernel: Kernel) -> None:
    """What is in work is bounded; when something of it is done there is room again."""
    first, *_ = [asked(kernel, number) for number in range(1, MAX_IN_WORK + 1)]
    with pytest.raises(RemoteProtocolError, match="too many requests"):
        kernel.hear(id=MAX_IN_WORK + 1, op="pause")
    kernel.calls.answer(first, {})
    asked(kernel, MAX_IN_WORK + 1)


# ------------------------------------------------------------------ what the kernel wants
def test_an_answer_in_parts_is_put_together(kernel: Kernel) -> None:
    """In whatever order and however often the parts come; the buffers are the caller's to reuse."""
    future = kernel.calls.ask("read", kernel.now, path="a")
    assert kernel.said() == [({"page": PAGE, "id": 1, "op": "read", "path": "a"}, b"")]
    buffer = bytearray(b"cd")
    kernel.calls.received({"re": 1, "part": 1, "parts": 2, "ok": {"digest": "x"}}, memoryview(buffer), 0.0)
    buffer[:] = b"--"
    assert not future.done()
    for _ in range(2):
        kernel.hear(b"ab", re=1, part=0, parts=2)
    answer = future.result(0)
    assert (answer.ok, answer.parts) == ({"digest": "x"}, [b"ab", b"cd"])


def test_an_answer_that_is_cut_in_another_way_begins_anew(kernel: Kernel) -> None:
    """Over a line in two, of which one was lost with it; over the comm in three."""
    future = kernel.calls.ask("read", kernel.now)
    kernel.hear(b"def", re=1, part=1, parts=2, ok={"digest": "x"})
    for part, buffer in enumerate((b"ab", b"cd")):
        kernel.hear(buffer, re=1, part=part, parts=3)
        assert not future.done()
    kernel.hear(b"ef", re=1, part=2, parts=3, ok={"digest": "x"})
    assert future.result(0).parts == [b"ab", b"cd", b"ef"]


def test_an_answer_without_a_buffer_has_no_parts(kernel: Kernel) -> None:
    """An empty slice, or a digest alone."""
    future = kernel.calls.ask("digest", kernel.now)
    kernel.hear(re=1, ok={"digest": "x"})
    assert future.result(0).parts == []


def test_a_refusal_is_the_error_that_the_page_names(kernel: Kernel) -> None:
    """By its code; what it names and we do not know is a plain error."""
    changed, unknown = kernel.calls.ask("read", 0.0), kernel.calls.ask("read", 0.0)
    kernel.hear(re=1, error={"code": "source-changed", "message": "gone"})
    kernel.hear(re=2, error={"code": "?"})
    assert isinstance(changed.exception(0), SourceChanged)
    assert type(unknown.exception(0)) is NbferryError


@pytest.mark.parametrize(
    "fields", [{"parts": 0, "part": 0}, {"parts": 65, "part": 0}, {"parts": 2, "part": 2}]
)
def test_parts_that_make_no_sense_end_the_call(kernel: Kernel, fields: dict[str, Any]) -> None:
    """A page cannot make the kernel collect without end."""
    future = kernel.calls.ask("read", kernel.now)
    kernel.hear(re=1, ok={}, **fields)
    assert isinstance(future.exception(0), RemoteProtocolError)


@pytest.mark.parametrize("number", [1, 99, "1", None, True])
def test_an_answer_to_nothing_is_ignored(kernel: Kernel, number: object) -> None:
    """The second answer to a repeated request, or nonsense."""
    kernel.calls.ask("read", kernel.now)
    kernel.hear(re=1, ok={})
    assert kernel.hear(re=number, ok={}) is None


def test_more_than_was_asked_for_is_not_collected(kernel: Kernel) -> None:
    """However a page cuts it."""
    future = kernel.calls.ask("read", kernel.now, length=3)
    kernel.hear(b"ab", re=1, part=0, parts=3)
    assert not future.done()
    kernel.hear(b"cd", re=1, part=1, parts=3)
    assert isinstance(future.exception(0), RemoteProtocolError)


def test_a_late_answer_is_none_to_another_request() -> None:
    """A page that was given up has the same name when it is back, and may still answer what it was asked then."""
    ids = count(1)
    before, after = Calls(PAGE, ids), Calls(PAGE, ids)
    before.ask("read", 0.0, path="a")
    before.close(SourceAway())
    future = after.ask("read", 0.0, path="b")
    after.received({"re": 1, "ok": {"digest": "of a"}}, b"a", 0.0)
    assert not future.done()
    after.received({"re": 2, "ok": {"digest": "of b"}}, b"b", 0.0)
    assert future.result(0).parts == [b"b"]


# ------------------------------------------------------------------ time
def test_what_has_no_answer_is_said_again_less_and_less_often(kernel: Kernel) -> None:
    """After a silence of 2, 4, 8 and then 16 seconds."""
    kernel.calls.ask("read", kernel.now)
    first = kernel.said()
    for wait in (FIRST_AGAIN, 4, 8, LONGEST_AGAIN, LONGEST_AGAIN):
        assert kernel.calls.next_deadline() == kernel.now + wait
        kernel.wait(wait - 0.1)
        assert kernel.said() == []
        kernel.wait(0.1)
        assert kernel.said() == first


def test_a_page_that_is_busy_answering_is_not_pressed(kernel: Kernel) -> None:
    """Only silence counts: whoever answers other requests will come to this one."""
    kernel.calls.ask("read", kernel.now)
    kernel.calls.ask("read", kernel.now)
    kernel.said()
    kernel.now += 1.5
    kernel.hear(re=1, ok={})
    kernel.wait(1.5)
    assert kernel.said() == []
    kernel.wait(0.5)
    assert [message["id"] for message, _ in kernel.said()] == [2]


def test_on_a_line_nothing_is_said_again(kernel: Kernel) -> None:
    """A line loses nothing but itself, and then everything is."""
    kernel.calls.ask("read", kernel.now)
    first = kernel.said()
    kernel.wait(FIRST_AGAIN, lossy=False)
    assert kernel.said() == []
    assert kernel.calls.next_deadline() == kernel.now + 2 * FIRST_AGAIN
    kernel.calls.repeat()
    assert kernel.said() == first


def test_silence_counts_only_while_something_is_asked(kernel: Kernel) -> None:
    """A page that nobody asks for anything may be silent for hours."""
    kernel.hear(id=1, op="look")
    kernel.now += 3600
    assert kernel.calls.silent_for(kernel.now) == 0
    assert kernel.calls.next_deadline() is None
    kernel.calls.ask("read", kernel.now)
    assert kernel.calls.silent_for(kernel.now + 5) == 5


def test_a_page_that_is_gone_owes_nothing(kernel: Kernel) -> None:
    """Whoever waits for it hears so."""
    future = kernel.calls.ask("read", kernel.now)
    kernel.calls.close(SourceAway())
    assert isinstance(future.exception(0), SourceAway)
    assert kernel.calls.next_deadline() is None
