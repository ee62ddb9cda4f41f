"""The relay's data channels: two sockets that it splices."""

from __future__ import annotations

from typing import Any

import pytest

from unit.relay.relay_world import OTHER_ROOM, ROOM, World


class TestChannels:
    def test_pair(self) -> None:
        """The relay splices two sockets that name the same channel; the first waits for the second."""
        world = World()
        world.host()
        first = world.data()
        assert (first.got, first.peer) == ([], None)
        second = world.data()
        assert first.got == second.got == [{"type": "paired"}]
        assert (first.peer, second.peer) == (second, first)
        assert world.relay.statistics().channels == 1

    def test_other_channel(self) -> None:
        """Sockets with different channels or in different rooms are not spliced."""
        world = World()
        world.host()
        world.host(OTHER_ROOM)
        sockets = [world.data(), world.data("d" * 32), world.data(room=OTHER_ROOM)]
        assert [socket.got for socket in sockets] == [[], [], []]

    @pytest.mark.parametrize("room", [ROOM, OTHER_ROOM])
    def test_unknown_room(self, room: str) -> None:
        """A channel needs a room that exists."""
        assert World().data(room=room).refusal == "room-unknown"

    def test_not_in_code_rooms(self) -> None:
        """Code rooms have no channels, because they can be guessed."""
        world = World()
        _, nameplate = world.code_room()
        assert world.data(room=nameplate).refusal == "bad-message"

    def test_third_socket(self) -> None:
        """A channel has two ends; the relay refuses a third socket and the pair does not notice."""
        world = World()
        world.host()
        first, second = world.paired()
        assert world.data().refusal == "channel-taken"
        assert (first.closed, second.closed) == (None, None)

    def test_once(self) -> None:
        """A channel is paired once, even after both sockets have left."""
        world = World()
        world.host()
        first, second = world.paired()
        world.gone(first)
        world.gone(second)
        assert world.data().refusal == "channel-taken"

    def test_second_does_not_come(self) -> None:
        """The first socket waits for thirty seconds; then the channel is free again."""
        world = World(channel_wait=30)
        host = world.host()
        waiting = world.data()
        world.wait(30, host, waiting)
        assert waiting.refusal == "channel-timeout"
        assert world.data().closed is None

    def test_first_goes(self) -> None:
        """When the waiting socket leaves, the channel is free again."""
        world = World()
        world.host()
        world.gone(world.data())
        world.paired()

    def test_one_end_closes(self) -> None:
        """When one end leaves, the relay closes the other without a message: messages there are data."""
        world = World()
        world.host()
        first, second = world.paired()
        world.gone(second)
        assert (first.closed, first.got) == ((1000, ""), [])
        world.gone(first)
        assert world.relay.statistics().channels == 0

    def test_outlives_its_room(self) -> None:
        """A paired channel stays open when its room ends."""
        world = World()
        host = world.host()
        first, second = world.paired()
        world.say(host, type="close", reason="closed")
        assert (first.closed, second.closed) == (None, None)
        world.gone(first)
        assert second.closed == (1000, "")

    def test_idle(self) -> None:
        """The relay cuts a channel that is idle for two minutes, but not a busy one that answers no ping."""
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
        """The channels of a room share its quota; the relay cuts the one that exceeds it."""
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
        """Cutting a closed channel, or a socket that is not one, does nothing."""
        world = World()
        host = world.host()
        first, second = world.paired()
        world.gone(first)
        for socket in (first, second, host):
            world.relay.cut(socket, "quota", world.now)
        world.perform()
        assert (second.closed, host.closed) == ((1000, ""), None)

    def test_too_many(self) -> None:
        """The number of channels that a room opens in its life is limited."""
        world = World(max_channels=1)
        world.host()
        world.paired()
        assert world.data("d" * 32).refusal == "quota"

    @pytest.mark.parametrize("channel", [None, 3, "", "482913", "C" * 32])
    def test_bad_channel(self, channel: Any) -> None:
        """The id of a channel has 128 bits, as lower-case hexadecimal digits."""
        world = World()
        world.host()
        assert world.data(channel).refusal == "bad-message"
