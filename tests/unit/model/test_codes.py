from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256

import pytest

from nbferry.errors import CodeInvalid
from nbferry.model.codes import (
    MAX_TEXT,
    MAX_URL,
    Code,
    Ticket,
    canonical_url,
    new_code_words,
    new_ticket,
    parse,
)
from nbferry.model.words import WORDS

URL = "https://hub.example.org/user/ada/"
CODE = Code("482913", ("amber", "canyon", "tulip"), URL)
PLAIN = CODE.with_url(None)
TICKET = Ticket("0123456789abcdef" * 2, bytes(range(16)), URL)


def encoded(body: bytes, *, checksum: bytes | None = None) -> str:
    """A ticket with any body, as the documentation describes it."""
    right = sha256(b"nbferry/v1/ticket\0" + body).digest()[:4]
    return "nbf1" + base64.b32encode(body + (checksum or right)).decode().rstrip("=").lower()


# ---------------------------------------------------------------------- codes
def test_text_of_a_code() -> None:
    """A code is its number, its words and the address of the relay."""
    assert str(CODE) == f"482913-amber-canyon-tulip@{URL}"
    assert str(PLAIN) == "482913-amber-canyon-tulip"


@pytest.mark.parametrize(
    "value", [CODE, PLAIN, TICKET, TICKET.with_url(None)], ids=["code", "plain", "ticket", "bare"]
)
def test_round_trip(value: Code | Ticket) -> None:
    """A printed value is read back."""
    assert parse(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "482913-amber-canyon-tulip",
        "  482913-amber-canyon-tulip\n",
        "482913-AMBER-Canyon-tulip",
        "482913 amber canyon tulip",
        "482913 - amber -  canyon -\ttulip",
        "482913_amber_canyon_tulip",
        "482913\u2013amber\u2014canyon\u2212tulip",
        "482913\u2011amber\u00a0canyon\u3000tulip",
        "-482913-amber-canyon-tulip-",
        "\uff14\uff18\uff12\uff19\uff11\uff13 \uff41mber canyon tulip",
    ],
)
def test_forgiven(text: str) -> None:
    """Upper case, blanks, underscores, other dashes and full-width letters are forgiven."""
    assert parse(text) == PLAIN


@pytest.mark.parametrize(
    "text", [f"482913 amber canyon tulip @ {URL}", f"482913-amber-canyon-tulip\uff20{URL}"]
)
def test_forgiven_before_the_address(text: str) -> None:
    """Blanks around the @, and a full-width @, are forgiven."""
    assert parse(text) == CODE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "-",
        "@https://host/",
        "amber-canyon-tulip",
        "48291-amber-canyon-tulip",
        "4829130-amber-canyon-tulip",
        "\u0664\u0668\u0662\u0669\u0661\u0663-amber-canyon-tulip",
        "482913",
        "482913-amber-canyon",
        "482913" + "-amber" * 9,
        "482913-amber-canyon-tulip@",
        "482913-amber-canyon-tulip@host",
        "482913-ambercanyontulip",
        "482913-amber-canyon-tulip-\x00",
        str(PLAIN).ljust(MAX_TEXT + 1),
    ],
)
def test_text_that_is_no_code(text: str) -> None:
    """Text that is no code is refused before any use."""
    with pytest.raises(CodeInvalid):
        parse(text)


def test_a_typing_error_gets_a_hint() -> None:
    """A word that is not in the list is named with its likely correction."""
    with pytest.raises(CodeInvalid, match=r"'tullip' is not in the word list; did you mean 'tulip'\?"):
        parse("482913-amber-canyon-tullip")


def test_no_hint_without_a_likely_word() -> None:
    """A word without a likely correction is only named, and shortened if it is long."""
    with pytest.raises(CodeInvalid) as caught:
        parse("482913-amber-canyon-" + "\u03b6" * 50)
    assert "did you mean" not in caught.value.message
    assert caught.value.message.count("\\u03b6") == 20


