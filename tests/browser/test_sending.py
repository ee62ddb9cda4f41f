"""Transfers from one notebook to another with the cards' buttons."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.person import ELSEWHERE, Card, Notebook, Person, write
from browser.slow import LARGE, SLOW_DISK, hurry
from running import MIB

SEND, RECEIVE = "import nbferry\nnbferry.send()", "import nbferry\nnbferry.receive()"
SEND_LARGE = "import nbferry\nsending = nbferry.send('data.bin')\nsending"
RECEIVE_SLOWLY = SLOW_DISK + "nbferry.receive()"


def files_below(folder: Path) -> dict[str, bytes]:
    """The visible files in a folder, by their paths."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".ipynb")
    paths = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(".")}


def both_wait_until(cards: tuple[Card, Card], state: str) -> None:
    """Wait until both cards show this state."""
    for card in cards:
        card.waits_until(state)


@pytest.fixture
def notebooks(person: Person) -> tuple[Notebook, Notebook]:
    """A notebook with a large file beside it, and one whose kernel has a slow disk."""
    sender = person.open(SEND_LARGE, name="sender", files={"data.bin": LARGE})
    return sender, person.open(RECEIVE_SLOWLY, "nbferry.transfers()[0].snapshot", name="receiver", page=1)


@pytest.fixture
def cards(notebooks: tuple[Notebook, Notebook]) -> tuple[Card, Card]:
    """Their cards during a transfer."""
    return in_the_middle(*notebooks)


def in_the_middle(sender: Notebook, receiver: Notebook) -> tuple[Card, Card]:
    """Send, receive and accept."""
    sending, receiving = sender.show(), receiver.show()
    receiving.enter(sending.code)
    receiving.click("Accept")
    receiving.is_in_the_middle()
    sending.is_in_the_middle()
    return sending, receiving


def test_clicking_only(person: Person) -> None:
    """Select a folder and a file, copy and paste the code, accept: the files arrive unchanged."""
    content = {
        "flights/2013.parquet": os.urandom(11 * MIB),
        "flights/notes/read me.txt": b"!",
        "plot.png": b"2",
    }
    sender = person.open(SEND, name="sender", files={**content, "stays.csv": b"3"})
    receiver = person.open(RECEIVE, name="receiver", page=1)
    sending, receiving = sender.show(), receiver.show()
    sending.click("The kernel's files")
    sending.tick("flights", "plot.png")
    sending.click("Send", "Copy")
    expect(sending.root).to_contain_text("Copied")
    receiving.root.get_by_label("Code", exact=True).focus()
    receiver.page.keyboard.press("ControlOrMeta+V")
    receiving.click("Receive")
    receiving.waits_until("offered")
    assert files_below(receiver.folder) == {}
    receiving.click("Accept")
    both_wait_until((sending, receiving), "done")
    assert files_below(receiver.folder) == content
    for card in (sending, receiving):
        expect(card.overall).to_have_attribute("aria-valuenow", "100")
        expect(card.bar("flights/2013.parquet")).to_have_attribute("aria-valuenow", "100")


def test_pause_and_resume(notebooks: tuple[Notebook, Notebook], cards: tuple[Card, Card]) -> None:
    """Either side pauses, both show it, and the same side resumes."""
    sending, receiving = cards
    for here, there in ((sending, receiving), (receiving, sending)):
        here.click("Pause")
        both_wait_until(cards, "paused")
        expect(here.button("Resume")).to_be_visible()
        expect(there.button("Resume")).to_be_hidden()
        here.click("Resume")
        both_wait_until(cards, "transferring")
    hurry(notebooks[1])
    both_wait_until(cards, "done")
    assert (notebooks[1].folder / "data.bin").stat().st_size == LARGE


@pytest.mark.parametrize("by", ["sender", "receiver"])
def test_cancel(by: str, notebooks: tuple[Notebook, Notebook], cards: tuple[Card, Card]) -> None:
    """Either side cancels, both show it, and no file is left."""
    cards[by == "receiver"].click("Cancel")
    both_wait_until(cards, "cancelled")
    for card in cards:
        expect(card.root.get_by_role("button").filter(visible=True)).to_have_count(0)
    receiver = notebooks[1]
    receiver.kernel.run("import pathlib\nwhile list(pathlib.Path('.nbferry').glob('?' * 12)):\n    pass")
    assert files_below(receiver.folder) == {}


