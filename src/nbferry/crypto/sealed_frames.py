"""Sealed frames: one frame of the protocol, encrypted, in each transport message of a connection.

    sealed frame n  =  AES-256-GCM(key, 4 zero bytes || u64 big-endian n, frame)      16 bytes longer than the frame

Each direction has a key of its own from the handshake of this connection, and counts from 0. The number does not
travel: the receiver counts too. So a sealed frame that is repeated, missing, swapped or changed does not open. After
every 2^20 sealed frames both sides replace the key as Noise's REKEY does, by the first 32 bytes of the encryption of
32 zero bytes under the number 2^64-1; the count continues. Keys and counts are never stored, so no number is ever
used twice under a key.

These are Noise transport messages except for their size. Noise allows 65,535 bytes; a sealed frame has up to
``limits.MAX_MESSAGE`` + 16, so that Python's cost per message does not set the speed. AES-GCM is sound with that: a
message may have 64 GiB, and 2^20 sealed frames of 4 MiB under one key are 2^38 blocks, which gives an attacker an
advantage of about 2^-53.

A sealed frame that does not open means that the path repeats, reorders or damages messages, by accident or on
purpose. No later one can be trusted, so the connection ends as :class:`TransportBroken`, which is retried with a new
connection and new keys.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nbferry.crypto import Buffer
from nbferry.errors import LocalProtocolError, TransportBroken
from nbferry.limits import MAX_MESSAGE

TAG = 16  # bytes by which a sealed frame is longer than its frame
REKEY_EVERY = 1 << 20  # sealed frames under one key: 1 TiB of 1 MiB chunks

_LAST = (1 << 64) - 1  # a number that Noise reserves for REKEY


def nonce(number: int) -> bytes:
    """Make the nonce of a message number, as Noise lays it out for AES-GCM."""
    return bytes(4) + number.to_bytes(8)


class _Counted:
    """A key and the number of the next sealed frame. For one thread at a time."""

    def __init__(self, key: bytes, *, rekey_every: int = REKEY_EVERY) -> None:
        self._cipher = AESGCM(key)
        self._next = 0
        self._rekey_every = rekey_every

    def _take_nonce(self) -> bytes:
        """Count a number as used before it is used, so that no failure makes it used twice."""
        number = self._next
        if number and number % self._rekey_every == 0:
            self._cipher = AESGCM(self._cipher.encrypt(nonce(_LAST), bytes(32), None)[:32])
        self._next = number + 1
        return nonce(number)


class Sealer(_Counted):
    """Seals the frames of one direction, in order. ``key`` has 32 bytes and has sealed nothing before."""

    def seal_into(self, plaintext: Buffer, out: memoryview) -> int:
        """Seal a frame into the beginning of ``out``, without a copy; return the size of the sealed frame.

        Raises :class:`LocalProtocolError` if the frame is too large, for the protocol or for ``out``.
        """
        size = len(plaintext) + TAG
        if len(plaintext) > MAX_MESSAGE or len(out) < size:
            raise LocalProtocolError(f"A frame of {len(plaintext)} bytes cannot be sealed into {len(out)}.")
        taken = self._take_nonce()
        return self._cipher.encrypt_into(taken, plaintext, None, out[:size])

    def seal(self, plaintext: Buffer) -> bytes:
        """Seal a frame into new memory."""
        sealed = bytearray(len(plaintext) + TAG)
        self.seal_into(plaintext, memoryview(sealed))
        return bytes(sealed)


class Opener(_Counted):
    """Opens the sealed frames of one direction, in order; after one that does not open, none does."""

    _dead = False

    def open_into(self, sealed: Buffer, out: memoryview) -> int:
        """Open a sealed frame into the beginning of ``out``, without a copy; return the size of the frame.

        Raises :class:`TransportBroken` if it is not the next one, and leaves zeros in ``out``: AES-GCM decrypts before
        it knows, and that plaintext must not be used. Raises :class:`LocalProtocolError` if ``out`` is too small.
        """
        size = self._frame_size(sealed)
        if len(out) < size:
            raise LocalProtocolError(f"A frame of {size} bytes cannot be opened into {len(out)}.")
        taken = self._take_nonce()
        try:
            return self._cipher.decrypt_into(taken, sealed, None, out[:size])
        except InvalidTag:
            out[:size] = bytes(size)
            raise self._broken() from None

    def open(self, sealed: Buffer) -> bytes:
        """Open a sealed frame into new memory; raises :class:`TransportBroken` likewise."""
        self._frame_size(sealed)
        taken = self._take_nonce()
        try:
            return self._cipher.decrypt(taken, sealed, None)
        except InvalidTag:
            raise self._broken() from None

    def _frame_size(self, sealed: Buffer) -> int:
        size = len(sealed) - TAG
        if self._dead or not 0 <= size <= MAX_MESSAGE:
            raise self._broken()
        return size

    def _broken(self) -> TransportBroken:
        self._dead = True
        return TransportBroken("A message arrived damaged or out of order.")
