"""The relay: two sides meet here, and it carries their sealed bytes when no direct path exists.

This page specifies the wire for both ends: this module is the relay, :mod:`nbferry.relay.client` its client.

Participants
    A *relay* keeps rooms. A *host* creates a room, *members* join it; they leave *messages* for one
    another there, sealed by keys that the relay never sees. Two *data sockets* that name the same
    *channel* of a room are spliced: each message of one goes to the other as it is.

Goals
    Two processes that can reach the relay, but not each other, meet and exchange bytes at full speed. A
    host or a relay may leave and return. What a stranger can cost is bounded: sockets, rooms, guesses,
    memory, bytes.

Non-goals
    Secrecy (the ends encrypt; a relay can delay, drop and cut, no more), storage, order between channels.

Transport
    One WebSocket endpoint, ``{base}/nbferry/ws``, without subprotocol or compression; ``{base}`` is empty
    or a Jupyter server's base URL. ``GET {base}/nbferry/version`` answers ``{"nbferry": "0.1.0", "relay":
    1}``; "relay" is the version of this protocol. No secret is ever part of a URL. A browser's page of
    another origin is refused; a request without an Origin header, from a script, is not.

    *Control messages* are JSON objects in UTF-8 with a "type", of at most 64 KiB, sent as binary messages
    by the relay, and accepted as binary or text. Unknown fields are ignored; everything else that is not
    as described here is refused as "bad-message". The relay pings every 15 s; a socket that is not paired
    and was not heard from between two pings is refused as "too-slow".

    Rooms are known by a *nameplate*, six digits chosen by the relay (a *code room*), or by a *capability*,
    128 random bits chosen by the host, as 32 lower-case hexadecimal digits (a *capability room*). A
    nameplate can be guessed, so joins of code rooms are rationed, and what makes such a room safe is the
    key exchange inside.

The first message says what a socket is. It must come within 5 s.

1. A host::

       -> {"type": "create", "room": null | "482913" | "<32 hex>", "key": "<32 hex>", "seconds": 3600}
       <- {"type": "created", "room": "482913", "seconds": 3600}

   ``room`` null asks for a new code room. A room that exists is taken over if ``key`` is the key that it
   was created with (the relay keeps its SHA-256), after a lost socket for instance, else this is refused
   as "room-taken". An earlier host socket that is still open is then refused as "room-taken"; the new one
   gets ``joined`` for each member that is present, and the messages that were kept. A room that
   does not exist is created under that name, after a restart of the relay for instance. A room that has
   ended is not created again, but refused with why it ended, unless that was its host's absence and this
   is the same key. ``seconds`` is the life of a new room, at most 7 days, an hour if absent; the answer
   says how much of it is left, rounded up. A relay may demand authorization (a Jupyter server: its token):
   "not-authorized".

2. A member::

       -> {"type": "join", "room": "482913" | "<32 hex>"}
       <- {"type": "joined", "member": 3}

   The host gets the same message. A member only has to know the room. Members are numbered from 1; no
   number is used twice. Refused as "room-unknown", "room-full" or, for an hour after a room has ended,
   with the reason: "room-used", "room-burnt", "room-expired", "room-closed". The member of a code room
   must send its first message within 60 s ("too-slow").

3. A data socket::

       -> {"type": "channel", "room": "<32 hex>", "channel": "<32 hex>"}
       <- {"type": "paired"}

   Only in a capability room; refused like a join. The first socket waits, at most 30 s
   ("channel-timeout"), and sends nothing meanwhile. When the second comes, both are told ``paired``, and
   from then on each *binary* message, of at most 4 MiB + 64 KiB, goes to the other end as it is, in order;
   text is refused. An end that takes nothing stops the other one, by TCP. When one end closes, the other
   is closed, after it has been sent what was under way. An id pairs once: any later socket is refused as
   "channel-taken". A channel outlives its room; it is cut when no message passes for 120 s, or when the
   room's quota is used up.

In a room::

         host -> {"type": "message", "to": 3, "body": "<text>"}
       member <- {"type": "message", "from": 0, "body": "<text>"}

       member -> {"type": "message", "body": "<text>"}
         host <- {"type": "message", "from": 3, "body": "<text>"}

         host <- {"type": "left", "member": 3}                          member 3 went
       member <- {"type": "left", "member": 0}                          the host went
       member <- {"type": "joined", "member": 0}                        the host is back

         host -> {"type": "close", "reason": "used" | "burnt" | "expired" | "closed"}

   A message to a member that has left is dropped. Messages for an absent host are kept, 16 of them and 64
   KiB per room, until it is back or their member has left; one more is refused as "mailbox-full", as is
   one for a host that does not read. ``close`` ends the room at once. A room also ends when its seconds
   are over ("expired"), and when its host was away for 10 minutes ("closed"). All who are in it, and data
   sockets that wait, are refused with the reason; the host that closed it is closed normally, with 1000.

Refusal
   ``{"type": "error", "code": "..", "message": "one sentence", "retry_after": seconds | null}``, then the
   socket is closed with 1008 and the code as reason. On a socket that is paired every message is data, so
   there only the close says it. Codes: as above and "bad-message", "too-many-rooms", "rate-limited",
   "quota" (more bytes than a member or a room may have), "too-slow" (said or took nothing for too long).

This module is the core: no I/O, no clock, no tasks. Its driver passes sockets, messages and the time, in
seconds of one monotonic clock, performs the effects, and calls it again at the next deadline.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from hmac import compare_digest
from itertools import count
from typing import Any

from nbferry.relay.deadlines import Deadlines
from nbferry.relay.effects import Abort, Close, Effect, Ping, RelayStatistics, Send, Splice
from nbferry.relay.limits import DEFAULT_RELAY_LIMITS, RelayLimits
from nbferry.relay.rates import Rates
from nbferry.relay.rooms import Channel, Connection, Graveyard, Member, Meter, Room, RoomHost, Socket
from nbferry.relay.wire import ControlMessage, Refusal, is_code, parse

PROTOCOL_VERSION = 1

NORMAL = 1000  # RFC 6455, section 7.4.1
POLICY = 1008

logger = logging.getLogger("nbferry.relay")  # never a nameplate, a capability, a key or a body


class Relay:
    """Rooms, members and channels of one relay. No message of a socket makes it raise.

    ``random(n)`` returns an unpredictable number below ``n``.
    """

    def __init__(
        self, limits: RelayLimits = DEFAULT_RELAY_LIMITS, *, random: Callable[[int], int] = secrets.randbelow
    ) -> None:
        self.limits = limits
        self._random = random
        self._numbers = count(1)
        self._connections: dict[Socket, Connection] = {}
        self._rooms: dict[str, Room] = {}
        self._ended = Graveyard(limits.max_tombstones, limits.tombstone_seconds)
        self._channels: set[Channel] = set()
        self._carried = 0  # by channels that are closed
        self._joins = Rates(limits.joins_per_minute, limits.max_addresses)
        self._opens = Rates(limits.opens_per_minute, limits.max_addresses)
        self._deadlines = Deadlines()
        self._effects: deque[Effect] = deque()

    # -------------------------------------------------------------- what happened
    def connected(self, socket: Socket, address: str, now: float, *, may_create: bool = True) -> None:
        """Take note of a socket from ``address``; ``may_create`` says whether it is authorized to."""
        connection = Connection(socket, next(self._numbers), address, may_create)
        self._connections[socket] = connection
        self._ping_later(connection, now)
        self._expect(connection, self.limits.first_message, "too-slow", now)
        if len(self._connections) > self.limits.max_sockets:
            self._refuse(connection, Refusal("rate-limited", retry_after=self.limits.ping_interval), now)

    def receive(self, socket: Socket, message: str | bytes, now: float) -> None:
        """Read a message from a socket that is not paired."""
        connection = self._connections.get(socket)
        if connection is None or connection.closing:  # the message crossed our close
            return
        connection.heard = True
        try:
            self._handle(connection, parse(message, self.limits.max_control), now)
        except Refusal as refusal:
            self._refuse(connection, refusal, now)

    def heard(self, socket: Socket) -> None:
        """Take note of a pong."""
        if connection := self._connections.get(socket):
            connection.heard = True

    def cut(self, socket: Socket, code: str, now: float) -> None:
        """Close both ends of a channel because a socket sent what may not pass; ``code`` says why."""
        connection = self._connections.get(socket)
        if connection is not None and isinstance(connection.part, Channel):
            self._end_channel(connection.part, POLICY, code, now)

    def disconnected(self, socket: Socket, now: float) -> None:
        """Forget a socket that is gone. May be called twice."""
        connection = self._connections.pop(socket, None)
        if connection is None:
            return
        connection.closing = True
        for kind in ("ping", "phase"):
            self._deadlines.cancel((kind, connection))
        self._leave(connection, now)

    # -------------------------------------------------------------- what to do
    def effects(self) -> Iterator[Effect]:
        """Report what is to be done, in order, each effect once."""
        while self._effects:
            yield self._effects.popleft()

    def next_deadline(self) -> float | None:
        """Say when ``deadline_passed`` is to be called next."""
        return self._deadlines.next()

    def deadline_passed(self, now: float) -> None:
        """Do what is due; nothing if it is too early."""
        self._deadlines.passed(now)

    def statistics(self) -> RelayStatistics:
        """Describe the relay at this instant, for tests and the log."""
        rooms = self._rooms.values()
        return RelayStatistics(
            sockets=len(self._connections),
            rooms=len(rooms),
            members=sum(len(room.members) for room in rooms),
            channels=len(self._channels),
            bytes=self._carried + sum(channel.meter.bytes for channel in self._channels),
            kept=sum(room.kept_bytes for room in rooms),
            unsent=sum(socket.unsent for socket in self._connections),
        )

    # -------------------------------------------------------------- messages
    def _handle(self, connection: Connection, message: ControlMessage, now: float) -> None:
        match connection.part, message.kind:
            case None, "create":
                self._create(connection, message, now)
            case None, "join":
                self._join(connection, message, now)
            case None, "channel":
                self._channel(connection, message, now)
            case RoomHost(room), "message":
                self._from_host(room, message, now)
            case RoomHost(room), "close":
                self._close_room(room, connection, message.reason(), now)
            case Member(room, number), "message":
                self._from_member(connection, room, number, message, now)
            case _:
                raise Refusal("bad-message")

    def _create(self, connection: Connection, message: ControlMessage, now: float) -> None:
        name = None if message.fields.get("room") is None else message.room()
        key = hashlib.sha256(bytes.fromhex(message.capability("key"))).digest()
        self._ration(self._opens, connection, now)
        if not connection.may_create:
            raise Refusal("not-authorized")
        room = self._rooms.get(name) if name else None
        if room is None:
            room = self._new_room(name, key, self._seconds(message), now)
        if not compare_digest(room.key, key):
            raise Refusal("room-taken")
        self._seat_host(room, connection, now)

    def _seconds(self, message: ControlMessage) -> float:
        if message.fields.get("seconds") is None:
            return self.limits.room_seconds
        return min(message.number("seconds"), self.limits.max_room_seconds)

    def _new_room(self, name: str | None, key: bytes, seconds: float, now: float) -> Room:
        if len(self._rooms) >= self.limits.max_rooms:
            raise Refusal("too-many-rooms", retry_after=self.limits.first_word)
        if name is None:
            name = self._nameplate(now)
        elif tombstone := self._ended.find(name, now):
            tombstone.check(key)
        self._ended.open(name)
        room = self._rooms[name] = Room.of(name, key, ends=now + seconds, limits=self.limits)
        self._deadlines.set(("ends", room), room.ends, partial(self._end_room, room, "expired"))
        return room

    def _nameplate(self, now: float) -> str:
        # Even with max_rooms and max_tombstones all but one in 75 nameplates are free.
        for _ in range(100):
            name = str(100_000 + self._random(900_000))
            if name not in self._rooms and self._ended.find(name, now) is None:
                return name
        raise Refusal("too-many-rooms", retry_after=self.limits.first_word)

    def _seat_host(self, room: Room, connection: Connection, now: float) -> None:
        earlier, room.host = room.host, connection
        connection.part = RoomHost(room)
        self._settled(connection)
        self._deadlines.cancel(("grace", room))
        if earlier:
            # Its end must not count as the host's.
            earlier.part = None
            self._refuse(earlier, Refusal("room-taken"), now)
        self._send(connection, type="created", room=room.name, seconds=_whole_seconds(room.ends - now))
        self._bring_up_to_date(room, connection)
        logger.info("socket %d hosts a %s room; rooms: %d", connection.number, room.kind, len(self._rooms))

    def _bring_up_to_date(self, room: Room, host: Connection) -> None:
        for number, member in room.members.items():
            self._send(host, type="joined", member=number)
            self._send(member, type="joined", member=0)
        for number, body in room.take_kept():
            self._send(host, **{"type": "message", "from": number, "body": body})

    def _join(self, connection: Connection, message: ControlMessage, now: float) -> None:
        name = message.room()
        self._ration(self._joins if is_code(name) else self._opens, connection, now)
        room = self._find(name, now)
        number = room.admit(connection, self.limits)
        self._settled(connection)
        if room.is_code:
            self._expect(connection, self.limits.first_word, "too-slow", now)
        for each in (connection, room.host):
            if each:
                self._send(each, type="joined", member=number)
        logger.info("socket %d joins a %s room as %d", connection.number, room.kind, number)

    def _find(self, name: str, now: float) -> Room:
        if room := self._rooms.get(name):
            return room
        if tombstone := self._ended.find(name, now):
            raise tombstone.refusal()
        raise Refusal("room-unknown")

    def _ration(self, rates: Rates, connection: Connection, now: float) -> None:
        if seconds := rates.take(connection.address, now):
            raise Refusal("rate-limited", retry_after=max(1, _whole_seconds(seconds)))

    # -------------------------------------------------------------- mailbox
    def _from_host(self, room: Room, message: ControlMessage, now: float) -> None:
        member, body = room.members.get(message.number("to")), message.body()
        if member is None:  # it left before the message arrived
            return
        if member.socket.unsent > self.limits.max_unsent:
            self._refuse(member, Refusal("too-slow"), now)
        elif self._affords(member, message):
            self._send(member, **{"type": "message", "from": 0, "body": body})
        else:
            self._refuse(member, Refusal("quota"), now)

    def _from_member(
        self, connection: Connection, room: Room, number: int, message: ControlMessage, now: float
    ) -> None:
        body = message.body()
        self._settled(connection)
        if not self._affords(connection, message):
            raise Refusal("quota")
        if room.host is None:
            room.keep(number, body, message.size, self.limits)
        elif room.host.socket.unsent > self.limits.max_unsent:
            raise Refusal("mailbox-full", retry_after=self.limits.ping_interval)
        else:
            self._send(room.host, **{"type": "message", "from": number, "body": body})

    def _affords(self, member: Connection, message: ControlMessage) -> bool:
        member.allowance -= message.size
        return member.allowance >= 0

    # -------------------------------------------------------------- channels
    def _channel(self, connection: Connection, message: ControlMessage, now: float) -> None:
        self._ration(self._opens, connection, now)
        room, name = self._find(message.capability("room"), now), message.capability("channel")
        if name not in room.channels:
            self._wait_in(room, name, connection, now)
        elif (channel := room.channels[name]) is None or channel.paired:
            raise Refusal("channel-taken")
        else:
            self._pair(channel, connection, now)

    def _wait_in(self, room: Room, name: str, connection: Connection, now: float) -> None:
        if len(room.channels) >= self.limits.max_channels:
            raise Refusal("quota")
        connection.part = room.channels[name] = Channel(room, name, [connection], Meter(room.budget))
        self._expect(connection, self.limits.channel_wait, "channel-timeout", now)

    def _pair(self, channel: Channel, connection: Connection, now: float) -> None:
        channel.ends.append(connection)
        connection.part = channel
        self._channels.add(channel)
        first, second = channel.ends
        self._effects.append(Splice(first.socket, second.socket, channel.meter))
        for end in channel.ends:
            self._settled(end)
            self._send(end, type="paired")
        self._watch(channel, now)
        logger.info("sockets %d and %d are paired", first.number, second.number)

    def _watch(self, channel: Channel, now: float) -> None:
        action = partial(self._check_idle, channel, channel.meter.bytes)
        self._deadlines.set(("idle", channel), now + self.limits.channel_idle, action)

    def _check_idle(self, channel: Channel, before: int, now: float) -> None:
        if channel.meter.bytes == before:
            self._end_channel(channel, POLICY, "too-slow", now)
        else:
            self._watch(channel, now)

    def _end_channel(self, channel: Channel, code: int, reason: str, now: float) -> None:
        first, second = channel.ends
        channel.room.channels[channel.name] = None
        self._channels.discard(channel)
        self._carried += channel.meter.bytes
        self._deadlines.cancel(("idle", channel))
        logger.info("sockets %d and %d part; bytes: %d", first.number, second.number, channel.meter.bytes)
        for end in channel.ends:
            end.part = None
            self._close(end, code, reason, now)

    # -------------------------------------------------------------- ends
    def _close_room(self, room: Room, host: Connection, reason: str, now: float) -> None:
        # The host ended the room itself, so it gets no refusal.
        room.host = None
        host.part = None
        self._end_room(room, reason, now)
        self._close(host, NORMAL, "", now)

    def _end_room(self, room: Room, reason: str, now: float) -> None:
        del self._rooms[room.name]
        tombstone = self._ended.bury(room, reason, now)
        self._deadlines.cancel(("ends", room))
        self._deadlines.cancel(("grace", room))
        logger.info("a %s room ends: %s; rooms: %d", room.kind, reason, len(self._rooms))
        for connection in room.present():
            connection.part = None
            self._refuse(connection, tombstone.refusal(), now)

    def _leave(self, connection: Connection, now: float) -> None:
        part, connection.part = connection.part, None
        match part:
            case RoomHost(room):
                self._host_left(room, now)
            case Member(room, number):
                room.dismiss(number)
                if room.host:
                    self._send(room.host, type="left", member=number)
            case Channel(paired=True):
                self._end_channel(part, NORMAL, "", now)
            case Channel():
                del part.room.channels[part.name]

    def _host_left(self, room: Room, now: float) -> None:
        room.host = None
        for member in room.members.values():
            self._send(member, type="left", member=0)
        when = now + self.limits.host_grace
        self._deadlines.set(("grace", room), when, partial(self._end_room, room, "left"))

    # -------------------------------------------------------------- one socket
    def _send(self, connection: Connection, **fields: Any) -> None:
        self._effects.append(Send(connection.socket, fields))

    def _refuse(self, connection: Connection, refusal: Refusal, now: float) -> None:
        logger.info("socket %d is refused: %s", connection.number, refusal.code)
        self._effects.append(Send(connection.socket, refusal.fields()))
        self._close(connection, POLICY, refusal.code, now)

    def _close(self, connection: Connection, code: int, reason: str, now: float) -> None:
        if connection.closing:
            return
        connection.closing = True
        self._effects.append(Close(connection.socket, code, reason))
        self._deadlines.cancel(("ping", connection))
        self._at_last(connection, now + self.limits.closing)
        self._leave(connection, now)

    def _at_last(self, connection: Connection, when: float) -> None:
        def abort(_: float) -> None:
            self._effects.append(Abort(connection.socket))

        self._deadlines.set(("phase", connection), when, abort)

    def _expect(self, connection: Connection, seconds: float, code: str, now: float) -> None:
        def passed(now: float) -> None:
            self._refuse(connection, Refusal(code), now)

        self._deadlines.set(("phase", connection), now + seconds, passed)

    def _settled(self, connection: Connection) -> None:
        self._deadlines.cancel(("phase", connection))

    def _ping_later(self, connection: Connection, now: float) -> None:
        when = now + self.limits.ping_interval
        self._deadlines.set(("ping", connection), when, partial(self._ping, connection))

    def _ping(self, connection: Connection, now: float) -> None:
        # The pong of a paired socket may wait behind data; a channel's bytes are watched instead.
        paired = isinstance(connection.part, Channel)
        if not connection.heard and not paired:
            self._refuse(connection, Refusal("too-slow"), now)
            return
        connection.heard = False
        self._effects.append(Ping(connection.socket))
        self._ping_later(connection, now)


def _whole_seconds(duration: float) -> int:
    """Round a difference of two times up."""
    # as floats, (now + 60) - now can be a hair more than 60, which is no second of its own
    return math.ceil(round(duration, 6))
