from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from spake2.ed25519_basic import Base, ElementOfUnknownGroup, L, Q, xform_affine_to_extended, xrecover
from spake2.spake2 import SPAKE2_B

from nbferry.crypto.pake import MAX_PAKE_MESSAGE, SUITE, Joiner, Sharer
from nbferry.errors import LocalProtocolError, RemoteProtocolError, WrongCode
from nbferry.model.words import WORDS

PASSWORD, ROOM = b"nbferry/v1/pw\0amber-canyon-tulip", "482913"


def pair(
    *,
    sharer_has: bytes = PASSWORD,
    joiner_has: bytes = PASSWORD,
    sharer_in: str = ROOM,
    joiner_in: str = ROOM,
) -> tuple[Joiner, Sharer]:
    """A joiner and a sharer, who agree unless a field is changed."""
    return Joiner(joiner_has, joiner_in), Sharer(sharer_has, sharer_in)


def run(joiner: Joiner, sharer: Sharer) -> None:
    """The whole undisturbed exchange."""
    joiner.finish(sharer.finish(joiner.confirm(sharer.respond(joiner.start()))))


def changed(message: bytes, **fields: Any) -> bytes:
    """A message with changed fields; None removes a field."""
    merged = json.loads(message) | fields
    return json.dumps({name: value for name, value in merged.items() if value is not None}).encode()


def seeded(seed: bytes) -> Callable[[int], bytes]:
    """A random source that is always the same."""
    count = iter(range(1000))
    return lambda size: (sha256(seed + bytes([next(count)])).digest() * 2)[:size]


# ---------------------------------------------------------------- success
def test_both_sides_know_the_code() -> None:
    """With the same code both sides have the same secret of 32 bytes, and the same words to compare."""
    joiner, sharer = pair()
    run(joiner, sharer)
    assert joiner.root == sharer.root
    assert len(joiner.root) == 32
    assert joiner.verifier == sharer.verifier
    assert len(joiner.verifier) == 5
    assert set(joiner.verifier) <= set(WORDS)


def test_every_run_has_its_own_secret() -> None:
    """The same code never gives the same secret again."""
    roots = set()
    for _ in range(3):
        joiner, sharer = pair()
        run(joiner, sharer)
        roots.add(joiner.root)
    assert len(roots) == 3


def test_the_wire_is_frozen() -> None:
    """Messages and secrets of version 1 stay the same, because other installations use it."""
    joiner, sharer = Joiner(PASSWORD, ROOM, random=seeded(b"B")), Sharer(PASSWORD, ROOM, random=seeded(b"A"))
    m1 = joiner.start()
    m2 = sharer.respond(m1)
    m3 = joiner.confirm(m2)
    m4 = sharer.finish(m3)
    joiner.finish(m4)
    assert (
        sha256(b"".join((m1, m2, m3, m4))).hexdigest()
        == "eb8746900dc7af7dfbf5a075b961d194ff670af5ac9baa101b895608024930b9"
    )
    assert joiner.root.hex() == "4db82ea82805279787936451d37b91e3504197b9152be6940a6d470db47035e8"
    assert joiner.verifier == ("expand", "orca", "amend", "brownie", "eject")


