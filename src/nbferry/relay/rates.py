"""Token buckets: how often an address may do something."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address


def network_of(address: str) -> str:
    """Say what a rate counts for: an address, or the /64 of an IPv6 address, as one person owns all of it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(IPv6Network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


class Rates:
    """One bucket of ``per_minute`` tokens for each of at most ``most`` addresses."""

    def __init__(self, per_minute: int, most: int) -> None:
        self._burst = float(per_minute)
        self._per_second = per_minute / 60
        self._most = most
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when; the longest unused first

    def take(self, address: str, now: float) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        bucket = network_of(address)
        tokens, before = self._buckets.pop(bucket, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        granted = tokens >= 1
        self._buckets[bucket] = (tokens - granted, now)
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if granted else (1 - tokens) / self._per_second
