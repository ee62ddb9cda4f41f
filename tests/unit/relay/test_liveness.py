"""The relay notices dead sockets, frees what they held, and counts and logs what there is."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from unit.relay.relay_world import CHANNEL, KEY, ROOM, FakeSocket, World


class TestLiveness:
    def test_silent_socket(self) -> None:
        """A socket that answers no ping counts as gone, and its room learns of it."""
        world = World(ping_interval=15)
        host, member = world.host(), world.join()
        world.wait(15, host, member)
        assert (host.pings, member.pings) == (1, 1)
        world.wait(30, host)
        assert (host.closed, member.refusal) == (None, "too-slow")
        assert host.got[-1] == {"type": "left", "member": 1}

    def test_messages_are_signs_of_life(self) -> None:
        """A socket that sends messages need not answer pings."""
        world = World(ping_interval=15)
        host, member = world.host(), world.join()
        for _ in range(5):
            world.say(member, type="message", body="x")
            world.wait(14, host)
        assert member.closed is None

    def test_close_is_not_taken(self) -> None:
        """The relay aborts a socket that does not close in time."""
        world = World(closing=30)
        host, member = world.host(), world.join()
        world.say(host, type="close", reason="used")
        world.gone(host)
        world.wait(29)
        assert not member.aborted
        world.wait(1)
        assert (host.aborted, member.aborted) == (False, True)

    def test_after_close(self) -> None:
        """The relay ignores messages of sockets that are closing or unknown."""
        world = World()
        socket = world.say(world.open(), type="nonsense")
        socket.take()
        world.say(socket, type="create", room=ROOM, key=KEY)
        world.say(FakeSocket(), type="create", room=ROOM, key=KEY)
        world.relay.heard(FakeSocket())
        assert (socket.got, world.relay.statistics().rooms) == ([], 0)

    def test_gone_twice(self) -> None:
        """A driver may report twice that a socket has disconnected."""
        world = World()
        host = world.host()
        world.gone(host)
        world.gone(host)
        assert world.relay.statistics().sockets == 0

    def test_nothing_remains(self) -> None:
        """After all sockets have left and all rooms have ended, no deadline remains."""
        world = World()
        host, member = world.host(), world.join()
        first, second = world.paired()
        for socket in (host, member, first, second):
            world.gone(socket)
        assert world.relay.next_deadline() is not None
        world.wait(600)
        assert world.relay.next_deadline() is None

    def test_statistics(self) -> None:
        """Statistics count what exists now, and the bytes of closed channels too."""
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
        """The log names no room, key, channel or message."""
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
