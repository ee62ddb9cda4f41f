from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import CodeInvalid
from nbferry.model.codes import Code, Ticket, parse
from nbferry.model.words import WORDS

urls = st.none() | st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}/{path}",
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?", fullmatch=True),
    st.just("") | st.integers(0, 65535).map(lambda port: f":{port}"),
    st.from_regex(r"([A-Za-z0-9._~@%-]{1,20}/){0,5}", fullmatch=True),
)
words = st.lists(st.sampled_from(WORDS), min_size=3, max_size=8).map(tuple)
codes = st.builds(Code, st.from_regex("[0-9]{6}", fullmatch=True), words, urls)
tickets = st.builds(
    Ticket, st.binary(min_size=16, max_size=16).map(bytes.hex), st.binary(min_size=16, max_size=16), urls
)

separators = st.sampled_from(["-", " ", "_", " - ", "\u2013", "\u2014", "\n"])


@given(codes | tickets)
def test_printed_text_can_be_read(value: Code | Ticket) -> None:
    """Every code and ticket is read back from its text, and has only one text."""
    read = parse(str(value))
    assert read == value
    assert str(read) == str(value)


@given(codes, st.data())
def test_a_sloppy_hand(code: Code, data: st.DataObject) -> None:
    """A code is read in any case and with any separators."""
    text = code.room
    for word in code.words:
        cased = data.draw(st.sampled_from([word, word.upper(), word.title()]))
        text += data.draw(separators) + cased
    assert parse(f" {text} ") == code.with_url(None)


@given(
    st.text()
    | st.text("0123456789-@ amberctulip:/nbf1", min_size=1)
    | st.text("abcdefghij234567").map("nbf1".__add__)
)
def test_any_text(text: str) -> None:
    """Any text is a code, a ticket or invalid, and a valid one can be printed."""
    try:
        value = parse(text)
    except CodeInvalid:
        return
    assert parse(str(value)) == value


@given(codes | tickets, st.data())
def test_damaged_text(value: Code | Ticket, data: st.DataObject) -> None:
    """A text with a changed character is invalid or another value, and never another exception."""
    text = str(value)
    at = data.draw(st.integers(0, len(text) - 1))
    with suppress(CodeInvalid):
        parse(text[:at] + data.draw(st.characters()) + text[at + 1 :])
