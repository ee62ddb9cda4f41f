"""A relay with fake sockets and a clock that a test moves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from nbferry.relay.core import Relay
from nbferry.relay.effects import Abort, Close, Effect, Ping, Send, Splice
from nbferry.relay.limits import RelayLimits
from nbferry.relay.rooms import Meter
from nbferry.relay.wire import encode

ROOM, OTHER_ROOM, CHANNEL = "a" * 32, "b" * 32, "c" * 32
KEY, OTHER_KEY = "1" * 32, "2" * 32


@dataclasses.dataclass(eq=False)
class FakeSocket:
    """A socket that records what the relay does to it."""

    got: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    closed: tuple[int, str] | None = None
    pings: int = 0
    aborted: bool = False
    peer: FakeSocket | None = None
    meter: Meter | None = None
    unsent: int = 0

    def take(self) -> list[dict[str, Any]]:
        """The messages that it got since the last call."""
        got, self.got = self.got, []
        return got

    @property
    def refusal(self) -> str | None:
        """The code with which the relay refused and closed it."""
        codes = [fields["code"] for fields in self.got if fields["type"] == "error"]
        assert self.closed == (1008, codes[0]) if codes else True
        return codes[0] if codes else None


class World:
    """A relay, a clock, and a driver that performs the effects on fake sockets."""

    def __init__(self, random: Callable[[int], int] | None = None, **limits: Any) -> None:
        self.now = 1000.0
        self.limits = RelayLimits(**limits)
        self.relay = Relay(self.limits, random=random) if random else Relay(self.limits)

    def open(self, address: str = "192.0.2.1", *, may_create: bool = True) -> FakeSocket:
        """A new socket."""
        socket = FakeSocket()
        self.relay.connected(socket, address, self.now, may_create=may_create)
        self.perform()
        return socket

    def say(self, socket: FakeSocket, **fields: Any) -> FakeSocket:
        """A socket sends a control message."""
        return self.say_raw(socket, json.dumps(fields).encode())

    def say_raw(self, socket: FakeSocket, message: str | bytes) -> FakeSocket:
        """A socket sends a message."""
        self.relay.receive(socket, message, self.now)
        self.perform()
        return socket

    def gone(self, socket: FakeSocket) -> None:
        """A socket has disconnected."""
        self.relay.disconnected(socket, self.now)
        self.perform()

    def wait(self, seconds: float, *alive: FakeSocket) -> None:
        """Let time pass from deadline to deadline; ``alive`` answer every ping."""
        until = self.now + seconds
        while (due := self.relay.next_deadline()) is not None and due <= until:
            self.now = due
            self.relay.deadline_passed(self.now)
            self.perform()
            for socket in alive:
                self.relay.heard(socket)
        self.now = until

    def perform(self) -> None:
        """Perform the effects that the relay asks for."""
        for effect in self.relay.effects():
            self.perform_one(effect)

    def perform_one(self, effect: Effect) -> None:
        """Perform one effect."""
        match effect:
            case Send(FakeSocket() as socket, fields):
                assert socket.closed is None
                socket.got.append(json.loads(encode(fields)))
            case Ping(FakeSocket() as socket):
                socket.pings += 1
            case Close(FakeSocket() as socket, code, reason):
                socket.closed = (code, reason)
            case Abort(FakeSocket() as socket):
                socket.aborted = True
            case Splice(FakeSocket() as first, FakeSocket() as second, meter):
                first.peer, second.peer = second, first
                first.meter = second.meter = meter

    def host(self, room: str | None = ROOM, key: str = KEY, **fields: Any) -> FakeSocket:
        """A new socket that hosts a room."""
        return self.say(self.open(), type="create", room=room, key=key, **fields)

    def code_room(self, **fields: Any) -> tuple[FakeSocket, str]:
        """A new socket that hosts a code room, and the nameplate."""
        host = self.host(None, **fields)
        return host, host.take()[0]["room"]

    def join(self, room: str = ROOM, address: str = "192.0.2.2") -> FakeSocket:
        """A new socket that joins a room."""
        return self.say(self.open(address), type="join", room=room)

    def data(self, channel: str = CHANNEL, room: str = ROOM) -> FakeSocket:
        """A new socket that opens a channel."""
        return self.say(self.open(), type="channel", room=room, channel=channel)

    def paired(self) -> tuple[FakeSocket, FakeSocket]:
        """Two new sockets that are spliced."""
        first, second = self.data(), self.data()
        assert first.take() == second.take() == [{"type": "paired"}]
        return first, second
