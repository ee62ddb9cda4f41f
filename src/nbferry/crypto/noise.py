"""The handshake of every connection: exactly ``Noise_NNpsk0_25519_AESGCM_SHA256`` (https://noiseprotocol.org, rev. 34).

    NNpsk0:                             X25519 keys of this connection only: who records today's traffic and learns
      -> psk, e                         the psk tomorrow cannot read it. The psk proves who is there, from the first
      <- e, ee                          message on: a stranger gets no answer.

Names follow chapter 5 of the specification. The prologue is not sent; if the two sides do not have the same one,
the handshake fails. After the second message both sides ``split`` into one key for each direction.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nbferry.crypto.keys import extract
from nbferry.crypto.records import nonce
from nbferry.errors import LocalProtocolError, RemoteProtocolError, TransportBroken

NAME = b"Noise_NNpsk0_25519_AESGCM_SHA256"  # 32 bytes, as long as a hash: it is the first h as it stands
MAX_NOISE_MESSAGE = 65_535  # bytes, by the specification

_KEY, _TAG = 32, 16


class WrongKey(TransportBroken):
    """Whoever is at the other end of this connection does not have the key of this pairing.

    Retryable: another path, or the next try, may lead to the right one. A message that was damaged on its way looks
    the same.
    """

    code = "wrong-key"


class _Symmetric:
    """Noise's SymmetricState, with its CipherState."""

    def __init__(self, prologue: bytes) -> None:
        self.hash = NAME
        self._chaining_key = NAME
        self._cipher: AESGCM | None = None
        self._number = 0
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = self._derive(material, 2)
        self._use(key)

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, digest, key = self._derive(material, 3)
        self.mix_hash(digest)
        self._use(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._take_cipher().encrypt(nonce(self._number - 1), plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        try:
            plaintext = self._take_cipher().decrypt(nonce(self._number - 1), ciphertext, self.hash)
        except InvalidTag:
            raise WrongKey from None
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        first, second = self._derive(b"", 2)
        return first, second

    def _use(self, key: bytes) -> None:
        self._cipher, self._number = AESGCM(key), 0

    def _take_cipher(self) -> AESGCM:
        """Give the cipher for one message and count it. NNpsk0 has a key before its first payload."""
        assert self._cipher
        self._number += 1
        return self._cipher

    def _derive(self, material: bytes, count: int) -> list[bytes]:
        """Noise's HKDF: ``count`` keys of 32 bytes."""
        temporary = extract(self._chaining_key, material)
        outputs = [b""]
        for number in range(1, count + 1):
            outputs.append(hmac.digest(temporary, outputs[-1] + bytes([number]), "sha256"))
        return outputs[1:]
