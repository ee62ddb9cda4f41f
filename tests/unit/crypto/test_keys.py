from __future__ import annotations

import hmac
import re
from struct import pack

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nbferry.crypto.keys import MAX_SIGNAL, SessionKeys, Side, expand, extract
from nbferry.errors import LocalProtocolError, RemoteProtocolError

ROOT = bytes(range(32))
KEYS = SessionKeys(ROOT)


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand exactly as in RFC 5869."""
    output, block = b"", b""
    for number in range(1, 256):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        output += block
        if len(output) >= length:
            break
    return output[:length]


def test_hkdf_of_the_rfc() -> None:
    """Extract and expand give test case 1 of RFC 5869."""
    prk = extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert expand(prk, bytes(range(0xF0, 0xFA)), 42).hex() == okm


def test_derivations_are_as_specified() -> None:
    """Psk, room and channel are derived with the documented labels."""
    assert KEYS.psk == hkdf_expand(ROOT, b"nbferry/v1/psk", 32)
    assert KEYS.room == hkdf_expand(ROOT, b"nbferry/v1/room", 16).hex()
    info = b"nbferry/v1/channel" + pack("!H", 2) + b"aa" + pack("!H", 1) + b"b"
    assert KEYS.channel(b"aa", b"b") == hkdf_expand(ROOT, info, 16).hex()


def test_names_for_the_relay() -> None:
    """Room and channel have the form of the relay's capabilities: 32 lower-case hexadecimal digits."""
    for name in (KEYS.room, KEYS.channel(b"", b"")):
        assert re.fullmatch("[0-9a-f]{32}", name)


def test_channels_differ() -> None:
    """Another nonce, another order or another split of the nonces gives another channel."""
    nonces = [(b"a", b"b"), (b"b", b"a"), (b"ab", b""), (b"", b"ab"), (b"a", b"bc"), (b"ab", b"c")]
    assert len({KEYS.channel(*pair) for pair in nonces}) == len(nonces)


def test_pairings_differ() -> None:
    """Another root gives other names and another key."""
    other = SessionKeys(bytes(32))
    assert other.psk != KEYS.psk
    assert other.room != KEYS.room
    assert other.channel(b"a", b"b") != KEYS.channel(b"a", b"b")


def test_repr_hides_everything() -> None:
    """Neither the root nor a derived value is shown."""
    assert repr(KEYS) == "SessionKeys()"


def test_root_has_32_bytes() -> None:
    """A root of another length is a bug of the caller."""
    with pytest.raises(LocalProtocolError):
        SessionKeys(bytes(16))


def test_same_root_same_keys() -> None:
    """Two values with the same root are equal."""
    assert SessionKeys(ROOT) == KEYS
    assert SessionKeys(bytes(32)) != KEYS


# -------------------------------------------------------------------- signals
@pytest.mark.parametrize("sender", ["A", "B"])
@pytest.mark.parametrize("body", [b"", b'{"nonce": "00"}', bytes(MAX_SIGNAL)], ids=len)
def test_signals(sender: Side, body: bytes) -> None:
    """The other side opens a sealed signal."""
    assert SessionKeys(ROOT).open_signal(sender, KEYS.seal_signal(sender, body)) == body


def test_signals_are_as_specified() -> None:
    """A signal is a salt and AES-GCM under the key that HKDF derives from salt and role."""
    salt = bytes([7]) * 32
    message = SessionKeys(ROOT, random=lambda size: salt[:size]).seal_signal("A", b"body")
    key = hkdf_expand(hmac.digest(salt, ROOT, "sha256"), b"nbferry/v1/signal A", 32)
    assert message == salt + AESGCM(key).encrypt(bytes(12), b"body", None)


def test_sealed_twice() -> None:
    """The same body sealed again has another salt and key, so no part of it repeats."""
    one, other = KEYS.seal_signal("A", bytes(64)), KEYS.seal_signal("A", bytes(64))
    assert one[:32] != other[:32]
    assert one[32:] != other[32:]


def test_a_reflected_signal() -> None:
    """A side's own signal does not open as one of the other side."""
    with pytest.raises(RemoteProtocolError):
        KEYS.open_signal("A", KEYS.seal_signal("B", b"call"))


def test_a_signal_of_another_pairing() -> None:
    """A signal of another pairing does not open."""
    with pytest.raises(RemoteProtocolError):
        KEYS.open_signal("A", SessionKeys(bytes(32)).seal_signal("A", b"call"))


@pytest.mark.parametrize("at", [0, 31, 32, 36, -1])
def test_a_changed_signal(at: int) -> None:
    """Any change of salt, data or tag is noticed."""
    message = bytearray(KEYS.seal_signal("A", b"body"))
    message[at] ^= 0x80
    with pytest.raises(RemoteProtocolError):
        KEYS.open_signal("A", bytes(message))


@pytest.mark.parametrize("length", [0, 31, 32, 47, 51])
def test_a_truncated_signal(length: int) -> None:
    """A truncated signal is noticed."""
    with pytest.raises(RemoteProtocolError):
        KEYS.open_signal("A", KEYS.seal_signal("A", b"body")[:length])


def test_a_signal_above_the_limit() -> None:
    """Sealing a signal above the limit is a bug of the caller, and opening one is refused untried."""
    with pytest.raises(LocalProtocolError):
        KEYS.seal_signal("A", bytes(MAX_SIGNAL + 1))
    with pytest.raises(RemoteProtocolError, match="length"):
        KEYS.open_signal("A", bytes(32 + MAX_SIGNAL + 16 + 1))