# ------------------------------------------- a second implementation, by the documentation
def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-Expand of RFC 5869 for 32 bytes."""
    return hmac.digest(key, info + b"\x01", "sha256")


class Stranger:
    """A joiner written from the documentation alone, which may know an extra suite and an extra field."""

    def __init__(self, **extra: Any) -> None:
        ids = {"idA": b"nbferry/v1/A|482913", "idB": b"nbferry/v1/B|482913"}
        self.spake = SPAKE2_B(PASSWORD, **ids)
        shares = {SUITE: self.spake.start().hex(), "better": "00"}
        hello = {"suites": ["better", SUITE], "nonce": "00" * 16, "shares": shares}
        self.m1 = json.dumps(hello | extra, indent=1).encode()

    def confirm(self, m2: bytes, m1: bytes | None = None) -> bytes:
        """m3, from m2 and from our assumed m1."""
        key = self.spake.finish(bytes.fromhex(json.loads(m2)["share"]))
        parts = [b"nbferry/v1/pake", b"482913", m1 or self.m1, m2]
        self.transcript = sha256(b"".join(len(part).to_bytes(4) + part for part in parts)).digest()
        self.prk = hmac.digest(b"nbferry/v1", key, "sha256")
        return json.dumps({"confirm": self.tag(b"B")}).encode()

    def tag(self, role: bytes) -> str:
        """The proof of one side."""
        return hmac.digest(expand(self.prk, b"confirm " + role), self.transcript, "sha256").hex()


def test_a_second_implementation() -> None:
    """A joiner that follows the documentation and sends unknown fields agrees with our sharer."""
    stranger, sharer = Stranger(future={"a": [1, None]}), Sharer(PASSWORD, ROOM)
    m4 = sharer.finish(stranger.confirm(sharer.respond(stranger.m1)))
    assert json.loads(m4) == {"confirm": stranger.tag(b"A")}
    assert sharer.root == expand(stranger.prk, b"root" + stranger.transcript)
    verify = hmac.digest(stranger.prk, b"verify" + stranger.transcript + b"\x01", "sha256")[:10]
    numbers = [int.from_bytes(verify[at : at + 2]) % 2048 for at in range(0, 10, 2)]
    assert sharer.verifier == tuple(WORDS[number] for number in numbers)


def test_the_list_of_suites_is_bound() -> None:
    """A relay that removes the better suite from the joiner's list is detected."""
    stranger, sharer = Stranger(), Sharer(PASSWORD, ROOM)
    m2 = sharer.respond(changed(stranger.m1, suites=[SUITE]))
    with pytest.raises(WrongCode):
        sharer.finish(stranger.confirm(m2))


# ------------------------------------------------------------- wrong guesses
@pytest.mark.parametrize("guess", [b"", b"nbferry/v1/pw\0amber-canyon-tulips", PASSWORD[:-1]])
def test_a_wrong_guess(guess: bytes) -> None:
    """A joiner with another code is detected, and the sharer gets no secret."""
    joiner, sharer = pair(joiner_has=guess)
    m3 = joiner.confirm(sharer.respond(joiner.start()))
    with pytest.raises(WrongCode):
        sharer.finish(m3)
    with pytest.raises(LocalProtocolError):
        _ = sharer.root


def test_one_guess_per_run() -> None:
    """After a wrong guess the same run accepts no second one."""
    joiner, sharer = pair(joiner_has=b"guess")
    m3 = joiner.confirm(sharer.respond(joiner.start()))
    for error in (WrongCode, LocalProtocolError):
        with pytest.raises(error):
            sharer.finish(m3)


def test_the_sharer_must_know_the_code_too() -> None:
    """A false sharer is detected by the joiner."""
    joiner, pretender = pair(sharer_has=b"guess")
    joiner.confirm(pretender.respond(joiner.start()))
    with pytest.raises(WrongCode):
        joiner.finish(json.dumps({"confirm": "00" * 32}).encode())
    with pytest.raises(LocalProtocolError):
        _ = joiner.root


def test_another_room() -> None:
    """The same words in another room are another code."""
    joiner, sharer = pair(joiner_in="482914")
    m3 = joiner.confirm(sharer.respond(joiner.start()))
    with pytest.raises(WrongCode):
        sharer.finish(m3)


def test_spliced_runs() -> None:
    """Messages of two runs with the same code do not fit together."""
    (joiner, sharer), (other_joiner, other_sharer) = pair(), pair()
    m2 = sharer.respond(joiner.start())
    other_m2 = other_sharer.respond(other_joiner.start())
    with pytest.raises(WrongCode):
        sharer.finish(other_joiner.confirm(m2))
    with pytest.raises(WrongCode):
        other_sharer.finish(joiner.confirm(other_m2))


