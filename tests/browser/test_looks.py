"""The looks of the cards, dark and light: screenshots for people, and the checks that a machine can make."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import Any

import pytest

from browser.conftest import SCREENSHOTS
from browser.person import LOOK_EVERY, Card, Notebook, Person
from browser.slow import hurry
from browser.test_pages import two
from browser.test_sending import RECEIVE, SEND, in_the_middle
from browser.test_uploading import UPLOAD
from running import MIB

AXE = files("axe_playwright_python").joinpath("axe.min.js")
CHECK = "async (card) => (await axe.run(card, {resultTypes: ['violations']})).violations"
SWITCH = """async (theme) => {
    await window.jupyterapp.commands.execute("apputils:change-theme", {theme});
}"""
SWITCHED = "theme => document.body.dataset.jpThemeName === theme"


def switch(notebook: Notebook, theme: str) -> None:
    """Show JupyterLab in a theme."""
    notebook.page.evaluate(SWITCH, theme)
    notebook.page.wait_for_function(SWITCHED, arg=theme, polling=LOOK_EVERY)


def look(notebook: Notebook, name: str, card: Card | None = None) -> None:
    """Take screenshots of a card in both themes, and check its accessibility."""
    card = card or notebook.card()
    # A page in the background draws only after seconds.
    notebook.page.bring_to_front()
    for theme in ("Dark", "Light"):
        switch(notebook, f"JupyterLab {theme}")
        card.root.screenshot(path=SCREENSHOTS / f"{name}-{theme.lower()}.png", animations="disabled")
        if not notebook.page.evaluate("'axe' in window"):
            notebook.page.evaluate(AXE.read_text())
        violations: list[dict[str, Any]] = card.root.evaluate(CHECK)
        told = [(each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in violations]
        assert told == [], f"{name}, {theme}: {told}"


@pytest.fixture(autouse=True)
def _folder() -> None:
    SCREENSHOTS.mkdir(exist_ok=True)


def test_picking(person: Person) -> None:
    """The card before a choice."""
    sender = person.open(SEND, files={"flights/2013.parquet": 3 * MIB, "plot.png": 70_000, "notes.md": 1_234})
    card = sender.show()
    look(sender, "send-pick")
    card.click("The kernel's files")
    card.tick("flights", "notes.md")
    look(sender, "send-chooser")
    receiver = person.open(RECEIVE, UPLOAD, page=1)
    card = receiver.show()
    look(receiver, "receive-pick")
    card.enter("no code at all")
    card.root.get_by_role("alert").filter(visible=True).wait_for()
    look(receiver, "receive-wrong-code")
    receiver.show(1)
    look(receiver, "upload-pick", receiver.card(1))


def test_transferring(person: Person) -> None:
    """The card from offer to end."""
    sender, receiver = two(person)
    sending, receiving = sender.show(), receiver.show()
    assert sending.code
    look(sender, "send-waiting")
    receiving.enter(sending.code)
    receiving.waits_until("offered")
    look(receiver, "receive-offered")
    receiving.click("Accept")
    receiving.is_in_the_middle()
    look(receiver, "receive-transferring")
    look(sender, "send-transferring")
    receiving.click("Pause")
    sending.waits_until("paused")
    look(receiver, "receive-paused")
    look(sender, "send-paused")
    receiving.click("Resume")
    hurry(receiver)
    sending.waits_until("done")
    receiving.waits_until("done")
    look(receiver, "receive-done")
    look(sender, "send-done")


def test_many_files(person: Person) -> None:
    """A folder of many files with long and foreign names."""
    names = [
        "plain.csv",
        "l" * 150 + "ong.parquet",
        "\u0627\u0644\u0639\u0631\u0628\u064a\u0629.txt",
        "\u7530\u4e2d.md",
    ]
    names += [f"part-{number:04}.parquet" for number in range(60)]
    content: dict[str, bytes | int] = {f"many/{name}": os.urandom(5_000) for name in names}
    sender = person.open("import nbferry\nnbferry.send('many')", files=content)
    receiver = person.open(RECEIVE, page=1)
    sending, receiving = sender.show(), receiver.show()
    receiving.enter(sending.code)
    sending.waits_until("done")
    receiving.waits_until("done")
    look(receiver, "receive-many")


def test_cancelled(person: Person) -> None:
    """The card of a cancelled transfer."""
    sender, receiver = two(person)
    sending, receiving = in_the_middle(sender, receiver)
    receiving.click("Cancel")
    sending.waits_until("cancelled")
    receiving.waits_until("cancelled")
    look(sender, "send-cancelled")
    look(receiver, "receive-cancelled")
