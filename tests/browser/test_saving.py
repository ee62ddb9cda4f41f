"""The kernel's files are saved on the browser's machine."""

from __future__ import annotations

import os
from hashlib import sha256

from playwright.sync_api import Page, expect

from browser.person import Person
from browser.test_uploading import FLOOD, expect_busy
from running import MIB

DOWNLOAD = "import nbferry\nnbferry.download('data.bin')"
SAVE_PICKER = """
    const root = () => navigator.storage.getDirectory();
    window.showSaveFilePicker = async ({suggestedName}) => (await root()).getFileHandle(suggestedName, {create: true});
    window.showDirectoryPicker = root;
"""
"""A person who picks a place at once, in the page's own file system."""

DIGEST = """async (name) => {
    const handle = await (await navigator.storage.getDirectory()).getFileHandle(name);
    const digest = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer());
    return new Uint8Array(digest).toHex();
}"""


def saved(page: Page, name: str) -> str:
    """The digest of a saved file."""
    return str(page.evaluate(DIGEST, name))


def test_to_a_chosen_place(person: Person) -> None:
    """If the browser asks for a place, the file is written there as it arrives."""
    content = os.urandom(20 * MIB + 1)
    notebook = person.visit(person.notebook(DOWNLOAD, files={"data.bin": content}), before=SAVE_PICKER)
    card = notebook.show()
    card.click("Save")
    expect(card.root).to_contain_text("Saved to this computer.")
    assert saved(notebook.page, "data.bin") == sha256(content).hexdigest()


def test_beside_a_flood_of_output(person: Person) -> None:
    """A cell's steady output does not damage the saved file."""
    content = os.urandom(20 * MIB)
    path = person.notebook(DOWNLOAD, FLOOD, files={"data.bin": content})
    notebook = person.visit(path, before=SAVE_PICKER)
    card = notebook.show()
    notebook.start(1)
    expect(notebook.output(1)).to_contain_text("xxx")
    card.click("Save")
    expect(card.root).to_contain_text("Saved to this computer.")
    expect_busy(notebook)
    assert saved(notebook.page, "data.bin") == sha256(content).hexdigest()
    notebook.interrupt()


def test_as_a_download(person: Person) -> None:
    """If the browser cannot ask for a place, it uses the server's own download."""
    content = os.urandom(3 * MIB)
    notebook = person.visit(person.notebook(DOWNLOAD, files={"data.bin": content}))
    card = notebook.show()
    with notebook.page.expect_download() as downloading:
        card.click("Save")
    assert downloading.value.suggested_filename == "data.bin"
    assert downloading.value.path().read_bytes() == content


def test_saving_a_received_file(person: Person) -> None:
    """The card of a completed transfer saves the received files."""
    content = os.urandom(2 * MIB)
    sender = person.open("import nbferry\nprint(nbferry.send('data.bin').code)", files={"data.bin": content})
    code = sender.run().inner_text().strip()
    receiver = person.visit(person.notebook(f"import nbferry\nnbferry.receive({code!r})"), before=SAVE_PICKER)
    card = receiver.show()
    card.waits_until("done")
    card.click("Save")
    expect(card.root).to_contain_text("Saved to this computer.")
    assert saved(receiver.page, "data.bin") == sha256(content).hexdigest()
