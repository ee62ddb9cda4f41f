"""The relay's rooms: created, taken over by their host, joined and ended."""

from __future__ import annotations

from typing import Any

import pytest

from unit.relay.relay_world import KEY, OTHER_KEY, OTHER_ROOM, ROOM, World


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
        """The relay does not reuse a nameplate that is in use or was a moment ago."""
        numbers = iter([7, 7, 8, 7, 8, 9])
        world = World(random=lambda _: next(numbers))
        first, _ = world.code_room()
        second, nameplate = world.code_room()
        assert nameplate == "100008"
        world.say(first, type="close", reason="used")
        world.say(second, type="close", reason="used")
        assert world.code_room()[1] == "100009"

    def test_no_nameplate_left(self) -> None:
        """A relay that finds no free nameplate says so instead of searching forever."""
        world = World(random=lambda _: 7)
        world.host(None)
        assert world.host(None).refusal == "too-many-rooms"

    def test_too_many_rooms(self) -> None:
        """The number of rooms is limited; the refusal says when to try again."""
        world = World(max_rooms=1)
        world.host()
        refused = world.host(OTHER_ROOM)
        assert refused.refusal == "too-many-rooms"
        assert refused.got[0]["retry_after"] > 0

    def test_not_authorized(self) -> None:
        """The relay refuses a socket that may not create rooms, and creates nothing."""
        world = World()
        stranger = world.say(world.open(may_create=False), type="create", room=None, key=KEY)
        assert stranger.refusal == "not-authorized"
        assert world.relay.statistics().rooms == 0

    def test_other_key(self) -> None:
        """Another key does not take a room over, and the host does not notice the attempt."""
        world = World()
        host = world.host()
        assert world.host(key=OTHER_KEY).refusal == "room-taken"
        assert host.closed is None

    def test_rate(self) -> None:
        """One address may create a limited number of rooms a minute; the refusal says how long to wait."""
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
        """The relay refuses a request to create with one wrong field as a whole."""
        world = World()
        assert world.say(world.open(), type="create", **fields).refusal == "bad-message"
        assert world.relay.statistics().rooms == 0


class TestTakeover:
    def test_earlier_host_is_closed(self) -> None:
        """The same key takes a room over; the relay closes the earlier host."""
        world = World()
        earlier, member = world.host(), world.join()
        world.wait(100.5, earlier, member)
        later = world.host()
        assert earlier.got[-1]["code"] == "room-taken"
        assert earlier.closed == (1008, "room-taken")
        assert later.got[0] == {"type": "created", "room": ROOM, "seconds": 3500}

    def test_members_are_told(self) -> None:
        """The new host learns the members, and they learn of it, though the earlier host never left."""
        world = World()
        world.host()
        first, second = world.join(), world.join()
        world.gone(first)
        second.take()
        assert world.host().got[1:] == [{"type": "joined", "member": 2}]
        assert second.got == [{"type": "joined", "member": 0}]

    def test_end_of_earlier_host(self) -> None:
        """When the earlier host disconnects, the room keeps its new host."""
        world = World()
        earlier, later = world.host(), world.host()
        member = world.join()
        world.gone(earlier)
        assert {"type": "left", "member": 0} not in member.got
        world.say(member, type="message", body="x")
        assert later.got[-1] == {"type": "message", "from": 1, "body": "x"}

    def test_after_restart(self) -> None:
        """A restarted relay creates a code room again under the nameplate that its host names."""
        assert World().host("482913").got[0]["room"] == "482913"

    def test_host_back_in_time(self) -> None:
        """A host that returns within its grace period finds its room, and the grace period begins again."""
        world = World(host_grace=600)
        world.gone(world.host())
        world.wait(599)
        host = world.host()
        assert host.got[0] == {"type": "created", "room": ROOM, "seconds": 3001}
        world.wait(599, host)
        assert host.closed is None

    def test_host_back_too_late(self) -> None:
        """The relay closes a room whose host is away too long; only that host may open it again."""
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
        """After a host has ended its room, the room cannot be created again, not even by the host."""
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
        """Members may join while the host is away."""
        world = World()
        world.gone(world.host())
        assert world.join().got == [{"type": "joined", "member": 1}]

    def test_numbers_are_not_reused(self) -> None:
        """The relay does not reuse the number of a member that has left."""
        world = World()
        world.host()
        world.gone(world.join())
        assert world.join().got == [{"type": "joined", "member": 2}]

    @pytest.mark.parametrize("room", ["482913", ROOM])
    def test_unknown(self, room: str) -> None:
        """A room that never existed is unknown."""
        assert World().join(room).refusal == "room-unknown"

    @pytest.mark.parametrize("room", [None, 482913, "", "48291", "48291३", "x" * 32])
    def test_bad_room(self, room: Any) -> None:
        """A malformed room is a bad message, and does not count as a guess."""
        world = World(joins_per_minute=1)
        assert world.join(room).refusal == "bad-message"
        assert world.join("482913").refusal == "room-unknown"

    def test_full(self) -> None:
        """Code rooms have fewer seats than capability rooms; a member that leaves frees its seat."""
        world = World(max_code_members=1, max_members=2)
        _, nameplate = world.code_room()
        member = world.join(nameplate)
        assert world.join(nameplate).refusal == "room-full"
        world.gone(member)
        assert world.join(nameplate).refusal is None
        world.host()
        assert [world.join().refusal for _ in range(3)] == [None, None, "room-full"]

    def test_guesses_are_rationed(self) -> None:
        """Each address may try a limited number of nameplates a minute, right or wrong."""
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
        """When the host ends a room, members, waiting data sockets and latecomers learn why."""
        world = World()
        host, member, waiting = world.host(), world.join(), world.data()
        host.take()
        world.say(host, type="close", reason=reason)
        assert (member.refusal, waiting.refusal) == (f"room-{reason}", f"room-{reason}")
        assert (host.got, host.closed) == ([], (1000, ""))
        assert (world.join().refusal, world.data().refusal) == (f"room-{reason}", f"room-{reason}")

    def test_by_time(self) -> None:
        """A room expires when its time is over, for its host as well."""
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
        """After a room has ended, its sockets disconnect without further messages."""
        world = World()
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        host.take(), member.take()
        world.gone(member)
        world.gone(host)
        assert (host.got, member.got) == ([], [])

    def test_tombstones_are_bounded(self) -> None:
        """The relay forgets the oldest ended room when there are too many."""
        world = World(max_tombstones=1)
        for room in (ROOM, OTHER_ROOM):
            world.say(world.host(room), type="close", reason="used")
        assert (world.join(ROOM).refusal, world.join(OTHER_ROOM).refusal) == ("room-unknown", "room-used")

    def test_tombstones_expire(self) -> None:
        """The relay forgets an ended room after an hour."""
        world = World(tombstone_seconds=3600)
        world.say(world.host(), type="close", reason="used")
        world.wait(3599)
        assert world.join().refusal == "room-used"
        world.wait(1)
        assert world.join().refusal == "room-unknown"

    def test_no_tombstones(self) -> None:
        """A relay without tombstones still tells connected members why the room ended."""
        world = World(max_tombstones=0)
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        assert (member.refusal, world.join().refusal) == ("room-used", "room-unknown")

    @pytest.mark.parametrize("reason", [None, "left", "taken", 3])
    def test_bad_reason(self, reason: Any) -> None:
        """The relay refuses a host that ends its room with an unknown reason, and the host counts as gone."""
        world = World()
        host, member = world.host(), world.join()
        assert world.say(host, type="close", reason=reason).refusal == "bad-message"
        assert member.got[-1] == {"type": "left", "member": 0}
