"""One page: over the comm, over a line, and when either is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from nbferry.errors import NbferryError, RemoteProtocolError, SourceAway, StorageError, TransportClosed
from nbferry.widget.calls import FIRST_AGAIN, Buffer, PageMessage, Request
from nbferry.widget.page import COMM_PART, GONE_AFTER, LINE_PART, MAX_FIELDS, Page, page_of

Said = tuple[PageMessage, bytes]


class Line:
    """Takes what is sent, or is lost."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Said] = asyncio.Queue()
        self.lost = False
        self.stuck: asyncio.Event | None = None

    async def send(self, number: int, message: PageMessage, buffer: Buffer = b"") -> None:
        """To the page's socket, which has number 5."""
        assert number == 5
        if self.stuck:
            await self.stuck.wait()
        if self.lost:
            raise TransportClosed
        self.said.put_nowait((message, bytes(buffer)))


class Rig:
    """A page whose comm is a queue; ``work`` does what it wants."""

    def __init__(
        self, work: Callable[[Page, Request], Any] = lambda page, request: {"did": request.op}
    ) -> None:
        self.comm: asyncio.Queue[Said] = asyncio.Queue()
        self.gone: list[Page] = []
        loop = asyncio.get_running_loop()

        def say(message: PageMessage, buffers: Sequence[Buffer]) -> None:
            loop.call_soon_threadsafe(self.comm.put_nowait, (message, b"".join(buffers)))

        self.now = 0.0
        self.page = Page("p", say, work, self.gone.append, clock=lambda: self.now)


def ok(number: int, **fields: Any) -> Said:
    """An answer without a buffer."""
    return {"page": "p", "re": number, "ok": fields}, b""


def run(test: Callable[[], Any]) -> None:
    """On a loop of its own."""
    asyncio.run(asyncio.wait_for(test(), 30))


def test_over_the_comm_an_answer_goes_back() -> None:
    """What the page wants is done in another thread."""

    async def test() -> None:
        rig = Rig()
        rig.page.received({"id": 1, "op": "look"}, b"")
        assert await rig.comm.get() == ok(1, did="look")
        assert rig.page.part == COMM_PART

    run(test)


def test_once_a_line_was_heard_everything_takes_it() -> None:
    """The view too, of which only the newest is sent when the line is slow."""

    async def test() -> None:
        rig, line = Rig(), Line()
        line.stuck = asyncio.Event()
        rig.page.reached_by((line, 5))
        assert rig.page.part == LINE_PART
        rig.page.received({"id": 1, "op": "look"}, b"")
        for seq in range(3):
            rig.page.show({"seq": seq})
        line.stuck.set()
        said = [await line.said.get() for _ in range(2)]
        assert ok(1, did="look") in said
        assert ({"op": "view", "view": {"seq": 2}}, b"") in said
        assert rig.comm.empty()

    run(test)


def test_without_a_line_the_view_is_the_widgets_own() -> None:
    """It is not said twice."""

    async def test() -> None:
        rig = Rig()
        rig.page.show({"seq": 1})
        rig.page.received({"id": 1, "op": "look"}, b"")
        assert await rig.comm.get() == ok(1, did="look")

    run(test)


def test_what_a_lost_line_did_not_take_goes_over_the_comm() -> None:
    """Together with everything that has no answer."""

    async def test() -> None:
        rig, line = Rig(), Line()
        rig.page.reached_by((line, 5))
        future = rig.page.ask("read", path="a")
        asked = await line.said.get()
        line.lost = True
        rig.page.received({"id": 1, "op": "look"}, b"")
        said = [await rig.comm.get() for _ in range(2)]
        assert asked in said
        assert ok(1, did="look") in said
        rig.page.received({"re": 1, "ok": {"digest": ""}}, b"data")
        assert future.result(0).parts == [b"data"]

    run(test)


def test_a_line_that_is_another_pages_is_not_missed() -> None:
    """Nor is one that was lost before."""

    async def test() -> None:
        rig, line = Rig(), Line()
        rig.page.reached_by((line, 5))
        rig.page.line_lost(line, 6)
        assert rig.page.part == LINE_PART
        rig.page.line_lost(line, 5)
        assert rig.page.part == COMM_PART

    run(test)


