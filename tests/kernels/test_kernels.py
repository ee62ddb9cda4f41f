"""Transfers between two real kernels: while cells run, after Ctrl-C, shown as text and as HTML, at exit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cells import CellError, Kernel, start_kernel
from running import MIB

Kernels = tuple[Kernel, Kernel]


def test_send_here_receive_there(kernels: Kernels) -> None:
    """One cell sends and shows a code. The other kernel receives with it, and ``await`` returns the result."""
    sender, receiver = kernels
    content = os.urandom(3 * MIB)
    (sender.folder / "trips.parquet").write_bytes(content)
    code = sender.run("sending = nbferry.send('trips.parquet'); print(sending.code)")
    result = receiver.run(
        f"result = await nbferry.receive({code!r}, to='data/')\n"
        "print(*result.files, result.bytes, result.digest, result.via)"
    )
    sent = sender.run("result = sending.wait(60); print(result.bytes, result.digest, result.via)")
    assert (receiver.folder / "data/trips.parquet").read_bytes() == content
    assert result == f"{receiver.folder}/data/trips.parquet {sent}"
    assert sent.startswith(f"{3 * MIB} ")
    assert sent.endswith(" direct")


def test_busy_cells(kernels: Kernels) -> None:
    """A transfer continues while both kernels compute, and ends before their cells do."""
    sender, receiver = kernels
    content = os.urandom(40 * MIB)
    (sender.folder / "busy").write_bytes(content)
    compute = "while not {0}.snapshot.state.final:\n    sum(range(1000))\nprint({0}.snapshot.state)"
    code = sender.run("sending = nbferry.send('busy'); print(sending.code)")
    computing = sender.start(compute.format("sending"))
    start = f"receiving = nbferry.receive({code!r}, accept=True)\n"
    assert receiver.run(start + compute.format("receiving")) == "done"
    assert sender.finish(computing)[0].strip() == "done"
    assert (receiver.folder / "busy").read_bytes() == content


def test_transfers_are_listed(kernels: Kernels) -> None:
    """``nbferry.transfers()`` lists what this kernel sends and receives, oldest first."""
    sender, _ = kernels
    (sender.folder / "listed").write_bytes(b"")
    before = int(sender.run("print(len(nbferry.transfers()))"))
    listed = sender.run(
        "listed = nbferry.send('listed'); print(len(nbferry.transfers()), nbferry.transfers()[-1])"
    )
    assert listed.startswith(f"{before + 1} <nbferry send ")
    sender.run("listed.cancel()")


@pytest.mark.parametrize("wait", ["waiting.wait()", "await waiting"])
def test_interrupted(kernels: Kernels, wait: str) -> None:
    """An interrupt ends only the wait. The kernel prints how to end the transfer, which continues."""
    sender, receiver = kernels
    (sender.folder / "later").write_bytes(b"later")
    code = sender.run("waiting = nbferry.send('later'); print(waiting.code)")
    # Called once the waiting has begun. A sender asks no question.
    says_when = "waiting._ask_if_needed = lambda: print('now', flush=True)"
    cell = sender.start(f"{says_when}\n{wait}")
    sender.wait_for(cell, "now")
    sender.interrupt()
    with pytest.raises(CellError) as caught:
        sender.finish(cell)
    name, _, printed = caught.value.args
    assert name in ("KeyboardInterrupt", "CancelledError")
    assert "is still running. To end it: transfer.cancel()" in printed
    assert sender.run("print(waiting.snapshot.state)") == "waiting"
    assert receiver.run(f"print(nbferry.receive({code!r}).wait(60).bytes)") == "5"
    assert sender.run("print(waiting.wait(60).bytes)") == "5"


def test_a_large_offer_waits(kernels: Kernels) -> None:
    """A large offer waits for ``accept()`` where no question is possible, and the table says so."""
    sender, receiver = kernels
    with (sender.folder / "large").open("wb") as file:
        file.truncate(11 * MIB)
    code = sender.run("asking = nbferry.send('large'); print(asking.code)")
    receiver.run(
        f"asked = nbferry.receive({code!r}); news = queue.SimpleQueue(); asked.subscribe(news.put)\n"
        "while news.get().state != 'offered': pass"
    )
    shown = receiver.show("asked")
    assert "transfer.accept() or transfer.reject()" in shown["text/plain"]
    assert receiver.run("print(asked.offer.entries[0].path, asked.waits_for_decision)") == "large True"
    assert receiver.run("asked.accept(); print(asked.wait(60).bytes)") == str(11 * MIB)
    assert sender.run("print(asking.wait(60).bytes)") == str(11 * MIB)


def test_shown_as_a_value(kernels: Kernels) -> None:
    """Without cards a transfer shows as an HTML table with foreign text escaped, and as lines of text."""
    sender, receiver = kernels
    sender.run('import os; os.environ["NBFERRY_UI"] = "text"')
    (sender.folder / "R&D's.csv").write_bytes(b"1")
    code = sender.run('shown = nbferry.send("R&D\'s.csv"); print(shown.code)')
    waiting = sender.show("shown")
    assert "R&D's.csv" in waiting["text/plain"]
    assert code in waiting["text/plain"]
    assert "R&amp;D&#x27;s.csv" in waiting["text/html"]
    assert f"<code>{code}</code>" in waiting["text/html"]
    reason = "<script>alert(1)</script>\x1b[31m"
    receiver.run(f"rejecting = nbferry.receive({code!r}, accept=lambda manifest: {reason!r})")
    with pytest.raises(CellError, match="Rejected"):
        sender.run("shown.wait(60)")
    rejected = sender.show("shown")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rejected["text/html"]
    assert "<script" not in rejected["text/html"]
    assert code not in rejected["text/html"]
    assert "\x1b" not in rejected["text/html"] + rejected["text/plain"] + sender.run("print(repr(shown))")


def test_paused_in_a_cell(kernels: Kernels) -> None:
    """A pause of one kernel shows on both with its reason, until the transfer resumes."""
    sender, receiver = kernels
    with (sender.folder / "paused").open("wb") as file:
        file.truncate(300 * MIB)
    code = sender.run("sending = nbferry.send('paused'); print(sending.code)")
    receiver.run(
        f"receiving = nbferry.receive({code!r}, accept=True); news = queue.SimpleQueue()\n"
        "receiving.subscribe(news.put)\n"
        "while news.get().state != 'transferring': pass\n"
        "receiving.pause()\n"
        "while news.get().state != 'paused': pass"
    )
    shown = sender.run(
        "news = queue.SimpleQueue(); sending.subscribe(news.put)\n"
        "while (view := news.get()).state != 'paused': pass\n"
        "print(view.reason)"
    )
    assert shown == "paused by the other side"
    assert receiver.run("receiving.resume(); print(receiving.wait(60).bytes)") == str(300 * MIB)
    assert sender.run("print(sending.wait(60).bytes)") == str(300 * MIB)


@pytest.mark.parametrize("leaver", ["sender", "receiver"])
def test_a_kernel_that_exits(tmp_path: Path, leaver: str) -> None:
    """A kernel that is shut down during a transfer exits by itself, and the other one waits for it."""
    root = tmp_path.resolve()
    sender, receiver = start_kernel(root / "sender"), start_kernel(root / "receiver")
    try:
        with (sender.folder / "large").open("wb") as file:
            file.truncate(20_000 * MIB)
        code = sender.run("import nbferry; transfer = nbferry.send('large'); print(transfer.code)")
        receiver.run(
            f"import nbferry, queue; transfer = nbferry.receive({code!r}, accept=True)\n"
            "news = queue.SimpleQueue(); transfer.subscribe(news.put)\n"
            "while not news.get().verified: pass"
        )
        leaving, staying = (sender, receiver) if leaver == "sender" else (receiver, sender)
        assert leaving.ask_to_exit() == 0
        state = staying.run(
            "import queue; news = queue.SimpleQueue(); transfer.subscribe(news.put)\n"
            "while not (view := news.get()).reason: pass\n"
            "print(view.state)"
        )
        assert state in ("connecting", "paused")
        assert [path.name for path in receiver.folder.iterdir()] == [".nbferry"]
    finally:
        sender.close()
        receiver.close()
