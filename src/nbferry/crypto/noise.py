"""The handshake of every connection: exactly ``Noise_NNpsk0_25519_AESGCM_SHA256`` (noiseprotocol.org).

    -> psk, e          from the initiator
    <- e, ee           from the responder

Both keys ``e`` are made for this connection only: an attacker who stores today's traffic and learns the psk
tomorrow still cannot read it. The psk is mixed in before anything else, so a stranger's first message does not open
and gets no answer. The prologue is not sent: if the two sides have different ones, nothing opens. After the second
message both sides ``split`` into one key for each direction.

Names follow chapter 5 of the specification, revision 34.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nbferry.crypto import Buffer
from nbferry.crypto.keys import extract
from nbferry.crypto.sealed_frames import TAG, nonce
from nbferry.errors import LocalProtocolError, RemoteProtocolError, TransportBroken

NAME = b"Noise_NNpsk0_25519_AESGCM_SHA256"  # as long as a hash, and so the first hash as it stands
MAX_NOISE_MESSAGE = 65_535  # bytes, by the specification

_KEY = 32  # bytes of a key of either kind


class WrongKey(TransportBroken):
    """The other end of this connection does not have the key of this pairing.

    Retryable: another path, or the next try, may lead to the peer, and a message that was damaged on its way looks
    the same.
    """

    code = "wrong-key"


class _Symmetric:
    """Noise's SymmetricState and CipherState, after ``MixHash(prologue)`` and ``MixKeyAndHash(psk)``."""

    def __init__(self, prologue: bytes, psk: bytes) -> None:
        self.hash = self._chaining_key = NAME
        self.mix_hash(prologue)
        self._chaining_key, digest, key = self._derive(psk, 3)
        self.mix_hash(digest)
        self._use(key)

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = self._derive(material, 2)
        self._use(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(self._next_nonce(), plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        try:
            plaintext = self._cipher.decrypt(self._next_nonce(), ciphertext, self.hash)
        except InvalidTag:
            raise WrongKey from None
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> list[bytes]:
        return self._derive(b"", 2)

    def _use(self, key: bytes) -> None:
        self._cipher, self._count = AESGCM(key), 0

    def _next_nonce(self) -> bytes:
        self._count += 1
        return nonce(self._count - 1)

    def _derive(self, material: bytes, count: int) -> list[bytes]:
        """Noise's HKDF: that many keys."""
        temporary, outputs = extract(self._chaining_key, material), [b""]
        for number in range(1, count + 1):
            outputs.append(hmac.digest(temporary, outputs[-1] + bytes([number]), "sha256"))
        return outputs[1:]


class _Handshake:
    """What both sides do. One object serves one connection; after a step that fails, every step is refused."""

    _steps: tuple[str, ...]
    _send_key: ClassVar[int]

    def __init__(
        self, psk: bytes, prologue: bytes, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        if len(psk) != _KEY:
            raise LocalProtocolError(f"A pre-shared key of {len(psk)} bytes.")
        self._symmetric = _Symmetric(prologue, psk)
        self._ephemeral = X25519PrivateKey.from_private_bytes(random(_KEY))
        self._shared = b""

    @property
    def hash(self) -> bytes:
        """Noise's handshake hash: names this handshake once it is over. It is not a secret."""
        return self._symmetric.hash

    def write_message(self, payload: bytes = b"") -> bytes:
        """Make our message. Only the other side can read its payload."""
        rest = self._begin_step("write")
        if _KEY + len(payload) + TAG > MAX_NOISE_MESSAGE:
            raise LocalProtocolError(f"A payload of {len(payload)} bytes is too large for a handshake.")
        key = self._ephemeral.public_key().public_bytes_raw()
        self._mix(key, last=not rest)
        message = key + self._symmetric.encrypt_and_hash(payload)
        self._steps = rest
        return message

    def read_message(self, message: Buffer) -> bytes:
        """Read the other side's message and give its payload.

        Raises :class:`WrongKey` if it was not made with our psk and prologue, and
        :class:`RemoteProtocolError` if it cannot be a message of this handshake.
        """
        rest = self._begin_step("read")
        if not _KEY + TAG <= len(message) <= MAX_NOISE_MESSAGE:
            raise RemoteProtocolError(f"A handshake message of {len(message)} bytes arrived.")
        key, sealed = bytes(message[:_KEY]), bytes(message[_KEY:])
        self._agree(key)
        self._mix(key, last=not rest)
        payload = self._symmetric.decrypt_and_hash(sealed)
        self._steps = rest
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """Give the key to send with and the key to receive with, 32 bytes each."""
        if self._steps:
            raise LocalProtocolError("The handshake is not over.")
        keys = self._symmetric.split()
        return keys[self._send_key], keys[1 - self._send_key]

    def _begin_step(self, what: str) -> tuple[str, ...]:
        """Return the steps after this one. Until this one has succeeded, every step is refused."""
        steps, self._steps = self._steps, ("nothing",)
        if steps[:1] != (what,):
            raise LocalProtocolError(f"The handshake does not {what} a message now.")
        return steps[1:]

    def _agree(self, key: bytes) -> None:
        try:
            self._shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError:
            # One of the few points that give the same secret for every key.
            raise RemoteProtocolError("The other side sent an unsafe key.") from None

    def _mix(self, key: bytes, *, last: bool) -> None:
        """Mix in the token e (into the key as well, as there is a psk), and ee in the last message."""
        self._symmetric.mix_hash(key)
        self._symmetric.mix_key(key)
        if last:
            self._symmetric.mix_key(self._shared)


class Initiator(_Handshake):
    """The side that begins: ``write_message``, ``read_message``, ``split``."""

    _steps = ("write", "read")
    _send_key = 0


class Responder(_Handshake):
    """The side that answers: ``read_message``, ``write_message``, ``split``."""

    _steps = ("read", "write")
    _send_key = 1
