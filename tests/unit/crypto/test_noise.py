from __future__ import annotations

from collections.abc import Callable

import pytest
from dissononce.cipher.aesgcm import AESGCMCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.sha256 import SHA256Hash
from dissononce.processing.handshakepatterns.interactive.NN import NNHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

from nbferry.crypto.noise import MAX_NOISE_MESSAGE, Initiator, Responder, WrongKey
from nbferry.crypto.sealed_frames import Opener, Sealer
from nbferry.errors import LocalProtocolError, RemoteProtocolError

PSK, PROLOGUE = bytes(range(32)), b"nbferry/v1\0relay\0"

# Noise_NNpsk0_25519_AESGCM_SHA256 of tests/vectors/cacophony.txt in https://github.com/mcginty/snow (8ac60f5): the
# vectors of the Haskell implementation cacophony. Payload and ciphertext of each message, the initiator's first.
VECTOR_PSK = bytes.fromhex("54686973206973206d7920417573747269616e20706572737065637469766521")
VECTOR_PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
VECTOR_INITIATOR = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
VECTOR_RESPONDER = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
VECTOR_HASH = "9f3b1f9afd7767767b5b9d1069844a6154fdbdcc36dfb3e31c0fffc5c973d530"
VECTOR_HANDSHAKE = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "7c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "2f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461",
    ),
]
VECTOR_TRANSPORT = [
    ("462e20412e20486179656b", "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6"),
    ("4361726c204d656e676572", "a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0"),
    (
        "4a65616e2d426170746973746520536179",
        "6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9",
    ),
]


def fixed(value: bytes) -> Callable[[int], bytes]:
    """A random source that yields these bytes."""
    return lambda _: value


def vector_pair() -> tuple[Initiator, Responder]:
    """Both sides of the published vector."""
    return (
        Initiator(VECTOR_PSK, VECTOR_PROLOGUE, random=fixed(VECTOR_INITIATOR)),
        Responder(VECTOR_PSK, VECTOR_PROLOGUE, random=fixed(VECTOR_RESPONDER)),
    )


def shake(initiator: Initiator, responder: Responder) -> None:
    """Both messages, without payload."""
    responder.read_message(initiator.write_message())
    initiator.read_message(responder.write_message())


def test_published_vector() -> None:
    """The handshake gives, byte for byte, the messages and the hash of the published vector."""
    initiator, responder = vector_pair()
    for (payload, ciphertext), (writer, reader) in zip(
        VECTOR_HANDSHAKE, [(initiator, responder), (responder, initiator)], strict=True
    ):
        message = writer.write_message(bytes.fromhex(payload))
        assert message.hex() == ciphertext
        assert reader.read_message(message).hex() == payload
    assert initiator.hash.hex() == responder.hash.hex() == VECTOR_HASH


def test_published_vector_of_transport_messages() -> None:
    """Sealed frames under the keys of the handshake are the transport messages of the published vector."""
    initiator, responder = vector_pair()
    for (payload, _), (writer, reader) in zip(
        VECTOR_HANDSHAKE, [(initiator, responder), (responder, initiator)], strict=True
    ):
        reader.read_message(writer.write_message(bytes.fromhex(payload)))
    ends = [
        [kind(key) for kind, key in zip((Sealer, Opener), side.split(), strict=True)]
        for side in (initiator, responder)
    ]
    for number, (payload, ciphertext) in enumerate(VECTOR_TRANSPORT):
        sealer, opener = ends[number % 2][0], ends[1 - number % 2][1]
        assert sealer.seal(bytes.fromhex(payload)).hex() == ciphertext
        assert opener.open(bytes.fromhex(ciphertext)).hex() == payload


def oracle(*, initiator: bool, psk: bytes = PSK) -> HandshakeState:
    """The same handshake in another implementation."""
    state = HandshakeState(SymmetricState(CipherState(AESGCMCipher()), SHA256Hash()), X25519DH())
    pattern = PSKPatternModifier(0).modify(NNHandshakePattern())
    state.initialize(pattern, initiator, PROLOGUE, psks=(psk,))
    return state


def keys_of(states: tuple[CipherState, CipherState]) -> list[bytes]:
    """The keys of the other implementation's split."""
    return [state._key for state in states]


def test_interoperates_as_initiator() -> None:
    """Our initiator and dissononce's responder agree on payloads, hash and keys."""
    ours, theirs = Initiator(PSK, PROLOGUE), oracle(initiator=False)
    heard = bytearray()
    theirs.read_message(ours.write_message(b"to them"), heard)
    assert heard == b"to them"
    said = bytearray()
    keys = keys_of(theirs.write_message(b"to us", said))
    assert ours.read_message(said) == b"to us"
    assert list(ours.split()) == keys
    assert ours.hash == theirs.symmetricstate.get_handshake_hash()


def test_interoperates_as_responder() -> None:
    """Our responder and dissononce's initiator agree on payloads, hash and keys."""
    ours, theirs = Responder(PSK, PROLOGUE), oracle(initiator=True)
    said = bytearray()
    theirs.write_message(b"to us", said)
    assert ours.read_message(memoryview(said)) == b"to us"
    heard = bytearray()
    keys = keys_of(theirs.read_message(ours.write_message(b"to them"), heard))
    assert heard == b"to them"
    assert list(ours.split()) == keys[::-1]
    assert ours.hash == theirs.symmetricstate.get_handshake_hash()


