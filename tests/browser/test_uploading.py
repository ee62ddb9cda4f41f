"""The files of the browser's machine are uploaded into the kernel's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.person import Notebook, Person, write
from browser.slow import LARGE, SLOW_DISK, hurry
from browser.test_sending import files_below
from running import MIB

UPLOAD = "import nbferry\nupload = nbferry.upload()\nupload"
UPLOAD_SLOWLY = SLOW_DISK + "upload = nbferry.upload()\nupload"
FLOOD = "import time\nwhile True:\n    print('x' * 100_000, end='\\r')\n    time.sleep(0.1)"
COUNTS = "snapshot = upload.transfer.snapshot; print(snapshot.sent, snapshot.verified, snapshot.reused)"

OPEN_PICKER = f"""
    window.showOpenFilePicker = async () => {{
        const folder = await navigator.storage.getDirectory();
        const handle = await folder.getFileHandle("data.bin", {{create: true}});
        const writing = await handle.createWritable({{keepExistingData: true}});
        await writing.truncate({LARGE});
        await writing.close();
        return [handle];
    }};
"""
"""A person who chooses this file at once, in the page's own file system."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the browser's machine."""
    write(tmp_path / "photos/2024/one.jpg", os.urandom(3 * MIB + 7))
    write(tmp_path / "photos/empty.txt", b"")
    return tmp_path


def test_by_button(person: Person, folder: Path) -> None:
    """Several chosen files arrive."""
    write(folder / "two.csv", b"1,2")
    notebook = person.open(UPLOAD)
    card = notebook.show()
    card.choose("Choose files", folder / "photos/2024/one.jpg", folder / "two.csv")
    card.waits_until("done")
    one = (folder / "photos/2024/one.jpg").read_bytes()
    assert files_below(notebook.folder) == {"one.jpg": one, "two.csv": b"1,2"}


def test_a_folder_by_button(person: Person, folder: Path) -> None:
    """A chosen folder arrives unchanged in the kernel's folder."""
    notebook = person.open(UPLOAD)
    card = notebook.show()
    card.choose("Choose a folder", folder / "photos")
    card.waits_until("done")
    assert files_below(notebook.folder) == files_below(folder)


def test_by_drop(person: Person, folder: Path) -> None:
    """A folder and a file that are dropped onto the card arrive, with empty folders."""
    (folder / "photos/none yet").mkdir()
    write(folder / "two.csv", b"1,2")
    notebook = person.open(UPLOAD)
    card = notebook.show()
    card.drop(folder / "photos", folder / "two.csv")
    card.waits_until("done")
    assert files_below(notebook.folder) == files_below(folder)
    assert (notebook.folder / "photos/none yet").is_dir()


def test_by_paste(person: Person) -> None:
    """Pasted files arrive."""
    notebook = person.open(UPLOAD)
    card = notebook.show()
    card.paste(**{"one.txt": "1", "two.txt": "2"})
    card.waits_until("done")
    assert files_below(notebook.folder) == {"one.txt": b"1", "two.txt": b"2"}


def test_a_reload_during_an_upload(person: Person, tmp_path: Path) -> None:
    """The card asks for the same files, refuses others, and continues where it stopped."""
    picked, other = write(tmp_path / "data.bin", LARGE), write(tmp_path / "other/data.bin", 5)
    notebook = person.open(UPLOAD_SLOWLY)
    card = notebook.show()
    card.choose("Choose files", picked)
    card.is_in_the_middle()
    notebook.reload()
    card = notebook.card()
    card.waits_until("paused")
    card.choose("Choose the same files again", other)
    expect(card.root.get_by_role("alert")).to_contain_text("data.bin")
    hurry(notebook)
    card.choose("Choose the same files again", picked)
    card.waits_until("done")
    assert (notebook.folder / "data.bin").stat().st_size == LARGE
    sent, verified, _ = map(int, notebook.kernel.run(COUNTS).split())
    assert verified == LARGE
    # The bytes in transit when the page left, and no more.
    assert sent <= LARGE + 32 * MIB


def test_handles_outlive_a_reload(person: Person) -> None:
    """If the browser stores file handles, one click continues after a reload."""
    notebook = person.visit(person.notebook(UPLOAD_SLOWLY), before=OPEN_PICKER)
    card = notebook.show()
    card.click("Choose files")
    card.is_in_the_middle()
    notebook.reload()
    card = notebook.card()
    card.waits_until("paused")
    hurry(notebook)
    card.click("Resume with the same files")
    card.waits_until("done")
    assert (notebook.folder / "data.bin").stat().st_size == LARGE


def test_a_killed_kernel(person: Person, tmp_path: Path) -> None:
    """After the restart ``resume`` shows the upload, and continues when the same files are chosen."""
    picked = write(tmp_path / "data.bin", LARGE)
    notebook = person.open(UPLOAD_SLOWLY, "import nbferry\nnbferry.resume()")
    card = notebook.show()
    card.choose("Choose files", picked)
    card.has_durable_bytes()
    notebook.kill_kernel()
    card = notebook.show(1)
    card.choose("Choose the same files again", picked)
    card.waits_until("done")
    assert (notebook.folder / "data.bin").stat().st_size == LARGE


def test_beside_a_flood_of_output(person: Person, tmp_path: Path) -> None:
    """While a cell prints a megabyte a second, all files arrive, and the card is right about it."""
    picked = write(tmp_path / "data.bin", os.urandom(10 * MIB))
    notebook = person.open(UPLOAD, FLOOD)
    card = notebook.show()
    notebook.start(1)
    expect(notebook.output(1)).to_contain_text("xxx")
    card.choose("Choose files", picked)
    card.waits_until("done")
    expect(card.overall).to_have_attribute("aria-valuenow", "100")
    assert files_below(notebook.folder) == {"data.bin": picked.read_bytes()}
    expect_busy(notebook)
    notebook.interrupt()
    expect(notebook.output(1)).to_contain_text("KeyboardInterrupt")


def test_while_a_cell_runs(person: Person, tmp_path: Path) -> None:
    """Files are chosen, paused, resumed and cancelled while a cell runs, without its help."""
    notebook = person.open(UPLOAD_SLOWLY, "import time\ntime.sleep(1000)")
    card = notebook.show()
    notebook.start(1)
    expect_busy(notebook)
    card.choose("Choose files", write(tmp_path / "data.bin", LARGE))
    card.is_in_the_middle()
    card.click("Pause")
    card.waits_until("paused")
    card.click("Resume")
    card.waits_until("transferring")
    card.click("Cancel")
    card.waits_until("cancelled")
    expect_busy(notebook)
    notebook.interrupt()
    expect(notebook.output(1)).to_contain_text("KeyboardInterrupt")
    assert files_below(notebook.folder) == {}


def expect_busy(notebook: Notebook) -> None:
    """Wait until the kernel runs a cell."""
    expect(notebook.prompt(1)).to_have_text("[*]:")
