"""A snapshot as text and as HTML. Names and reasons come from a peer and may be hostile."""

from __future__ import annotations

from datetime import datetime
from html.parser import HTMLParser

import pytest

from nbferry.limits import GiB
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Snapshot, State
from nbferry.text import rendering

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

TAGS = {"table", "caption", "tbody", "tr", "th", "td", "code"}
FILE_TAGS = {"thead"}


class Page(HTMLParser):
    """Parses HTML as a browser does."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag and its attributes."""
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Record text."""
        self.text += data


def view(**changes: object) -> Snapshot:
    """A transfer under way."""
    fields = {
        "id": "0a1b2c3d",
        "role": Role.RECEIVE,
        "state": State.TRANSFERRING,
        "names": ("trips.parquet",),
    }
    fields |= {"files": 1, "total": 1_000_000_000, "verified": 450_000_000, "rate": 120e6, "eta": 4.6}
    return Snapshot(**fields | {"via": "direct"} | changes)  # type: ignore[arg-type]


# ---------------------------------------------------------------- hostile text
@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(hostile: str) -> None:
    """A hostile name or reason adds no tag, no attribute, no control character and not much length."""
    seen = view(names=(hostile, hostile + "2"), files=2, reason=hostile, state=State.FAILED, via=None)
    page = Page(rendering.html(seen, code="<b>"))
    assert set(page.tags) == TAGS
    assert page.attributes == {"class", "style", "aria-label", "scope"}
    for shown in (rendering.html(seen, None), rendering.text(seen, None), rendering.line(seen), page.text):
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 2000
    harmless = view(reason="x", state=State.FAILED)
    assert len(rendering.text(seen, None).splitlines()) == len(rendering.text(harmless, None).splitlines())


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_of_files(hostile: str) -> None:
    """A hostile file name in the list adds none either."""
    files = [FileProgress(hostile, 10, 5, 5), FileProgress(f"folder/{hostile}", 0, 0, 0)]
    page = Page(rendering.html(view(), None, files))
    assert set(page.tags) == TAGS - {"code"} | FILE_TAGS
    assert page.attributes == {"class", "style", "aria-label", "scope"}
    assert page.tags.count("tr") == 3 + 1 + len(files)
    for shown in (rendering.html(view(), None, files), rendering.text(view(), None, files), page.text):
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 2500
    assert len(rendering.text(view(), None, files).splitlines()) == 3 + len(files)


def test_a_code_is_escaped() -> None:
    """A code is shown escaped as code."""
    page = Page(rendering.html(view(), code="1-a@<i>"))
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
    assert rendering.size(count) == shown


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
    assert rendering.duration(seconds) == shown


# ---------------------------------------------------------------- texts
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
    """One item is called by its name, several by their number and first names."""
    assert rendering.title(view(**changes)) == title


def test_progress() -> None:
    """Progress shows percent, bytes, rate, time and path, as far as known."""
    assert rendering.progress(view()) == "45 %  450 MB of 1.0 GB  120 MB/s  5 s left  direct"
    assert rendering.progress(view(state=State.PAUSED, eta=None)) == "45 %  450 MB of 1.0 GB  direct"
    assert rendering.progress(view(rate=0.0, eta=None, via=None)) == "45 %  450 MB of 1.0 GB"
    assert rendering.progress(view(total=0, rate=0.0, eta=None, via=None)) == ""
    assert rendering.progress(view(), sizes=False) == "45 %  120 MB/s  5 s left  direct"
    moved = datetime(2026, 11, 28, 14, 3, 10).timestamp()  # shown in local time
    assert rendering.progress(view(via="webrtc", via_since=moved, rate=0.0, eta=None)).endswith(
        "webrtc since 14:03:10"
    )


@pytest.mark.parametrize(("verified", "percent"), [(0, "0 %"), (GiB - 1, "99 %"), (GiB, "100 %")])
def test_only_all_of_it_is_100_percent(verified: int, percent: str) -> None:
    """While a byte is missing, 99 % is the most."""
    assert rendering.progress(view(total=GiB, verified=verified)).startswith(percent)


def test_a_line() -> None:
    """A repr is one line with role, id, state, name and progress."""
    assert rendering.line(view()).startswith("<nbferry receive 0a1b2c3d: transferring, trips.parquet 45 %")
    nothing = Snapshot(id="1", role=Role.SEND)
    assert rendering.line(nothing) == "<nbferry send 1: waiting, nothing known yet>"


def rows(seen: Snapshot, code: str | None = None) -> dict[str, str]:
    """The rows of the text, by their labels."""
    return {line[:10].rstrip(" :"): line[10:] for line in rendering.text(seen, code).splitlines()}


def test_text() -> None:
    """The text has the title, the state and the progress, and more only if needed."""
    assert rows(view()) == {
        "receive": "trips.parquet",
        "state": "transferring",
        "progress": rendering.progress(view()),
    }
    nothing = Snapshot(id="1", role=Role.SEND, reason="no relay", wrong_guesses=2)
    assert rows(nothing) == {
        "send": "nothing known yet",
        "state": "waiting",
        "code": "print(transfer.code)",
        "why": "no relay",
        "warning": "wrong guesses of the code: 2 of 3",
    }


@pytest.mark.parametrize("state", rendering.BEFORE)
def test_before_bytes_move(state: State) -> None:
    """Before bytes move, the size is shown without progress, unless an earlier process made some."""
    seen = rows(view(state=state, verified=0, rate=0.0, eta=None, via=None))
    assert seen["size"] == "1.0 GB"
    assert "progress" not in seen
    assert rows(view(state=state, via=None, eta=None))["progress"] == "45 %  450 MB of 1.0 GB"


def test_an_offer_says_what_to_do() -> None:
    """Only a receiver with an offer is told how to decide."""
    assert "transfer.accept()" in rows(view(state=State.OFFERED))["next"]
    assert "next" not in rows(view(state=State.OFFERED, role=Role.SEND))


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
    """A code whose relay is on this machine has a note that it works only here."""
    assert rows(view(), code)["code"] == code
    assert ("note" in rows(view(), code)) is note
    assert Page(rendering.html(view(), code)).text.count(code) == 1


# ---------------------------------------------------------------- saved notebooks
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"role": Role.SEND, "state": State.WAITING}, True),
        ({"role": Role.SEND, "state": State.TRANSFERRING}, False),
        ({"role": Role.SEND, "state": State.DONE}, False),
        ({"role": Role.RECEIVE, "state": State.WAITING}, False),
    ],
)
def test_a_code_that_is_left_out(changes: dict[str, object], told: bool) -> None:
    """A waiting sender without its code on display says how to get it. Other states do not."""
    seen = view(**changes)
    assert (rows(seen).get("code") == "print(transfer.code)") is told
    assert ("print(transfer.code)" in Page(rendering.html(seen, None)).text) is told
    assert "print(transfer.code)" not in rendering.text(seen, "1-a-b-c@https://hub.example/")


@pytest.mark.parametrize(
    ("role", "state", "caption"),
    [
        (Role.SEND, State.WAITING, "nbferry: sending, waiting"),
        (Role.RECEIVE, State.DONE, "nbferry: receiving, done"),
        (Role.UPLOAD, State.PAUSED, "nbferry: uploading, paused"),
    ],
)
def test_a_caption(role: str, state: State, caption: str) -> None:
    """The table's caption explains it to a reader without the notebook."""
    assert f">{caption}</caption>" in rendering.html(view(role=role, state=state), None)


