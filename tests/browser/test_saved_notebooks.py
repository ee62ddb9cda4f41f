"""A notebook that is saved: what is in it, and what one sees who opens it without its kernel."""

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


@pytest.fixture
def sent(person: Person) -> tuple[Notebook, str]:
    """A notebook with the card of an offer, and its code."""
    notebook = person.open(SEND, files={"trips.parquet": b"content"})
    return notebook, notebook.show().code


@pytest.mark.parametrize("with_state", [False, True])
def test_no_secret_is_saved(with_state: bool, sent: tuple[Notebook, str]) -> None:
    """No code, no token, no path: neither in the outputs, nor where the widgets' state is saved with them."""
    notebook, code = sent
    if with_state:
        notebook.page.evaluate(SWITCH_SAVING_OF_STATE)
    notebook.save()
    if with_state:
        notebook.page.evaluate(SWITCH_SAVING_OF_STATE)
    saved = (notebook.lab.root / notebook.path).read_text()
    assert ("application/vnd.jupyter.widget-state+json" in saved) is with_state
    assert "trips.parquet" in saved
    number, *words = code.partition("@")[0].split("-")
    for secret in (code, number, "-".join(words), TOKEN, str(notebook.folder), notebook.lab.url):
        assert secret not in saved, secret


def test_without_its_kernel(sent: tuple[Notebook, str], person: Person) -> None:
    """Who opens it later sees a table of what was there."""
    notebook, _ = sent
    notebook.save()
    person.lab.end_kernels()
    table = person.visit(notebook.path).output(0).get_by_role("table")
    expect(table).to_contain_text("trips.parquet")


def test_as_a_web_page(sent: tuple[Notebook, str], person: Person) -> None:
    """What nbconvert makes of it has the table too, and it can be read."""
    notebook, _ = sent
    notebook.save()
    file = notebook.lab.root / notebook.path
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(file)]
    subprocess.run(command, check=True, timeout=PATIENCE, stderr=subprocess.DEVNULL)
    page = person.page()
    page.goto(file.with_suffix(".html").as_uri())
    expect(page.get_by_role("table")).to_contain_text("trips.parquet")
