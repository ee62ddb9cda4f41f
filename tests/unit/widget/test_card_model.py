"""What stands behind a card, and what pages may ask of it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from nbferry.engine import portal as portals
from nbferry.engine.portal import Portal
from nbferry.errors import CodeInvalid, NbferryError, SourceAway
from nbferry.jupyter import server as server_module
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.storage.sources.pages import PageFiles, Slice
from nbferry.transfer.handle import Transfer
from nbferry.widget import card_model as module
from nbferry.widget.calls import Buffer
from nbferry.widget.card_model import CardModel

PAGE, OTHER, THIRD = "a" * 16, "b" * 16, "c" * 16
WITHIN = 20
ENTRIES = [Entry("d/a", 5, 7_000_000), Entry("d/b", 0, 7_000_000)]
LISTED = [{"path": "d/a", "size": 5, "mtime": 7}, {"path": "d/b", "size": 0, "mtime": 7}]


class NoLine:
    """There is only the comm."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def start(self) -> None:
        """Nothing begins."""


WAITING = Snapshot(id="0123456789ab", role=Role.SEND, state=State.WAITING, names=("d",), files=2, total=5)


@dataclass
class Played:
    """A transfer that a test plays."""

    snapshot: Snapshot = WAITING
    page_files: PageFiles | None = None
    outcome: Result | None = None
    folder: Path | None = None
    wishes: list[tuple[str, str]] = field(default_factory=list)
    code: str = "1-a-b-c@http://127.0.0.1/"
    has_code: bool = True
    waits_for_decision: bool = False
    accepted: bool = False
    is_held: bool = False
    is_parked: bool = False
    is_over: bool = False
    watchers: list[Callable[[Snapshot], None]] = field(default_factory=list)

    def subscribe(self, callback: Callable[[Snapshot], None]) -> None:
        """As a transfer does."""
        self.watchers.append(callback)

    def files_from(self, first: int, count: int) -> Sequence[FileProgress]:
        """A row for each entry."""
        return [FileProgress(entry.path, entry.size, 0, 0) for entry in ENTRIES][first : first + count]

    def becomes(self, **changes: Any) -> None:
        """Another state."""
        self.snapshot = self.snapshot.evolve(**changes)
        for watcher in self.watchers:
            watcher(self.snapshot)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in ("pause", "resume", "cancel", "accept", "reject"):
            raise AttributeError(name)
        return lambda *reason: self.wishes.append((name, *reason))  # type: ignore[arg-type]


