"""Requests of a page on a comm act in an idle kernel. While a cell runs they act if the kernel supports it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cells import CellError, Kernel, start_kernel
from kernels.pages import Page
from running import environment

CARD = """
import nbferry, os, time

open("{file}", "wb").close()
transfer = nbferry.send("{file}")
transfer
"""

BUSY = """
print("now", flush=True)
while not {condition}:
    time.sleep(0.01)
print(transfer.snapshot.state)
"""
"""A cell that keeps the kernel busy."""


def installed(version: str, folder: Path) -> Path:
    """Install another version of ipykernel in a folder that precedes the installed one on the path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    subprocess.run(
        [*command, f"ipykernel=={version}.*"], check=True, stderr=subprocess.PIPE, env=environment()
    )
    return folder


@pytest.fixture(
    scope="module",
    params=["", *(pytest.param(v, marks=pytest.mark.ipykernels) for v in ("6.31", "7.3", "7.4"))],
    ids=lambda version: version or "installed",
)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel of the installed ipykernel, or of another version."""
    version: str = request.param
    root = tmp_path_factory.mktemp("comms").resolve()
    path = os.environ.get("PYTHONPATH")
    if version:
        path = os.pathsep.join(filter(None, [str(installed(version, root / "ipykernel")), path]))
    kernel = start_kernel(root / "kernel", PYTHONPATH=path)
    assert kernel.run("import ipykernel; print(ipykernel.__version__)").startswith(version)
    yield kernel
    kernel.close()
    shutil.rmtree(root)


@pytest.fixture
def tab(kernel: Kernel, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that shows the card of a send. It has no subshell yet."""
    page = Page(kernel)
    kernel.run(CARD.format(file=request.node.originalname))
    page.find_card()
    yield page
    page.close()


@pytest.fixture
def subshell_tab(tab: Page) -> Page:
    """A page that shows a card and has a subshell."""
    if not tab.may_have_a_subshell:
        pytest.skip("this ipykernel has no subshells")
    tab.get_a_subshell()
    return tab


def assert_cancelled(kernel: Kernel) -> None:
    """Assert that the transfer ends as cancelled."""
    with pytest.raises(CellError, match="Cancelled"):
        kernel.run("transfer.wait(60)")


def test_idle(kernel: Kernel, tab: Page) -> None:
    """In an idle kernel the card answers, and a command acts."""
    assert tab.ask("hello", base="", save=False, lang="en")["view"]["transfer"]["state"] == "waiting"
    tab.ask("cancel", reason="")
    assert_cancelled(kernel)


def test_idle_over_a_subshell(kernel: Kernel, subshell_tab: Page) -> None:
    """A page with a subshell can command an idle kernel, too."""
    subshell_tab.ask("cancel", reason="")
    assert_cancelled(kernel)


def test_busy(kernel: Kernel, tab: Page) -> None:
    """Without a subshell a command waits until the busy cell ends, and then acts."""
    cell = kernel.start(BUSY.format(condition="os.path.exists('continue')"))
    kernel.wait_for(cell, "now")
    cancelling = tab.say("cancel", reason="")
    (kernel.folder / "continue").touch()
    assert kernel.finish(cell)[0].strip() == "waiting"
    assert "ok" in tab.answer(cancelling)
    assert_cancelled(kernel)


def test_busy_over_a_subshell(kernel: Kernel, subshell_tab: Page) -> None:
    """With a subshell a command acts while a cell computes; on ipykernel 7.4 also for a card that a cell made."""
    cell = kernel.start(BUSY.format(condition="transfer.snapshot.state.final"))
    kernel.wait_for(cell, "now")
    subshell_tab.ask("look")
    subshell_tab.ask("cancel", reason="")
    assert kernel.finish(cell)[0].strip() == "cancelled"


def test_awaiting_over_a_subshell(kernel: Kernel, subshell_tab: Page) -> None:
    """With a subshell a command acts while a cell awaits the transfer, and ends the wait."""
    cell = kernel.start("print('now', flush=True); await transfer")
    kernel.wait_for(cell, "now")
    subshell_tab.ask("cancel", reason="")
    with pytest.raises(CellError, match="Cancelled"):
        kernel.finish(cell)


def test_awaiting_and_interrupted(kernel: Kernel, tab: Page) -> None:
    """Without a subshell a command acts at the latest when the awaiting cell is interrupted."""
    cell = kernel.start("print('now', flush=True); await transfer")
    kernel.wait_for(cell, "now")
    cancelling = tab.say("cancel", reason="")
    kernel.interrupt()
    with pytest.raises(CellError):
        kernel.finish(cell)
    assert "ok" in tab.answer(cancelling)
    assert_cancelled(kernel)


def test_after_a_reload(kernel: Kernel, subshell_tab: Page) -> None:
    """A reloaded page has a new subshell, and its commands act while a cell computes."""
    subshell_tab.ask("look")
    subshell_tab.reload()
    subshell_tab.ask("look")
    cell = kernel.start(BUSY.format(condition="transfer.snapshot.state.final"))
    kernel.wait_for(cell, "now")
    subshell_tab.ask("cancel", reason="")
    assert kernel.finish(cell)[0].strip() == "cancelled"
