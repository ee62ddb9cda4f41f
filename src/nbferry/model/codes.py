"""Codes and tickets: what one person gives to another, and what both sides derive their first key from.

    code      482913-amber-canyon-tulip@https://host/base/     a number, some words, the relay's address
    ticket    nbf1ae5wm3...                                    the same for machines: long and self-contained

The number names a room of the relay and is public. The words are the secret, with 11 bits each. Three words
are enough, because every guess goes through the relay and a few wrong guesses make the code invalid. A ticket
has a room of 128 bits and a secret of 128 bits. Those cannot be guessed, so a ticket may serve many receivers.

A ticket's text is ``nbf1`` and the base32 (RFC 4648, lower case, no padding) of: version ``0x01``, room (16
bytes), secret (16 bytes), address (ASCII, may be empty), and as a checksum the first 4 bytes of the SHA-256
of ``nbferry/v1/ticket``, a NUL, and all before.

``repr`` shows no secret; ``str`` is the canonical text and does.
"""

from __future__ import annotations

import base64
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import ClassVar, Self

from typing_extensions import override

from nbferry.errors import CodeInvalid
from nbferry.model import words as vocabulary

Random = Callable[[int], bytes]
"""Returns that many random bytes; :func:`secrets.token_bytes`, except in tests."""

MIN_WORDS, MAX_WORDS = 3, 8
MAX_URL = 500
"""Characters, including the slash at the end."""
MAX_TEXT = 2000
"""Characters of the longest text that is parsed; the longest ticket has 864."""

_PASSWORD = b"nbferry/v1/pw\0"
_PREFIX = "nbf1"
_VERSION = b"\x01"
# Bytes: one mistyped ticket in 4 billion passes for another, which then opens nothing.
_CHECKSUM = 4
# What may separate two parts: blanks, underscores, every kind of hyphen and dash.
_BETWEEN = re.compile(r"[\s_\u00ad\u2010-\u2015\u2212-]+")
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[a-z0-9._~!$&'()*+,;=:@%/-]*)?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Code:
    """A code: a room of six digits, words of the list, the relay's address or None.

    Anything else raises :class:`CodeInvalid`, so every instance is usable.
    """

    room: str
    words: tuple[str, ...] = field(repr=False)
    url: str | None = None

    many: ClassVar[bool] = False
    """A code works once."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9]{6}", self.room):
            raise CodeInvalid("A code begins with a number of six digits.")
        if not MIN_WORDS <= len(self.words) <= MAX_WORDS:
            raise CodeInvalid(f"A code has {MIN_WORDS} to {MAX_WORDS} words, not {len(self.words)}.")
        for word in self.words:
            _check_word(word)
        if self.url is not None:
            object.__setattr__(self, "url", canonical_url(self.url))

    @override
    def __str__(self) -> str:
        return "-".join((self.room, *self.words)) + (f"@{self.url}" if self.url else "")

    @property
    def password(self) -> bytes:
        """The secret from which the key exchange starts."""
        return _PASSWORD + "-".join(self.words).encode()

    def with_url(self, url: str | None) -> Self:
        """Return the same code for another relay."""
        return replace(self, url=url)


@dataclass(frozen=True)
class Ticket:
    """A ticket: a room of 32 hexadecimal digits, a secret of 16 bytes, the relay's address or None.

    Checked like a :class:`Code`.
    """

    room: str
    secret: bytes = field(repr=False)
    url: str | None = None

    many: ClassVar[bool] = True
    """A ticket may be used many times."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{32}", self.room) or len(self.secret) != 16:
            raise CodeInvalid("This ticket has the wrong length.")
        if self.url is not None:
            object.__setattr__(self, "url", canonical_url(self.url))

    @override
    def __str__(self) -> str:
        body = _VERSION + bytes.fromhex(self.room) + self.secret + (self.url or "").encode()
        return _PREFIX + _base32(body + _checksum(body)).lower()

    @property
    def password(self) -> bytes:
        """The secret from which the key exchange starts."""
        return _PASSWORD + self.secret

    def with_url(self, url: str | None) -> Self:
        """Return the same ticket for another relay."""
        return replace(self, url=url)


def new_code_words(count: int = MIN_WORDS, random: Random = secrets.token_bytes) -> tuple[str, ...]:
    """Draw the words of a new code, 11 bits each."""
    words = vocabulary.WORDS
    # Every word is equally likely: 2,048 divides the 65,536 values of two bytes.
    return tuple(words[int.from_bytes(random(2)) % len(words)] for _ in range(count))


def new_ticket(url: str | None = None, random: Random = secrets.token_bytes) -> Ticket:
    """Draw a new ticket."""
    return Ticket(random(16).hex(), random(16), url)


def parse(text: str) -> Code | Ticket:
    """Read what a person typed or pasted.

    Upper case, blanks around and between the parts, and other dashes are accepted. Anything else raises
    :class:`CodeInvalid`. A typing error found here does not count as a guess.
    """
    if len(text) > MAX_TEXT:
        raise CodeInvalid("This text is too long for a code.")
    # NFKC: Japanese and Chinese keyboards type full-width digits, letters and @.
    text = unicodedata.normalize("NFKC", text).strip()
    if is_ticket(text):
        return _parse_ticket(text[len(_PREFIX) :])
    return _parse_code(text)


def is_ticket(text: str) -> bool:
    """Whether a text begins like a ticket; no code does."""
    return text[: len(_PREFIX)].lower() == _PREFIX


def _parse_code(text: str) -> Code:
    secret, at, url = text.partition("@")
    parts = [part for part in _BETWEEN.split(secret.lower()) if part]
    if not parts:
        raise CodeInvalid("The code is empty.")
    return Code(parts[0], tuple(parts[1:]), url.strip() if at else None)


def _parse_ticket(text: str) -> Ticket:
    # Mail programs and chats wrap long lines.
    digits = _BETWEEN.sub("", text).upper()
    try:
        raw = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except ValueError:
        raw = b""
    body, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    if _base32(raw) != digits or checksum != _checksum(body):
        raise CodeInvalid("This ticket is incomplete or has a typing error.")
    if body[:1] != _VERSION:
        raise CodeInvalid("This ticket comes from a newer version of nbferry.", hint="Update nbferry here.")
    return Ticket(body[1:17].hex(), body[17:33], body[33:].decode("ascii", "replace") if body[33:] else None)


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return sha256(b"nbferry/v1/ticket\0" + body).digest()[:_CHECKSUM]


def _check_word(word: str) -> None:
    if vocabulary.known(word):
        return
    shown = ascii(word[:20])
    meant = vocabulary.nearest(word[:20])
    raise CodeInvalid(f"{shown} is not in the word list" + (f"; did you mean {meant!r}?" if meant else "."))


def canonical_url(url: str) -> str:
    """Check a relay's address and return its canonical form: a lower-case host, a slash at the end.

    Raises :class:`CodeInvalid` unless it is a plain http or https URL.
    """
    parts = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if parts and int(parts["port"] or 80) <= 65535:
        port, path = parts["port"], parts["path"] or "/"
        origin = f"{parts['scheme']}://{parts['host']}".lower() + (f":{int(port)}" if port else "")
        address = origin + (path if path.endswith("/") else f"{path}/")
        if len(address) <= MAX_URL:
            return address
    raise CodeInvalid(
        "This is not a valid relay address.",
        hint="Use the form https://host/path/, without a user name, a query or a fragment.",
    )