def test_reject(person: Person) -> None:
    """A declined offer shows its reason on the sender's card."""
    sender = person.open(SEND_LARGE, files={"data.bin": LARGE})
    receiver = person.open(RECEIVE, page=1)
    sending, receiving = sender.show(), receiver.show()
    receiving.enter(sending.code)
    receiving.root.get_by_label("Reason for rejecting").fill("I have <b>no</b> room")
    receiving.click("Reject")
    both_wait_until((sending, receiving), "rejected")
    expect(sending.root).to_contain_text("I have <b>no</b> room")
    assert files_below(receiver.folder) == {}


def test_a_wrong_code(person: Person) -> None:
    """Text that is no code is rejected at once, and another code can be entered."""
    receiving = person.open(RECEIVE).show()
    receiving.enter("no code at all")
    expect(receiving.root.get_by_role("alert")).to_be_visible()
    expect(receiving.root.get_by_label("Code", exact=True)).to_be_editable()


def test_by_keyboard(person: Person) -> None:
    """Tab and Enter are enough for code, offer and end."""
    sender = person.open(SEND_LARGE, files={"data.bin": 11 * MIB})
    receiver = person.open(RECEIVE, page=1)
    sending, receiving = sender.show(), receiver.show()
    keys = receiver.page.keyboard
    receiving.reach(receiving.root.get_by_label("Code", exact=True))
    keys.insert_text(sending.code)
    keys.press("Enter")
    receiving.waits_until("offered")
    receiving.reach(receiving.button("Accept"))
    keys.press("Enter")
    both_wait_until((sending, receiving), "done")


def test_an_address_that_only_the_page_knows(person: Person, tmp_path: Path) -> None:
    """The code has the address at which the page reaches the server. Files can be sent without HTTPS."""
    picked = write(tmp_path / "local.bin", os.urandom(2 * MIB))
    sender = person.visit(person.notebook(SEND, name="sender"), host=ELSEWHERE)
    receiver = person.open(RECEIVE, name="receiver")
    sending, receiving = sender.show(), receiver.show()
    sending.choose("Choose files", picked)
    code, _, address = sending.code.partition("@")
    assert address == f"http://{ELSEWHERE}:{person.lab.port}/"
    receiving.enter(f"{code}@{person.lab.url}")
    both_wait_until((sending, receiving), "done")
    assert files_below(receiver.folder) == {"local.bin": picked.read_bytes()}


def test_files_of_the_browser_to_another_kernel(person: Person, tmp_path: Path) -> None:
    """A browser's files reach the other kernel, and the sender's kernel writes none of them."""
    picked = write(tmp_path / "local.bin", os.urandom(20 * MIB))
    sender = person.open(SEND, name="sender")
    receiver = person.open(RECEIVE, name="receiver", page=1)
    sending, receiving = sender.show(), receiver.show()
    sending.choose("Choose files", picked)
    receiving.enter(sending.code)
    receiving.click("Accept")
    both_wait_until((sending, receiving), "done")
    assert files_below(receiver.folder) == {"local.bin": picked.read_bytes()}
    written = sum(path.stat().st_size for path in sender.folder.rglob("*") if path.is_file())
    assert written < MIB


def test_a_page_with_the_files_that_leaves_and_returns(person: Person, tmp_path: Path) -> None:
    """Both sides show why they pause, and continue when the user chooses the same files again."""
    picked = write(tmp_path / "local.bin", LARGE)
    sender = person.open(SEND, name="sender")
    receiver = person.open(RECEIVE_SLOWLY, name="receiver", page=1)
    sending, receiving = sender.show(), receiver.show()
    sending.choose("Choose files", picked)
    receiving.enter(sending.code)
    receiving.click("Accept")
    receiving.is_in_the_middle()
    sender.reload()
    sending = sender.card()
    receiving.waits_until("paused")
    hurry(receiver)
    sending.choose("Choose the same files again", picked)
    both_wait_until((sending, receiving), "done")
    assert (receiver.folder / "local.bin").stat().st_size == LARGE
