"""The driver of a machine, with connections that a test makes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from nbferry.connections.bundle import switch
from nbferry.connections.connector import Connector
from nbferry.connections.link import Lease, Link
from nbferry.engine.sessions.session import Session
from nbferry.errors import ConnectFailed, NbferryError, StorageError, TransportBroken, TransportError
from nbferry.limits import Limits
from nbferry.model.paths import Via
from nbferry.protocol.events import Event
from nbferry.protocol.frames import Control, decode
from nbferry.protocol.machine import LINGER
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import Receiver
from nbferry.protocol.sender import Sender
from rig import SMALL, manifest_of
from wire import control, hello

PATIENCE = 30
LIMITS = Limits(chunk_size=SMALL.chunk_size, window=SMALL.window, backoff_first=0.001, backoff_most=0.001)


class Line:
    """A link whose other end is the test."""

    def __init__(self, *, sticks: bool = False, leads: bool = False, via: Via = Via.DIRECT) -> None:
        self._leads = leads  # whoever has this end
        self.via = via
        self.max_frame = 1 << 20
        self.said: list[Control] = []
        self.turns = 0
        self.news = asyncio.Event()
        self.closed = asyncio.Event()
        self._sticks = sticks  # is not closed before the test says so

    async def send(self, frame: bytes | memoryview) -> None:
        """Take note of a frame."""
        if len(frame) == len(switch(1)) and frame[0] == 0:
            self.turns += 1
            return
        read = decode(memoryview(frame))
        assert isinstance(read, Control)
        self.said.append(read)
        self.news.set()

    def deliver_to(
        self, received: Callable[[memoryview, Lease | None], None], closed: Callable[[TransportError], None]
    ) -> None:
        """Let the test speak and break the line."""
        self.say = lambda frame: received(frame, None)
        if not self._leads:  # the test leads
            self.say(memoryview(switch(1)))
        self.lose = closed

    async def until_said(self, name: str) -> Control:
        """Wait for a frame of this name."""
        while True:
            for frame in self.said:
                if frame.name == name:
                    return frame
            self.news.clear()
            await self.news.wait()

    async def aclose(self) -> None:
        """Be closed."""
        if self._sticks:
            await self.closed.wait()
        self.closed.set()


class Lines(Connector):
    """Gives one line after the other; an error in their place is raised."""

    def __init__(self, *lines: Line | NbferryError) -> None:
        self.coming: deque[Line | NbferryError] = deque(lines)
        self.more = asyncio.Event()
        self.waiting = asyncio.Event()  # set when it is asked for more lines than there are
        self.called = asyncio.Event()
        self.asked = 0
        self.others: asyncio.Queue[Line] = asyncio.Queue()
        self.settled = False
        self.closed = False

    async def connect(self) -> Link:
        """The next line."""
        self.asked += 1
        while not self.coming:
            self.waiting.set()
            self.more.clear()
            await self.more.wait()
        line = self.coming.popleft()
        if isinstance(line, NbferryError):
            raise line
        return line  # type: ignore[return-value]

    async def another(self) -> Link:
        """One more."""
        return await self.others.get()  # type: ignore[return-value]

    async def settle(self) -> None:
        """No more."""
        self.settled = True

    async def superseded(self) -> None:
        """Wait until the test says that the other side calls."""
        await self.called.wait()
        self.called.clear()

    async def aclose(self, *, over: bool) -> None:
        """Be closed."""
        self.closed = True


class Driven:
    """A sender's session."""

    def __init__(
        self,
        *lines: Line | NbferryError,
        worker: Callable[[], Awaitable[None]] | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self.time = 0.0
        self.changes = 0
        self.sent: list[float] = []
        self.machine = Sender(manifest_of({"a": b"a"}), LIMITS)
        self.connector = Lines(*lines)
        self.session = Session(
            self.machine,
            self.connector,
            limits,
            handle=self._handle,
            changed=self._changed,
            frame_sent=lambda _, seconds: self.sent.append(seconds),
            clock=lambda: self.time,
        )
        self._worker = worker
        self.running = asyncio.create_task(self.session.run(self._work))

    def _handle(self, event: Event, lease: Lease | None) -> None:
        assert lease is None

    def _changed(self) -> None:
        self.changes += 1

    async def _work(self) -> None:
        if self._worker:
            await self._worker()
        await asyncio.Event().wait()

    async def end(self) -> None:
        """Cancel, and wait until the session has ended; the other side is not told."""
        self.machine.cancel("", self.time)
        self.machine._said_goodbye = True
        self.session.pump()
        await self.running


def run(scenario: Callable[[], Awaitable[Any]]) -> None:
    """Run to the end, or to the end of patience."""

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(patiently())


async def turns(count: int = 50) -> None:
    """Let everything that can happen now happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_frames_go_both_ways() -> None:
    """What the machine has to say is sent, and what comes is given to it."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(line)
        await line.until_said("hello")
        assert driven.session.via == "direct"
        line.say(hello("receiver"))
        await line.until_said("offer")
        assert driven.sent == [0.0, 0.0]
        await driven.end()
        assert line.closed.is_set()
        assert driven.connector.closed

    run(scenario)


def test_failed_connections_are_tried_again() -> None:
    """While no connection can be had it says why, and tries again."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(ConnectFailed("Nobody answers."), TransportBroken())
        await driven.connector.waiting.wait()
        assert driven.connector.asked == 3
        assert driven.session.trouble == "cannot connect: The connection broke."
        driven.connector.coming.append(line)
        driven.connector.more.set()
        await line.until_said("hello")
        assert driven.session.trouble == ""
        await driven.end()

    run(scenario)


@pytest.mark.parametrize("how", ["lost", "superseded", "dead", "send fails"])
def test_a_lost_connection_is_replaced(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost, dead, given up by the other side or cannot be sent on is closed, and another made."""

    async def scenario() -> None:
        first, second = Line(), Line()
        driven = Driven(first)
        await first.until_said("hello")
        first.say(hello("receiver"))
        await first.until_said("offer")
        match how:
            case "lost":
                first.lose(TransportBroken())
            case "superseded":
                driven.connector.called.set()
            case "dead":
                driven.time = LIMITS.dead_after
                driven.session.pump()
            case "send fails":

                async def broken(_: object) -> None:
                    raise TransportBroken

                monkeypatch.setattr(first, "send", broken)
                driven.machine.pause()
                driven.session.pump()
        await first.closed.wait()
        await turns()
        assert not driven.machine.is_connected
        assert driven.session.trouble.startswith("connection lost: ")
        driven.connector.coming.append(second)
        driven.connector.more.set()
        await second.until_said("hello")
        await driven.end()

    run(scenario)


def test_a_connection_that_does_not_close_costs_nothing() -> None:
    """While a dead connection is being closed the driver sleeps."""

    async def scenario() -> None:
        line = Line(sticks=True)
        driven = Driven(line)
        await line.until_said("hello")
        driven.time = LIMITS.dead_after
        driven.session.pump()
        await turns()
        before = driven.changes
        await turns(500)
        assert driven.changes - before < 5
        line.closed.set()
        await turns()
        assert not driven.machine.is_connected
        await driven.end()

    run(scenario)


def test_the_end_is_told_before_the_connection_is_closed() -> None:
    """A session ends when the other side has said bye, and not before."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(line)
        await line.until_said("hello")
        line.say(hello("receiver"))
        driven.machine.cancel("enough", 0.0)
        driven.session.pump()
        await line.until_said("cancel")
        await driven.session.final.wait()
        await turns()
        assert not driven.running.done()
        line.say(control("bye"))
        await driven.running
        assert line.closed.is_set()

    run(scenario)


def test_an_end_that_cannot_be_told() -> None:
    """Without a connection a session that has ended gives up after some seconds, and stops connecting."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(line)
        await line.until_said("hello")
        line.lose(TransportBroken())
        await line.closed.wait()
        await turns()
        driven.machine.cancel("", driven.time)
        driven.session.pump()
        await driven.session.final.wait()
        await turns()
        assert not driven.running.done()
        driven.time = LINGER
        driven.session._deadline_passed()
        await driven.running

    run(scenario)


def test_a_session_that_ends_before_it_began() -> None:
    """What is cancelled before there ever was a connection ends at once."""

    async def scenario() -> None:
        driven = Driven()
        await turns()
        driven.machine.cancel("", 0.0)
        driven.session.pump()
        await driven.running
        assert driven.connector.asked == 1

    run(scenario)


@pytest.mark.parametrize(
    ("error", "kind"), [(StorageError("Gone."), StorageError), (KeyError("x"), NbferryError)]
)
def test_a_worker_that_fails(error: Exception, kind: type[NbferryError]) -> None:
    """Whatever goes wrong in the storage's part fails the transfer and is told to the other side."""

    async def scenario() -> None:
        line = Line()
        go = asyncio.Event()

        async def work() -> None:
            await go.wait()
            raise error

        driven = Driven(line, worker=work)
        await line.until_said("hello")
        line.say(hello("receiver"))
        go.set()
        frame = await line.until_said("error")
        assert frame.fields["code"] == kind.code
        assert driven.machine.phase is Phase.FAILED
        assert type(driven.machine.error) is kind
        line.say(control("bye"))
        await driven.running

    run(scenario)


def test_a_connector_that_breaks() -> None:
    """A fault of ours where connections are made fails the transfer and ends the session."""

    async def scenario() -> None:
        driven = Driven()
        driven.connector.coming.append(KeyError("x"))  # type: ignore[arg-type]
        driven.connector.more.set()
        await driven.running
        assert driven.machine.phase is Phase.FAILED

    run(scenario)


def test_a_machine_is_woken_in_time() -> None:
    """What a machine is to do later, it does later."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(line)
        await line.until_said("hello")
        driven.time = LIMITS.ping_interval
        driven.session.pump()
        await line.until_said("ping")
        await driven.end()

    run(scenario)


# ------------------------------------------------------------------ several links
async def with_two_links() -> tuple[Driven, Line, Line]:
    """A sender that uses one link while another one is up; the test leads."""
    relay, webrtc = Line(via=Via.RELAY), Line(via=Via.WEBRTC, leads=True)
    driven = Driven(relay)
    await relay.until_said("hello")
    driven.connector.others.put_nowait(webrtc)
    await turns()
    return driven, relay, webrtc


def test_nothing_is_better_than_a_direct_link() -> None:
    """When the first link that is used is direct, no other one is waited for."""

    async def scenario() -> None:
        line = Line()
        driven = Driven(line)
        await line.until_said("hello")
        assert driven.connector.settled
        await driven.end()

    run(scenario)


def test_a_sender_follows_the_receiver_to_another_link() -> None:
    """It greets on the link that the receiver switches to, stops sending on the other, and keeps both."""

    async def scenario() -> None:
        driven, relay, webrtc = await with_two_links()
        assert driven.session.via == "relay"
        webrtc.say(memoryview(switch(2)))
        await webrtc.until_said("hello")
        assert driven.session.via == "webrtc"
        before = len(relay.said)
        webrtc.say(hello("receiver"))
        await webrtc.until_said("offer")
        assert len(relay.said) == before
        assert not relay.closed.is_set()
        assert not driven.connector.settled
        assert driven.connector.asked == 1
        await driven.end()
        assert relay.closed.is_set()
        assert webrtc.closed.is_set()

    run(scenario)


def test_a_sender_that_is_led_nowhere() -> None:
    """A receiver that switches to no link is lost: the sender gives the call up, and waits for the next one."""

    async def scenario() -> None:
        line = Line(leads=True)
        driven = Driven(line, limits=replace(LIMITS, dead_after=0.01, connect_timeout=0.01))
        await line.closed.wait()
        await driven.connector.waiting.wait()
        assert driven.session.trouble.startswith("connection lost: The other side has gone silent.")
        await driven.end()

    run(scenario)


def test_the_last_word_goes_out_where_the_receiver_is_now() -> None:
    """A switch, and on the new link at once what ends the transfer: the answer to it is said there."""

    async def scenario() -> None:
        driven, _, webrtc = await with_two_links()
        webrtc.say(memoryview(switch(2)))
        webrtc.say(hello("receiver"))
        webrtc.say(control("error", code="storage", message="It broke."))
        await webrtc.until_said("bye")
        await driven.running
        assert driven.connector.asked == 1

    run(scenario)


def test_a_leader_whose_link_is_lost_as_soon_as_it_is_used() -> None:
    """It takes the next one, or calls anew, and does not wait for somebody to lead it."""

    async def scenario() -> None:
        lines = Line(via=Via.RELAY, leads=True), Line(via=Via.RELAY, leads=True)
        connector = Lines(*lines)

        def changed() -> None:
            if session.machine.is_connected and not lines[0].closed.is_set() and not lost:
                lost.append(True)
                lines[0].lose(TransportBroken())

        lost: list[bool] = []
        session = Session(Receiver(LIMITS), connector, LIMITS, handle=lambda *_: None, changed=changed)
        running = asyncio.create_task(session.run(asyncio.Event().wait))
        await lines[1].until_said("hello")
        assert lost
        assert lines[0].closed.is_set()
        session.machine.cancel("", session.now())
        session.machine._said_goodbye = True
        session.pump()
        await running

    run(scenario)
