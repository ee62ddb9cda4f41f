"""Every number of the relay that can be tuned, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

from nbferry.limits import MAX_MESSAGE, KiB, MiB


@dataclass(frozen=True, kw_only=True)
class RelayLimits:
    """Bounds of one relay. Sizes are bytes, times are seconds."""

    max_sockets: int = 4096
    """Sockets at once. Each costs some 70 KiB, and a process has few file descriptors."""

    max_rooms: int = 2000
    """Rooms at once. With ``kept_bytes`` it bounds what mailboxes can hold: 128 MiB."""

    max_code_members: int = 8
    """Members of a code room: one is expected; guessers beside it must not lock it out."""

    max_members: int = 256
    """Members of a capability room: a large class."""

    joins_per_minute: int = 20
    """Joins of code rooms per address. At this rate a search of all nameplates takes a month."""

    opens_per_minute: int = 600
    """Rooms created, capability rooms joined and channels opened, per address: 128 bits cannot be guessed, and
    one address may be a class behind a proxy."""

    max_addresses: int = 10_000
    """Addresses whose recent rate is remembered; the one that was quiet longest is forgotten."""

    max_control: int = 64 * KiB
    """One control message. The largest that is expected, a WebRTC description, has 10 KiB."""

    member_bytes: int = 4 * MiB
    """Control messages to and from one member, in all: enough to meet, too little to be a transfer."""

    kept_messages: int = 16
    """Messages kept for an absent host: two from each member of a code room."""

    kept_bytes: int = 64 * KiB
    """Bytes of messages kept for an absent host."""

    max_unsent: int = 256 * KiB
    """Control messages that a socket has not taken yet; above this it is too slow."""

    max_message: int = MAX_MESSAGE + 64 * KiB
    """One message in a channel: the largest frame, sealed."""

    max_channels: int = 10_000
    """Channels that one room may open through its life; their ids are remembered, as each works once."""

    channel_bytes: int | None = None
    """Bytes that the channels of one room may carry, both ways, through its life; None is no limit."""

    read_size: int = 120 * KiB
    """Bytes that are read from a channel's socket at once. From glibc's 128 KiB on, each read gets fresh memory that
    must be cleared: in a Jupyter server messages of 1 MiB passed at half the speed."""

    first_message: float = 5.0
    """Time for a socket to say what it is."""

    first_word: float = 60.0
    """Time for the member of a code room to send its first message: a code has few seats."""

    channel_wait: float = 30.0
    """Time that the first socket of a channel waits for the second."""

    channel_idle: float = 120.0
    """Time without a message after which a channel is cut. Peers talk every 10 s, but one message of 4 MiB
    takes half a minute at 1 Mbit/s."""

    ping_interval: float = 15.0
    """Time between two pings; a socket in a room that sends nothing between them is refused. Proxies cut connections
    that are idle for 60 s, and our client pings after 20 s."""

    closing: float = 30.0
    """Time that a closed socket has to take what was sent to it before."""

    room_seconds: float = 3600.0
    """Life of a room whose host names none."""

    max_room_seconds: float = 7 * 24 * 3600.0
    """Longest life of a room."""

    host_grace: float = 600.0
    """Time that a room waits for its host to come back."""

    max_tombstones: int = 10_000
    """Ended rooms that are remembered; the oldest is forgotten."""

    tombstone_seconds: float = 3600.0
    """Time that an ended room is remembered, so that late-comers learn why it ended."""


DEFAULT_RELAY_LIMITS = RelayLimits()
