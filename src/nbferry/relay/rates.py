"""Token buckets: how often an address may do something."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address


def network_of(address: str) -> str:
    """What a rate counts for: an address, or the /64 of an IPv6 address, as one person owns all of it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


class Rates:
    """One bucket of ``per_minute`` tokens for each of at most ``max_addresses``."""

    def __init__(self, per_minute: int, max_addresses: int) -> None:
        self._burst = float(per_minute)
        self._per_second = per_minute / 60
        self._max_addresses = max_addresses
        self._buckets: dict[
            str, tuple[float, float]
        ] = {}  # tokens and time of the last use; oldest use first

    def take(self, address: str, now: float) -> float:
        """Take a token; return 0, or the seconds until a token is free."""
        bucket = network_of(address)
        tokens, before = self._buckets.pop(bucket, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        granted = tokens >= 1
        self._buckets[bucket] = (tokens - granted, now)
        if len(self._buckets) > self._max_addresses:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if granted else (1 - tokens) / self._per_second
