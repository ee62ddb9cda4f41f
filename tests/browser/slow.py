"""Transfers slow enough for a test to act during them: the disk is slow at first and fast later."""

from __future__ import annotations

from browser.person import Notebook
from running import MIB

# Holes instead of data; half a minute on the slow disk.
LARGE = 96 * MIB

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
"""The first lines of a cell whose kernel stores all chunks but the first one slowly."""


def hurry(notebook: Notebook) -> None:
    """Make the disk fast."""
    (notebook.folder / ".quick").touch()