@pytest.mark.parametrize("change", [{"nonce": "00" * 16}, {"suites": ["worse", SUITE]}, {"more": 1}])
def test_a_changed_m1(change: dict[str, Any]) -> None:
    """Any change of m1 by the relay makes the proofs wrong."""
    joiner, sharer = pair()
    m2 = sharer.respond(changed(joiner.start(), **change))
    with pytest.raises(WrongCode):
        sharer.finish(joiner.confirm(m2))


@pytest.mark.parametrize("change", [{"nonce": "00" * 16}, {"suites": [SUITE, "better"]}, {"more": 1}])
def test_a_changed_m2(change: dict[str, Any]) -> None:
    """Any change of m2 by the relay makes the proofs wrong."""
    joiner, sharer = pair()
    m3 = joiner.confirm(changed(sharer.respond(joiner.start()), **change))
    with pytest.raises(WrongCode):
        sharer.finish(m3)


# ---------------------------------------------------------------- reflection
@pytest.mark.parametrize("side", ["41", "42"], ids=["as A", "as B"])
def test_the_joiners_share_reflected(side: str) -> None:
    """A joiner refuses its own share, whichever side it claims to come from."""
    joiner, sharer = pair()
    m1 = joiner.start()
    own = json.loads(m1)["shares"][SUITE]
    with pytest.raises(RemoteProtocolError):
        joiner.confirm(changed(sharer.respond(m1), share=side + own[2:]))


def test_the_joiners_proof_reflected() -> None:
    """A joiner refuses its own proof."""
    joiner, sharer = pair()
    m3 = joiner.confirm(sharer.respond(joiner.start()))
    with pytest.raises(WrongCode):
        joiner.finish(m3)


# ------------------------------------------------------------- wrong messages
# y of a point of order 8, little-endian: https://cr.yp.to/ecdh.html, and "Taming the many EdDSAs", table 5
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def point_of_order_8() -> ElementOfUnknownGroup:
    """The same point as an element."""
    y = int.from_bytes(ORDER_8, "little")
    return ElementOfUnknownGroup(xform_affine_to_extended((xrecover(y), y)))


BAD_POINTS = {
    "zero": (1).to_bytes(32, "little"),
    "zero with a sign": (1 | 1 << 255).to_bytes(32, "little"),
    "zero not reduced": (Q + 1).to_bytes(32, "little"),
    "order 2": (Q - 1).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 8": ORDER_8,
    "order 8 L": point_of_order_8().add(Base).to_bytes(),
    "not on the curve": (2).to_bytes(32, "little"),
}


@pytest.mark.parametrize("point", BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_bad_points(point: bytes) -> None:
    """A share that is no point of the group, or that gives a known secret, is refused by both sides."""
    joiner, sharer = pair()
    m1 = joiner.start()
    with pytest.raises(RemoteProtocolError, match="unsafe"):
        Sharer(PASSWORD, ROOM).respond(changed(m1, shares={SUITE: "42" + point.hex()}))
    with pytest.raises(RemoteProtocolError, match="unsafe"):
        joiner.confirm(changed(sharer.respond(m1), share="41" + point.hex()))


NO_MESSAGES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"confirm"',
    b"\xff\xfe",
    b"[" * MAX_PAKE_MESSAGE,
    b"{}",
    b" " * MAX_PAKE_MESSAGE + b"{}",
]


