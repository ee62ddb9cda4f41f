"""A browser with open notebooks, as a person has them: pages of JupyterLab, notebooks, cells, cards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from browser.lab import Lab, kill, process_of
from cells import TOKEN, Kernel
from running import MIB, PATIENCE

# Milliseconds. Playwright would look once per frame, and a page in the background draws no frames.
LOOK_EVERY = 50

IN_LAB = "lab/workspaces/visit-{number}/tree/{path}?reset"
"""The URL at which JupyterLab shows a single notebook in a workspace."""

ELSEWHERE = "notebooks.example"
"""A name of this computer that only the browser resolves."""

NO_PICKERS = "for (const what of ['OpenFile', 'SaveFile', 'Directory']) delete window[`show${what}Picker`]"
"""No file pickers, as in Firefox: a headless browser has them but cannot show them."""

CODE = re.compile("[0-9]{6}(-[a-z]+){3,}(@.*)?")
OPEN = """async (path) => {
    const {commands, shell} = window.jupyterapp;
    const panel = await commands.execute("docmanager:open", {path, factory: "Notebook"});
    shell.mode = "single-document";
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.revealed;
    await panel.sessionContext.session.kernel.info;
}"""
RESTORED = "window.jupyterapp && window.jupyterapp.restored.then(() => true)"
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.content?.widgets?.length > 0 && panel.sessionContext?.session?.kernel?.status === "idle";
}"""
SHOWN = """(path) => {
    const {shell} = window.jupyterapp;
    const panel = [...shell.widgets("main")].find((each) => each.context?.path === path);
    if (panel && panel !== shell.currentWidget) shell.activateById(panel.id);
    return panel && panel === shell.currentWidget;
}"""
RUN = """async (cell) => {
    const {shell, commands} = window.jupyterapp;
    const notebook = shell.currentWidget.content;
    notebook.deselectAll();
    notebook.activeCellIndex = cell;
    await commands.execute("notebook:run-cell");
}"""
CLOSE = """() => {
    for (const panel of [...window.jupyterapp.shell.widgets("main")]) {
        if (panel.context) panel.context.model.dirty = false;
        panel.dispose();
    }
}"""
SAVE = "() => window.jupyterapp.shell.currentWidget.context.save()"
RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
DATA_TRANSFER = """files => {
    const carried = new DataTransfer();
    for (const [name, text] of files) carried.items.add(new File([text], name));
    return carried;
}"""


# Numbers of folders and workspaces, so that no person finds another one's.
_numbers = count()