FILES = [
    FileProgress("data/a.csv", 1000, 1000, 1000),
    FileProgress("data/b.csv", 1000, 450, 200),
    FileProgress("data/c.csv", 2_000_000, 0, 0),
    FileProgress("data/empty", 0, 0, 0),
]


@pytest.mark.parametrize(
    ("state", "states"),
    [
        (State.TRANSFERRING, ["done", "45 %", "waiting", "waiting"]),
        (State.CANCELLED, ["done", "45 %", "missing", "missing"]),
        (State.DONE, ["done", "done", "done", "done"]),
    ],
)
def test_files(state: State, states: list[str]) -> None:
    """Each file has a row with name, size and progress."""
    shown = rendering.text(view(state=state), None, FILES).splitlines()[-len(FILES) :]
    sizes = ["1.0 kB", "1.0 kB", "2.0 MB", "0 B"]
    assert shown == [
        f"  {file.path}  {size}  {text}" for file, size, text in zip(FILES, sizes, states, strict=True)
    ]
    html = rendering.html(view(state=state), None, FILES)
    for file, size, text in zip(FILES, sizes, states, strict=True):
        assert "".join([file.path, size, text]) in Page(html).text


@pytest.mark.parametrize(("count", "more"), [(20, ""), (21, "… and 1 more"), (1_020, "… and 1,000 more")])
def test_many_files(count: int, more: str) -> None:
    """The first twenty files have a row, and the others are counted."""
    files = [FileProgress(f"{number:04}.bin", 1, 0, 0) for number in range(count)]
    for given in (files, files[:20]):  # all or the first twenty; the snapshot has the number
        seen = view(files=count)
        for shown in (rendering.text(seen, None, given), Page(rendering.html(seen, None, given)).text):
            assert shown.count(".bin") == 20
            assert shown.endswith(more or "waiting")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("send", "choose files to send here"),
        ("upload", "choose files to upload here"),
        ("receive", "enter a code here to receive files"),
        ("download", "a.csv, b.csv can be saved from here"),
    ],
)
def test_a_card_without_a_transfer(kind: str, said: str) -> None:
    """The card says what it is for, and that it needs a kernel."""
    assert rendering.unbegun(kind, "a.csv, b.csv") == f"nbferry: {said} while the kernel runs."
    assert Page(rendering.unbegun_html(kind, "a.csv, b.csv")).text == rendering.unbegun(kind, "a.csv, b.csv")


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_of_saved_files(hostile: str) -> None:
    """Names of files to save stay text as well."""
    page = Page(rendering.unbegun_html("download", hostile))
    assert (page.tags, page.attributes) == (["p"], {"class"})
    assert page.text == rendering.unbegun("download", hostile)
    assert page.text.isprintable()
    assert len(page.text) < 300