class Card:
    """A desk with a widget that a test reads."""

    def __init__(self, model: CardModel) -> None:
        self.model = model
        self.said: queue.Queue[tuple[dict[str, Any], bytes]] = queue.Queue()
        self.views: queue.Queue[dict[str, Any]] = queue.Queue()
        self._numbers = {PAGE: 0, OTHER: 0, THIRD: 0}
        model.open("model", self._say, self.views.put)

    def _say(self, message: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        self.said.put((dict(message), b"".join(buffers)))

    def ask(self, op: str, page: str = PAGE, **arguments: Any) -> Any:
        """A page asks: the answer, or the error that was said."""
        self._numbers[page] += 1
        self.model.hear({"page": page, "id": self._numbers[page], "op": op, **arguments}, [])
        said, buffer = self.said.get(timeout=WITHIN)
        assert (said["page"], said["re"]) == (page, self._numbers[page])
        if "error" in said:
            return said["error"]["code"]
        return (said["ok"], buffer) if buffer else said["ok"]

    def answer(self, buffer: bytes = b"", **fields: Any) -> dict[str, Any]:
        """A page answers what it was asked: that."""
        asked, _ = self.said.get(timeout=WITHIN)
        self.model.hear({"page": asked["page"], "re": asked["id"], **fields}, [buffer] if buffer else [])
        return asked

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next view of that kind."""
        while not condition(view := self.views.get(timeout=WITHIN)):
            pass
        return view


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    """An engine's thread."""
    monkeypatch.setattr(module, "Line", NoLine)
    yield portals.portal()
    portals.stop()


@pytest.fixture
def played() -> Played:
    """A transfer."""
    return Played()


@pytest.fixture
def card(used: Portal, played: Played) -> Card:
    """A card of that transfer."""
    model = CardModel("send", used)
    model.show(cast("Transfer", played))
    return Card(model)


# ------------------------------------------------------------------ looking
def test_a_page_that_comes_sees_what_there_is(card: Card) -> None:
    """And the desk knows that somebody sees it."""
    assert not card.model.met.is_set()
    ok = card.ask("hello", base="")
    assert (ok["version"], ok["view"]["phase"], ok["view"]["kind"]) == (1, "transfer", "send")
    assert card.model.met.is_set()


def test_a_view_holds_no_secret(card: Card, played: Played) -> None:
    """It is saved in the notebook: the code is given to a page that asks, and is not in it."""
    view = card.ask("look")["view"]
    assert played.code not in str(view)
    assert view["transfer"]["has_code"]
    assert card.ask("code") == {"code": played.code, "note": card.ask("code")["note"]}


def test_each_state_is_published(card: Card, played: Played) -> None:
    """With a number that grows, so that an older view never comes after a newer one."""
    first = card.until(lambda view: view["transfer"]["state"] == "waiting")
    played.becomes(state=State.TRANSFERRING)
    later = card.until(lambda view: view["transfer"]["state"] == "transferring")
    assert later["seq"] > first["seq"]


def test_rows_are_asked_for_in_spans(card: Card) -> None:
    """However many there are."""
    assert card.ask("rows", first=1, count=1000)["rows"] == [["d/b", 0, 0, 0]]
    assert card.ask("rows", first=-1, count=1) == "remote-protocol"
    assert card.ask("rows", first=0) == "remote-protocol"


def test_the_kernels_files_are_listed(card: Card, tmp_path: Path) -> None:
    """For a person to choose from."""
    (tmp_path / "x").touch()
    assert [entry["name"] for entry in card.ask("list", folder=str(tmp_path))["entries"]] == ["x"]


def test_a_page_tells_how_it_reaches_the_server(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next invitation carries that address."""
    heard: list[str] = []
    monkeypatch.setattr(server_module, "heard_from_page", heard.append)
    card.ask("hello", base="https://hub.example/user/a/")
    card.ask("hello", base="")
    assert heard == ["https://hub.example/user/a/"]


# ------------------------------------------------------------------ wishes
@pytest.mark.parametrize("op", ["pause", "resume", "accept"])
def test_a_wish_is_passed_on(card: Card, played: Played, op: str) -> None:
    """At once, from whatever page."""
    assert card.ask(op) == {}
    assert played.wishes == [(op,)]


@pytest.mark.parametrize("op", ["cancel", "reject"])
def test_a_wish_may_say_why(card: Card, played: Played, op: str) -> None:
    """In words, or not."""
    assert card.ask(op, reason="too large") == {}
    assert card.ask(op) == {}
    assert card.ask(op, reason=7) == "remote-protocol"
    assert played.wishes == [(op, "too large"), (op, "")]


def test_a_request_that_nobody_knows(card: Card) -> None:
    """Is refused, and logged by nobody: another version may know it."""
    assert card.ask("dance") == "remote-protocol"


def test_nonsense_is_dropped(card: Card, caplog: pytest.LogCaptureFixture) -> None:
    """And the next message is heard; a page that goes on like that fills no cell with warnings."""
    caplog.set_level("DEBUG", "nbferry")
    card.model.hear({"op": "look"}, [])
    card.model.hear({"page": PAGE, "op": "look"}, [])
    card.model.hear({"page": OTHER, "op": "bye"}, [])
    assert card.ask("look")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]


# ------------------------------------------------------------------ beginning
def picker(used: Portal, begin: Callable[[Any], Any], kind: Any = "send") -> Card:
    """A card in which a person chooses."""
    return Card(CardModel(kind, used, begin=begin))


def test_paths_begin_a_send(used: Portal, played: Played) -> None:
    """Once; a second choice is refused."""
    chosen: list[Any] = []
    card = picker(used, lambda paths: chosen.append(paths) or played)
    assert card.ask("look")["view"]["phase"] == "pick"
    assert card.ask("code") == "local-protocol"
    assert card.ask("send", paths=[]) == "remote-protocol"
    assert card.ask("send", paths=["/x"]) == {}
    assert card.ask("send", paths=["/x"]) == "local-protocol"
    assert chosen == [["/x"]]
    assert card.model.transfer is cast("Any", played)
    assert card.ask("look")["view"]["phase"] == "transfer"


def test_what_cannot_begin_may_be_chosen_anew(used: Portal, played: Played) -> None:
    """A code with a slip of the pen, for instance."""

    def begin(code: str) -> Played:
        if code == "wrong":
            raise CodeInvalid
        return played

    card = picker(used, begin, "receive")
    assert card.ask("receive", code=" wrong ") == "code-invalid"
    assert card.ask("receive", code="right") == {}


def test_files_of_a_page_begin_a_send(used: Portal) -> None:
    """From then on the page is asked for slices of them."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    played = Played(page_files=lent)
    card = picker(used, lambda _: played)
    assert card.ask("offer", entries=LISTED) == {}
    assert lent.present
    reading = lent.read("d/a", 0, 5)
    asked = card.answer(b"12345", ok={"digest": "00ff"})
    assert (asked["op"], asked["path"], asked["offset"], asked["length"]) == ("read", "d/a", 0, 5)
    assert reading.result(WITHIN) == Slice([b"12345"], b"\x00\xff")


@pytest.mark.parametrize("ok", [{}, {"digest": 1}, {"digest": "xx"}])
def test_a_slice_without_a_digest_is_an_error(used: Portal, ok: dict[str, Any]) -> None:
    """It could not be compared with anything."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    played = Played(page_files=lent)
    card = picker(used, lambda _: played)
    card.ask("offer", entries=LISTED)
    reading = lent.digest("d/a", 0, 5)
    card.answer(ok=ok)
    assert cast("NbferryError", reading.exception(WITHIN)).code == "remote-protocol"


def test_a_page_that_goes_takes_its_files_with_it(used: Portal) -> None:
    """What is asked of it fails; another page may lend the same files again, and no others."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    played = Played(page_files=lent)
    card = picker(used, lambda _: played)
    card.ask("offer", entries=LISTED)
    reading: Future[Slice] = lent.read("d/a", 0, 5)
    card.said.get(timeout=WITHIN)
    card.model.hear({"page": PAGE, "op": "bye"}, [])
    assert isinstance(reading.exception(WITHIN), SourceAway)
    assert card.until(lambda view: view["transfer"] and view["transfer"]["needs_files"])
    assert card.ask("offer", OTHER, entries=LISTED[:1]) == "source-changed"
    assert card.ask("offer", OTHER, entries=LISTED) == {}
    assert card.until(lambda view: not view["transfer"]["needs_files"])


def test_files_that_nobody_needs_are_refused(card: Card) -> None:
    """This transfer sends the kernel's."""
    assert card.ask("offer", entries=LISTED) == "local-protocol"


# ------------------------------------------------------------------ saving
def test_files_of_the_kernel_are_saved(used: Portal, tmp_path: Path) -> None:
    """The page asks which there are, then for slices, which come in parts that suit the way."""
    (tmp_path / "x").write_bytes(b"123")
    card = Card(CardModel("download", used, savable=[tmp_path / "x"]))
    assert card.ask("look")["view"]["what"] == "x"
    assert card.ask("fetch", file=0, offset=0, length=3) == "local-protocol"
    assert card.ask("files")["files"] == [{"path": "x", "size": 3, "url": ""}]
    ok, data = card.ask("fetch", file=0, offset=1, length=2)
    assert (len(ok["digest"]), data) == (64, b"23")


def test_what_was_received_can_be_saved(used: Portal, tmp_path: Path) -> None:
    """Under the paths of the offer; before it is there, nothing can."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"1")
    played = Played(folder=tmp_path)
    model = CardModel("receive", used)
    model.show(cast("Transfer", played))
    card = Card(model)
    assert card.ask("files") == "local-protocol"
    played.outcome = Result((tmp_path / "d" / "a",), 1, 1.0, "", "")
    assert card.ask("files")["files"] == [{"path": "d/a", "size": 1, "url": ""}]


def test_of_too_many_pages_the_most_silent_one_is_gone(used: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that reloads for ever fills no memory, and those that crashed without a goodbye keep nobody out."""
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    card = picker(used, lambda _: Played(page_files=lent))
    assert card.ask("offer", OTHER, entries=LISTED) == {}
    assert card.ask("look")
    assert card.ask("look", OTHER)
    assert card.ask("look", THIRD)
    assert lent.present
    assert card.ask("look")
    assert not lent.present


def test_a_page_that_lends_anew_lends_once(used: Portal) -> None:
    """When it goes, nothing is at hand any more."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    card = picker(used, lambda _: Played(page_files=lent))
    assert card.ask("offer", entries=LISTED) == {}
    assert card.ask("offer", entries=LISTED) == {}
    card.model.hear({"page": PAGE, "op": "bye"}, [])
    assert card.ask("look", OTHER)
    assert not lent.present


def test_a_long_list_begins_when_all_of_it_is_there(used: Portal) -> None:
    """Each part is answered, so that the page sends the next one."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    card = picker(used, lambda entries: Played(page_files=lent) if entries == ENTRIES else None, "upload")
    assert card.ask("offer", entries=LISTED[:1], part=0, parts=2) == {}
    assert card.ask("look")["view"]["phase"] == "pick"
    assert card.ask("offer", entries=LISTED[1:], part=1, parts=2) == {}
    assert lent.present


def test_a_page_that_went_while_it_offered_lends_nothing(used: Portal) -> None:
    """Nobody could read from it."""
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    played, begins, gone = Played(page_files=lent), threading.Event(), threading.Event()

    def begin(_: object) -> Played:
        begins.set()
        assert gone.wait(WITHIN)
        return played

    card = picker(used, begin)
    card.model.hear({"page": PAGE, "id": 1, "op": "offer", "entries": LISTED}, [])
    assert begins.wait(WITHIN)
    card.model.hear({"page": PAGE, "op": "bye"}, [])
    used.call(gone.set)
    assert card.model.begun.result(WITHIN) is cast("Any", played)
    assert card.ask("offer", OTHER, entries=LISTED) == {}
    card.model.hear({"page": OTHER, "op": "bye"}, [])
    assert card.ask("look", THIRD)
    assert not lent.present


@pytest.mark.parametrize(
    ("kind", "op", "asked"),
    [
        ("receive", "send", {"paths": ["/x"]}),
        ("upload", "send", {"paths": ["/x"]}),
        ("send", "receive", {"code": "1-a-b-c"}),
        ("receive", "offer", {"entries": LISTED}),
    ],
)
def test_a_card_does_what_it_is_for(used: Portal, kind: Any, op: str, asked: dict[str, Any]) -> None:
    """Whatever a page asks of it."""
    card = picker(used, lambda _: pytest.fail("begun"), kind)
    assert card.ask(op, **asked) == "remote-protocol"


def test_who_waits_for_a_choice_may_give_up(used: Portal, played: Played) -> None:
    """Ctrl-C in a cell cancels what it awaits; a person can still choose."""
    card = picker(used, lambda _: played)

    async def give_up() -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(card.model.begun))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(give_up())
    assert card.ask("look")["view"]["phase"] == "pick"
    assert card.ask("send", paths=["/x"]) == {}


def test_what_a_view_says_can_be_printed(used: Portal, played: Played) -> None:
    """Names and reasons are others'; and a notebook that is saved does not say where one is at home."""
    card = Card(CardModel("download", used, savable=[Path("/x/a\u202eb")]))
    assert card.ask("look")["view"]["what"].isprintable()
    model = CardModel("send", used)
    model.show(cast("Transfer", played))
    played.snapshot = played.snapshot.evolve(reason=f'Reading "{Path.home() / "a"}" failed.')
    assert Card(model).ask("look")["view"]["transfer"]["reason"] == 'Reading "~/a" failed.'


class OneLine(NoLine):
    """A line that a test plays."""

    def __init__(
        self, *_: object, received: Callable[..., None], left: Callable[[int], None], **__: object
    ) -> None:
        self.received, self.left = received, left
        self.said: queue.Queue[dict[str, Any]] = queue.Queue()
        self.closed = threading.Event()
        LINES.append(self)

    async def send(self, number: int, message: dict[str, Any], _buffer: Buffer = b"") -> None:
        """To the page."""
        self.said.put(message)

    async def aclose(self) -> None:
        """For good."""
        self.closed.set()


LINES: list[OneLine] = []


def one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has lines."""
    LINES.clear()
    monkeypatch.setattr(module, "Line", OneLine)


def test_a_page_that_left_its_line_has_the_comm(
    used: Portal, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next answer goes there, though the page has said nothing since."""
    one_line(monkeypatch)
    lent = PageFiles(Manifest.of(ENTRIES, MiB))
    card = picker(used, lambda _: Played(page_files=lent))
    offer = {"page": PAGE, "id": 1, "op": "offer", "entries": LISTED}
    used.ask(lambda: LINES[-1].received(1, offer, b""))
    while "re" not in LINES[-1].said.get(timeout=WITHIN):
        pass
    used.ask(lambda: LINES[-1].left(1))
    reading = lent.read("d/a", 0, 5)
    assert card.answer(b"12345", ok={"digest": "00ff"})["op"] == "read"
    assert reading.result(WITHIN).parts == [b"12345"]


def test_a_card_without_its_line_has_the_comm(
    used: Portal, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs up once, and says there what it would have said on the line."""
    one_line(monkeypatch)
    model = CardModel("send", used)
    model.show(cast("Transfer", played))
    card = Card(model)
    used.ask(lambda: LINES[-1].received(1, {"page": PAGE, "id": 1, "op": "look"}, b""))
    while "re" not in LINES[-1].said.get(timeout=WITHIN):
        pass
    for _ in range(2):
        model.hang_up()
    assert LINES[-1].closed.wait(WITHIN)
    assert len(LINES) == 1
    model.hear({"page": PAGE, "id": 2, "op": "look"}, [])
    assert card.said.get(timeout=WITHIN)[0]["re"] == 2
