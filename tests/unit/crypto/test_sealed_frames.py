from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dissononce.cipher.aesgcm import AESGCMCipher

from nbferry.crypto.sealed_frames import REKEY_EVERY, TAG, Opener, Sealer, nonce
from nbferry.errors import LocalProtocolError, TransportBroken
from nbferry.limits import MAX_MESSAGE

KEY = bytes(range(32))


def sealed(*frames: bytes) -> list[bytes]:
    """The sealed frames of some frames."""
    sealer = Sealer(KEY)
    return [sealer.seal(frame) for frame in frames]


def test_nonces() -> None:
    """A nonce is four zero bytes and the big-endian number, as Noise defines it for AES-GCM."""
    assert nonce(0x0102) == bytes(10) + b"\x01\x02"
    assert len({nonce(number) for number in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"", "530f8afbc74536b9a963b4f1c4cb738b"),
        (bytes(16), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ],
)
def test_known_answers(frame: bytes, expected: str) -> None:
    """The first sealed frame under a zero key is test case 13 or 14 of the GCM specification (McGrew, Viega)."""
    assert Sealer(bytes(32)).seal(frame).hex() == expected
    assert Opener(bytes(32)).open(bytes.fromhex(expected)) == frame


def test_in_order() -> None:
    """Sealed frames of any length open in the order of sealing."""
    frames = [b"", b"a", bytes(1000), b"last"]
    opener = Opener(KEY)
    assert [opener.open(each) for each in sealed(*frames)] == frames


def test_every_sealed_frame_has_its_own_number() -> None:
    """Sealed frame n has number n, so no number repeats, and equal frames look different."""
    frames = sealed(*[b"same"] * 50)
    assert len(set(frames)) == 50
    for number, frame in enumerate(frames):
        assert AESGCM(KEY).decrypt(nonce(number), frame, None) == b"same"


def test_a_failure_uses_up_a_number() -> None:
    """A sealing that fails midway still uses up its number."""
    sealer = Sealer(KEY)
    with suppress(TypeError, BufferError):
        sealer.seal_into(b"x", memoryview(bytes(17)))  # cannot be written to
    assert AESGCM(KEY).decrypt(nonce(1), sealer.seal(b"next"), None) == b"next"


# ------------------------------------------------------------------- attacks on the path
def test_a_repeated_frame() -> None:
    """A repeated sealed frame ends the connection."""
    opener, (message,) = Opener(KEY), sealed(b"a")
    opener.open(message)
    with pytest.raises(TransportBroken):
        opener.open(message)


def test_a_missing_frame() -> None:
    """A missing sealed frame ends the connection."""
    with pytest.raises(TransportBroken):
        Opener(KEY).open(sealed(b"a", b"b")[1])


def test_no_frame_opens_after_a_failure() -> None:
    """After a sealed frame that does not open, no other one opens."""
    opener, (first, second) = Opener(KEY), sealed(b"a", b"b")
    with pytest.raises(TransportBroken):
        opener.open(bytes(17))
    for message in (second, first):
        with pytest.raises(TransportBroken):
            opener.open(message)
        with pytest.raises(TransportBroken):
            opener.open_into(message, memoryview(bytearray(1)))


@pytest.mark.parametrize("bit", [0, 7, 8, 100, 8 * (5 + TAG) - 1])
def test_a_changed_bit(bit: int) -> None:
    """Any changed bit of data or tag is noticed."""
    message = bytearray(sealed(b"hello")[0])
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TransportBroken):
        Opener(KEY).open(message)


@pytest.mark.parametrize("length", range(21))
def test_a_truncated_frame(length: int) -> None:
    """A truncated sealed frame is noticed."""
    message = sealed(b"hello")[0]
    with pytest.raises(TransportBroken):
        Opener(KEY).open(message[:length])
    with pytest.raises(TransportBroken):
        Opener(KEY).open_into(message[:length], memoryview(bytearray(100)))


@pytest.mark.parametrize("other", [Sealer(bytes(32)).seal(b"x"), sealed(b"x")[0] + b"\0", b""])
def test_a_foreign_frame(other: bytes) -> None:
    """A frame sealed with another key, or with extra bytes, is noticed."""
    with pytest.raises(TransportBroken):
        Opener(KEY).open(other)


