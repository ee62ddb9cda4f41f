"""What both sides have in common: greeting, pauses, endings, liveness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbferry.errors import (
    Cancelled,
    DiskFull,
    Expired,
    NbferryError,
    Rejected,
    RemoteProtocolError,
    StorageError,
    UnsafePath,
)
from nbferry.limits import Limits
from nbferry.protocol.events import Changed
from nbferry.protocol.frames import Control, LeafRun, Piece, encode_leaves
from nbferry.protocol.machine import LINGER, Machine
from nbferry.protocol.phases import Phase, Step
from wire import chunk_frame, control, drain, hello, names, piece, raw, the

LIMITS = Limits()


class Side(Machine):
    """A side that does nothing of its own, but takes note of what it is given."""

    role = "receiver"

    def __init__(self, *, data: list[bytes] | None = None) -> None:
        super().__init__(LIMITS, agent="side/1")
        self.seen: list[str] = []
        self.data = [memoryview(frame) for frame in data or []]

    def _receive_greeting(self, now: float) -> None:
        self.seen.append("greeting")

    def _receive_frame(self, frame: Control, now: float) -> None:
        self.seen.append(frame.name)

    def _receive_pieces(self, pieces: Iterator[Piece], now: float) -> None:
        self.seen += [f"piece {piece.chunk}" for piece in pieces]

    def _receive_leaves(self, run: LeafRun, now: float) -> None:
        self.seen += [f"leaf {chunk}" for chunk in run.chunks]

    def _do_what_is_due(self, now: float) -> None:
        self.seen.append(f"due at {now}")

    def _say_done(self) -> None:
        self.seen.append("done is said")

    def _next_data_frame(self) -> memoryview | None:
        return self.data.pop(0) if self.data else super()._next_data_frame()


def greeted(now: float = 0.0, **kwargs: Any) -> Side:
    """A side that has met the other one, and has nothing left to send."""
    side = Side(**kwargs)
    side.connected(now)
    side.receive(hello("sender"), now)
    assert names(drain(side, now))[:1] == ["hello"]
    return side


# ---------------------------------------------------------------- greeting
def test_both_sides_begin_with_hello() -> None:
    """A connection begins with hello, which says versions, role and agent."""
    side = Side()
    side.connected(0)
    (frame,) = drain(side)
    expected = {"protocol": [1], "role": "receiver", "agent": "side/1", "features": []}
    assert (frame.name, frame.fields) == ("hello", expected)


def test_a_greeting_is_taken_in() -> None:
    """The other side's hello is heard, and its agent known, in so many characters."""
    side = greeted()
    assert side.seen == ["greeting"]
    assert side.peer_agent == "test/1"
    side.receive(hello("sender", agent="x" * 1000), 0)
    assert len(side.peer_agent) == 80


def test_a_newer_side_is_understood() -> None:
    """A side that speaks other versions, too, and sends unknown fields and frames is no error."""
    side = Side()
    side.connected(0)
    side.receive(hello("sender", protocol=[3, 2, 1], features=["x"], new={}), 0)
    side.receive(control("new", field=1), 0)
    assert side.seen == ["greeting", "new"]
    assert side.error is None


@pytest.mark.parametrize(
    "greeting",
    [
        hello("sender", protocol=[2, 3]),
        hello("sender", protocol=[]),
        hello("sender", protocol=1),
        control("hello", role="sender"),
        hello("receiver"),
        hello("thief"),
        control("hello", protocol=[1], role=None),
        hello("sender", agent=5),
    ],
    ids=lambda frame: bytes(frame[1:60]).decode(),
)
def test_a_greeting_that_does_not_fit(greeting: memoryview) -> None:
    """Without a common version, or with a wrong role, it fails, and the other side is told."""
    side = Side()
    side.connected(0)
    side.receive(greeting, 0)
    assert side.phase is Phase.FAILED
    assert the(drain(side), "error")["code"] == "remote-protocol"
    side.receive(control("bye"), 0)
    assert side.finished


@pytest.mark.parametrize(
    "frame",
    [
        control("offer"),
        control("new"),
        chunk_frame(),
        chunk_frame(piece(1, b"")),
        memoryview(encode_leaves(0, bytes(32))),
    ],
)
def test_greeting_comes_first(frame: memoryview) -> None:
    """Anything of the transfer before hello is an error, on every connection anew."""
    side = greeted()
    side.disconnected()
    side.connected(1)
    side.receive(frame, 1)
    assert isinstance(side.error, RemoteProtocolError)
    assert "greet" in side.error.message
    assert side.seen == ["greeting"]


