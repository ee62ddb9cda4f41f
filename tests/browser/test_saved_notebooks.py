"""Saved notebooks: their content, and what they show without a kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import expect

from browser.person import Notebook, Person
from cells import TOKEN
from running import PATIENCE

SEND = "import nbferry\nsending = nbferry.send('trips.parquet')\nsending"
SWITCH_SAVING_OF_STATE = """() =>
    window.jupyterapp.commands.execute("@jupyter-widgets/jupyterlab-manager:saveWidgetState")
"""


def save_with_state(notebook: Notebook) -> None:
    """Save a notebook with the state of its widgets."""
    notebook.page.evaluate(SWITCH_SAVING_OF_STATE)
    notebook.save()
    notebook.page.evaluate(SWITCH_SAVING_OF_STATE)


@pytest.fixture
def sent(person: Person) -> tuple[Notebook, str]:
    """A notebook with the card of an offer, and its code."""
    notebook = person.open(SEND, files={"trips.parquet": b"content"})
    return notebook, notebook.show().code


@pytest.mark.parametrize("with_state", [False, True])
def test_no_secret_is_saved(with_state: bool, sent: tuple[Notebook, str]) -> None:
    """A saved notebook has no code, token or path, neither in outputs nor in widget state."""
    notebook, code = sent
    (save_with_state if with_state else Notebook.save)(notebook)
    saved = (notebook.lab.root / notebook.path).read_text()
    assert ("application/vnd.jupyter.widget-state+json" in saved) is with_state
    assert "trips.parquet" in saved
    number, *words = code.partition("@")[0].split("-")
    for secret in (code, number, "-".join(words), TOKEN, str(notebook.folder), notebook.lab.url):
        assert secret not in saved, secret


def test_without_its_kernel(sent: tuple[Notebook, str], person: Person) -> None:
    """Saved with widget state, a card shows its last content, says that the kernel is gone, and has no buttons."""
    notebook, _ = sent
    save_with_state(notebook)
    person.lab.end_kernels()
    later = person.visit(notebook.path)
    card = later.card()
    card.waits_until("waiting")
    later.minutes_later()
    expect(card.root).to_contain_text("The kernel does not answer.")
    expect(card.root).to_contain_text("trips.parquet")
    expect(card.root.get_by_role("button").filter(visible=True)).to_have_count(0)


def test_as_a_web_page(sent: tuple[Notebook, str], person: Person) -> None:
    """A web page made by nbconvert shows the same table."""
    notebook, _ = sent
    notebook.save()
    file = notebook.lab.root / notebook.path
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(file)]
    subprocess.run(command, check=True, timeout=PATIENCE, stderr=subprocess.DEVNULL)
    page = person.page()
    page.goto(file.with_suffix(".html").as_uri())
    expect(page.get_by_role("table", name="nbferry transfer")).to_contain_text("trips.parquet")
