"""The relay's core, with fake sockets and a clock that stands still."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from nbferry.relay.core import Relay
from nbferry.relay.deadlines import Deadlines
from nbferry.relay.effects import Abort, Close, Effect, Ping, Send, Splice
from nbferry.relay.limits import RelayLimits
from nbferry.relay.rates import Rates, network_of
from nbferry.relay.rooms import Meter
from nbferry.relay.wire import REFUSALS, Refusal, encode, parse

ROOM, OTHER_ROOM, CHANNEL = "a" * 32, "b" * 32, "c" * 32
KEY, OTHER_KEY = "1" * 32, "2" * 32


@dataclasses.dataclass(eq=False)
class FakeSocket:
    """Remembers what was done to it."""

    got: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    closed: tuple[int, str] | None = None
    pings: int = 0
    aborted: bool = False
    peer: FakeSocket | None = None
    meter: Meter | None = None
    unsent: int = 0

    def take(self) -> list[dict[str, Any]]:
        """What it got since the last time."""
        got, self.got = self.got, []
        return got

    @property
    def refusal(self) -> str | None:
        """The code with which it was refused and closed."""
        codes = [fields["code"] for fields in self.got if fields["type"] == "error"]
        assert self.closed == (1008, codes[0]) if codes else True
        return codes[0] if codes else None


class World:
    """A relay, a clock, and whoever performs the effects."""

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
        """A socket is gone."""
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
        """Do what the relay wants done."""
        for effect in self.relay.effects():
            self.perform_one(effect)

    def perform_one(self, effect: Effect) -> None:
        """Do one of it."""
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

    # ---------------------------------------------------------------- whole parts
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


class TestCreate:
    def test_code_room(self) -> None:
        """A room without a name gets six digits, and lives for an hour."""
        world = World(random=lambda n: n - 1)
        assert world.host(None).got == [{"type": "created", "room": "999999", "seconds": 3600}]

    def test_capability_room(self) -> None:
        """A room with a name keeps it."""
        assert World().host(seconds=60).got == [{"type": "created", "room": ROOM, "seconds": 60}]

    def test_longest_life(self) -> None:
        """No room lives longer than the limit."""
        assert World(max_room_seconds=100).host(seconds=10**9).got[0]["seconds"] == 100

    def test_nameplate_is_free(self) -> None:
        """A nameplate that is in use, or was a moment ago, is not given away."""
        numbers = iter([7, 7, 8, 7, 8, 9])
        world = World(random=lambda _: next(numbers))
        first, _ = world.code_room()
        second, nameplate = world.code_room()
        assert nameplate == "100008"
        world.say(first, type="close", reason="used")
        world.say(second, type="close", reason="used")
        assert world.code_room()[1] == "100009"

    def test_no_nameplate_left(self) -> None:
        """A relay that finds no free nameplate says so instead of looking for ever."""
        world = World(random=lambda _: 7)
        world.host(None)
        assert world.host(None).refusal == "too-many-rooms"

    def test_too_many_rooms(self) -> None:
        """The number of rooms is bounded; the refusal says when to try again."""
        world = World(max_rooms=1)
        world.host()
        refused = world.host(OTHER_ROOM)
        assert refused.refusal == "too-many-rooms"
        assert refused.got[0]["retry_after"] > 0

    def test_not_authorized(self) -> None:
        """A socket that may not create rooms is told so, and nothing is created."""
        world = World()
        stranger = world.say(world.open(may_create=False), type="create", room=None, key=KEY)
        assert stranger.refusal == "not-authorized"
        assert world.relay.statistics().rooms == 0

    def test_other_key(self) -> None:
        """A room cannot be taken over with another key, and its host does not notice the attempt."""
        world = World()
        host = world.host()
        assert world.host(key=OTHER_KEY).refusal == "room-taken"
        assert host.closed is None

    def test_rate(self) -> None:
        """One address creates so many rooms a minute, then is told how long to wait."""
        world = World(opens_per_minute=2)
        first, second, third = world.host(None), world.host(None), world.host(None)
        assert (first.refusal, second.refusal, third.refusal) == (None, None, "rate-limited")
        assert third.got[0]["retry_after"] == 30

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"key": "1" * 31},
            {"key": "A" * 32},
            {"key": KEY, "room": "12345"},
            {"key": KEY, "room": 482913},
            {"key": KEY, "room": "482913\n"},
            {"key": KEY, "seconds": 0},
            {"key": KEY, "seconds": 1.5},
            {"key": KEY, "seconds": True},
        ],
    )
    def test_bad_fields(self, fields: dict[str, Any]) -> None:
        """A request to create with a field that is not what it should be is refused as a whole."""
        world = World()
        assert world.say(world.open(), type="create", **fields).refusal == "bad-message"
        assert world.relay.statistics().rooms == 0


class TestTakeover:
    def test_earlier_host_is_closed(self) -> None:
        """The same key takes a room over; the socket that was its host is refused."""
        world = World()
        earlier, member = world.host(), world.join()
        world.wait(100.5, earlier, member)
        later = world.host()
        assert earlier.got[-1]["code"] == "room-taken"
        assert earlier.closed == (1008, "room-taken")
        assert later.got[0] == {"type": "created", "room": ROOM, "seconds": 3500}

    def test_members_are_told(self) -> None:
        """The new host learns who is there, and they learn that it is back, though the old one never left."""
        world = World()
        world.host()
        first, second = world.join(), world.join()
        world.gone(first)
        second.take()
        assert world.host().got[1:] == [{"type": "joined", "member": 2}]
        assert second.got == [{"type": "joined", "member": 0}]

    def test_end_of_earlier_host(self) -> None:
        """When the socket of a replaced host goes, the room keeps its new host."""
        world = World()
        earlier, later = world.host(), world.host()
        member = world.join()
        world.gone(earlier)
        assert {"type": "left", "member": 0} not in member.got
        world.say(member, type="message", body="x")
        assert later.got[-1] == {"type": "message", "from": 1, "body": "x"}

    def test_after_restart(self) -> None:
        """A relay that knows nothing of a code room creates it again under its nameplate."""
        assert World().host("482913").got[0]["room"] == "482913"

    def test_host_back_in_time(self) -> None:
        """A host that comes back within its grace finds its room, whose end is then far again."""
        world = World(host_grace=600)
        world.gone(world.host())
        world.wait(599)
        host = world.host()
        assert host.got[0] == {"type": "created", "room": ROOM, "seconds": 3001}
        world.wait(599, host)
        assert host.closed is None

    def test_host_back_too_late(self) -> None:
        """A room whose host was away for too long is closed, and only that host may open it again."""
        world = World(host_grace=600)
        world.gone(world.host())
        world.wait(600)
        assert world.relay.statistics().rooms == 0
        assert world.join().refusal == "room-closed"
        assert world.host(key=OTHER_KEY).refusal == "room-closed"
        assert world.host().refusal is None
        assert world.join().refusal is None

    @pytest.mark.parametrize("reason", ["used", "burnt", "expired", "closed"])
    def test_ended_for_good(self, reason: str) -> None:
        """A room that its host has ended is not created again, not even by its host."""
        world = World()
        world.say(world.host(), type="close", reason=reason)
        assert world.host().refusal == f"room-{reason}"


class TestJoin:
    def test_both_are_told(self) -> None:
        """A member learns its number, and the host learns of it."""
        world = World()
        host = world.host()
        assert world.join().got == [{"type": "joined", "member": 1}]
        assert world.join().got == [{"type": "joined", "member": 2}]
        assert host.got[1:] == [{"type": "joined", "member": 1}, {"type": "joined", "member": 2}]

    def test_without_host(self) -> None:
        """Members may come while the host is away."""
        world = World()
        world.gone(world.host())
        assert world.join().got == [{"type": "joined", "member": 1}]

    def test_numbers_are_not_reused(self) -> None:
        """The number of a member that has left is not given to another."""
        world = World()
        world.host()
        world.gone(world.join())
        assert world.join().got == [{"type": "joined", "member": 2}]

    @pytest.mark.parametrize("room", ["482913", ROOM])
    def test_unknown(self, room: str) -> None:
        """A room that never was is unknown."""
        assert World().join(room).refusal == "room-unknown"

    @pytest.mark.parametrize("room", [None, 482913, "", "48291", "48291३", "x" * 32])
    def test_bad_room(self, room: Any) -> None:
        """What cannot be a room is a bad message, and costs no guess."""
        world = World(joins_per_minute=1)
        assert world.join(room).refusal == "bad-message"
        assert world.join("482913").refusal == "room-unknown"

    def test_full(self) -> None:
        """Code rooms have fewer seats than capability rooms; a seat that is left is free."""
        world = World(max_code_members=1, max_members=2)
        _, nameplate = world.code_room()
        member = world.join(nameplate)
        assert world.join(nameplate).refusal == "room-full"
        world.gone(member)
        assert world.join(nameplate).refusal is None
        world.host()
        assert [world.join().refusal for _ in range(3)] == [None, None, "room-full"]

    def test_guesses_are_rationed(self) -> None:
        """An address may try so many nameplates a minute, right or wrong; another address is free to try."""
        world = World(joins_per_minute=20)
        _, nameplate = world.code_room()
        assert {world.join("100000").refusal for _ in range(20)} == {"room-unknown"}
        assert world.join(nameplate).refusal == "rate-limited"
        assert world.join(nameplate, "192.0.2.3").refusal is None
        world.wait(3)
        assert world.join(nameplate).refusal is None
        assert world.join(nameplate).refusal == "rate-limited"

    def test_capabilities_are_not_guessed(self) -> None:
        """Joins of capability rooms do not count as guesses."""
        world = World(joins_per_minute=1)
        world.host()
        assert [world.join().refusal for _ in range(5)] == [None] * 5


class TestEnd:
    @pytest.mark.parametrize("reason", ["used", "burnt", "expired", "closed"])
    def test_by_host(self, reason: str) -> None:
        """The host ends a room: members and data sockets that wait learn why, late-comers too."""
        world = World()
        host, member, waiting = world.host(), world.join(), world.data()
        host.take()
        world.say(host, type="close", reason=reason)
        assert (member.refusal, waiting.refusal) == (f"room-{reason}", f"room-{reason}")
        assert (host.got, host.closed) == ([], (1000, ""))
        assert (world.join().refusal, world.data().refusal) == (f"room-{reason}", f"room-{reason}")

    def test_by_time(self) -> None:
        """When its seconds are over a room has expired, for its host as well."""
        world = World()
        host, member = world.host(seconds=60), world.join()
        world.wait(59, host, member)
        assert (host.closed, member.closed) == (None, None)
        world.wait(1)
        assert (host.refusal, member.refusal, world.join().refusal) == ("room-expired",) * 3

    def test_by_time_without_host(self) -> None:
        """A room whose host is away expires like any other."""
        world = World()
        world.gone(world.host(seconds=60))
        world.wait(60)
        assert world.join().refusal == "room-expired"
        world.wait(600)
        assert world.join().refusal == "room-expired"

    def test_sockets_of_an_ended_room_leave_quietly(self) -> None:
        """After a room has ended its sockets close without any further message."""
        world = World()
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        host.take(), member.take()
        world.gone(member)
        world.gone(host)
        assert (host.got, member.got) == ([], [])

    def test_tombstones_are_bounded(self) -> None:
        """The oldest ended room is forgotten when there are too many."""
        world = World(max_tombstones=1)
        for room in (ROOM, OTHER_ROOM):
            world.say(world.host(room), type="close", reason="used")
        assert (world.join(ROOM).refusal, world.join(OTHER_ROOM).refusal) == ("room-unknown", "room-used")

    def test_tombstones_expire(self) -> None:
        """An ended room is forgotten after an hour."""
        world = World(tombstone_seconds=3600)
        world.say(world.host(), type="close", reason="used")
        world.wait(3599)
        assert world.join().refusal == "room-used"
        world.wait(1)
        assert world.join().refusal == "room-unknown"

    def test_no_tombstones(self) -> None:
        """A relay that may remember nothing still tells those who are there."""
        world = World(max_tombstones=0)
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        assert (member.refusal, world.join().refusal) == ("room-used", "room-unknown")

    @pytest.mark.parametrize("reason", [None, "left", "taken", 3])
    def test_bad_reason(self, reason: Any) -> None:
        """Only the four reasons end a room; another one is refused, as if the host had gone."""
        world = World()
        host, member = world.host(), world.join()
        assert world.say(host, type="close", reason=reason).refusal == "bad-message"
        assert member.got[-1] == {"type": "left", "member": 0}


class TestMessages:
    def test_both_ways(self) -> None:
        """Messages go from members to the host and from the host to one member."""
        world = World()
        host, first, second = world.host(), world.join(), world.join()
        host.take(), first.take(), second.take()
        world.say(second, type="message", to=0, body="hello")
        world.say(host, type="message", to=2, body="\ud800 welcome ☕")
        assert host.got == [{"type": "message", "from": 2, "body": "hello"}]
        assert second.got == [{"type": "message", "from": 0, "body": "\ud800 welcome ☕"}]
        assert first.got == []

    def test_member_that_left(self) -> None:
        """The host learns that a member went; what it still says to it is dropped."""
        world = World()
        host, member = world.host(), world.join()
        world.gone(member)
        assert host.got[-1] == {"type": "left", "member": 1}
        world.say(host, type="message", to=1, body="x")
        assert (host.closed, len(member.got)) == (None, 1)

    def test_host_that_left(self) -> None:
        """Members learn that the host went; what they say is kept, in order, until it is back."""
        world = World()
        host, member = world.host(), world.join()
        world.gone(host)
        assert member.got[-1] == {"type": "left", "member": 0}
        world.say(member, type="message", body="first")
        world.say(member, type="message", body="second")
        assert world.relay.statistics().kept > 0
        assert world.host().got[1:] == [
            {"type": "joined", "member": 1},
            {"type": "message", "from": 1, "body": "first"},
            {"type": "message", "from": 1, "body": "second"},
        ]
        assert world.relay.statistics().kept == 0
        assert member.got[-1] == {"type": "joined", "member": 0}

    def test_kept_message_of_member_that_left(self) -> None:
        """What a member left for an absent host is forgotten when the member goes."""
        world = World()
        world.gone(world.host())
        stays, goes = world.join(), world.join()
        for member in (goes, stays):
            world.say(member, type="message", body="x")
        world.gone(goes)
        assert world.host().got[1:] == [
            {"type": "joined", "member": 1},
            {"type": "message", "from": 1, "body": "x"},
        ]

    @pytest.mark.parametrize("limits", [{"kept_messages": 2}, {"kept_bytes": 100}])
    def test_mailbox_is_bounded(self, limits: dict[str, int]) -> None:
        """An absent host's mailbox holds so many messages and so many bytes; one more is refused."""
        world = World(**limits)
        world.gone(world.host())
        member = world.join()
        for _ in range(2):
            world.say(member, type="message", body="12345")
            assert member.closed is None
        assert world.say(member, type="message", body="1234567890" * 4).refusal == "mailbox-full"
        assert world.relay.statistics().kept == 0

    def test_host_does_not_read(self) -> None:
        """A member is refused, and the host is not, when the host takes too little."""
        world = World(max_unsent=100)
        host, member = world.host(), world.join()
        host.unsent = 101
        assert world.say(member, type="message", body="x").refusal == "mailbox-full"
        assert host.closed is None

    def test_member_does_not_read(self) -> None:
        """A member that takes too little of what the host says is refused."""
        world = World(max_unsent=100)
        host, member = world.host(), world.join()
        member.unsent = 101
        world.say(host, type="message", to=1, body="x")
        assert member.refusal == "too-slow"
        assert host.got[-1] == {"type": "left", "member": 1}

    def test_quota_of_a_member(self) -> None:
        """A member that says more than its quota is refused; others are not hit."""
        world = World(member_bytes=100)
        world.host()
        talker, other = world.join(), world.join()
        world.say(talker, type="message", body="x")
        assert world.say(talker, type="message", body="x" * 100).refusal == "quota"
        assert world.say(other, type="message", body="x").refusal is None

    def test_quota_of_a_member_both_ways(self) -> None:
        """What the host says counts for the member too: mailboxes are no way around the quota of channels."""
        world = World(member_bytes=100)
        host, member = world.host(), world.join()
        world.say(host, type="message", to=1, body="x" * 100)
        assert (member.refusal, host.closed) == ("quota", None)

    @pytest.mark.parametrize(
        "fields", [{}, {"body": 3}, {"to": 1}, {"to": "1", "body": ""}, {"to": 0, "body": ""}]
    )
    def test_bad_message(self, fields: dict[str, Any]) -> None:
        """A message without text, or from the host to nobody, is bad."""
        world = World()
        assert world.say(world.host(), type="message", **fields).refusal == "bad-message"