def test_pieces_and_frames_reach_their_side() -> None:
    """After hello, chunk frames and control frames are the side's own."""
    side = greeted()
    side.receive(control("want"), 0)
    side.receive(chunk_frame(piece(5, b"x")), 0)
    side.receive(memoryview(encode_leaves(7, bytes(64))), 0)
    assert side.seen == ["greeting", "want", "piece 5", "leaf 7", "leaf 8"]


@pytest.mark.parametrize("frame", [b"", b"\x07", b"\x01{", b"\x02short"])
def test_bad_input_ends_it_and_is_not_raised(frame: bytes) -> None:
    """What is no frame fails the transfer; the other side is told."""
    side = greeted()
    side.receive(memoryview(frame), 0)
    assert side.phase is Phase.FAILED
    assert the(drain(side), "error")["code"] == "remote-protocol"


# ---------------------------------------------------------------- what a driver reads
def test_frames_go_out_only_on_a_connection() -> None:
    """Without a connection there is nothing to send; what was unsent when it broke is forgotten."""
    side = Side(data=[b"\x02"])
    assert side.next_frame(0) is None
    side.connected(0)
    side.disconnected()
    assert side.next_frame(0) is None


def test_control_frames_go_before_data() -> None:
    """Whatever is to be said is said before the next data frame, and after an end there are no data frames."""
    side = greeted()
    side.data = [memoryview(b"\x02")]
    side.pause()
    assert names(drain(side)) == ["pause", "chunks"]
    side.data = [memoryview(b"\x02")]
    side.cancel("", 0)
    assert names(drain(side)) == ["cancel"]


def test_events_are_told_once() -> None:
    """Each event is given to the driver once."""
    side = Side()
    side.connected(0)
    assert side.events() == [Changed()]
    assert side.events() == []


def test_a_side_without_deadlines() -> None:
    """Without a connection, and without deadlines of its own, a machine need not be woken."""
    assert Side().next_deadline() is None


# ---------------------------------------------------------------- pauses
def test_a_pause_is_said_and_taken_back() -> None:
    """A pause goes to the other side with its reason, and so does its end; to go on without a pause says nothing."""
    side = greeted()
    side.pause("lunch")
    assert side.paused
    assert the(drain(side), "pause") == {"reason": "lunch"}
    side.resume()
    assert not side.paused
    assert names(drain(side)) == ["resume"]
    side.resume()
    assert drain(side) == []


def test_a_pause_of_the_other_side() -> None:
    """The other side's pause holds until it takes it back; our own resume does not end it."""
    side = greeted()
    side.receive(control("pause", reason="their disk is full"), 0)
    side.resume()
    assert side.paused
    assert side.pause_reason == "their disk is full"
    side.receive(control("resume"), 0)
    assert not side.paused
    side.receive(control("pause"), 0)
    assert side.pause_reason == "paused by the other side"


def test_pauses_of_both_sides() -> None:
    """With both sides pausing it goes on only when both have gone on."""
    side = greeted()
    side.pause()
    side.receive(control("pause", reason="theirs"), 0)
    assert side.pause_reason == "paused; theirs"
    side.receive(control("resume"), 0)
    assert side.paused
    side.resume()
    assert not side.paused


def test_own_pauses_last_longer_than_a_connection() -> None:
    """Our own pause is said again after hello; the other side's ends with the connection."""
    side = greeted()
    side.receive(control("pause"), 0)
    side.pause()
    side.disconnected()
    assert side.pause_reason == "paused"
    side.connected(1)
    side.receive(hello("sender"), 1)
    frames = drain(side)
    assert names(frames) == ["hello", "pause"]
    assert the(frames, "pause") == {"reason": "paused"}


def test_a_pause_without_a_connection() -> None:
    """A pause while there is no connection is said on the next one, and one taken back is not."""
    side = Side()
    side.pause()
    side.connected(0)
    side.receive(hello("sender"), 0)
    assert names(drain(side)) == ["hello", "pause"]
    side.disconnected()
    side.resume()
    side.connected(1)
    side.receive(hello("sender"), 1)
    assert names(drain(side)) == ["hello"]


def test_two_pauses_of_one_side() -> None:
    """Of two pauses of our own, the end of one tells the other side what still holds."""
    side = greeted()
    side.pause()
    side._pause("disk", "full")
    drain(side)
    side.resume()
    assert the(drain(side), "pause") == {"reason": "full"}
    side._release("disk")
    assert names(drain(side)) == ["resume"]


