"""The same card works in other programs that show notebooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.person import Card, Person, write
from browser.test_sending import files_below
from browser.test_uploading import UPLOAD
from running import MIB, environment

MARIMO = """
import marimo

app = marimo.App()


@app.cell
def _():
    import nbferry

    card = nbferry.upload()
    card
    return


if __name__ == "__main__":
    app.run()
"""


def test_notebook_7(person: Person, tmp_path: Path) -> None:
    """An upload in Notebook 7."""
    picked = write(tmp_path / "data.bin", os.urandom(3 * MIB))
    notebook = person.visit(person.notebook(UPLOAD), place="notebooks/{path}")
    card = notebook.show()
    card.choose("Choose files", picked)
    card.waits_until("done")
    assert files_below(notebook.folder) == {"data.bin": picked.read_bytes()}


@pytest.fixture
def marimo(tmp_path: Path) -> Iterator[str]:
    """The address of a marimo app that shows a card."""
    write(tmp_path / "app/app.py", MARIMO.encode())
    command = [
        sys.executable,
        "-m",
        "marimo",
        "run",
        "app.py",
        "--headless",
        "--no-token",
        "--host",
        "127.0.0.1",
    ]
    env = environment(HOME=str(tmp_path), PYTHONWARNINGS=None, PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        command, cwd=tmp_path / "app", env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://localhost:\d+", line):
                break
        else:
            raise AssertionError(said)
        yield found[0]
        process.terminate()
        process.communicate()


def test_marimo(person: Person, marimo: str, tmp_path: Path) -> None:
    """An upload in marimo, where only the comm exists."""
    picked = write(tmp_path / "data.bin", os.urandom(3 * MIB))
    page = person.page()
    page.goto(marimo)
    card = Card(page.locator("section.nbferry"))
    card.choose("Choose files", picked)
    card.waits_until("done")
    assert (tmp_path / "app/data.bin").read_bytes() == picked.read_bytes()
