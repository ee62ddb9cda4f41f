"""Measure files between a browser and a kernel: nbferry's card and JupyterLab's own ways, in the same Chromium.

Every round moves the file once each way, so that a noisy minute affects all of them. Prints a table, writes JSON.
The files lie in memory if it has space, for the reason in ``run.py``; ``--work DIR`` measures with a disk.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

# The tests have a package with this script's name.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser.lab import Lab, jupyter
from browser.person import NO_PICKERS, OPEN, RUN, SHOWN
from cells import TOKEN
from chromium import Chromium, Tab, Watch, below, chromium, command_of, seconds_of
from contestants import warm
from run import MIB, RESULTS, in_memory, make_file

SLICE = 16 * MIB

SAVE_PICKER = f"""
    {NO_PICKERS};
    window.showSaveFilePicker = async ({{suggestedName}}) => {{
        const folder = await navigator.storage.getDirectory();
        return folder.getFileHandle(suggestedName, {{create: true}});
    }};
"""
"""A person who picks a place at once, in the page's own file system on the browser's disk."""

SAVED = """(async (name) => {{
    const folder = await navigator.storage.getDirectory();
    const file = await (await folder.getFileHandle(name)).getFile();
    const digests = [];
    for (let at = 0; at < file.size; at += {slice}) {{
        const bytes = await file.slice(at, at + {slice}).arrayBuffer();
        digests.push(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex());
    }}
    await folder.removeEntry(name);
    return digests.join(" ");
}})("{name}")"""

WATCH_UPLOADS = """(() => {
    const files = [...window.jupyterapp.shell.widgets("left")].find((each) => each.id === "filebrowser").model;
    window.uploads = [];
    files.uploadChanged.connect((_, change) => window.uploads.push(change.name));
})()"""


@dataclass
class Desk:
    """JupyterLab, the browser and their folders."""

    lab: Lab
    browser: Chromium
    tab: Tab
    source: Path
    folder: Path  # the browser's downloads

    def show(self, folder: str, cell: str) -> Path:
        """Run a cell in a notebook in a new folder and wait for its card. Returns the folder."""
        notebook = self.lab.notebook(f"{folder}/notebook.ipynb", cell)
        self.tab.run(f"({OPEN})('{folder}/notebook.ipynb')")
        self.tab.until(f"({SHOWN})('{folder}/notebook.ipynb')")
        self.tab.run(f"({RUN})(0)")
        self.tab.until("document.querySelector('section.nbferry button')")
        return notebook.parent

    def clear(self) -> None:
        """Close the pages and end the kernels."""
        self.tab.run("[...window.jupyterapp.shell.widgets('main')].forEach(each => each.dispose())")
        self.lab.end_kernels()
        self.tab.collect_garbage()

    def watch(self) -> Watch:
        """Measure the memory of browser, server and kernel."""
        pages, others = self.browser.processes()
        server = self.lab.pid
        kernels = [pid for pid in below(server) if "ipykernel" in command_of(pid)]
        return Watch(page=pages, kernel=kernels, server=[server], browser=others)


class Way(ABC):
    """One way to move the file. The timed part begins with a person's last action."""

    name: str
    to_kernel = True
    verified = True

    @abstractmethod
    def prepare(self, desk: Desk) -> None:
        """Do everything before the person's last action."""

    @abstractmethod
    def move(self, desk: Desk) -> None:
        """Do the last action and wait for the file."""

    @abstractmethod
    def is_right(self, desk: Desk) -> bool:
        """Whether the copy equals the source. Removes the copy."""


class Upload(Way):
    """nbferry's card uploads files."""

    name = "nbferry upload"

    def prepare(self, desk: Desk) -> None:
        self._folder = desk.show("upload", "import nbferry\nnbferry.upload()")
        warm(desk.source, self._folder)

    def move(self, desk: Desk) -> None:
        desk.tab.choose(click_on("Choose files"), desk.source)
        desk.tab.until("document.querySelector('section.nbferry[data-state=done]')")

    def is_right(self, desk: Desk) -> bool:
        same = filecmp.cmp(desk.source, self._folder / desk.source.name, shallow=False)
        shutil.rmtree(self._folder)
        return same


class LabUpload(Way):
    """The button in JupyterLab's file browser."""

    name = "JupyterLab upload"
    verified = False

    def prepare(self, desk: Desk) -> None:
        desk.tab.run(WATCH_UPLOADS)
        warm(desk.source, desk.lab.root)
        desk.tab.choose("document.querySelector('.jp-id-upload jp-button').click()", desk.source)
        # Confirm the upload of a large file.
        desk.tab.until("document.querySelector('.jp-Dialog button.jp-mod-warn')")

    def move(self, desk: Desk) -> None:
        desk.tab.run("document.querySelector('.jp-Dialog button.jp-mod-warn').click()")
        desk.tab.until("window.uploads.some((name) => name === 'finish' || name === 'failure')")

    def is_right(self, desk: Desk) -> bool:
        copy = desk.lab.root / desk.source.name
        same = filecmp.cmp(desk.source, copy, shallow=False)
        copy.unlink()
        return same


class Save(Way):
    """nbferry's card saves to a file that the person has picked."""

    name = "nbferry save"
    to_kernel = False

    def prepare(self, desk: Desk) -> None:
        desk.lab.notebook("save/notebook.ipynb")
        shutil.copy(desk.source, desk.lab.root / "save")
        desk.show("save", f"import nbferry\nnbferry.download('{desk.source.name}')")

    def move(self, desk: Desk) -> None:
        desk.tab.run(click_on("Save"))
        desk.tab.until(
            "document.querySelector('section.nbferry').innerText.includes('Saved to this computer.')"
        )

    def is_right(self, desk: Desk) -> bool:
        shutil.rmtree(desk.lab.root / "save")
        digests: str = desk.tab.run(SAVED.format(slice=SLICE, name=desk.source.name))
        return digests == " ".join(digests_of(desk.source))


