"""The log on stderr of a command or script that waits without a terminal: in CI, or behind a pipe."""

from __future__ import annotations

import pytest

from running import MIB, Command, Commands

WAIT = """
import nbferry
receiving = nbferry.receive({!r}, accept=True)
result = receiving.wait()
print(result.bytes)
"""
AWAIT = """
import asyncio, nbferry

async def main():
    print((await nbferry.receive({!r}, accept=True)).bytes)

asyncio.run(main())
"""
FAILED = """
import nbferry
try:
    nbferry.receive({!r}).wait()
except nbferry.NbferryError as error:
    print(error.code)
"""


def said(command: Command) -> list[str]:
    """The log of an ended command, without the prefix of each line."""
    assert command.errors == command.log
    return [line.partition(": ")[2] for line in command.log]


def states(command: Command) -> list[str]:
    """The states in the log, without repetitions."""
    words = [line.replace(",", ":").partition(":")[0] for line in said(command)]
    return [word for at, word in enumerate(words) if at == 0 or word != words[at - 1]]


def test_the_log_of_a_command(nbferry: Commands) -> None:
    """Both commands log each state and each tenth of the transfer, and no more."""
    nbferry.file("a/trips.parquet", 600 * MIB)
    sender = nbferry("send", "trips.parquet", folder="a")
    code = next(line.strip() for line in iter(sender.line, None) if "@http://" in line)
    receiver = nbferry("receive", code, "--yes", folder="b")
    assert (receiver.end(), sender.end()) == (0, 0)
    for command in (sender, receiver):
        lines = said(command)
        # A sender knows its offer from the start.
        assert lines[0] == "waiting" or lines[1] == "waiting"
        assert "trips.parquet, 629 MB" in lines
        assert "transferring" in states(command)
        assert len(lines) < 30
        assert any(line.startswith("transferring, ") and " of 629 MB" in line for line in lines)


@pytest.mark.parametrize("program", [WAIT, AWAIT], ids=["wait", "await"])
def test_the_log_of_a_script(nbferry: Commands, program: str) -> None:
    """A script that waits logs the same, ends the log with the result, and keeps stdout free."""
    nbferry.file("a/trips.parquet", 20 * MIB)
    sender = nbferry("send", "trips.parquet", "--json", folder="a")
    receiver = nbferry(folder="b", program=program.format(sender.code()))
    assert (receiver.end(), sender.end()) == (0, 0)
    assert receiver.lines == [str(20 * MIB)]
    assert states(receiver)[0] == "waiting"
    assert said(receiver)[-1].startswith("done: 21.0 MB in ")
    assert said(receiver)[-1].endswith("(direct), every byte verified")


def test_the_log_of_a_failure(nbferry: Commands) -> None:
    """A failed wait logs the reason besides raising the error."""
    nbferry.file("a/large", 11 * MIB)
    sender = nbferry("send", "large", "--json", folder="a")
    receiver = nbferry(folder="b", program=FAILED.format(sender.code()))
    assert (receiver.end(), sender.end()) == (0, 3)
    assert receiver.lines[-1].endswith("rejected")
    assert said(receiver)[-1].startswith("rejected")


def test_no_log(nbferry: Commands) -> None:
    """NBFERRY_UI turns the log off."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    receiver = nbferry(folder="b", program=WAIT.format(sender.code()), NBFERRY_UI="none")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert (receiver.lines, receiver.errors) == (["1"], [])


def test_nonsense_in_the_environment(nbferry: Commands) -> None:
    """An invalid value of NBFERRY_UI raises an error in ``wait``."""
    nbferry.file("a/x", b"x")
    sender = nbferry("send", "x", "--json", folder="a")
    program = "import nbferry\ntry: nbferry.receive({!r}).wait()\nexcept ValueError as error: print(error)"
    receiver = nbferry(folder="b", program=program.format(sender.code()), NBFERRY_UI="bar")
    receiver.end()
    assert receiver.lines == ['NBFERRY_UI must be "widget", "text" or "none", not \'bar\'']
