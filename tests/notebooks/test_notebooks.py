"""The notebooks that teach nbferry: what is committed, and that they run from top to bottom."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from running import PATIENCE

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SEND, RECEIVE = NOTEBOOKS / "01-send.ipynb", NOTEBOOKS / "02-receive.ipynb"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))

WIDGET = "application/vnd.jupyter.widget-view+json"
CODE = re.compile(r"\d{6}(?:-[a-z]+){3}@\S+")


# ---------------------------------------------------------------- as they are committed
@pytest.fixture(params=ALL, ids=[path.name for path in ALL])
def notebook(request: pytest.FixtureRequest) -> NotebookNode:
    """One valid notebook."""
    read = nbformat.read(request.param, as_version=nbformat.NO_CONVERT)
    nbformat.validate(read)
    assert (read.nbformat, read.nbformat_minor) == (4, 5)
    return read


def test_these_are_all() -> None:
    """One notebook exists for each side, in reading order."""
    assert ALL == [SEND, RECEIVE]


def test_nothing_of_a_run_is_committed(notebook: NotebookNode) -> None:
    """No output, execution count, widget state or kernel name is committed."""
    for cell in code_cells(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)
        assert set(cell.metadata) <= {"tags"}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert dict(notebook.metadata.language_info) == {"name": "python"}


def test_every_step_is_explained(notebook: NotebookNode) -> None:
    """A notebook begins with a heading, and no cell is empty."""
    assert notebook.cells[0].source.startswith("# ")
    assert all(cell.source.strip() for cell in notebook.cells)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


def test_references_between_the_notebooks() -> None:
    """Each notebook names the other one correctly."""
    for path in ALL:
        named = re.findall(r"[\w-]+\.ipynb", path.read_text(encoding="utf-8"))
        assert all((NOTEBOOKS / name).exists() for name in named)


# ---------------------------------------------------------------- run
def code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The code cells."""
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def printed(cell: NotebookNode) -> str:
    """The text that a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def parameters(notebook: NotebookNode) -> NotebookNode:
    """The one cell for the user to fill in."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    return cell


async def run(notebook: NotebookNode, folder: Path, ran: Callable[[NotebookNode], Any] = bool) -> None:
    """Run all cells in a new kernel. ``ran`` is awaited after each cell."""
    client = NotebookClient(
        notebook,
        timeout=int(PATIENCE),
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=lambda cell, **_: ran(cell),
    )
    await client.async_execute()


class Desk:
    """A person with both notebooks side by side, who copies the code and closes no notebook too early."""

    def __init__(self, folder: Path) -> None:
        self.sender, self.receiver = (nbformat.read(path, as_version=4) for path in (SEND, RECEIVE))
        self._folder = folder
        self._code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._both = asyncio.Barrier(2)

    async def run(self) -> None:
        """Run both notebooks. Raises the first error."""
        for outcome in await asyncio.gather(self._send(), self._receive(), return_exceptions=True):
            if outcome:
                raise outcome

    async def _send(self) -> None:
        try:
            await run(self.sender, self._folder, self._sent)
        finally:
            # The other notebook would wait in vain.
            self._code.cancel()
            await self._both.abort()

    async def _receive(self) -> None:
        parameters(self.receiver).source = f"code = {await self._code!r}"
        try:
            await run(self.receiver, self._folder, self._received)
        finally:
            await self._both.abort()

    async def _sent(self, cell: NotebookNode) -> None:
        if not self._code.done() and (found := CODE.search(printed(cell))):
            self._code.set_result(found[0])
        if cell is self.sender.cells[-1]:
            await self._both.wait()

    async def _received(self, cell: NotebookNode) -> None:
        if cell is self.receiver.cells[-1]:
            await self._both.wait()


async def run_both(folder: Path) -> tuple[NotebookNode, NotebookNode]:
    """Run both notebooks side by side."""
    desk = Desk(folder)
    await desk.run()
    return desk.sender, desk.receiver


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate folder and state, with the loopback interface only."""
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    for name in ("NBFERRY_RELAY", "NBFERRY_UI", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "notebooks"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def shown(cell: NotebookNode) -> list[NotebookNode]:
    """The output of a cell, by MIME type."""
    return [
        output.data for output in cell.outputs if output.output_type in ("display_data", "execute_result")
    ]


def card(notebook: NotebookNode, call: str) -> NotebookNode:
    """The card in the output of the cell with this call."""
    (cell,) = (cell for cell in code_cells(notebook) if call in cell.source)
    (data,) = shown(cell)
    assert WIDGET in data
    return data


def secrets_of(saved: Any) -> list[str]:
    """All codes in a saved notebook."""
    return CODE.findall(json.dumps(saved))


def test_they_run(folder: Path) -> None:
    """Both notebooks run without a person, every byte arrives, and the saved pages hold no secret."""
    sender, receiver = asyncio.run(run_both(folder))
    sent = {path.name: path.read_bytes() for path in (folder / "trips").iterdir()}
    received = {path.name: path.read_bytes() for path in (folder / "received/trips").iterdir()}
    assert sent == received
    # A minute on a slow line, and accepted without a question.
    assert 10 > sum(map(len, sent.values())) / 1e6 > 1
    displayed = [shown(cell) for cell in code_cells(sender)]
    assert secrets_of([displayed, sender.metadata, receiver.metadata]) == []


def test_saved_notebooks_show_tables(folder: Path) -> None:
    """Each card comes with a table of the same facts, for a saved notebook opened elsewhere."""
    sender, receiver = asyncio.run(run_both(folder))
    offered, taken = card(sender, "transfer = nbferry.send("), card(receiver, "nbferry.receive(")
    assert "print(transfer.code)" in offered["text/html"]
    assert "<table" in taken["text/html"]
    others = [card(sender, "upload("), card(sender, "nbferry.send()"), card(receiver, "download(")]
    assert all(shown["text/plain"] for shown in (offered, taken, *others))
    # By default pages do not save widget state.
    del sender.metadata["widgets"]
    page, _ = HTMLExporter().from_notebook_node(sender)  # type: ignore[no-untyped-call]  # it has no types
    assert "nbferry: sending, waiting" in page
    assert ">trips/12.csv<" in page


def test_the_code_is_asked_for_without_one(folder: Path) -> None:
    """The second notebook, unchanged, shows a card that asks for the code."""
    receiver = nbformat.read(RECEIVE, as_version=4)
    until = next(at for at, cell in enumerate(receiver.cells) if "nbferry.receive(" in cell.source)
    del receiver.cells[until + 1 :]
    asyncio.run(run(receiver, folder))
    assert card(receiver, "nbferry.receive(")