class LabDownload(Way):
    """The server's own download, as JupyterLab's file browser starts it."""

    name = "JupyterLab download"
    to_kernel = False
    verified = False

    def prepare(self, desk: Desk) -> None:
        shutil.copy(desk.source, desk.lab.root)
        warm(desk.source, desk.folder)
        behavior = {"behavior": "allow", "downloadPath": str(desk.folder), "eventsEnabled": True}
        desk.tab.call("Browser.setDownloadBehavior", **behavior)

    def move(self, desk: Desk) -> None:
        link = (
            f"Object.assign(document.createElement('a'), {{href: 'files/{desk.source.name}', download: ''}})"
        )
        desk.tab.run(f"{{ const link = {link}; link.href = '/files/{desk.source.name}'; link.click(); }}")
        while desk.tab.event("Browser.downloadProgress")["state"] == "inProgress":
            continue

    def is_right(self, desk: Desk) -> bool:
        (desk.lab.root / desk.source.name).unlink()
        copy = desk.folder / desk.source.name
        same = filecmp.cmp(desk.source, copy, shallow=False)
        copy.unlink()
        return same


WAYS = (Upload, LabUpload, Save, LabDownload)


def click_on(name: str) -> str:
    """A script that clicks a button of the card."""
    buttons = "[...document.querySelectorAll('section.nbferry button')]"
    return f"{buttons}.find((button) => (button.ariaLabel ?? button.innerText).trim() === '{name}').click()"


def digests_of(path: Path) -> list[str]:
    """The digests of a file's slices."""
    with path.open("rb") as file:
        return [hashlib.sha256(piece).hexdigest() for piece in iter(lambda: file.read(SLICE), b"")]


@dataclass
class Measured:
    """The results of one way."""

    seconds: list[float] = field(default_factory=list)
    # How far the memory of each process exceeded its first value, at most.
    extra: dict[str, int] = field(default_factory=dict)

    def add(self, seconds: float, extra: dict[str, int]) -> None:
        """Add a round."""
        self.seconds.append(seconds)
        self.extra = {name: max(size, self.extra.get(name, 0)) for name, size in extra.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=in_memory(), help="where the files lie")
    parser.add_argument("--only", nargs="*", help="names of ways")
    arguments = parser.parse_args()
    ways = [way() for way in WAYS if not arguments.only or way.name in arguments.only]
    with ExitStack() as cleanup:
        work = Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="nbferry-bench-", dir=arguments.work))
        )
        (work / "downloads").mkdir()
        source = make_file(work / "data.bin", arguments.mib)
        lab = cleanup.enter_context(jupyter(work / "lab"))
        browser = cleanup.enter_context(chromium(work / "profile"))
        tab = browser.tab(f"{lab.url}lab?reset&token={TOKEN}", SAVE_PICKER)
        tab.until("window.jupyterapp?.restored && document.querySelector('.jp-id-upload jp-button svg')")
        desk = Desk(lab, browser, tab, source, work / "downloads")
        found = measure(ways, desk, arguments.rounds)
    report(arguments.mib, arguments.work, ways, found)


def measure(ways: list[Way], desk: Desk, rounds: int) -> dict[str, Measured]:
    """Seconds and memory of each round, after an uncounted one that warms the caches."""
    found = {way.name: Measured() for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            way.prepare(desk)
            desk.tab.collect_garbage()
            with desk.watch() as watch:
                took = seconds_of(lambda way=way: way.move(desk))  # type: ignore[misc]
            desk.clear()
            if not way.is_right(desk):
                raise SystemExit(f"{way.name}: the copy differs")
            print(f"{way.name}: {took:.2f} s{'' if number else ' (warming up)'}", file=sys.stderr, flush=True)
            if number:
                found[way.name].add(took, watch.extra)
    return found


def report(mib: int, work: Path | None, ways: list[Way], found: dict[str, Measured]) -> None:
    """A table for people, JSON for programs."""
    rate = {name: mib * MIB / 1e6 / statistics.median(one.seconds) for name, one in found.items()}
    rows = [
        {
            "name": way.name,
            "seconds": found[way.name].seconds,
            "mb_per_s": rate[way.name],
            "verified": way.verified,
            "extra_mib": {name: size / MIB for name, size in found[way.name].extra.items()},
        }
        for way in ways
    ]
    cores, python = os.cpu_count(), platform.python_version()
    print(f"\n{mib} MiB, Chromium, {platform.system()}, {cores} cores, Python {python}\n")
    print("| | MB/s (median) | extra MiB, at most: page | kernel | server | browser |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        extra = " | ".join(f"{row['extra_mib'][who]:.0f}" for who in ("page", "kernel", "server", "browser"))  # type: ignore[index]
        print(f"| {row['name']} | {row['mb_per_s']:.0f} | {extra} |")
    ratios = {
        ours.name: rate[ours.name] / rate[theirs.name]
        for ours, theirs in ((Upload, LabUpload), (Save, LabDownload))
        if ours.name in rate and theirs.name in rate
    }
    for name, ratio in ratios.items():
        print(f"\n{name} is {ratio:.1f} x as fast as JupyterLab's own.")
    RESULTS.mkdir(exist_ok=True)
    facts = {"cores": cores, "python": python, "system": platform.platform()}
    place = str(work or tempfile.gettempdir())
    document = {"mib": mib, "work": place, "machine": facts, "rows": rows, "times_as_fast": ratios}
    (RESULTS / "browser.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