def test_eight_words() -> None:
    """A code may have up to eight words, also the same one twice."""
    assert parse("482913" + "-amber" * 8) == Code("482913", ("amber",) * 8)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("48291", CODE.words),
        ("482913\n", CODE.words),
        ("482913", ("amber",)),
        ("482913", ("Amber", "amber", "amber")),
    ],
)
def test_a_code_is_checked_when_it_is_made(room: str, words: tuple[str, ...]) -> None:
    """A code that could not be read back is refused."""
    with pytest.raises(CodeInvalid):
        Code(room, words)


def test_password_of_a_code() -> None:
    """The key exchange uses only the words: the number is public, and the address may differ."""
    assert CODE.password == b"nbferry/v1/pw\0amber-canyon-tulip" == PLAIN.password


def test_number_of_uses() -> None:
    """A code works once, a ticket many times."""
    assert not CODE.many
    assert TICKET.many


# --------------------------------------------------------------------- secrets
@pytest.mark.parametrize("secret", ["amber", "canyon", "tulip"])
def test_no_secret_of_a_code_is_shown(secret: str) -> None:
    """The repr of a code, which logs and notebooks may show, does not contain its words."""
    assert secret not in repr(CODE)
    assert "482913" in repr(CODE)


def test_no_secret_of_a_ticket_is_shown() -> None:
    """The repr of a ticket contains its secret in no form."""
    shown = repr(TICKET)
    assert "secret" not in shown
    assert TICKET.secret.hex() not in shown
    assert repr(TICKET.secret) not in shown


# --------------------------------------------------------------------- tickets
def test_text_of_a_ticket() -> None:
    """A ticket is nbf1 and the base32 of version, room, secret, address and checksum."""
    assert str(TICKET) == encoded(b"\x01" + bytes.fromhex(TICKET.room) + TICKET.secret + URL.encode())
    assert re.fullmatch("nbf1[a-z2-7]+", str(TICKET))


def test_a_wrapped_ticket() -> None:
    """A ticket in several lines or in capitals is read."""
    text = str(TICKET)
    assert parse("\n".join(re.findall(".{1,40}", text)).upper()) == TICKET


@pytest.mark.parametrize("at", range(4, len(str(TICKET)), 7))
def test_a_typing_error_in_a_ticket(at: int) -> None:
    """A ticket with one wrong character is refused."""
    text = str(TICKET)
    with pytest.raises(CodeInvalid):
        parse(text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :])


@pytest.mark.parametrize("length", [*range(4, 12), 60, len(str(TICKET)) - 1])
def test_half_a_ticket(length: int) -> None:
    """A truncated ticket is refused."""
    with pytest.raises(CodeInvalid, match="incomplete"):
        parse(str(TICKET)[:length])


@pytest.mark.parametrize(
    "text", ["nbf1!", "nbf1=", "nbf1" + "=" * 8, "nbf1\u00df", str(TICKET) + "1", str(TICKET) + "="]
)
def test_characters_that_no_ticket_has(text: str) -> None:
    """Text that is not base32 is refused."""
    with pytest.raises(CodeInvalid):
        parse(text)


def test_one_text_for_one_ticket() -> None:
    """The unused bits of the last character are zero, so a ticket has one text."""
    text = str(TICKET.with_url(None))  # 37 bytes are 59.2 characters: the last one has a free bit or more
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    with pytest.raises(CodeInvalid):
        parse(text[:-1] + digits[digits.index(text[-1]) + 1])


def test_a_newer_ticket() -> None:
    """A ticket of another version says that an update is needed."""
    with pytest.raises(CodeInvalid, match="newer version of nbferry") as caught:
        parse(encoded(b"\x02" + bytes(32)))
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01" + bytes(31)], ids=len)
def test_a_short_ticket(body: bytes) -> None:
    """A ticket that is too short is refused, even with a right checksum."""
    with pytest.raises(CodeInvalid):
        parse(encoded(body))


