"""A snapshot as text and as HTML; names and reasons come from a peer and are hostile."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from nbferry import render
from nbferry.limits import GiB
from nbferry.status import Snapshot, State

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    '"><b>',
    "&lt;",
    "\x1b[31mred\x1b[0m",
    "a\nb\r\nc",
    "\u202egnp.exe",
    "a\u200bb",
    "\udcff",
    "x" * 10_000,
]

TAGS = {"table", "tbody", "tr", "th", "td", "code"}


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag and of its attributes."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Take note of text."""
        self.text += data


def view(**changes: object) -> Snapshot:
    """A transfer in the middle."""
    fields = {"id": "0a1b2c3d", "role": "receive", "state": State.TRANSFERRING, "names": ("trips.parquet",)}
    fields |= {"files": 1, "total": 1_000_000_000, "verified": 450_000_000, "rate": 120e6, "eta": 4.6}
    return Snapshot(**fields | {"via": "direct"} | changes)  # type: ignore[arg-type]


# ---------------------------------------------------------------- hostile text
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(hostile: str) -> None:
    """A hostile name or reason adds no tag, no attribute, no control character and not much length."""
    seen = view(names=(hostile, hostile + "2"), files=2, reason=hostile, state=State.FAILED, via=None)
    page = Page(render.html(seen, code="<b>"))
    assert set(page.tags) == TAGS
    assert page.attributes == {"class", "style", "aria-label"}
    for shown in (render.html(seen, None), render.text(seen, None), render.line(seen), page.text):
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 2000
    harmless = view(reason="x", state=State.FAILED)
    assert len(render.text(seen, None).splitlines()) == len(render.text(harmless, None).splitlines())


def test_a_code_is_escaped() -> None:
    """A code is shown as code, and as nothing else."""
    page = Page(render.html(view(), code="1-a@<i>"))
    assert "1-a@<i>" in page.text
    assert "i" not in page.tags


# ---------------------------------------------------------------- sizes and times
@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.4, "999 B"),
        (999.5, "1.0 kB"),
        (1000, "1.0 kB"),
        (1536, "1.5 kB"),
        (99_400, "99.4 kB"),
        (99_500, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (3_100_000_000, "3.1 GB"),
        (1.5e12, "1.5 TB"),
        (2e15, "2.0 PB"),
        (5e18, "5000 PB"),
    ],
)
def test_sizes(count: float, shown: str) -> None:
    """Sizes are in powers of ten, with two or three digits."""
    assert render.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    """Times have two units at most."""
    assert render.duration(seconds) == shown


# ---------------------------------------------------------------- what is said
@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"names": (), "files": 0}, "nothing known yet"),
        ({"names": ("a.csv",), "files": 1}, "a.csv"),
        ({"names": ("empty",), "files": 0}, "empty"),
        ({"names": ("data",), "files": 1234}, "1,234 files (data)"),
        ({"names": ("a", "b", "c"), "files": 3}, "3 files (a, b, c)"),
        ({"names": tuple("abcd"), "files": 4}, "4 files (a, b, c, …)"),
    ],
)
def test_titles(changes: dict[str, object], title: str) -> None:
    """One thing is called by its name, several by their number and the first names."""
    assert render.title(view(**changes)) == title


def test_progress() -> None:
    """Progress says percent, bytes, rate, time and path, as far as they are known."""
    assert render.progress(view()) == "45 %  450 MB of 1.0 GB  120 MB/s  5 s left  direct"
    assert render.progress(view(state=State.PAUSED, eta=None)) == "45 %  450 MB of 1.0 GB  direct"
    assert render.progress(view(rate=0.0, eta=None, via=None)) == "45 %  450 MB of 1.0 GB"
    assert render.progress(view(total=0, rate=0.0, eta=None, via=None)) == ""
    assert render.progress(view(), sizes=False) == "45 %  120 MB/s  5 s left  direct"


@pytest.mark.parametrize(("verified", "percent"), [(0, "0 %"), (GiB - 1, "99 %"), (GiB, "100 %")])
def test_only_all_of_it_is_100_percent(verified: int, percent: str) -> None:
    """As long as a byte is missing it is not 100 %."""
    assert render.progress(view(total=GiB, verified=verified)).startswith(percent)


def test_a_line() -> None:
    """A repr is one line with role, id, state, name and progress."""
    assert render.line(view()).startswith("<nbferry receive 0a1b2c3d: transferring, trips.parquet 45 %")
    nothing = Snapshot(id="1", role="send")
    assert render.line(nothing) == "<nbferry send 1: waiting, nothing known yet>"


def rows(seen: Snapshot, code: str | None = None) -> dict[str, str]:
    """The rows of the text, by their labels."""
    return {line[:10].rstrip(" :"): line[10:] for line in render.text(seen, code).splitlines()}


def test_text() -> None:
    """The text says what, in which state, how far; more only when there is more to say."""
    assert rows(view()) == {
        "receive": "trips.parquet",
        "state": "transferring",
        "progress": render.progress(view()),
    }
    nothing = Snapshot(id="1", role="send", reason="no relay", wrong_guesses=2)
    assert rows(nothing) == {
        "send": "nothing known yet",
        "state": "waiting",
        "why": "no relay",
        "warning": "somebody guessed the code wrong 2 time(s)",
    }


def test_an_offer_says_what_to_do() -> None:
    """A receiver that has an offer is told how to decide; nobody else is."""
    assert "transfer.accept()" in rows(view(state=State.OFFERED))["next"]
    assert "next" not in rows(view(state=State.OFFERED, role="send"))


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("1-a@http://127.0.0.1:80/", True),
        ("1-a@http://localhost:80/", True),
        ("1-a@http://[::1]:80/", True),
        ("1-a@https://hub.example/", False),
        ("nbf1abc", False),
    ],
)
def test_a_code_that_works_here_only(code: str, note: bool) -> None:
    """A code whose relay is on this machine says that it works nowhere else."""
    assert rows(view(), code)["code"] == code
    assert ("note" in rows(view(), code)) is note
    assert Page(render.html(view(), code)).text.count(code) == 1