# ---------------------------------------------------------------- endings
def test_a_cancel_is_told_and_answered() -> None:
    """Whoever cancels says why, and has finished when the other side said bye."""
    side = greeted()
    side.cancel("wrong file", 0)
    assert side.phase is Phase.CANCELLED
    assert isinstance(side.error, Cancelled)
    assert side.error.message == "The transfer was cancelled: wrong file."
    assert the(drain(side), "cancel") == {"reason": "wrong file"}
    assert not side.finished
    side.receive(control("bye"), 0)
    assert side.finished


def test_a_cancel_without_a_reason() -> None:
    """A reason may be left out."""
    side = greeted()
    side.cancel("", 0)
    assert side.error is not None
    assert side.error.message == "The transfer was cancelled."


def test_an_end_forgets_what_was_to_be_said() -> None:
    """What was unsent when it ended is not said any more."""
    side = greeted()
    side.pause()
    side.cancel("", 0)
    assert names(drain(side)) == ["cancel"]


def test_the_first_end_counts() -> None:
    """What has ended does not end again, whatever happens."""
    side = greeted()
    side.cancel("", 0)
    drain(side)
    side.fail(StorageError(), 0)
    side.cancel("again", 0)
    side.receive(memoryview(b""), 0)
    assert side.phase is Phase.CANCELLED
    assert drain(side) == []


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (UnsafePath("x"), Phase.FAILED, "unsafe-path"),
        (DiskFull(5), Phase.FAILED, "disk-full"),
        (Expired(), Phase.EXPIRED, "expired"),
    ],
)
def test_a_failure_is_told(error: NbferryError, state: Phase, code: str) -> None:
    """An error goes to the other side with its code and its sentence."""
    side = greeted()
    side.fail(error, 0)
    assert (side.phase, side.error) == (state, error)
    assert the(drain(side), "error") == {"code": code, "message": error.message}


def test_the_other_side_cancels() -> None:
    """A cancel of the other side ends it here, with its reason, and is answered by bye."""
    side = greeted()
    side.pause()
    side.receive(control("cancel", reason="changed my mind"), 5)
    assert side.phase is Phase.CANCELLED
    assert side.error is not None
    assert side.error.message == "The other side cancelled the transfer: changed my mind."
    assert names(drain(side)) == ["bye"]
    assert side.finished


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"code": "unsafe-path", "message": "Bad."}, UnsafePath, "The other side failed: Bad."),
        ({"code": "disk-full", "message": "Full."}, StorageError, "The other side failed: Full."),
        ({"code": "unheard-of"}, NbferryError, "The other side failed: "),
        ({}, NbferryError, "The other side failed: "),
    ],
)
def test_the_other_side_fails(fields: dict[str, str], kind: type[NbferryError], message: str) -> None:
    """An error of the other side ends it here with the error of that code, and is answered by bye."""
    side = greeted()
    side.receive(control("error", **fields), 0)
    assert side.phase is Phase.FAILED
    assert type(side.error) is kind
    assert side.error.message == message
    assert names(drain(side)) == ["bye"]


@pytest.mark.parametrize(
    "frame", [raw({"frame": "error", "code": 5}), raw({"frame": "cancel", "reason": []})]
)
def test_an_end_that_cannot_be_read(frame: memoryview) -> None:
    """A malformed end is an end, too: it fails."""
    side = greeted()
    side.receive(frame, 0)
    assert isinstance(side.error, RemoteProtocolError)


def test_both_cancel_at_once() -> None:
    """When two cancels cross, each side keeps its own reason, says bye and has finished."""
    side = greeted()
    side.cancel("mine", 0)
    side.receive(control("cancel", reason="theirs"), 0)
    assert side.error is not None
    assert side.error.message.endswith("mine.")
    assert names(drain(side)) == ["bye"]
    assert side.finished


@pytest.mark.parametrize("end", ["cancel", "error", "answer"])
def test_an_end_is_repeated_after_hello(end: str) -> None:
    """What ended while no bye came is said again on the next connection, when the other side has said hello."""
    side = greeted()
    if end == "cancel":
        side.cancel("", 0)
    elif end == "error":
        side.fail(StorageError(), 0)
    else:
        side._step(Step.OFFER)
        side._end(Step.REJECT, Rejected(), 0)
    assert names(drain(side)) == [end]
    side.disconnected()
    assert not side.finished
    side.connected(1)
    assert names(drain(side)) == ["hello"]
    side.receive(hello("sender"), 1)
    assert names(drain(side)) == [end]
    side.receive(control("bye"), 1)
    assert side.finished


def test_an_end_before_the_greeting_waits_for_it() -> None:
    """What ends between connection and hello is told after hello."""
    side = Side()
    side.connected(0)
    side.cancel("", 0)
    assert drain(side) == []
    side.receive(hello("sender"), 0)
    assert names(drain(side)) == ["cancel"]
    assert side.seen == []