class Card:
    """A card in a page, with the roles and names by which a person or a screen reader finds its parts."""

    def __init__(self, root: Locator) -> None:
        self.root = root

    def button(self, name: str) -> Locator:
        """The button with this name."""
        return self.root.get_by_role("button", name=name, exact=True)

    def click(self, *names: str) -> None:
        """Click buttons one by one."""
        for name in names:
            self.button(name).click()

    def waits_until(self, state: str) -> None:
        """Wait until the card shows this state."""
        expect(self.root).to_have_attribute("data-state", state)

    def is_in_the_middle(self) -> None:
        """Wait until some bytes arrived. A slow disk makes sure that more are to come."""
        expect(self.overall).not_to_have_attribute("aria-valuenow", "0")
        expect(self.root).to_have_attribute("data-state", "transferring")

    def has_durable_bytes(self) -> None:
        """Wait until some bytes are durable and survive the kernel."""
        expect(self.root.locator(".nf-amount-durable .nf-number")).not_to_have_text("0 B")

    def reach(self, target: Locator) -> None:
        """Press Tab from the start of the card until an element has the focus."""
        self.root.evaluate("card => { card.tabIndex = -1; card.focus(); }")
        for _ in range(30):
            if target.evaluate("target => target === document.activeElement"):
                return
            self.root.page.keyboard.press("Tab")
        raise AssertionError(f"{target} cannot be reached by keyboard")

    def tick(self, *names: str) -> None:
        """Select listed files or folders of the kernel."""
        for name in names:
            label = re.compile(f"^{re.escape(name)}( \\(folder\\))?$")
            self.root.get_by_role("checkbox", name=label).check()

    @property
    def overall(self) -> Locator:
        """The progress bar of the whole transfer."""
        return self.root.get_by_role("progressbar", name="All files", exact=True)

    def bar(self, file: str) -> Locator:
        """The progress bar of a file."""
        return self.root.get_by_role("progressbar", name=file, exact=True)

    @property
    def percent(self) -> float:
        """The value of the progress bar of the whole transfer."""
        return float(self.overall.get_attribute("aria-valuenow") or 0)

    @property
    def code(self) -> str:
        """The displayed code."""
        shown = self.root.locator("code.nbferry-code")
        expect(shown).to_have_text(CODE)
        return shown.inner_text()

    def enter(self, code: str) -> None:
        """Enter a code and connect."""
        self.root.get_by_label("Code", exact=True).fill(code)
        self.click("Receive")

    def choose(self, button: str, *paths: Path) -> None:
        """Click a button that opens the browser's file chooser, and choose there."""
        # A page in the background cannot be given a folder.
        self.root.page.bring_to_front()
        with self.root.page.expect_file_chooser() as opened:
            self.click(button)
        opened.value.set_files(list(paths))

    def drop(self, *paths: Path) -> None:
        """Drop files and folders of this machine, as a desktop does."""
        self.root.scroll_into_view_if_needed()
        box = self.root.bounding_box()
        assert box
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        protocol = self.root.page.context.new_cdp_session(self.root.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            protocol.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
        protocol.detach()

    def paste(self, **files: str) -> None:
        """Paste files with these contents."""
        carried = self.root.page.evaluate_handle(DATA_TRANSFER, list(files.items()))
        self.root.evaluate(
            "(card, clipboardData) => card.dispatchEvent("
            "new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}))",
            carried,
        )


@dataclass
class Notebook:
    """An open notebook."""

    page: Page
    lab: Lab
    path: str

    @property
    def folder(self) -> Path:
        """The kernel's folder."""
        return (self.lab.root / self.path).parent

    @property
    def kernel(self) -> Kernel:
        """The notebook's kernel, for code that a test runs without the page."""
        return self.lab.kernel(self.path)

    def run(self, cell: int = 0) -> Locator:
        """Run a cell to its end. Returns its output."""
        self.page.evaluate(RUN, cell)
        return self.output(cell)

    def start(self, cell: int = 0) -> Locator:
        """Start a cell without waiting. Returns its output."""
        self.page.evaluate(f"cell => void ({RUN})(cell)", cell)
        return self.output(cell)

    def output(self, cell: int) -> Locator:
        """The output below a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-Cell-outputWrapper")

    def prompt(self, cell: int) -> Locator:
        """The prompt number beside a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell).locator(".jp-InputPrompt")

    def card(self, cell: int = 0) -> Card:
        """The card below a cell."""
        return Card(self.output(cell).locator("section.nbferry"))

    def cards(self, cell: int) -> Locator:
        """All cards below a cell."""
        return self.output(cell).locator("section.nbferry")

    def show(self, cell: int = 0) -> Card:
        """Run a cell that shows a card."""
        self.run(cell)
        return self.card(cell)

    def save(self) -> None:
        """Save, as Ctrl-S does."""
        self.page.evaluate(SAVE)

    def reload(self) -> None:
        """Save the notebook and reload its page."""
        self.save()
        self.page.reload()
        self.page.wait_for_function(READY, polling=LOOK_EVERY)

    def restart(self) -> None:
        """Restart the kernel, as the restart button does."""
        self.page.evaluate(RESTART)
        self.page.wait_for_function(READY, polling=LOOK_EVERY)

    def kill_kernel(self) -> None:
        """Kill the kernel as ``kill -9`` does. The server restarts it."""
        kill(process_of(self.kernel))
        self.page.get_by_role("dialog").get_by_role("button", name="Ok").click()
        self.page.wait_for_function(READY, polling=LOOK_EVERY)

    def minutes_later(self) -> None:
        """Advance the page's clock by a minute. Only for a visited notebook."""
        self.page.clock.run_for(60_000)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        self.lab.interrupt(self.path)


