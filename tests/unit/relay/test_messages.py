"""The relay's control messages: between a host and its members, and the first one of a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.relay.relay_world import CHANNEL, KEY, ROOM, World


class TestMessages:
    def test_both_ways(self) -> None:
        """Members send messages to the host, and the host to one member."""
        world = World()
        host, first, second = world.host(), world.join(), world.join()
        host.take(), first.take(), second.take()
        world.say(second, type="message", to=0, body="hello")
        world.say(host, type="message", to=2, body="\ud800 welcome ☕")
        assert host.got == [{"type": "message", "from": 2, "body": "hello"}]
        assert second.got == [{"type": "message", "from": 0, "body": "\ud800 welcome ☕"}]
        assert first.got == []

    def test_member_that_left(self) -> None:
        """The host learns that a member left; the relay drops later messages to it."""
        world = World()
        host, member = world.host(), world.join()
        world.gone(member)
        assert host.got[-1] == {"type": "left", "member": 1}
        world.say(host, type="message", to=1, body="x")
        assert (host.closed, len(member.got)) == (None, 1)

    def test_host_that_left(self) -> None:
        """Members learn that the host left; the relay keeps their messages, in order, until it returns."""
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
        """The relay forgets the messages for an absent host when their member leaves."""
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
        """The mailbox of an absent host is limited in messages and in bytes."""
        world = World(**limits)
        world.gone(world.host())
        member = world.join()
        for _ in range(2):
            world.say(member, type="message", body="12345")
            assert member.closed is None
        assert world.say(member, type="message", body="1234567890" * 4).refusal == "mailbox-full"
        assert world.relay.statistics().kept == 0

    def test_host_does_not_read(self) -> None:
        """When the host reads too slowly the relay refuses the member, not the host."""
        world = World(max_unsent=100)
        host, member = world.host(), world.join()
        host.unsent = 101
        assert world.say(member, type="message", body="x").refusal == "mailbox-full"
        assert host.closed is None

    def test_member_does_not_read(self) -> None:
        """The relay refuses a member that reads too slowly."""
        world = World(max_unsent=100)
        host, member = world.host(), world.join()
        member.unsent = 101
        world.say(host, type="message", to=1, body="x")
        assert member.refusal == "too-slow"
        assert host.got[-1] == {"type": "left", "member": 1}

    def test_quota_of_a_member(self) -> None:
        """The relay refuses a member that exceeds its quota, and no other."""
        world = World(member_bytes=100)
        world.host()
        talker, other = world.join(), world.join()
        world.say(talker, type="message", body="x")
        assert world.say(talker, type="message", body="x" * 100).refusal == "quota"
        assert world.say(other, type="message", body="x").refusal is None

    def test_quota_of_a_member_both_ways(self) -> None:
        """Messages from the host count for the member too: they must not evade the quota of channels."""
        world = World(member_bytes=100)
        host, member = world.host(), world.join()
        world.say(host, type="message", to=1, body="x" * 100)
        assert (member.refusal, host.closed) == ("quota", None)

    @pytest.mark.parametrize(
        "fields", [{}, {"body": 3}, {"to": 1}, {"to": "1", "body": ""}, {"to": 0, "body": ""}]
    )
    def test_bad_message(self, fields: dict[str, Any]) -> None:
        """A message without text, or from the host without a member, is bad."""
        world = World()
        assert world.say(world.host(), type="message", **fields).refusal == "bad-message"


class TestFirstMessage:
    def test_in_time(self) -> None:
        """The relay refuses a socket that says nothing for five seconds."""
        world = World()
        socket = world.open()
        world.wait(4.9)
        assert socket.closed is None
        world.wait(0.1)
        assert socket.refusal == "too-slow"

    def test_settled(self) -> None:
        """A socket that has said what it is may stay as long as its room."""
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
        """The relay refuses any other first message, and raises nothing."""
        world = World()
        assert world.say_raw(world.open(), message).refusal == "bad-message"

    def test_text_and_unknown_fields(self) -> None:
        """Control messages may come as text, and with unknown fields."""
        world = World()
        world.host()
        socket = world.say_raw(world.open(), json.dumps({"type": "join", "room": ROOM, "colour": "blue"}))
        assert socket.got == [{"type": "joined", "member": 1}]

    @pytest.mark.parametrize("part", ["host", "join", "data"])
    @pytest.mark.parametrize("kind", ["create", "join", "channel", "error", "nonsense"])
    def test_once(self, part: str, kind: str) -> None:
        """A socket keeps the role of its first message, and a waiting data socket may say nothing."""
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
        """A member of a code room that says nothing loses its seat; in a capability room it may listen."""
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
        """The number of sockets is limited; one that disconnects makes room."""
        world = World(max_sockets=1)
        first, second = world.open(), world.open()
        assert (first.refusal, second.refusal) == (None, "rate-limited")
        world.gone(first)
        world.gone(second)
        assert world.open().refusal is None