class TestFirstMessage:
    def test_in_time(self) -> None:
        """A socket that says nothing for five seconds is refused."""
        world = World()
        socket = world.open()
        world.wait(4.9)
        assert socket.closed is None
        world.wait(0.1)
        assert socket.refusal == "too-slow"

    def test_settled(self) -> None:
        """A socket that said what it is has all the time of its room."""
        world = World()
        host, member = world.host(), world.join()
        world.wait(3000, host, member)
        assert (host.closed, member.closed) == (None, None)

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"{",
            b"[]",
            b"3",
            b"null",
            b"{}",
            b'{"type":3}',
            b'{"type":"message","body":"x"}',
            b'{"type":"destroy"}',
            b"\xff\xfe{}",
            '{"type":"join"}'.encode("utf-16"),
            b"[" * 60_000,
            b'{"type":' + b"9" * 5000 + b"}",
            b'{"type":"join","room":"482913","x":"' + b"x" * 65_536 + b'"}',
            "\ud800",
            "hello",
        ],
    )
    def test_garbage(self, message: str | bytes) -> None:
        """Whatever else comes first is refused, and raises nothing."""
        world = World()
        assert world.say_raw(world.open(), message).refusal == "bad-message"

    def test_text_and_unknown_fields(self) -> None:
        """Control messages may come as text, with fields that are not known yet."""
        world = World()
        world.host()
        socket = world.say_raw(world.open(), json.dumps({"type": "join", "room": ROOM, "colour": "blue"}))
        assert socket.got == [{"type": "joined", "member": 1}]

    @pytest.mark.parametrize("part", ["host", "join", "data"])
    @pytest.mark.parametrize("kind", ["create", "join", "channel", "error", "nonsense"])
    def test_once(self, part: str, kind: str) -> None:
        """A socket is what it said first; it cannot become another, and a waiting one says nothing at all."""
        world = World()
        host = world.host()
        socket = host if part == "host" else getattr(world, part)()
        world.say(socket, type=kind, room=ROOM, key=KEY, channel=CHANNEL)
        assert socket.refusal == "bad-message"

    def test_member_closes(self) -> None:
        """Only the host can end a room."""
        world = World()
        host, member = world.host(), world.join()
        assert world.say(member, type="close", reason="used").refusal == "bad-message"
        assert host.closed is None

    def test_first_word_in_a_code_room(self) -> None:
        """Who joins a code room and says nothing gives its seat up; in a capability room one may listen."""
        world = World(first_word=60)
        host, nameplate = world.code_room()
        silent, speaker = world.join(nameplate), world.join(nameplate)
        world.host()
        listener = world.join()
        world.say(speaker, type="message", body="x")
        world.wait(60, host, silent, speaker, listener)
        assert (silent.refusal, speaker.refusal, listener.refusal) == ("too-slow", None, None)
        assert host.got[-1] == {"type": "left", "member": 1}

    def test_too_many_sockets(self) -> None:
        """The number of sockets is bounded; one that goes makes room."""
        world = World(max_sockets=1)
        first, second = world.open(), world.open()
        assert (first.refusal, second.refusal) == (None, "rate-limited")
        world.gone(first)
        world.gone(second)
        assert world.open().refusal is None


