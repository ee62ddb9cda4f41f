"""What one end of a data channel tells the other before they are connected: the values of an SDP, without SDP.

A description comes from a peer, so every count, length and number in it is bounded here, once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from typing_extensions import override

from nbferry.errors import RemoteProtocolError

CandidateKind = Literal["host", "srflx", "relay"]

MAX_DIALLED = 8  # a peer cannot make us dial more
MAX_CANDIDATES = 64  # a description with more is refused
DEFAULT_MAX_MESSAGE = 65_536  # of a peer that does not say (RFC 8841, section 6)
BASE_PACKET = 1_160  # bytes of an SCTP packet that every path and every end takes: 1,197 of UDP, with DTLS
MAX_PACKET = 16_384  # the largest DTLS record

# Bytes of the digests that RFC 8122 names and that still count as secure.
_DIGESTS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839, section 5.4
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")  # section 5.1
_LOOPBACK = re.compile(r"127\.|::1$")


@dataclass(frozen=True)
class Candidate:
    """An address at which an end may be reached over UDP (RFC 8445)."""

    kind: CandidateKind
    ip: str
    port: int
    priority: int
    foundation: str

    def to_json(self) -> list[Any]:
        """Its fields in order."""
        return [self.kind, self.ip, self.port, self.priority, self.foundation]

    @classmethod
    def from_json(cls, fields: object) -> Candidate:
        """Read one; raises ValueError or TypeError."""
        kind, ip, port, priority, foundation = cast("list[Any]", fields)
        if kind not in ("host", "srflx", "relay") or not isinstance(ip, str) or len(ip) > 64:
            raise ValueError("no address")
        _whole(port, 1, 65_535)
        _whole(priority, 1, (1 << 31) - 1)
        if not ip.endswith(".local"):  # the name that a browser hides an address behind (mDNS)
            ip = str(ipaddress.ip_address(ip))
        return cls(kind, ip, port, priority, _matching(_FOUNDATION, foundation))


@dataclass(frozen=True)
class Description:
    """One end: how to authenticate it, where it may be reached, and what it can do."""

    ufrag: str
    password: str
    candidates: tuple[Candidate, ...]
    fingerprints: tuple[tuple[str, str], ...]  # algorithm, "AB:CD:…"
    max_message: int = DEFAULT_MAX_MESSAGE  # bytes of a data channel message that it takes; 0: any
    max_packet: int = BASE_PACKET  # bytes of an SCTP packet that it takes, if the path carries it

    @override
    def __repr__(self) -> str:
        """Without the password."""
        return f"Description({self.ufrag}, {len(self.candidates)} candidates)"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "ufrag": self.ufrag,
            "password": self.password,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "fingerprints": dict(self.fingerprints),
            "max_message": self.max_message,
            "max_packet": self.max_packet,
        }

    @classmethod
    def from_json(cls, fields: object) -> Description:
        """Read what a peer sent; raises :class:`RemoteProtocolError` for anything but a description."""
        try:
            return cls._read(cast("Mapping[str, Any]", fields))
        except (ValueError, TypeError, KeyError) as error:
            raise RemoteProtocolError("A description of a data channel cannot be read.") from error

    @classmethod
    def _read(cls, fields: Mapping[str, Any]) -> Description:
        candidates = fields["candidates"]
        if not isinstance(candidates, list) or len(candidates) > MAX_CANDIDATES:
            raise ValueError("too many candidates")
        return cls(
            ufrag=_matching(_UFRAG, fields["ufrag"]),
            password=_matching(_PASSWORD, fields["password"]),
            candidates=tuple(map(Candidate.from_json, candidates)),
            fingerprints=_fingerprints(fields["fingerprints"]),
            max_message=_whole(fields.get("max_message", DEFAULT_MAX_MESSAGE), 0, 1 << 40),
            max_packet=min(_whole(fields.get("max_packet", BASE_PACKET), BASE_PACKET, 1 << 16), MAX_PACKET),
        )

    def dialable(self, *, same_machine: bool) -> list[Candidate]:
        """Its candidates to which checks may be sent: plain addresses, loopback only on the same machine.

        The best of each kind come first, so that many addresses of a machine do not crowd out a TURN server.
        """
        plain = [each for each in self.candidates if not each.ip.endswith(".local")]
        allowed = [each for each in plain if may_dial(each.ip, same_machine=same_machine)]
        return best(allowed, MAX_DIALLED)


def best(candidates: Iterable[Candidate], limit: int) -> list[Candidate]:
    """At most ``limit`` candidates: the best of each kind, then the second best of each, and so on."""
    found = sorted(candidates, key=lambda each: -each.priority)
    ranked: list[tuple[int, int, Candidate]] = []
    for kind in ("host", "srflx", "relay"):
        alike = (each for each in found if each.kind == kind)
        ranked += [(place, -each.priority, each) for place, each in enumerate(alike)]
    return [each for _, _, each in sorted(ranked, key=lambda entry: entry[:2])[:limit]]


def may_dial(ip: str, *, same_machine: bool) -> bool:
    """Whether a peer may make us send a check to an address. Raises ValueError for a host name."""
    address = ipaddress.ip_address(ip)
    address = getattr(address, "ipv4_mapped", None) or address  # ::ffff:127.0.0.1 leads to our own loopback
    if address.is_loopback:
        return same_machine
    return not (address.is_multicast or address.is_unspecified or address.is_reserved)


def binding(controlling: Description, controlled: Description) -> bytes:
    """Both ends' DTLS fingerprints in one canonical form, to be mixed into the handshake of Noise."""
    ends = (sorted(end.fingerprints) for end in (controlling, controlled))
    return b"\0".join(";".join(f"{name} {value}" for name, value in end).encode() for end in ends)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError("no such word")
    return value


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError("a number out of bounds")
    return value


def _fingerprints(named: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(named, dict) or not named or len(named) > len(_DIGESTS):
        raise ValueError("no fingerprints")
    return tuple(sorted((name, _fingerprint(_DIGESTS[name], value)) for name, value in named.items()))


def _fingerprint(length: int, value: object) -> str:
    read: Callable[[str], bytes] = bytes.fromhex
    if not isinstance(value, str) or len(value) != 3 * length - 1:
        raise ValueError("no fingerprint")
    return read(value.replace(":", "")).hex(":").upper()
