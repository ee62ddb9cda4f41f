"""Files of the kernel onto the browser's machine."""

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
"""A person who is asked where to save answers at once: in the page's own file system."""

DIGEST = """async (name) => {
    const handle = await (await navigator.storage.getDirectory()).getFileHandle(name);
    const digest = await crypto.subtle.digest("SHA-256", await (await handle.getFile()).arrayBuffer());
    return new Uint8Array(digest).toHex();
}"""


def saved(page: Page, name: str) -> str:
    """The digest of what was saved under a name."""
    return str(page.evaluate(DIGEST, name))


def test_to_a_place_that_is_chosen(person: Person) -> None:
    """Where the browser asks for a place, the file is written there as it comes."""
    content = os.urandom(20 * MIB + 1)
    notebook = person.visit(person.notebook(DOWNLOAD, files={"data.bin": content}), before=SAVE_PICKER)
    card = notebook.show()
    card.click("Save")
    expect(card.root).to_contain_text("Saved to this computer.")
    assert saved(notebook.page, "data.bin") == sha256(content).hexdigest()


def test_beside_a_flood_of_output(person: Person) -> None:
    """What a cell prints all the while takes nothing away from it."""
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
    """Where the browser cannot ask, the server's own download is used."""
    content = os.urandom(3 * MIB)
    notebook = person.visit(person.notebook(DOWNLOAD, files={"data.bin": content}))
    card = notebook.show()
    with notebook.page.expect_download() as downloading:
        card.click("Save")
    assert downloading.value.suggested_filename == "data.bin"
    assert downloading.value.path().read_bytes() == content


def test_what_was_received(person: Person) -> None:
    """A card of a transfer that is done saves what has arrived."""
    content = os.urandom(2 * MIB)
    sender = person.open("import nbferry\nprint(nbferry.send('data.bin').code)", files={"data.bin": content})
    code = sender.run().inner_text().strip()
    receiver = person.visit(person.notebook(f"import nbferry\nnbferry.receive({code!r})"), before=SAVE_PICKER)
    card = receiver.show()
    card.waits_until("done")
    card.click("Save")
    expect(card.root).to_contain_text("Saved to this computer.")
    assert saved(receiver.page, "data.bin") == sha256(content).hexdigest()