class TestChannels:
    def test_pair(self) -> None:
        """Two sockets that name one channel of a room are spliced; the first waits for the second."""
        world = World()
        world.host()
        first = world.data()
        assert (first.got, first.peer) == ([], None)
        second = world.data()
        assert first.got == second.got == [{"type": "paired"}]
        assert (first.peer, second.peer) == (second, first)
        assert world.relay.statistics().channels == 1

    def test_other_channel(self) -> None:
        """Sockets that name different channels do not meet, nor do those in different rooms."""
        world = World()
        world.host()
        world.host(OTHER_ROOM)
        sockets = [world.data(), world.data("d" * 32), world.data(room=OTHER_ROOM)]
        assert [socket.got for socket in sockets] == [[], [], []]

    @pytest.mark.parametrize("room", [ROOM, OTHER_ROOM])
    def test_unknown_room(self, room: str) -> None:
        """There are channels in rooms that exist only."""
        assert World().data(room=room).refusal == "room-unknown"

    def test_not_in_code_rooms(self) -> None:
        """A room that can be guessed has no channels."""
        world = World()
        _, nameplate = world.code_room()
        assert world.data(room=nameplate).refusal == "bad-message"

    def test_third_socket(self) -> None:
        """A channel has two ends; a third socket is refused and the pair does not notice."""
        world = World()
        world.host()
        first, second = world.paired()
        assert world.data().refusal == "channel-taken"
        assert (first.closed, second.closed) == (None, None)

    def test_once(self) -> None:
        """An id pairs once: a socket that comes after both have gone is refused."""
        world = World()
        world.host()
        first, second = world.paired()
        world.gone(first)
        world.gone(second)
        assert world.data().refusal == "channel-taken"

    def test_second_does_not_come(self) -> None:
        """The first socket waits for thirty seconds; then the id is free again."""
        world = World(channel_wait=30)
        host = world.host()
        waiting = world.data()
        world.wait(30, host, waiting)
        assert waiting.refusal == "channel-timeout"
        assert world.data().closed is None

    def test_first_goes(self) -> None:
        """When the socket that waits goes, the id is free again."""
        world = World()
        world.host()
        world.gone(world.data())
        world.paired()

    def test_one_end_closes(self) -> None:
        """When one end goes, the other is closed normally, without a message: all of them are data."""
        world = World()
        world.host()
        first, second = world.paired()
        world.gone(second)
        assert (first.closed, first.got) == ((1000, ""), [])
        world.gone(first)
        assert world.relay.statistics().channels == 0

    def test_outlives_its_room(self) -> None:
        """A channel that is paired goes on when its room ends."""
        world = World()
        host = world.host()
        first, second = world.paired()
        world.say(host, type="close", reason="closed")
        assert (first.closed, second.closed) == (None, None)
        world.gone(first)
        assert second.closed == (1000, "")

    def test_idle(self) -> None:
        """A channel in which nothing passes for two minutes is cut; a busy one is not, and needs no pong."""
        world = World(channel_idle=120)
        host = world.host()
        first, second = world.paired()
        assert first.meter
        for _ in range(3):
            first.meter.add(1)
            world.wait(119, host)
        assert (first.closed, first.pings > 0) == (None, True)
        world.wait(121, host)
        assert first.closed == second.closed == (1008, "too-slow")
        assert (first.got, second.got) == ([], [])

    def test_quota_of_a_room(self) -> None:
        """The channels of a room share its quota; the one that goes beyond it is cut."""
        world = World(channel_bytes=100)
        world.host()
        first, second = world.paired()
        assert first.meter
        assert first.meter.add(60)
        world.gone(first)
        third, fourth = world.data("d" * 32), world.data("d" * 32)
        assert third.meter
        assert third.meter.add(40)
        assert not third.meter.add(1)
        world.relay.cut(third, "quota", world.now)
        world.perform()
        assert third.closed == fourth.closed == (1008, "quota")
        assert second.closed == (1000, "")

    def test_cut_crosses_close(self) -> None:
        """To cut a channel that is gone, or a socket that is none, does nothing."""
        world = World()
        host = world.host()
        first, second = world.paired()
        world.gone(first)
        for socket in (first, second, host):
            world.relay.cut(socket, "quota", world.now)
        world.perform()
        assert (second.closed, host.closed) == ((1000, ""), None)

    def test_too_many(self) -> None:
        """A room opens so many channels in its life."""
        world = World(max_channels=1)
        world.host()
        world.paired()
        assert world.data("d" * 32).refusal == "quota"

    @pytest.mark.parametrize("channel", [None, 3, "", "482913", "C" * 32])
    def test_bad_channel(self, channel: Any) -> None:
        """A channel is known by 128 bits."""
        world = World()
        world.host()
        assert world.data(channel).refusal == "bad-message"