def test_keys_cross() -> None:
    """One side's sending key is the other's receiving key, and the two directions differ."""
    initiator, responder = Initiator(PSK, PROLOGUE), Responder(PSK, PROLOGUE)
    shake(initiator, responder)
    assert initiator.split() == responder.split()[::-1]
    assert len({*initiator.split()}) == 2


def test_every_handshake_has_its_own_keys() -> None:
    """The same psk and prologue never give the same keys twice."""
    keys: set[bytes] = set()
    for _ in range(3):
        initiator, responder = Initiator(PSK, PROLOGUE), Responder(PSK, PROLOGUE)
        shake(initiator, responder)
        keys.update(initiator.split())
    assert len(keys) == 6


@pytest.mark.parametrize(
    "stranger",
    [Initiator(bytes(32), PROLOGUE), Initiator(PSK, PROLOGUE + b"!"), Initiator(PSK, b"")],
    ids=["psk", "prologue", "no prologue"],
)
def test_a_stranger_gets_no_answer(stranger: Initiator) -> None:
    """A stranger with another psk or prologue is detected by its first message and gets no answer."""
    responder = Responder(PSK, PROLOGUE)
    with pytest.raises(WrongKey):
        responder.read_message(stranger.write_message())
    with pytest.raises(LocalProtocolError):
        responder.write_message()


def test_one_try() -> None:
    """After a wrong message the handshake accepts no other, not even the right one."""
    responder = Responder(PSK, PROLOGUE)
    with pytest.raises(WrongKey):
        responder.read_message(Initiator(bytes(32), PROLOGUE).write_message())
    with pytest.raises(LocalProtocolError):
        responder.read_message(Initiator(PSK, PROLOGUE).write_message())


def test_a_wrong_key_may_be_tried_again() -> None:
    """A wrong key of the other end ends this connection, but not the session."""
    assert WrongKey.retryable


@pytest.mark.parametrize("at", [0, 31, 32, 47])
def test_a_changed_answer(at: int) -> None:
    """Any changed bit of the answer is noticed, and gives no keys."""
    initiator, responder = Initiator(PSK, PROLOGUE), Responder(PSK, PROLOGUE)
    responder.read_message(initiator.write_message())
    answer = bytearray(responder.write_message())
    answer[at] ^= 1
    with pytest.raises(WrongKey):
        initiator.read_message(answer)
    with pytest.raises(LocalProtocolError):
        initiator.split()


def test_an_answer_to_another_handshake() -> None:
    """An answer recorded in one handshake does not fit another."""
    first, second = Initiator(PSK, PROLOGUE), Initiator(PSK, PROLOGUE)
    responder = Responder(PSK, PROLOGUE)
    responder.read_message(first.write_message())
    second.write_message()
    with pytest.raises(WrongKey):
        second.read_message(responder.write_message())


def test_a_reflected_message() -> None:
    """An initiator rejects its own message."""
    initiator = Initiator(PSK, PROLOGUE)
    with pytest.raises(WrongKey):
        initiator.read_message(initiator.write_message())


@pytest.mark.parametrize("message", [b"", bytes(47), bytes(MAX_NOISE_MESSAGE + 1)], ids=len)
def test_impossible_lengths(message: bytes) -> None:
    """A message too short or too long for a handshake is refused by its length."""
    with pytest.raises(RemoteProtocolError, match=str(len(message))):
        Responder(PSK, PROLOGUE).read_message(message)


# Points of small order (RFC 7748, section 6.1; https://cr.yp.to/ecdh.html): they give zero with every key.
@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        bytes([1]) + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ((1 << 255) - 20).to_bytes(32, "little"),
    ],
)
def test_unsafe_keys(key: bytes) -> None:
    """A key that would give a publicly known secret is refused."""
    with pytest.raises(RemoteProtocolError, match="unsafe"):
        Responder(PSK, PROLOGUE).read_message(key + bytes(16))


def test_steps_out_of_order() -> None:
    """A step out of order is a bug of the caller."""
    with pytest.raises(LocalProtocolError):
        Initiator(PSK, PROLOGUE).read_message(bytes(48))
    with pytest.raises(LocalProtocolError):
        Responder(PSK, PROLOGUE).write_message()
    with pytest.raises(LocalProtocolError):
        Initiator(PSK, PROLOGUE).split()
    initiator, responder = Initiator(PSK, PROLOGUE), Responder(PSK, PROLOGUE)
    shake(initiator, responder)
    with pytest.raises(LocalProtocolError):
        initiator.write_message()


def test_psk_has_32_bytes() -> None:
    """A psk of another length is a bug of the caller."""
    with pytest.raises(LocalProtocolError):
        Initiator(bytes(16), PROLOGUE)


def test_largest_payload() -> None:
    """A payload may fill a message up to Noise's limit. A larger one is a bug of the caller."""
    most = MAX_NOISE_MESSAGE - 32 - 16
    message = Initiator(PSK, PROLOGUE).write_message(bytes(most))
    assert Responder(PSK, PROLOGUE).read_message(message) == bytes(most)
    with pytest.raises(LocalProtocolError):
        Initiator(PSK, PROLOGUE).write_message(bytes(most + 1))