@pytest.mark.parametrize("error", [StorageError("No."), KeyError("x")])
def test_what_goes_wrong_is_said(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours too, which is logged; the engine goes on."""

    def work(_page: Page, _request: Request) -> Any:
        raise error

    async def test() -> None:
        rig = Rig(work)
        rig.page.received({"id": 1, "op": "look"}, b"")
        said, _ = await rig.comm.get()
        expected = "storage" if isinstance(error, NbferryError) else "error"
        assert said["error"]["code"] == expected

    run(test)
    assert bool(caplog.records) == (not isinstance(error, NbferryError))


def test_a_page_that_is_silent_for_too_long_is_gone() -> None:
    """What was asked of it fails, so that another page can be asked."""

    async def test() -> None:
        rig = Rig()
        first = rig.page.ask("read", path="a")
        rig.now = GONE_AFTER
        second = rig.page.ask("read", path="b")
        outcomes = await asyncio.gather(*map(asyncio.wrap_future, (first, second)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SourceAway, SourceAway]
        assert rig.gone == [rig.page]

    run(test)


@pytest.mark.parametrize("lossy", [True, False])
def test_a_silence_on_the_comm_is_broken(lossy: bool) -> None:
    """What has no answer is asked again; a line loses nothing but itself."""

    async def test() -> None:
        rig, line = Rig(), Line()
        if not lossy:
            rig.page.reached_by((line, 5))
        said = rig.comm if lossy else line.said
        rig.page.ask("read", path="a")
        first = await said.get()
        rig.now = FIRST_AGAIN
        rig.page.ask("read", path="b")
        second = await said.get()
        if lossy:
            assert [await said.get() for _ in range(2)] == [first, second]
        rig.page.received({"id": 1, "op": "look"}, b"")
        assert await said.get() == ok(1, did="look")
        assert said.empty()

    run(test)


def test_everything_from_a_page_says_so() -> None:
    """Otherwise nobody knows whom to answer."""
    assert page_of({"page": "a" * 16}) == "a" * 16
    for page in (None, 1, "", "a" * 65):
        with pytest.raises(RemoteProtocolError):
            page_of({"page": page})


def test_another_line_is_asked_again_at_once() -> None:
    """What went over the comm or the line before may be lost with it, and nobody repeats anything on a line."""

    async def test() -> None:
        rig, first, second = Rig(), Line(), Line()
        rig.page.ask("read", path="a")
        asked = await rig.comm.get()
        for line in (first, second):
            rig.page.reached_by((line, 5))
            assert await line.said.get() == asked
        rig.page.line_lost(first, 5)
        rig.page.reached_by((second, 5))
        rig.page.show({"seq": 1})
        assert (await second.said.get())[0]["op"] == "view"
        assert rig.comm.empty()

    run(test)


def test_a_line_that_is_lost_altogether_is_lost_for_each_page() -> None:
    """Whatever the number of its socket is; that of another card is not."""

    async def test() -> None:
        rig, line = Rig(), Line()
        rig.page.reached_by((line, 5))
        rig.page.line_lost(Line())
        assert rig.page.part == LINE_PART
        rig.page.line_lost(line)
        assert rig.page.part == COMM_PART

    run(test)


def test_a_page_that_is_gone_has_nothing_at_hand() -> None:
    """It is gone once, and what is asked of it afterwards fails without waiting for its silence."""

    async def test() -> None:
        rig = Rig()
        rig.page.close()
        rig.page.close()
        assert rig.gone == [rig.page]
        assert isinstance(rig.page.ask("read", path="a").exception(0), SourceAway)
        assert rig.comm.empty()

    run(test)


def test_an_answer_that_fits_nowhere_is_refused() -> None:
    """A list of very many long names; the next answer goes out as ever."""

    def work(_page: Page, request: Request) -> Any:
        return {"files": "x" * (MAX_FIELDS if request.op == "files" else 1)}

    async def test() -> None:
        rig, line = Rig(work), Line()
        rig.page.reached_by((line, 5))
        rig.page.received({"id": 1, "op": "files"}, b"")
        assert (await line.said.get())[0]["error"]["code"] == "storage"
        rig.page.received({"id": 2, "op": "look"}, b"")
        assert await line.said.get() == ok(2, files="x")

    run(test)