def test_a_broken_connection_is_retried() -> None:
    """A sealed frame that does not open causes a new connection."""
    with pytest.raises(TransportBroken) as caught:
        Opener(KEY).open(b"")
    assert caught.value.retryable


# --------------------------------------------------------------------- memory
@pytest.mark.parametrize("spare", [0, 9])
def test_without_copies(spare: int) -> None:
    """Frames are sealed and opened in existing memory, and the bytes after them stay unchanged."""
    message, frame = bytearray(b"\xaa" * (5 + TAG + spare)), bytearray(b"\xaa" * (5 + spare))
    assert Sealer(KEY).seal_into(memoryview(b"hello"), memoryview(message)) == 5 + TAG
    assert message[: 5 + TAG] == sealed(b"hello")[0]
    assert Opener(KEY).open_into(memoryview(message)[: 5 + TAG], memoryview(frame)) == 5
    assert frame[:5] == b"hello"
    assert message[5 + TAG :] == frame[5:] == b"\xaa" * spare


def test_a_wrong_frame_leaves_no_plaintext() -> None:
    """The memory of a sealed frame that does not open holds no decrypted byte."""
    message, frame = bytearray(sealed(b"hello")[0]), bytearray(b"\xaa" * 5)
    message[-1] ^= 1
    with pytest.raises(TransportBroken):
        Opener(KEY).open_into(message, memoryview(frame))
    assert frame == bytes(5)


def test_too_little_memory() -> None:
    """Memory that is too small is a bug of the caller, uses up no number and ends no connection."""
    sealer, opener = Sealer(KEY), Opener(KEY)
    with pytest.raises(LocalProtocolError):
        sealer.seal_into(b"hello", memoryview(bytearray(5 + TAG - 1)))
    message = sealer.seal(b"hello")
    with pytest.raises(LocalProtocolError):
        opener.open_into(message, memoryview(bytearray(4)))
    assert opener.open(message) == b"hello"


def test_the_largest() -> None:
    """A sealed frame holds at most MAX_MESSAGE bytes. A larger one is an error of caller or path."""
    message = Sealer(KEY).seal(bytes(MAX_MESSAGE))
    assert len(Opener(KEY).open(message)) == MAX_MESSAGE
    with pytest.raises(LocalProtocolError):
        Sealer(KEY).seal(bytes(MAX_MESSAGE + 1))
    with pytest.raises(TransportBroken):
        Opener(KEY).open(AESGCM(KEY).encrypt(nonce(0), bytes(MAX_MESSAGE + 1), None))


# ---------------------------------------------------------------------- rekey
def test_rekey() -> None:
    """After a fixed number of sealed frames the key is replaced by Noise's REKEY, and the count continues."""
    sealer, keys = Sealer(KEY, rekey_every=3), [KEY]
    for _ in range(3):
        keys.append(AESGCMCipher().rekey(keys[-1])[:32])
    for number in range(12):
        assert sealer.seal(b"x") == AESGCM(keys[number // 3]).encrypt(nonce(number), b"x", None)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_both_sides_rekey_at_the_same_number(every: int) -> None:
    """Sealer and opener replace their keys at the same sealed frame, so none is lost."""
    sealer, opener = Sealer(KEY, rekey_every=every), Opener(KEY, rekey_every=every)
    for number in range(4 * every + 1):
        frame = b"%d" % number
        assert opener.open(sealer.seal(frame)) == frame


def test_rekey_is_not_forgotten() -> None:
    """An opener that does not replace its key opens no frame after the boundary."""
    sealer, opener = Sealer(KEY, rekey_every=2), Opener(KEY)
    for _ in range(2):
        opener.open(sealer.seal(b"x"))
    with pytest.raises(TransportBroken):
        opener.open(sealer.seal(b"x"))


def test_how_often_keys_are_replaced() -> None:
    """A key seals 2^20 sealed frames, as the wire specification says."""
    assert REKEY_EVERY == 2**20
