"""The keys of a pairing: everything that is derived from its root, and the sealing of signals.

``root`` is 32 bytes that only the two sides know, from :mod:`nbferry.crypto.pake`. Every value has a label
of its own, so that knowing one, or showing one to the relay, says nothing of another:

    psk         HKDF-Expand(root, "nbferry/v1/psk", 32)         mixed into every Noise handshake
    room        HKDF-Expand(root, "nbferry/v1/room", 16)        in hex: where the two sides meet again
    channel     HKDF-Expand(root, "nbferry/v1/channel" || L(nonce of A) || L(nonce of B), 16)
                                                                in hex: one pipe through the relay
    signal key  HKDF(salt, root, "nbferry/v1/signal A", 32)     or B: the sender's role

HKDF is RFC 5869 with SHA-256; L(x) is the length of x as a big-endian u16, and x. A signal is what the two
sides tell each other through the relay before they are connected (where they listen, which pipe to use):

    salt (32 random bytes) || AES-256-GCM(signal key, nonce 0, body)

The salt is fresh for every message, so a key seals one message only. That needs no memory, so no crash and no
restored backup breaks it. The role in the label makes a message that is thrown back to its sender unreadable. The
relay can still withhold a signal or repeat an old one, so each body says to which call it belongs.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import pack
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from nbferry.errors import LocalProtocolError, RemoteProtocolError
from nbferry.limits import KiB

Side = Literal["A", "B"]
"""A shares (hosts the room of the code), B joins."""

# Of the body: in hex it has to fit into one message of the relay, 64 KiB.
MAX_SIGNAL = 16 * KiB

_SALT, _TAG = 32, 16
_NONCE = bytes(12)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract of RFC 5869 with SHA-256."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand of RFC 5869 with SHA-256; ``key`` is 32 bytes that are uniformly random."""
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(key)


@dataclass(frozen=True)
class SessionKeys:
    """What two sides share once each has proved that it knows the code."""

    root: bytes = field(repr=False)
    random: Callable[[int], bytes] = field(default=secrets.token_bytes, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.root) != 32:
            raise LocalProtocolError(f"A root of {len(self.root)} bytes.")

    @property
    def psk(self) -> bytes:
        """The pre-shared key of every Noise handshake of this pairing, 32 bytes."""
        return expand(self.root, b"nbferry/v1/psk")

    @property
    def room(self) -> str:
        """The room of the relay where the two sides meet again, 32 hexadecimal digits."""
        return expand(self.root, b"nbferry/v1/room", 16).hex()

    @property
    def host_key(self) -> str:
        """The key by which the sender hosts that room, also after a restart of the relay, 32 hexadecimal digits."""
        return expand(self.root, b"nbferry/v1/host", 16).hex()

    def channel(self, nonce_a: bytes, nonce_b: bytes) -> str:
        """Name the pipe of one attempt to connect, 32 hexadecimal digits; each side drew one nonce for it."""
        info = b"nbferry/v1/channel"
        for nonce in (nonce_a, nonce_b):
            info += pack("!H", len(nonce)) + nonce
        return expand(self.root, info, 16).hex()

    def seal_signal(self, sender: Side, body: bytes) -> bytes:
        """Seal a signal of ``sender``, at most ``MAX_SIGNAL`` bytes, under a key that is never used again."""
        if len(body) > MAX_SIGNAL:
            raise LocalProtocolError(f"A signal of {len(body)} bytes is too large.")
        salt = self.random(_SALT)
        return salt + self._signal_cipher(sender, salt).encrypt(_NONCE, body, None)

    def open_signal(self, sender: Side, message: bytes) -> bytes:
        """Open a signal of ``sender``; raises :class:`RemoteProtocolError` if another wrote it."""
        if not _SALT + _TAG <= len(message) <= _SALT + MAX_SIGNAL + _TAG:
            raise RemoteProtocolError("A signal has an impossible length.")
        salt, sealed = message[:_SALT], message[_SALT:]
        try:
            return self._signal_cipher(sender, salt).decrypt(_NONCE, sealed, None)
        except InvalidTag:
            raise RemoteProtocolError("A signal was not sealed by the other side of this pairing.") from None

    def _signal_cipher(self, sender: Side, salt: bytes) -> AESGCM:
        return AESGCM(expand(extract(salt, self.root), b"nbferry/v1/signal " + sender.encode()))
