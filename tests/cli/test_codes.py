"""Codes that are wrong, used, burnt or expired end both sides with exit code 4 and a reason."""

from __future__ import annotations

import pytest

from running import Commands


def with_other_word(code: str) -> str:
    """A code that differs in one word."""
    number, first, rest = code.split("-", 2)
    return "-".join((number, "amber" if first != "amber" else "canyon", rest))


def test_a_wrong_guess(nbferry: Commands) -> None:
    """Who guesses wrong ends with exit code 4; the sender is shown it, and the right code still works."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    code = sender.code()
    guesser = nbferry("receive", with_other_word(code), "--json", folder="g")
    assert guesser.end() == 4
    assert guesser.events()[-1]["code"] == "code-wrong"
    sender.state("waiting", "wrong guesses of the code: 1 of 3")
    assert not list((nbferry.root / "g").iterdir())
    receiver = nbferry("receive", code, "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)


def test_three_wrong_guesses(nbferry: Commands) -> None:
    """The third wrong guess burns the code. The sender ends with exit code 4 and says how to get a new one."""
    nbferry.file("a/x", b"x")
    _, url = nbferry.relay()
    sender = nbferry("send", "x", "--json", "--relay", url, folder="a")
    code = sender.code()
    for number in (1, 2, 3):
        guesser = nbferry("receive", with_other_word(code), "--json", folder="g")
        assert guesser.end() == 4
        assert guesser.events()[-1]["code"] == "code-wrong"
        sender.state("waiting", f"wrong guesses of the code: {number} of 3")
    assert sender.end() == 4
    assert sender.events()[-1] == {
        "event": "error",
        "code": "code-burnt",
        "message": "This code is no longer valid: there were too many wrong guesses.",
        "hint": "Nothing was transferred. Send again to get a new code.",
        "retryable": False,
    }
    late = nbferry("receive", code, "--json", folder="b")
    assert late.end() == 4
    assert late.events()[-1]["code"] == "code-burnt"


def test_guesses_shown_to_a_person(nbferry: Commands) -> None:
    """Without --json the sender is warned on stderr, and the guesser reads one sentence and a hint."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "-q", folder="a")
    code = sender.line()
    assert code
    guesser = nbferry("receive", with_other_word(code), folder="g")
    assert guesser.failure() == (
        4,
        "Error: The code is wrong. Check the words. Too many wrong guesses make the code invalid.",
    )
    assert sender.error_line() == "Warning: wrong guesses of the code: 1 of 3"


def test_a_used_code(nbferry: Commands) -> None:
    """A used code is reported as such, with exit code 4."""
    nbferry.file("a/x", b"x")
    _, url = nbferry.relay()
    sender = nbferry("send", "x", "--json", "--relay", url, folder="a")
    code = sender.code()
    first = nbferry("receive", code, "--json", folder="b")
    assert (first.end(), sender.end()) == (0, 0)
    second = nbferry("receive", code, "--json", folder="c")
    assert second.end() == 4
    assert second.events()[-1]["code"] == "code-used"


def test_an_expired_code(nbferry: Commands) -> None:
    """An offer without a receiver expires. Both sides end with exit code 4, the later one too."""
    nbferry.file("a/x", b"x")
    _, url = nbferry.relay()
    sender = nbferry("send", "x", "--json", "--expires", "1s", "--relay", url, folder="a")
    code = sender.code()
    assert sender.end() == 4
    assert sender.events()[-2]["state"] == "expired"
    assert sender.events()[-1]["code"] == "expired"
    late = nbferry("receive", code, "--json", folder="b")
    assert late.end() == 4
    assert late.events()[-1]["code"] == "code-expired"


def test_an_unknown_code(nbferry: Commands) -> None:
    """A number that the relay does not know ends with exit code 4 and a hint."""
    _, url = nbferry.relay()
    receiver = nbferry("receive", f"123456-amber-canyon-tulip@{url}", folder="b")
    assert receiver.failure() == (
        4,
        "Error: No sender is waiting with this code. Check the number, and that the sender is still running.",
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("123456-ambr-canyon-tulip", "'ambr' is not in the word list; did you mean 'amber'?"),
        ("amber-canyon-tulip", "A code begins with a number of six digits."),
        ("123456-amber-canyon", "A code has 3 to 8 words, not 2."),
        ("nbf1aaaa", "This ticket is incomplete or has a typing error."),
        ("123456-amber-canyon-tulip@ftp://x/", "This is not a valid relay address."),
        ("123456-amber-canyon-tulip", "This code does not say which relay it belongs to."),
        ("\x1b[31m-evil", "A code begins with a number of six digits."),
    ],
)
def test_text_that_is_no_code(nbferry: Commands, code: str, says: str) -> None:
    """Text that is no code is rejected before any connection, with exit code 4 and a hint."""
    exit_code, text = nbferry("receive", code, folder="b").failure()
    assert exit_code == 4
    assert text.startswith(f"Error: {says} ")
    assert text.isprintable()


def test_a_misspelt_word_is_no_guess(nbferry: Commands) -> None:
    """Words outside the list cost the code none of its guesses."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    code = sender.code()
    number, _, rest = code.split("-", 2)
    typos = [nbferry("receive", f"{number}-{word}-{rest}", "--json", folder="g") for word in "qwz"]
    assert [typo.end() for typo in typos] == [4, 4, 4]
    receiver = nbferry("receive", code, "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert not any("guessed" in event["reason"] for event in sender.events() if event["event"] == "state")