class TestLiveness:
    def test_silent_socket(self) -> None:
        """A socket that answers no ping is gone, and its room learns of it."""
        world = World(ping_interval=15)
        host, member = world.host(), world.join()
        world.wait(15, host, member)
        assert (host.pings, member.pings) == (1, 1)
        world.wait(30, host)
        assert (host.closed, member.refusal) == (None, "too-slow")
        assert host.got[-1] == {"type": "left", "member": 1}

    def test_messages_are_signs_of_life(self) -> None:
        """Who talks need not answer pings."""
        world = World(ping_interval=15)
        host, member = world.host(), world.join()
        for _ in range(5):
            world.say(member, type="message", body="x")
            world.wait(14, host)
        assert member.closed is None

    def test_close_is_not_taken(self) -> None:
        """A socket that does not take its close in time is cut off."""
        world = World(closing=30)
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        world.gone(host)
        world.wait(29)
        assert not member.aborted
        world.wait(1)
        assert (host.aborted, member.aborted) == (False, True)

    def test_after_close(self) -> None:
        """What comes from a socket that is being closed, or that is not there, is not read."""
        world = World()
        socket = world.say(world.open(), type="nonsense")
        socket.take()
        world.say(socket, type="create", room=ROOM, key=KEY)
        world.say(FakeSocket(), type="create", room=ROOM, key=KEY)
        world.relay.heard(FakeSocket())
        assert (socket.got, world.relay.statistics().rooms) == ([], 0)

    def test_gone_twice(self) -> None:
        """A socket may be reported gone twice."""
        world = World()
        host = world.host()
        world.gone(host)
        world.gone(host)
        assert world.relay.statistics().sockets == 0

    def test_nothing_remains(self) -> None:
        """When all sockets are gone and all rooms have ended, nothing is due any more."""
        world = World()
        host, member = world.host(), world.join()
        first, second = world.paired()
        for socket in (host, member, first, second):
            world.gone(socket)
        assert world.relay.next_deadline() is not None
        world.wait(600)
        assert world.relay.next_deadline() is None

    def test_statistics(self) -> None:
        """Statistics count what is there, and the bytes of channels that are gone as well."""
        world = World()
        world.host()
        world.join()
        first, _ = world.paired()
        first.unsent = 3
        assert first.meter
        first.meter.add(5)
        statistics = world.relay.statistics()
        assert dataclasses.asdict(statistics) == {
            "sockets": 4,
            "rooms": 1,
            "members": 1,
            "channels": 1,
            "bytes": 5,
            "kept": 0,
            "unsent": 3,
        }
        world.gone(first)
        assert world.relay.statistics().bytes == 5

    def test_log_holds_no_secret(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log tells what happens without a room, a key, a channel or a message."""
        caplog.set_level(logging.DEBUG, logger="nbferry.relay")
        world = World()
        host, nameplate = world.code_room()
        world.say(world.join(nameplate), type="message", body="wink")
        world.say(host, type="close", reason="used")
        world.host()
        first, _ = world.paired()
        world.gone(first)
        assert caplog.records
        assert not any(secret in caplog.text for secret in (nameplate, ROOM, KEY, CHANNEL, "wink"))


class TestDeadlines:
    def test_order(self) -> None:
        """What is due is done in the order of its time, what is not due waits."""
        deadlines, done = Deadlines(), list[str]()
        for name, when in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0)]:
            deadlines.set(name, when, lambda _, name=name: done.append(name))  # type: ignore[misc]
        deadlines.passed(3.0)
        assert (done, deadlines.next()) == (["a", "b", "c"], 4.0)

    def test_changed(self) -> None:
        """A deadline that was set again is due at its new time only; a cancelled one never."""
        deadlines, done = Deadlines(), list[float]()
        deadlines.set("a", 1.0, done.append)
        deadlines.set("a", 2.0, done.append)
        deadlines.set("b", 1.5, done.append)
        deadlines.cancel("b")
        deadlines.cancel("never set")
        deadlines.passed(1.9)
        assert done == []
        deadlines.passed(2.5)
        assert (done, deadlines.next(), len(deadlines)) == ([2.5], None, 0)

    def test_memory(self) -> None:
        """To change a deadline ten thousand times does not keep ten thousand entries."""
        deadlines = Deadlines()
        for when in range(10_000):
            deadlines.set("a", float(when), lambda _: None)
        assert len(deadlines) < 100
        assert deadlines.next() == 9999.0


class TestRates:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("", ""),
            ("/run/relay.sock", "/run/relay.sock"),
        ],
    )
    def test_network(self, address: str, network: str) -> None:
        """An IPv6 customer has 2^64 addresses and one rate; an IPv4 address is one however it is written."""
        assert network_of(address) == network

    def test_refill(self) -> None:
        """Tokens come back steadily, never more than a minute's worth."""
        rates = Rates(60, 10)
        assert [rates.take("a", 0.0) for _ in range(61)] == [0.0] * 60 + [1.0]
        assert rates.take("a", 1.0) == 0.0
        assert rates.take("a", 1.5) == 0.5
        assert [rates.take("a", 1000.0) for _ in range(61)][-1] == 1.0

    def test_bounded(self) -> None:
        """Of too many addresses the one that was quiet longest is forgotten."""
        rates = Rates(1, 2)
        for address in ("a", "b", "a", "c"):
            rates.take(address, 0.0)
        assert rates.take("a", 0.0) > 0
        assert rates.take("b", 0.0) == 0.0


class TestWire:
    def test_every_refusal_is_a_sentence(self) -> None:
        """Each code comes with one sentence for a person."""
        for code, sentence in REFUSALS.items():
            fields = Refusal(code, retry_after=3).fields()
            assert fields == {"type": "error", "code": code, "message": sentence, "retry_after": 3}
            assert sentence.endswith(".")

    def test_size(self) -> None:
        """A control message may have just so many bytes; text is counted in UTF-8."""
        message = '{"type":"é"}'
        assert parse(message, 13).size == 13
        with pytest.raises(Refusal):
            parse(message, 12)
