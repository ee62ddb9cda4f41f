"""Five gigabytes, and ten thousand files, with less than 200 MiB of memory in each process."""

from __future__ import annotations

import filecmp
import os

import pytest

from running import COMMAND, MEASURED, MIB, Commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = 5 * 1024 * MIB + 1
MOST = 200 * MIB

SLOW_DISK = """
import threading
from nbferry.storage.folder.sink import FolderSink

store, never = FolderSink.store, threading.Event()

def store_slowly(sink, chunks):
    never.wait(0.01 * len(chunks))
    return store(sink, chunks)

FolderSink.store = store_slowly
"""
"""A receiver whose disk stores 100 MB/s."""


def make_large(nbferry: Commands) -> None:
    """A file of 5 GiB, mostly holes."""
    with nbferry.file("a/large", SIZE).open("r+b") as file:
        for at in (0, 1, SIZE // MIB // 2, SIZE // MIB - 1):
            file.seek(at * MIB + 1)
            file.write(os.urandom(MIB))


@pytest.mark.parametrize("disk", ["", SLOW_DISK], ids=["quick disk", "slow disk"])
@pytest.mark.parametrize("via", ["direct", "relay"])
def test_five_gigabytes(nbferry: Commands, via: str, disk: str) -> None:
    """A file of 5 GiB arrives by either path, also onto a slow disk, and both processes stay small."""
    make_large(nbferry)
    arguments = ("--json", "--via", via)
    sender = nbferry("send", "large", *arguments, folder="a", program=MEASURED + COMMAND)
    receiver = nbferry(
        "receive", sender.code(), "--yes", *arguments, folder="b", program=MEASURED + disk + COMMAND
    )
    sender.patience = receiver.patience = 300
    assert (receiver.end(), sender.end()) == (0, 0)
    assert filecmp.cmp(nbferry.root / "a/large", nbferry.root / "b/large", shallow=False)
    assert max(sender.peak_memory, receiver.peak_memory) < MOST
    done = receiver.events()[-1]
    assert (done["bytes"], done["via"]) == (SIZE, via)


@pytest.mark.parametrize("via", ["direct", "relay"])
def test_ten_thousand_files(nbferry: Commands, via: str) -> None:
    """Ten thousand files of 1 KiB in a hundred folders arrive unchanged."""
    for number in range(10_000):
        nbferry.file(f"a/many/{number % 100}/{number}", os.urandom(1024))
    arguments = ("--json", "--via", via)
    sender = nbferry("send", "many", *arguments, folder="a", program=MEASURED + COMMAND)
    receiver = nbferry("receive", sender.code(), *arguments, folder="b", program=MEASURED + COMMAND)
    assert (receiver.end(), sender.end()) == (0, 0)
    assert max(sender.peak_memory, receiver.peak_memory) < MOST
    assert len(receiver.events()[-1]["files"]) == 10_000
    for number in range(10_000):
        path = f"many/{number % 100}/{number}"
        assert (nbferry.root / "a" / path).read_bytes() == (nbferry.root / "b" / path).read_bytes()
