"""Every number that can be tuned, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

# Nothing larger is ever sent: a Jupyter server closes a WebSocket at 10 MiB.
MAX_MESSAGE = 4 * MiB


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one transfer. Sizes are bytes, times are seconds."""

    chunk_size: int = 1 * MiB
    """Unit of verification. 1 MiB amortises Python's cost per call; 64 KiB halves the speed."""

    window: int = 16 * MiB
    """Bytes requested and not yet stored. 4 x 100 Mbit/s x 300 ms; it bounds the receiver's memory."""

    read_ahead: int = 8 * MiB
    """Bytes that the sender has read and hashed but not yet sent."""

    high_water: int = 2 * MiB
    """Unsent bytes in a transport above which ``send`` waits: two messages keep a socket busy."""

    channel_high_water: int = 1 * MiB
    """Unsent bytes in a data channel above which ``send`` waits: one message queued behind another."""

    channel_low_water: int = 256 * KiB
    """Unsent bytes in a data channel at which ``send`` resumes: 20 ms at 100 Mbit/s, so that it never runs dry."""

    channel_window: int = 16 * MiB
    """Unacknowledged bytes in flight on a data channel, at most: as many as are ever requested at once."""

    sync_bytes: int = 64 * MiB
    """Stored bytes after which they are made durable: the most that a crash can cost."""

    sync_interval: float = 2.0
    """Seconds after which stored bytes are made durable on a slow connection."""

    report_interval: float = 0.2
    """Seconds between two progress reports, to the peer and to a face."""

    ping_interval: float = 10.0
    """Seconds of sending nothing after which a PING is sent."""

    dead_after: float = 30.0
    """Seconds of receiving nothing after which a link counts as dead."""

    connect_timeout: float = 10.0
    """Seconds in which one path must be connected and authenticated."""

    gather_timeout: float = 2.0
    """Seconds that STUN and TURN servers get to answer; then nbferry uses the addresses that it knows."""

    direct_head_start: float = 0.3
    """Seconds of head start for direct paths over the relay (RFC 8305 advises 0.25)."""

    path_trial: float = 2.0
    """Seconds that a path carries a transfer before it is compared with others: some round trips of a slow path."""

    backoff_first: float = 0.25
    """Seconds before the first reconnection; doubles, with jitter, up to ``backoff_most``."""

    backoff_most: float = 15.0
    """Seconds between two reconnections at most."""

    chunk_attempts: int = 3
    """How often one chunk may arrive damaged before the peer is dropped."""

    auto_accept: int = 10 * MiB
    """Offers of at most this many bytes are accepted without asking when ``accept`` is None."""

    max_entries: int = 200_000
    """Files and folders in one offer."""

    max_bytes: int = 1 << 50
    """Bytes in one offer: a pebibyte."""

    max_active: int = 3
    """Transfers that may run at once in each direction; the others are queued."""

    offer_ttl: float = 3600.0
    """Seconds for which an offer is valid."""

    space_poll: float = 5.0
    """Seconds between two checks of the free space while the disk is full."""

    keep_unfinished: float = 7 * 24 * 3600.0
    """Seconds of disuse after which an unfinished transfer is removed."""

    retries_before_paused: int = 3
    """Failed attempts to connect after which a transfer is shown as paused; it keeps trying."""

    def __post_init__(self) -> None:
        if not 4 * KiB <= self.chunk_size <= 64 * MiB:
            raise ValueError(f"chunk_size must be from 4 KiB to 64 MiB, not {self.chunk_size}")
        if self.window < self.chunk_size or self.read_ahead < self.chunk_size:
            raise ValueError("window and read_ahead must hold at least one chunk")
