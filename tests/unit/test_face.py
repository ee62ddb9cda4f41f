"""How transfers meet a person in a notebook, and cards without a page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbferry.engine import portal as portals
from nbferry.errors import LocalProtocolError, StorageError, TimedOut
from nbferry.limits import MiB
from nbferry.manifest import Entry, Manifest
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.transfer import Transfers
from nbferry.widget import desk, face
from nbferry.widget.card import STATIC, Card
from nbferry.widget.face import NotebookFace

WIDGET = "application/vnd.jupyter.widget-view+json"
CODE = "482913-amber-canyon-tulip"
OFFER = Manifest.of([Entry("a", 5)], MiB)
RESULT = Result((Path("/to/a"),), 5, 1.0, "00", "direct")


class NoLine:
    """There is no Jupyter server."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def start(self) -> None:
        """Nothing begins."""


class Played:
    """A transfer that is what a test says."""

    def __init__(self, name: str = "0123456789ab", role: str = "send") -> None:
        self.id = name
        self.snapshot = Snapshot(id=name, role=role, state=State.WAITING, names=("a",), files=1, total=5)
        self.code, self.has_code = CODE, role == "send"
        self.page_files = self.outcome = self.folder = None
        self.is_over = self.is_held = self.is_resting = self.begun = self.waits_for_decision = False

    def subscribe(self, _: Callable[[Snapshot], None]) -> None:
        """Nothing happens."""

    def when_done(self, _: Callable[[], None]) -> None:
        """It never is."""

    def files_from(self, *_: int) -> tuple[FileProgress, ...]:
        """One file."""
        return (FileProgress("<a>", 5, 0, 0),)

    def wait(self, timeout: float | None = None) -> Result:
        """At once."""
        return RESULT

    def __await__(self) -> Any:
        return asyncio.sleep(0, RESULT).__await__()


@pytest.fixture
def asked() -> list[Manifest]:
    """Offers that were put into words."""
    return []


@pytest.fixture
def notebook(asked: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Iterator[NotebookFace]:
    """A notebook that no page shows."""
    monkeypatch.setattr(desk, "Line", NoLine)

    def ask(offer: Manifest) -> bool:
        asked.append(offer)
        return True

    yield NotebookFace(ask)
    portals.stop()


def played(name: str = "0123456789ab", role: str = "send") -> Any:
    """A transfer."""
    return Played(name, role)


def test_a_transfer_has_one_card(notebook: NotebookFace) -> None:
    """However often it is displayed, also through another handle: the pages show views of one model."""
    first = notebook.card(played())[WIDGET]
    assert notebook.card(played())[WIDGET] == first
    assert notebook.card(played("ba9876543210"))[WIDGET] != first


def test_a_saved_notebook_holds_no_code(notebook: NotebookFace) -> None:
    """What is beside the widget is a static table with the files, and says how to get at the code."""
    bundle = notebook.card(played())
    assert CODE not in str(bundle)
    assert "&lt;a&gt;" in bundle["text/html"]
    assert "transfer.code" in bundle["text/plain"]


def test_several_are_several_cards(notebook: NotebookFace) -> None:
    """Each is the one that its transfer has; of none there is only a sentence."""
    both = Transfers([played(), played("ba9876543210")], notebook)
    assert both._repr_mimebundle_()[WIDGET]
    assert both._repr_mimebundle_()["text/html"].count("<table") >= 2
    none = Transfers([], notebook)
    assert none._repr_mimebundle_() == {"text/plain": "There are no unfinished transfers here."}


def test_without_a_page_an_offer_is_put_into_words(
    notebook: NotebookFace, asked: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a card was made that nobody sees."""
    monkeypatch.setattr(face, "SEEN_WITHIN", 0)
    receiving = played(role="receive")
    assert notebook.ask(receiving, OFFER) is True
    notebook.card(receiving)
    assert notebook.ask(receiving, OFFER) is True
    assert asked == [OFFER, OFFER]


def test_a_card_that_is_seen_asks_by_itself(notebook: NotebookFace, asked: list[Manifest]) -> None:
    """It has buttons for it."""
    receiving = played(role="receive")
    card = notebook.card_of(receiving)
    card._desk.hear({"page": "a" * 16, "id": 1, "op": "look"}, [])
    assert notebook.ask(receiving, OFFER) is None
    assert asked == []


@pytest.mark.parametrize(("role", "kind"), [("send", "send"), ("receive", "receive"), ("upload", "upload")])
def test_a_card_is_of_the_kind_of_its_transfer(notebook: NotebookFace, role: str, kind: str) -> None:
    """As the page draws them differently."""
    assert notebook.card_of(played(role=role)).view["kind"] == kind


def test_what_is_chosen_in_a_card_is_its_transfer(notebook: NotebookFace) -> None:
    """Displayed by itself, it is that card again."""
    card = notebook.picker("send", lambda _: played())
    assert card.transfer is None
    card._desk.begin(["a"])
    assert card.transfer
    assert notebook.card_of(played()) is card
    assert card.wait() == RESULT
    assert asyncio.run(_result(card)) == RESULT


async def _result(card: Card) -> Result:
    return await card


def test_waiting_for_a_choice_ends_in_time(notebook: NotebookFace) -> None:
    """And nothing is cancelled by it."""
    with pytest.raises(TimedOut, match="chosen"):
        notebook.picker("send", lambda _: played()).wait(0)


def test_what_is_not_received_cannot_be_saved(notebook: NotebookFace) -> None:
    """Nor what was sent."""
    with pytest.raises(LocalProtocolError, match="nothing to save"):
        notebook.saving(played(role="receive"))


def test_a_download_names_what_is_missing_at_once(notebook: NotebookFace, tmp_path: Path) -> None:
    """Not when somebody clicks."""
    with pytest.raises(StorageError, match="No such file"):
        notebook.download([tmp_path / "missing"])
    (tmp_path / "a").touch()
    assert notebook.download([tmp_path / "a"]).view["what"] == "a"


def test_the_bundle_is_there() -> None:
    """And small enough to travel with each card."""
    assert 1_000 < (STATIC / "widget.js").stat().st_size < 150_000
    assert (STATIC / "widget.css").stat().st_size > 1_000
