"""What the sender and the receiver share: phases, liveness, pause, endings, control frames.

A machine is sans-I/O: frames go in by ``receive`` and come out of ``next_frame``; time comes in as ``now``
(seconds of any monotonic clock). ``receive`` never raises on a peer's input: bad input fails the transfer and tells
the peer. A connection may come and go; that is no error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from nbferry.errors import Cancelled, Expired, NbferryError, Rejected, RemoteProtocolError, from_code
from nbferry.limits import Limits
from nbferry.protocol.events import Changed, Event
from nbferry.protocol.frames import Control, LeafRun, Piece, decode
from nbferry.protocol.phases import Phase, Step, after

VERSION = 1
LINGER = 10.0  # seconds for which a side that has ended tries to tell the other


class Machine(ABC):
    """One side of a transfer."""

    role: ClassVar[str]

    def __init__(self, limits: Limits, *, agent: str = "") -> None:
        self.limits = limits
        self.phase = Phase.CONNECTING
        self.error: NbferryError | None = None
        self.is_connected = False
        self.peer_agent = ""
        self._agent = agent
        self._greeted = False
        self._said_goodbye = False  # nothing is left to say
        self.understood = False  # the other side knows how the transfer ended
        self._ever_connected = False
        self._ended_at: float | None = None
        self._end_reason = ""
        self._last_received = self._last_sent = 0.0
        self._pauses: dict[str, str] = {}  # by "user", "peer", "disk" or "source": why
        self._outbox: deque[bytes] = deque()
        self._events: list[Event] = []

    # ---------------------------------------------------------------- what a driver reads
    @property
    def finished(self) -> bool:
        """Whether nothing is left to do or to say."""
        return self.phase.final and (self._said_goodbye or not self._ever_connected)

    @property
    def paused(self) -> bool:
        """Whether a person, a full disk or a missing source holds the transfer, on either side."""
        return bool(self._pauses)

    @property
    def paused_here(self) -> bool:
        """Whether a person on this side has paused it."""
        return "user" in self._pauses

    @property
    def pause_reason(self) -> str:
        """Why it is paused, in words."""
        return "; ".join(self._pauses.values())

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def next_frame(self, now: float) -> bytes | memoryview | None:
        """The next frame to send on the current connection; valid until the next call."""
        if not self.is_connected:
            return None
        frame = self._outbox.popleft() if self._outbox else self._data_frame_if_running()
        if frame is not None:
            self._last_sent = now
        return frame

    def _data_frame_if_running(self) -> memoryview | None:
        return None if self.phase.final else self._next_data_frame()

    # ---------------------------------------------------------------- connections
    def connected(self, now: float) -> None:
        """Start on a new, authenticated connection: both sides begin with HELLO."""
        self.is_connected, self._ever_connected, self._greeted = True, True, False
        self._last_received = self._last_sent = now
        self._outbox.clear()
        self._say("hello", protocol=[VERSION], role=self.role, agent=self._agent, features=[])
        self._changed()

    def disconnected(self) -> None:
        """Forget what was under way: the connection is lost."""
        self.is_connected = False
        self._outbox.clear()
        self._pauses = {who: why for who, why in self._pauses.items() if who != "peer"}
        self._changed()

    def receive(self, frame: memoryview, now: float) -> None:
        """Take in one frame from the peer."""
        self._last_received = now
        try:
            match decode(frame):
                case Control() as control:
                    self._receive_control(control, now)
                case LeafRun() as run:
                    self._expect_greeting()
                    self._receive_leaves(run, now)
                case pieces:
                    self._expect_greeting()
                    self._receive_pieces(pieces, now)
        except NbferryError as error:
            self.fail(error, now)

    def _receive_control(self, frame: Control, now: float) -> None:
        match frame.name:
            case "hello":
                self._greet(frame, now)
            case "ping":
                self._say("pong")
            case "pong":
                pass
            case "bye":
                self._said_goodbye = self.understood = True
            case "cancel":
                self._peer_ended(Step.CANCEL, Cancelled(self._said_why("cancelled", frame)), now)
            case "error":
                error = from_code(frame.text("code"), f"The other side failed: {frame.text('message')}")
                self._peer_ended(Step.FAIL, error, now)
            case "pause":
                self._pause("peer", frame.text("reason") or "paused by the other side")
            case "resume":
                self._unpause("peer")
            case _:
                self._expect_greeting()
                if not self.phase.final:
                    self._receive_frame(frame, now)
                elif frame.name == "done" or frame.fields.get("accept") is False:
                    # Once more: the first one was lost with its connection.
                    self._say("bye")

    def _greet(self, frame: Control, now: float) -> None:
        if VERSION not in frame.items("protocol", limit=100):
            raise RemoteProtocolError("The two sides have no version of the protocol in common.")
        if frame.text("role") not in {"sender", "receiver"} - {self.role}:
            raise RemoteProtocolError("Both sides have the same role in this transfer.")
        self.peer_agent = frame.text("agent", limit=80)
        self._greeted = True
        if self.phase.final:
            self._say_end()
            return
        if self._own_reasons:
            self._say("pause", reason=self._own_reasons)
        self._receive_greeting(now)

    def _expect_greeting(self) -> None:
        if not self._greeted:
            raise RemoteProtocolError("The other side sent data before its greeting.")

    # ---------------------------------------------------------------- a person's commands
    def pause(self, reason: str = "") -> None:
        """Hold the transfer, on both sides, until ``resume``."""
        self._pause("user", "paused")
        self._say("pause", reason=reason or "paused by the other side")

    def resume(self) -> None:
        """End our own ``pause``; a pause by the other side stays."""
        self._release("user")

    def cancel(self, reason: str, now: float) -> None:
        """End the transfer; the other side is told why."""
        self._end_reason = reason
        self._end(
            Step.CANCEL, Cancelled(f"The transfer was cancelled{': ' + reason if reason else ''}."), now
        )

    def part(self) -> None:
        """Give up telling the other side how it ended, unless a connection is up: this process is stopping."""
        self._said_goodbye = self._said_goodbye or not self.is_connected

    def fail(self, error: NbferryError, now: float) -> None:
        """End the transfer with an error; the other side is told which."""
        self._end(Step.EXPIRE if isinstance(error, Expired) else Step.FAIL, error, now)

    # ---------------------------------------------------------------- time
    def next_deadline(self) -> float | None:
        """When ``deadline_passed`` must be called at the latest; None if nothing has a deadline."""
        deadlines = list(self._deadlines())
        if self.is_connected:
            deadlines += [
                self._last_received + self.limits.dead_after,
                self._last_sent + self.limits.ping_interval,
            ]
        if self._ended_at is not None and not self.finished:
            deadlines.append(self._ended_at + LINGER)
        return min(deadlines, default=None)

    def deadline_passed(self, now: float) -> None:
        """Do what is due."""
        if self._ended_at is not None and now >= self._ended_at + LINGER:
            self._said_goodbye = True
        if self.is_connected and now >= self._last_sent + self.limits.ping_interval:
            self._say("ping")
            self._last_sent = now
        self._do_what_is_due(now)

    def is_dead(self, now: float) -> bool:
        """Whether the connection was silent for so long that it counts as lost."""
        return self.is_connected and now >= self._last_received + self.limits.dead_after

    # ---------------------------------------------------------------- for the two sides
    @abstractmethod
    def _receive_greeting(self, now: float) -> None:
        """Answer the peer's HELLO with what this side says at the start of a connection."""

    @abstractmethod
    def _receive_frame(self, frame: Control, now: float) -> None:
        """Take a control frame that is special to this role; unknown names are ignored."""

    @abstractmethod
    def _receive_pieces(self, pieces: Iterator[Piece], now: float) -> None:
        """Take a chunk frame."""

    @abstractmethod
    def _receive_leaves(self, run: LeafRun, now: float) -> None:
        """Take a frame with digests of chunks."""

    def _next_data_frame(self) -> memoryview | None:
        return None

    def _deadlines(self) -> list[float]:
        return []

    @abstractmethod
    def _do_what_is_due(self, now: float) -> None:
        """Do what this side has deadlines for."""

    def _step(self, step: Step) -> None:
        self.phase = after(self.phase, step)
        self._changed()

    def _changed(self) -> None:
        self._events.append(Changed())

    def _say(self, name: str, **fields: Any) -> None:
        if self.is_connected:
            self._outbox.append(Control(name, fields).encode())

    def _pause(self, who: str, why: str) -> None:
        self._pauses[who] = why
        self._changed()

    def _unpause(self, who: str) -> bool:
        was_paused = self._pauses.pop(who, None) is not None
        self._changed()
        return was_paused

    def _release(self, who: str) -> None:
        """End one of this side's own pauses, and tell the other side what still holds."""
        if self._unpause(who):
            if self._own_reasons:
                self._say("pause", reason=self._own_reasons)
            else:
                self._say("resume")

    @property
    def _own_reasons(self) -> str:
        return "; ".join(why for who, why in self._pauses.items() if who != "peer")

    # ---------------------------------------------------------------- endings
    def _end(self, step: Step, error: NbferryError | None, now: float) -> None:
        if self.phase.final:
            return
        self.error = error
        self._step(step)
        self._ended_at = now
        self._outbox.clear()
        if self._greeted:
            self._say_end()
        elif isinstance(error, RemoteProtocolError):
            self._say("error", code=error.code, message=error.message)

    def _say_end(self) -> None:
        """Tell the other side how it ended; it answers BYE."""
        match self.error:
            case None:
                self._say_done()
            case Rejected():
                self._say("answer", accept=False, reason=self._end_reason)
            case Cancelled():
                self._say("cancel", reason=self._end_reason)
            case error:
                self._say("error", code=error.code, message=error.message)

    @abstractmethod
    def _say_done(self) -> None:
        """Say that the transfer is done. Only a receiver has to."""

    def _peer_ended(self, step: Step, error: NbferryError | None, now: float) -> None:
        # The phase changes, and the event is queued, before BYE can be sent. So a driver that stores the outcome when
        # it handles the events has stored it before the other side stops asking.
        if not self.phase.final:
            self.error = error
            self._step(step)
            self._ended_at = now
        self._outbox.clear()
        self._say("bye")
        self._said_goodbye = self.understood = True

    def _said_why(self, verb: str, frame: Control) -> str:
        reason = frame.text("reason")
        return f"The other side {verb} the transfer{': ' + reason if reason else ''}."