@pytest.mark.parametrize("message", NO_MESSAGES)
def test_no_messages(message: bytes) -> None:
    """A message that is not a JSON object of at most 4 KiB, or is empty, is refused in every step."""
    joiner, sharer = pair()
    with pytest.raises(RemoteProtocolError):
        Sharer(PASSWORD, ROOM).respond(message)
    m2 = sharer.respond(joiner.start())
    with pytest.raises(RemoteProtocolError):
        sharer.finish(message)
    other = Joiner(PASSWORD, ROOM)
    other.start()
    with pytest.raises(RemoteProtocolError):
        other.confirm(message)
    joiner.confirm(m2)
    with pytest.raises(RemoteProtocolError):
        joiner.finish(message)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": None},
        {"nonce": 1},
        {"nonce": "00"},
        {"nonce": "zz" * 16},
        {"suites": None},
        {"suites": SUITE},
        {"suites": []},
        {"suites": [SUITE] * 17},
        {"padding": " " * MAX_PAKE_MESSAGE},
        {"suites": ["other"]},
        {"shares": None},
        {"shares": []},
        {"shares": {}},
        {"shares": {"other": "00"}},
        {"shares": {SUITE: None}},
        {"shares": {SUITE: "00"}},
        {"shares": {SUITE: "4300" * 33}},
        {"shares": {SUITE: "43" + Base.to_bytes().hex()}},
        {"shares": {SUITE: "41" + Base.to_bytes().hex()}},
    ],
    ids=str,
)
def test_wrong_first_messages(change: dict[str, Any]) -> None:
    """An m1 with a missing or invalid field is refused, and the run is over."""
    joiner, sharer = pair()
    with pytest.raises(RemoteProtocolError):
        sharer.respond(changed(joiner.start(), **change))
    with pytest.raises(LocalProtocolError):
        sharer.finish(b"{}")


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": None},
        {"suites": {}},
        {"suite": None},
        {"suite": "other"},
        {"share": None},
        {"share": {}},
        {"share": "42" + Base.to_bytes().hex()},
    ],
    ids=str,
)
def test_wrong_answers(change: dict[str, Any]) -> None:
    """An m2 with a missing or invalid field, or another suite, is refused, and the run is over."""
    joiner, sharer = pair()
    with pytest.raises(RemoteProtocolError):
        joiner.confirm(changed(sharer.respond(joiner.start()), **change))
    with pytest.raises(LocalProtocolError):
        joiner.finish(b"{}")


@pytest.mark.parametrize("proof", [None, 5, "", "00", "zz" * 32, "00" * 33])
def test_wrong_proofs(proof: Any) -> None:
    """A proof of a wrong type or length is refused."""
    joiner, sharer = pair()
    sharer.respond(joiner.start())
    with pytest.raises(RemoteProtocolError):
        sharer.finish(json.dumps({"confirm": proof}).encode())


# -------------------------------------------------------------------- order of steps
def test_steps_out_of_order() -> None:
    """A step out of order is a bug of the caller."""
    joiner, sharer = pair()
    m1 = joiner.start()
    for step in (joiner.start, lambda: sharer.finish(b"{}"), lambda: Joiner(PASSWORD, ROOM).confirm(b"{}")):
        with pytest.raises(LocalProtocolError):
            step()
    assert m1


def test_no_secret_before_the_proof() -> None:
    """Before the other side's proof neither a secret nor words to compare exist."""
    joiner, sharer = pair()
    joiner.confirm(sharer.respond(joiner.start()))
    for side in (joiner, sharer):
        with pytest.raises(LocalProtocolError):
            _ = side.root
        with pytest.raises(LocalProtocolError):
            _ = side.verifier


def test_repr_hides_everything() -> None:
    """Neither the password nor the secret is in the repr of a side."""
    joiner, sharer = pair()
    run(joiner, sharer)
    for side in (joiner, sharer):
        assert "amber" not in repr(side)
        assert joiner.root.hex() not in repr(side)


def test_the_bad_points_have_their_orders() -> None:
    """The base point, the source of a bad one, has the group's order, and the small point has order 8."""
    assert ElementOfUnknownGroup(Base.XYTZ).scalarmult(L).to_bytes() == BAD_POINTS["zero"]
    orders = [point_of_order_8().scalarmult(factor).to_bytes() for factor in (4, 8)]
    assert orders == [BAD_POINTS["order 2"], BAD_POINTS["zero"]]