@pytest.mark.parametrize("url", [b"ftp://host/", b"https://\xff/", b"https://host/?q", b"\n"])
def test_a_wrong_address_in_a_ticket(url: bytes) -> None:
    """The address in a ticket is checked as in a code, even with a right checksum."""
    with pytest.raises(CodeInvalid, match="address"):
        parse(encoded(b"\x01" + bytes(32) + url))


@pytest.mark.parametrize(
    ("room", "secret"), [("00", bytes(16)), ("00" * 16, bytes(15)), ("AA" * 16, bytes(16))]
)
def test_a_ticket_is_checked_when_it_is_made(room: str, secret: bytes) -> None:
    """A room has 32 lower-case hexadecimal digits, a secret 16 bytes."""
    with pytest.raises(CodeInvalid):
        Ticket(room, secret)


def test_password_of_a_ticket() -> None:
    """The key exchange uses only the secret."""
    assert TICKET.password == b"nbferry/v1/pw\0" + TICKET.secret == TICKET.with_url(None).password


def test_the_longest_ticket_can_be_read() -> None:
    """An address of the greatest length fits into a ticket."""
    url = "https://host/".ljust(MAX_URL - 1, "x") + "/"
    assert parse(str(TICKET.with_url(url))).url == url


# ------------------------------------------------------------------- addresses
@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://host", "https://host/"),
        ("HTTPS://Host.Example/Base", "https://host.example/Base/"),
        ("http://127.0.0.1:8888/", "http://127.0.0.1:8888/"),
        ("http://[::1]:08888/a/b/", "http://[::1]:8888/a/b/"),
        ("https://host/user/ada%40example.org/", "https://host/user/ada%40example.org/"),
        ("https://host/user/ada@example.org/", "https://host/user/ada@example.org/"),
    ],
)
def test_addresses(url: str, canonical: str) -> None:
    """An address has one form: lower-case host, final slash, and a path that keeps its case."""
    assert canonical_url(url) == canonical
    assert PLAIN.with_url(url).url == canonical
    assert parse(f"{PLAIN}@{url}").url == canonical


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "//host/",
        "ftp://host/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@host/",
        "https://user:secret@host/",
        "https://host/?token=1",
        "https://host/#fragment",
        "https://host/a b",
        "https://host/\nx",
        "https://host\\@evil/",
        "https://host/\x00",
        "https://h\u00f6st/",
        "https://host:99999/",
        "https://host:/",
        "https://-host/",
        "https://host/".ljust(MAX_URL + 1, "x"),
        "https://host/".ljust(MAX_URL, "x"),
    ],
)
def test_wrong_addresses(url: str) -> None:
    """Only a plain http or https address is valid: no user name, query, fragment, blanks, control characters."""
    with pytest.raises(CodeInvalid, match="address"):
        canonical_url(url)
    with pytest.raises(CodeInvalid):
        parse(f"{PLAIN}@{url}")


# ------------------------------------------------------------------ randomness
def test_words_from_random_bits() -> None:
    """Two random bytes choose a word, each with the same probability."""
    chosen = new_code_words(65536 // 1024, iter_bytes(range(0, 65536, 1024)))
    assert chosen == tuple(WORDS[number % 2048] for number in range(0, 65536, 1024))


def iter_bytes(numbers: range) -> Callable[[int], bytes]:
    """A random source that yields these numbers."""
    values = iter(numbers)
    return lambda size: next(values).to_bytes(size)


def test_new_codes_differ() -> None:
    """Every code has new words, by default three."""
    assert len(new_code_words()) == 3
    assert new_code_words(8) != new_code_words(8)


def test_new_tickets_differ() -> None:
    """Every ticket has a new room and a new secret."""
    one, other = new_ticket(URL), new_ticket()
    assert one.url == URL
    assert other.url is None
    assert one.room != other.room
    assert one.secret != other.secret


def test_new_ticket_from_random_bytes() -> None:
    """Room and secret are drawn one after the other."""
    drawn = iter([bytes(16), bytes([1]) * 16])
    assert new_ticket(random=lambda _: next(drawn)) == Ticket("00" * 16, b"\x01" * 16)
