from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_lowercase

import pytest

from nbferry.model.words import WORDS, known, nearest


def one_error_away(word: str) -> Iterator[str]:
    """Everything at Damerau-Levenshtein distance 1."""
    for at in range(len(word) + 1):
        before, after = word[:at], word[at:]
        yield from (before + letter + after for letter in ascii_lowercase)
        if after:
            yield before + after[1:]
            yield from (before + letter + after[1:] for letter in ascii_lowercase if letter != after[0])
        if len(after) > 1 and after[0] != after[1]:
            yield before + after[1] + after[0] + after[2:]


def test_eleven_bits() -> None:
    """There are 2,048 different words, so that each stands for 11 bits."""
    assert len(WORDS) == len(set(WORDS)) == 2048


def test_letters() -> None:
    """A word has 3 to 8 letters, lower-case ASCII."""
    assert [word for word in WORDS if not re.fullmatch("[a-z]{3,8}", word)] == []


def test_order() -> None:
    """The words stand in alphabetical order."""
    assert list(WORDS) == sorted(WORDS)


def test_first_letters() -> None:
    """The first four letters name a word, and no word begins another."""
    assert len({word[:4] for word in WORDS}) == 2048
    short = tuple(word for word in WORDS if len(word) < 4)
    assert [word for word in WORDS if word not in short and word.startswith(short)] == []


def test_one_typing_error_gives_no_other_word() -> None:
    """One extra, missing, wrong or swapped letter never makes another word of the list."""
    words = set(WORDS)
    assert [(word, other) for word in WORDS for other in one_error_away(word) if other in words] == []


def test_words_of_the_documentation() -> None:
    """The example code of the documentation is valid."""
    assert {"amber", "canyon", "tulip"} <= set(WORDS)


@pytest.mark.parametrize(
    "word", ["knight", "night", "flour", "flower", "colour", "color", "gray", "grey", "gun"]
)
def test_left_out(word: str) -> None:
    """Words that sound like others, are spelled in two ways, or are unkind are left out."""
    assert not known(word)


@pytest.mark.parametrize("word", ["amber", "zoo"])
def test_known(word: str) -> None:
    """A word of the list is known."""
    assert known(word)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tullip", "tulip"), ("canoyn", "canyon"), ("ambr", "amber"), ("zzzzzz", None), ("", None)],
)
def test_nearest(typed: str, meant: str | None) -> None:
    """After a typing error the intended word is found. Text unlike any word gives none."""
    assert nearest(typed) == meant
