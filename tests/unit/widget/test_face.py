"""How transfers meet a person in a notebook, and cards without a page."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbferry.engine import portal as portals
from nbferry.errors import LocalProtocolError, StorageError, TimedOut
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Result, Snapshot, State
from nbferry.transfer.handle import Transfers
from nbferry.widget import card_model, face
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

    def __init__(self, name: str = "0123456789ab", role: Role = Role.SEND) -> None:
        self.id, self.run = name, 0
        self.snapshot = Snapshot(id=name, role=role, state=State.WAITING, names=("a",), files=1, total=5)
        self.code, self.has_code = CODE, role is Role.SEND
        self.page_files = self.outcome = self.folder = None
        self.is_over = self.is_held = self.is_parked = self.accepted = self.waits_for_decision = False

    def __eq__(self, other: object) -> bool:
        """As handles are on the same transfer; ``run`` tells one that goes on from the one before it."""
        return isinstance(other, Played) and (self.id, self.run) == (other.id, other.run)

    def __hash__(self) -> int:
        return hash(self.id)

    def subscribe(self, _: Callable[[Snapshot], None]) -> None:
        """Nothing happens."""

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
    monkeypatch.setattr(card_model, "Line", NoLine)

    def ask(offer: Manifest) -> bool:
        asked.append(offer)
        return True

    yield NotebookFace(ask)
    portals.stop()


def played(name: str = "0123456789ab", role: Role = Role.SEND) -> Any:
    """A transfer."""
    return Played(name, role)


def test_a_transfer_has_one_card(notebook: NotebookFace) -> None:
    """However often it is displayed, also through another handle: the pages show views of one model."""
    first = notebook.card(played())[WIDGET]
    assert notebook.card(played())[WIDGET] == first
    assert notebook.card(played("ba9876543210"))[WIDGET] != first


def test_what_failed_and_goes_on_has_another_card(notebook: NotebookFace) -> None:
    """Under the same id; the card of what failed says that for ever."""
    first, second = notebook.card_of(played()), played()
    second.run = 1
    assert notebook.card_of(second) is not first
    assert notebook.card_of(second).transfer is second


def test_old_cards_have_no_line(notebook: NotebookFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has sent a thousand files has no thousand sockets; cards of what runs keep theirs."""
    hung_up: list[str] = []
    monkeypatch.setattr(face, "MAX_CARDS", 2)
    monkeypatch.setattr(Card, "hang_up", lambda card: hung_up.append(card.transfer.id))
    for name in ("a", "b", "c"):
        each = played(name)
        each.is_over = name != "a"
        notebook.card_of(each)
    assert hung_up == ["b"]
    notebook.card_of(played("d"))
    assert hung_up == ["b", "c"]


def test_a_card_that_is_closed_hangs_up_once(notebook: NotebookFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its end closes it again; its transfer is displayed as another one."""
    hung_up: list[str] = []
    monkeypatch.setattr(Card, "hang_up", lambda card: hung_up.append(card.model_id))
    card = notebook.card_of(played())
    name = card.model_id
    card.close()
    card.close()
    assert hung_up == [name]
    assert notebook.card_of(played()) is not card


def test_a_saved_notebook_holds_no_code(notebook: NotebookFace) -> None:
    """What is beside the widget is a static table with the files, and says how to get at the code."""
    bundle = notebook.card(played())
    assert CODE not in str(bundle)
    assert "&lt;a&gt;" in bundle["text/html"]
    assert "transfer.code" in bundle["text/plain"]


def test_a_saved_notebook_does_not_say_where_one_is_at_home(notebook: NotebookFace) -> None:
    """Neither in the widget nor beside it."""
    transfer = played()
    transfer.snapshot = transfer.snapshot.evolve(reason=f"In {Path.home()}/x.")
    assert str(Path.home()) not in str(notebook.card(transfer))
    assert "In ~/x." in str(notebook.card(transfer))


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
    receiving = played(role=Role.RECEIVE)
    assert notebook.ask(receiving, OFFER) is True
    notebook.card(receiving)
    assert notebook.ask(receiving, OFFER) is True
    assert asked == [OFFER, OFFER]


def test_a_card_that_is_seen_asks_by_itself(notebook: NotebookFace, asked: list[Manifest]) -> None:
    """It has buttons for it."""
    receiving = played(role=Role.RECEIVE)
    card = notebook.card_of(receiving)
    card._model.hear({"page": "a" * 16, "id": 1, "op": "look"}, [])
    assert notebook.ask(receiving, OFFER) is None
    assert asked == []


@pytest.mark.parametrize(("role", "kind"), [(role, str(role)) for role in Role])
def test_a_card_is_of_the_kind_of_its_transfer(notebook: NotebookFace, role: str, kind: str) -> None:
    """As the page draws them differently."""
    assert notebook.card_of(played(role=role)).view["kind"] == kind


def test_what_is_chosen_in_a_card_is_its_transfer(notebook: NotebookFace) -> None:
    """Displayed by itself, it is that card again."""
    card = notebook.picker(Role.SEND, lambda _: played())
    assert card.transfer is None
    seen: list[Card] = []
    card._model.begun.add_done_callback(lambda _: seen.append(notebook.card_of(played())))
    card._model.begin(["a"])
    assert seen == [card]  # who waits for the choice displays no other
    assert card.transfer
    assert notebook.card_of(played()) is card
    assert card.wait() == RESULT
    assert asyncio.run(_result(card)) == RESULT


async def _result(card: Card) -> Result:
    return await card


def test_somebody_who_waits_sees_a_card(notebook: NotebookFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; none if there is nothing to wait for."""
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda each: seen.append(each.id) or notebook.card(each))
    for _ in range(2):
        with notebook.following(played()):
            assert seen == ["0123456789ab"]
    over = played("ba9876543210")
    over.is_over = True
    with notebook.following(over):
        assert len(seen) == 1


