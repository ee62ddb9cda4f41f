"""Processes that fork and interpreters that exit: no engine is shared and no exit hangs."""

from __future__ import annotations

from running import Commands

FORK = """
import os, nbferry

kept = nbferry.send("x")
code = kept.code
child = os.fork()
if child == 0:
    assert [each.snapshot.reason for each in nbferry.transfers()] == ["another process runs it"]
    sent = nbferry.send("x")
    nbferry.receive(sent.code, to="child").wait(60)
    sent.wait(60)
    raise SystemExit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
nbferry.receive(code, to="parent").wait(60)
kept.wait(60)
print([transfer.snapshot.state.value for transfer in nbferry.transfers()])
"""

POOL = """
import multiprocessing, nbferry

def receive(code):
    return nbferry.receive(code, to="pool").wait(60).bytes

if __name__ == "__main__":
    sent = nbferry.send("x")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply(receive, (sent.code,)))
        sent.wait(60)
"""

LEFT_BEHIND = """
import nbferry

sent = nbferry.send("x")
print(sent.code)
"""


def test_a_fork_has_its_own_engine(nbferry: Commands) -> None:
    """A forked child leaves its parent's transfers alone and runs its own."""
    nbferry.file("x", b"x")
    command = nbferry(program=FORK, PYTHONWARNINGS=None)
    assert command.end() == 0, command.said()
    assert command.lines == ["['done', 'done']"]
    assert (nbferry.root / "child/x").read_bytes() == (nbferry.root / "parent/x").read_bytes() == b"x"


def test_a_pool_of_forks(nbferry: Commands) -> None:
    """A worker of multiprocessing receives what its parent sends."""
    nbferry.file("x", b"x")
    command = nbferry(program=POOL, PYTHONWARNINGS=None)
    assert command.end() == 0, command.said()
    assert command.lines == ["1"]


def test_an_interpreter_that_exits(nbferry: Commands) -> None:
    """A script whose offer still waits exits at once and quietly. Run again, it has the same code."""
    nbferry.file("x", b"x")
    _, url = nbferry.relay()
    codes = []
    for _ in range(2):
        script = nbferry(program=LEFT_BEHIND, NBFERRY_RELAY=url)
        assert (script.end(), script.errors) == (0, [])
        codes += script.lines
    assert codes[0] == codes[1]
    sender = nbferry("resume", "--json")
    assert sender.code() == codes[0]
    receiver = nbferry("receive", codes[0], "--json", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
