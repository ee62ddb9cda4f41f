"""From the words of a code to a strong secret: SPAKE2 with key confirmation, the joiner first.

    B, who joins                                        A, who shares
    m1 {"suites": [..], "nonce": .., "shares": {suite: ..}}  ->
                        <-  m2 {"suites": [..], "nonce": .., "suite": .., "share": ..}
    m3 {"confirm": tag of B}                                 ->     checks it: WrongCode, or root is known
                        <-  m4 {"confirm": tag of A}
    checks it: WrongCode, or root is known

Each message is a JSON object of at most 4 KiB; bytes are in hex, unknown fields are left alone. A nonce has
16 random bytes. ``suites`` is what a side can do, best first; B sends a share for each of its suites, A
chooses the first of them that it can do. There is one suite so far, ``spake2-ed25519``: SPAKE2 as the
package ``spake2`` has it, with its M and N, on the group of Ed25519; a share is its message: ``A`` or ``B``
and the 32 bytes of a point. Its inputs are

    password    nbferry/v1/pw NUL words, see nbferry.model.codes
    idA, idB    nbferry/v1/A|room, nbferry/v1/B|room

and from its output K0 and the transcript T follow, with HKDF and HMAC over SHA-256,

    T           SHA-256(u32 length || bytes, for each of: nbferry/v1/pake, room, m1, m2), u32 big-endian
    prk         HKDF-Extract(salt = nbferry/v1, K0)
    tag of X    HMAC(HKDF-Expand(prk, "confirm X", 32), T), X is A or B
    root        HKDF-Expand(prk, "root" || T, 32)
    verifier    HKDF-Expand(prk, "verify" || T, 10), as 5 u16, modulo 2,048: words of the list

m1 and m2 enter T byte for byte as they travelled, so both lists of suites, the nonces and the shares are
bound: a relay that takes a better suite out of a list, splices two sessions or moves one to another room
gets WrongCode. Roles are in ids, shares and tags, so nothing can be thrown back at its sender.

One run allows one guess. B has to show its tag before A shows anything that a guess can be checked with: a run that
B breaks off before m3 tells B nothing and is no guess; a wrong m3 is one. A malformed message in any place raises
RemoteProtocolError and counts as a guess as well: no honest joiner sends one. An attacker that plays A, as the relay
could, has one guess too, and B sees WrongCode.

The arithmetic of ``spake2`` is pure Python and not in constant time: the duration of a run says a little of the
secret. Secrets here are random, and either have 128 bits or allow three guesses; a person never chooses one. The
points that are multiplied by the secret are fixed, so an attacker cannot choose what leaks. A run costs each side
some 8 ms of one core (3 for the first step, 5 for the second; Python 3.11, 2026), which the GIL does not share: run
``start``, ``respond`` and ``confirm`` in a worker thread, one at a time.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from hashlib import sha256
from struct import pack, unpack
from typing import Any

from spake2.ed25519_basic import NotOnCurve, Q
from spake2.spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from nbferry.crypto.keys import Side, expand, extract
from nbferry.errors import LocalProtocolError, RemoteProtocolError, WrongCode
from nbferry.limits import KiB
from nbferry.model.words import WORDS

SUITE = "spake2-ed25519"
SUITES = [SUITE]  # what we can do, best first
MAX_PAKE_MESSAGE = 4 * KiB

_NONCE, _SHARE, _CONFIRM = 16, 33, 32  # bytes
_MAX_SUITES = 16


class _Side:
    """What both sides do. One object is one run; after a step that fails, every step is refused."""

    _role: Side
    _next: str
    _kind: Callable[..., Any]

    def __init__(
        self, password: bytes, room: str, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._room = room.encode()
        self._random = random
        ids = {"idA": b"nbferry/v1/A|" + self._room, "idB": b"nbferry/v1/B|" + self._room}
        self._spake = self._kind(password, **ids, entropy_f=random)
        self._prk = self._transcript = self._root = b""

    @property
    def root(self) -> bytes:
        """The secret of this pairing, 32 bytes, once the other side has proved that it knows the code."""
        self._must_be_proved()
        return self._root

    @property
    def verifier(self) -> tuple[str, ...]:
        """Five words. They are the same on both sides unless an attacker guessed the code and relays between them."""
        self._must_be_proved()
        numbers = unpack("!5H", expand(self._prk, b"verify" + self._transcript, 10))
        return tuple(WORDS[number % len(WORDS)] for number in numbers)

    def _must_be_proved(self) -> None:
        if not self._root:
            raise LocalProtocolError("The other side has proved nothing yet.")

    def _enter(self, step: str) -> None:
        """Begin a step. A step in the wrong order is our mistake; until this one sets the next, none is allowed."""
        expected, self._next = self._next, ""
        if expected != step:
            raise LocalProtocolError(f"The key exchange cannot {step} now.")

    def _hello(self) -> dict[str, Any]:
        """Make what m1 and m2 have in common."""
        return {"suites": SUITES, "nonce": self._random(_NONCE).hex()}

    def _own_share(self) -> str:
        share: bytes = self._spake.start()
        return share.hex()

    def _agree(self, share: bytes, *messages: bytes) -> None:
        """From the other side's share and m1, m2 to the keys."""
        _check_point(share)
        try:
            key = self._spake.finish(share)
        except (SPAKEError, NotOnCurve, ValueError) as error:
            raise RemoteProtocolError("The other side sent an unsafe key share.") from error
        parts = (b"nbferry/v1/pake", self._room, *messages)
        self._transcript = sha256(b"".join(pack("!I", len(part)) + part for part in parts)).digest()
        self._prk = extract(b"nbferry/v1", key)

    def _proof(self, role: Side) -> bytes:
        return hmac.digest(expand(self._prk, b"confirm " + role.encode()), self._transcript, "sha256")

    def _show_proof(self) -> bytes:
        return _encode({"confirm": self._proof(self._role).hex()})

    def _check_proof(self, message: bytes) -> None:
        """Set the root if the other side knows the code."""
        shown = _hex(_decode(message), "confirm", _CONFIRM)
        if not hmac.compare_digest(shown, self._proof("A" if self._role == "B" else "B")):
            raise WrongCode
        self._root = self._agreed_root()

    def _agreed_root(self) -> bytes:
        return expand(self._prk, b"root" + self._transcript)