def test_a_card_is_displayed_before_anything_is_chosen(notebook: NotebookFace, tmp_path: Path) -> None:
    """With a sentence beside it, for where no kernel is; afterwards it shows its transfer."""
    card = notebook.picker(Role.SEND, lambda _: played())
    assert "choose files to send" in card._repr_mimebundle_()["text/plain"]
    card._model.begin(["a"])
    assert "transfer.code" in card._repr_mimebundle_()["text/plain"]
    assert card._repr_mimebundle_()[WIDGET]["model_id"] == card.model_id
    (tmp_path / "<x>").touch()
    assert "&lt;x&gt;" in notebook.download([tmp_path / "<x>"])._repr_mimebundle_()["text/html"]


def test_what_comes_on_the_comm_is_heard(notebook: NotebookFace, monkeypatch: pytest.MonkeyPatch) -> None:
    """And answered there."""
    said: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(Card, "send", lambda _, message, buffers: said.put((message, buffers)))
    card = notebook.card_of(played())
    card._handle_custom_msg({"page": "a" * 16, "id": 1, "op": "look"}, [memoryview(b"")])
    message, buffers = said.get(timeout=20)
    assert (message["re"], buffers) == (1, [])


def test_waiting_for_a_choice_goes_on_in_slices(
    notebook: NotebookFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that Ctrl-C is seen between two of them."""
    monkeypatch.setattr("nbferry.widget.card.SLICE", 0.0)
    card = notebook.picker(Role.SEND, lambda _: played())
    looked = 0
    waiting = type(card._model.begun).result

    def result(future: Any, timeout: float | None = None) -> Any:
        nonlocal looked
        looked += 1
        if looked == 3:
            card._model.begin(["a"])
        return waiting(future, timeout)

    monkeypatch.setattr(type(card._model.begun), "result", result)
    assert card.wait() == RESULT


def test_waiting_for_a_choice_ends_in_time(notebook: NotebookFace) -> None:
    """And nothing is cancelled by it."""
    with pytest.raises(TimedOut, match="chosen"):
        notebook.picker(Role.SEND, lambda _: played()).wait(0)


def test_what_is_not_received_cannot_be_saved(notebook: NotebookFace) -> None:
    """Nor what was sent."""
    with pytest.raises(LocalProtocolError, match="nothing to save"):
        notebook.saving(played(role=Role.RECEIVE))


def test_a_download_names_what_is_missing_at_once(notebook: NotebookFace, tmp_path: Path) -> None:
    """Not when somebody clicks."""
    with pytest.raises(StorageError, match="No such file"):
        notebook.download([tmp_path / "missing"])
    (tmp_path / "a").touch()
    assert notebook.download([tmp_path / "a"]).view["what"] == "a"


def test_what_was_received_is_saved_with_its_folders(notebook: NotebookFace, tmp_path: Path) -> None:
    """Two files of one name in two folders are two."""
    paths = [tmp_path / "d" / "a", tmp_path / "e" / "a"]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    transfer = played(role=Role.RECEIVE)
    transfer.outcome, transfer.folder = Result(tuple(paths), 0, 1.0, "", ""), tmp_path
    saving = notebook.saving(transfer)._model.saving()
    assert [row["path"] for row in saving.listed("")] == ["d/a", "e/a"]


def test_the_bundle_is_there() -> None:
    """And small enough to travel with each card."""
    assert 1_000 < (STATIC / "widget.js").stat().st_size < 150_000
    assert (STATIC / "widget.css").stat().st_size > 1_000