class Person:
    """Pages of one browser. They stay open for the next test, which makes it four times as fast."""

    def __init__(self, browser: Browser, lab: Lab) -> None:
        self.lab = lab
        self.context = browser.new_context(viewport={"width": 1000, "height": 800})
        self.context.set_default_timeout(PATIENCE / 2 * 1000)
        self.context.add_init_script(NO_PICKERS)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.said: list[str] = []
        self._pages: list[Page] = []
        self._folders: list[Path] = []

    def page(self) -> Page:
        """A new page whose console output is stored."""
        page = self.context.new_page()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error.message}\n{error.stack}"))
        return page

    def at(self, path: str) -> str:
        """The URL of a path on the server, for a browser that is not logged in."""
        return f"{self.lab.url}{path}{'&' if '?' in path else '?'}token={TOKEN}"

    def _lab_page(self, number: int) -> Page:
        while len(self._pages) <= number:
            page = self.page()
            page.goto(self.at(f"lab/workspaces/page-{len(self._pages)}?reset"))
            page.wait_for_function(RESTORED, polling=LOOK_EVERY)
            self._pages.append(page)
        return self._pages[number]

    def notebook(
        self, *cells: str, name: str = "notebook", files: dict[str, bytes | int] | None = None
    ) -> str:
        """Write a notebook into a new folder, with these files beside it. Returns its path."""
        path = f"{next(_numbers)}/{name}.ipynb"
        file = self.lab.notebook(path, *cells)
        self._folders.append(file.parent)
        for other, content in (files or {}).items():
            write(file.parent / other, content)
        return path

    def open(self, *cells: str, page: int = 0, **options: Any) -> Notebook:
        """Write a notebook and open it in a page."""
        path = self.notebook(*cells, **options)
        shown = self._lab_page(page)
        shown.evaluate(OPEN, path)
        shown.wait_for_function(SHOWN, arg=path, polling=LOOK_EVERY)
        return Notebook(shown, self.lab, path)

    def visit(self, path: str, *, host: str = "127.0.0.1", before: str = "", place: str = IN_LAB) -> Notebook:
        """Open a notebook in a new page. ``host`` and ``place`` choose the URL; ``before`` is a script to run first."""
        page = self.page()
        page.clock.install()
        if before:
            page.add_init_script(before)
        url = self.at(place.format(path=path, number=next(_numbers)))
        page.goto(url.replace("127.0.0.1", host))
        page.wait_for_function(READY, polling=LOOK_EVERY)
        return Notebook(page, self.lab, path)

    def clear(self) -> None:
        """Close the notebooks, end their kernels, and remove large files."""
        for page in self._pages:
            page.evaluate(CLOSE)
        for page in set(self.context.pages) - set(self._pages):
            page.close()
        self._tidy()
        self.said.clear()

    def _tidy(self) -> None:
        """Remove files but keep folders: JupyterLab's file list may show one and would complain in the next test."""
        self.lab.end_kernels()
        for folder in self._folders:
            for file in folder.rglob("*"):
                if file.is_file() and file.stat().st_size > MIB:
                    file.unlink()
        self._folders.clear()

    def close(self) -> None:
        """Close all pages and remove the files."""
        self.context.close()
        self._tidy()


def write(file: Path, content: bytes | int) -> Path:
    """Make a file with this content, or a sparse one of this size."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        if isinstance(content, int):
            opened.truncate(content)
        else:
            opened.write(content)
    return file