class Joiner(_Side):
    """B: ``start``, ``confirm``, ``finish``; then ``root``."""

    _role = "B"
    _next = "start"
    _kind = SPAKE2_B
    _m1 = b""

    def start(self) -> bytes:
        """Make m1. Takes some 3 ms."""
        self._enter("start")
        self._m1 = _encode(self._hello() | {"shares": {SUITE: self._own_share()}})
        self._next = "confirm"
        return self._m1

    def confirm(self, m2: bytes) -> bytes:
        """Take m2 and make m3, which proves that we know the code. Takes some 5 ms.

        Raises :class:`RemoteProtocolError` on what is not an m2.
        """
        self._enter("confirm")
        fields = _decode(m2)
        _check_hello(fields)
        if fields.get("suite") != SUITE:
            raise _wrong("suite")
        self._agree(_hex(fields, "share", _SHARE), self._m1, m2)
        self._next = "finish"
        return self._show_proof()

    @property
    def unproved_root(self) -> bytes:
        """The secret after ``confirm``, to be stored before m3 goes out and uses up the code.

        If the run ends there, the first Noise handshake shows whether the sharer has this secret too.
        """
        if self._next != "finish":
            raise LocalProtocolError("There is no secret yet, or the run is over.")
        return self._agreed_root()

    def finish(self, m4: bytes) -> None:
        """Take m4; from then on ``root`` can be read.

        Raises :class:`WrongCode` if the sharer did not prove that it knows the code, and
        :class:`RemoteProtocolError` on what is not an m4.
        """
        self._enter("finish")
        self._check_proof(m4)


class Sharer(_Side):
    """A: ``respond``, ``finish``; then ``root``. One for each joiner."""

    _role = "A"
    _next = "respond"
    _kind = SPAKE2_A

    def respond(self, m1: bytes) -> bytes:
        """Take m1 and make m2. Takes some 8 ms. Raises :class:`RemoteProtocolError` on what is not an m1."""
        self._enter("respond")
        fields = _decode(m1)
        _check_hello(fields)
        shares = fields.get("shares")
        if not isinstance(shares, dict):
            raise _wrong("shares")
        if SUITE not in fields["suites"] or SUITE not in shares:
            raise RemoteProtocolError("The two sides know no common way to check a code.")
        m2 = _encode(self._hello() | {"suite": SUITE, "share": self._own_share()})
        self._agree(_hex(shares, SUITE, _SHARE), m1, m2)
        self._next = "finish"
        return m2

    def finish(self, m3: bytes) -> bytes:
        """Take m3 and make m4; from then on ``root`` can be read.

        Raises :class:`WrongCode` if the joiner did not prove that it knows the code: that was a guess, and the joiner
        is told no more. Raises :class:`RemoteProtocolError` on what is not an m3.
        """
        self._enter("finish")
        self._check_proof(m3)
        return self._show_proof()


def _check_point(share: bytes) -> None:
    """Refuse other ways to write a point: ``spake2`` 0.9 knows zero, which it refuses, in only one of three."""
    y = int.from_bytes(share[1:], "little") & ((1 << 255) - 1)
    if not 1 < y < Q:
        raise RemoteProtocolError("The other side sent an unsafe key share.")


def _encode(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _decode(message: bytes) -> dict[str, Any]:
    if len(message) > MAX_PAKE_MESSAGE:
        raise RemoteProtocolError("A message of the key exchange is too large.")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("A message of the key exchange cannot be read.") from error
    if not isinstance(fields, dict):
        raise RemoteProtocolError("A message of the key exchange cannot be read.")
    return fields


def _check_hello(fields: dict[str, Any]) -> None:
    """Check that both fields are present; their content enters the transcript with the whole message."""
    _hex(fields, "nonce", _NONCE)
    suites = fields.get("suites")
    if not isinstance(suites, list) or len(suites) > _MAX_SUITES:
        raise _wrong("suites")


def _hex(fields: dict[str, Any], name: str, size: int) -> bytes:
    text = fields.get(name)
    try:
        value = bytes.fromhex(text if isinstance(text, str) else "")
    except ValueError as error:
        raise _wrong(name) from error
    if len(value) != size:
        raise _wrong(name)
    return value


def _wrong(name: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"A message of the key exchange has a wrong {name!r}.")