def test_a_good_end_is_the_sides_own_to_tell() -> None:
    """A side that ended well is asked to say so after hello, if that is its part."""
    side = greeted()
    for step in (Step.OFFER, Step.ACCEPT, Step.PUBLISHED):
        side._step(step)
    side.receive(hello("sender"), 0)
    assert side.seen == ["greeting", "done is said"]
    assert drain(side) == []


def test_frames_after_the_end_are_ignored() -> None:
    """What was under way when it ended is ignored, and bye is said to an end of the other side."""
    side = greeted()
    side.cancel("", 0)
    drain(side)
    side.receive(control("want"), 0)
    side.receive(control("answer", accept=True), 0)
    assert side.seen == ["greeting"]
    assert drain(side) == []
    side.receive(control("done"), 0)
    side.receive(control("answer", accept=False), 0)
    assert names(drain(side)) == ["bye", "bye"]


def test_who_never_met_has_nobody_to_tell() -> None:
    """What ends before any connection has finished at once."""
    side = Side()
    side.cancel("", 0)
    assert side.finished
    assert side.next_deadline() is None


def test_lingering_ends() -> None:
    """After some seconds a side that has ended stops trying to tell the other one."""
    side = greeted()
    side.cancel("", 5)
    side.disconnected()
    assert side.next_deadline() == 5 + LINGER
    side.deadline_passed(5 + LINGER - 0.01)
    assert not side.finished
    side.deadline_passed(5 + LINGER)
    assert side.finished
    assert side.next_deadline() is None
    assert not side.understood


def test_who_has_understood() -> None:
    """The other side knows how it ended when it has said bye, or has ended it itself."""
    side = greeted()
    side.cancel("", 0)
    assert not side.understood
    side.receive(control("bye"), 0)
    assert side.understood
    side = greeted()
    side.receive(control("cancel"), 0)
    assert side.understood


def test_parting_without_a_word() -> None:
    """Whoever has no time to wait for a connection has finished without one; with one the other side is still told."""
    side = greeted()
    side.cancel("", 0)
    side.part()
    assert not side.finished
    assert names(drain(side)) == ["cancel"]
    side.disconnected()
    assert not side.finished
    side.part()
    assert side.finished
    side.connected(1)
    side.part()
    assert side.finished


# ---------------------------------------------------------------- liveness
def test_a_ping_is_answered() -> None:
    """A ping is answered at once, even before hello; a pong is just heard."""
    side = Side()
    side.connected(0)
    side.receive(control("ping"), 0)
    side.receive(control("pong"), 0)
    assert names(drain(side)) == ["hello", "pong"]


def test_a_silent_side_pings() -> None:
    """A side that has sent nothing for a while sends a ping, and then waits as long again."""
    side = greeted(now=100)
    due = 100 + LIMITS.ping_interval
    assert side.next_deadline() == due
    side.deadline_passed(due - 0.01)
    assert side.seen[-1] == f"due at {due - 0.01}"
    assert drain(side, due) == []
    side.deadline_passed(due)
    assert side.next_deadline() == due + LIMITS.ping_interval
    assert names(drain(side, due)) == ["ping"]


def test_who_sends_need_not_ping() -> None:
    """Whatever is sent puts the next ping off."""
    side = greeted(now=100)
    side.pause()
    drain(side, 105)
    assert side.next_deadline() == 105 + LIMITS.ping_interval


def test_a_dead_connection() -> None:
    """A connection is dead when nothing came for so long, and whatever comes keeps it alive."""
    side = greeted(now=100)
    dead = 100 + LIMITS.dead_after
    assert not side.is_dead(dead - 0.01)
    assert side.is_dead(dead)
    side.receive(control("pong"), 110)
    assert not side.is_dead(dead)
    side.disconnected()
    assert not side.is_dead(dead + 1000)
    side.connected(dead + 1000)
    assert not side.is_dead(dead + 1000)


def test_a_dead_connection_is_noticed_in_time() -> None:
    """The driver is woken when the connection would be dead, although pings went out."""
    side = greeted(now=0)
    for _ in range(3):
        side.deadline_passed(side.next_deadline() or 0)
    assert side.next_deadline() == LIMITS.dead_after


def test_without_a_connection_there_are_no_deadlines() -> None:
    """Nothing is due while there is no connection and no end."""
    side = greeted()
    side.disconnected()
    assert side.next_deadline() is None
    side.deadline_passed(1000)
    assert drain(side) == []
