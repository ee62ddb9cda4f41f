"""Durations that the relay tells: whole seconds, whatever its clock shows."""

from __future__ import annotations

import pytest

from nbferry.relay.core import Relay
from nbferry.relay.effects import Send
from nbferry.relay.limits import RelayLimits

ROOM, KEY = "a" * 32, "1" * 32
TIMES = [1.1 + 3.7 * step for step in range(200)] + [1e6 + 3.7 * step for step in range(200)]


class Socket:
    """Takes everything at once."""

    unsent = 0


def told(relay: Relay, message: str, field: str, now: float) -> object:
    """What the relay answers a new socket, in one field."""
    socket = Socket()
    relay.connected(socket, "192.0.2.1", now)
    relay.receive(socket, message, now)
    effects = list(relay.effects())
    relay.disconnected(socket, now)
    return next(effect.fields[field] for effect in effects if isinstance(effect, Send))


@pytest.mark.parametrize("seconds", [60, 3600])
def test_a_room_is_as_long_as_was_asked_for(seconds: int) -> None:
    """The sum and the difference of two floats may be more than it was: that is no further second."""
    create = f'{{"type": "create", "room": "{ROOM}", "key": "{KEY}", "seconds": {seconds}}}'
    assert {told(Relay(), create, "seconds", now) for now in TIMES} == {seconds}


def test_a_part_of_a_second_counts_as_one() -> None:
    """What is left of a room is rounded up."""
    relay = Relay()
    create = f'{{"type": "create", "room": "{ROOM}", "key": "{KEY}", "seconds": 60}}'
    assert [told(relay, create, "seconds", now) for now in (100.0, 100.5, 101.0, 159.9)] == [60, 60, 59, 1]


def test_a_rate_says_how_long_to_wait() -> None:
    """One join in three seconds: after one second two are left, and after three seconds less a hair one is."""
    join = '{"type": "join", "room": "482913"}'
    for now in TIMES:
        relay = Relay(RelayLimits(joins_per_minute=20))
        for _ in range(20):
            assert told(relay, join, "retry_after", now) is None
        times = (now, now + 1, now + 3 - 1e-7)
        assert [told(relay, join, "retry_after", time) for time in times] == [3, 2, 1]
