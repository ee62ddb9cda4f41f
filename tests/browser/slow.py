"""Transfers that a test finds in the middle: they get there on a slow disk, and end on a quick one."""

from __future__ import annotations

from browser.person import Notebook
from running import MIB

LARGE = 96 * MIB  # with holes; half a minute on the slow disk

SLOW_DISK = """
import pathlib, time
from nbferry.storage.folder.sink import FolderSink

def store(self, chunks, quickly=FolderSink.store):
    until = time.monotonic() + 2
    while self.have and not pathlib.Path(".quick").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return quickly(self, chunks)

FolderSink.store = store
import nbferry
"""
"""The start of a cell in whose kernel everything but the first is stored slowly."""


def hurry(notebook: Notebook) -> None:
    """Its disk is quick from now on."""
    (notebook.folder / ".quick").touch()
