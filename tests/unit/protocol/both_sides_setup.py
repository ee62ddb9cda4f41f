"""Transfers between a sender and a receiver on a line that the test controls."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from nbferry.protocol.phases import Phase
from rig import SMALL, Rig

CHUNK = SMALL.chunk_size
# The seed makes the data the same in every run.
DATA = Random(1).randbytes  # noqa: S311
FILES = {
    "a": DATA(7 * CHUNK + 5),
    "b/empty": b"",
    "b/exact": DATA(2 * CHUNK),
    "b/less": DATA(CHUNK - 1),
    "b/more": DATA(CHUNK + 1),
    "c": DATA(1),
}


def arrived(rig: Rig) -> bool:
    """Whether all files have arrived and both sides know it."""
    both = (rig.sender, rig.receiver)
    assert [side.error for side in both] == [None, None]
    assert rig.sender.digest == rig.receiver.digest
    return rig.received == rig.files and all(side.phase is Phase.DONE and side.finished for side in both)


def until(rig: Rig, happened: Callable[[], object]) -> None:
    """Run until something has happened."""
    for _ in range(10_000):
        if happened():
            return
        if not rig.step():
            rig.pass_time(0.1)
    raise AssertionError("it did not happen")


def started(files: dict[str, bytes] | None = None, **options: object) -> Rig:
    """A transfer in which the first chunks have arrived."""
    rig = Rig(FILES if files is None else files, **options)  # type: ignore[arg-type]
    rig.connect()
    until(rig, lambda: rig.receiver.verified)
    return rig


def at(state: str) -> Rig:
    """A transfer with its receiver in this state, and its sender in the closest one possible."""
    rig = Rig(FILES, accept=None if state == "offered" else True)
    rig.connect()
    match state:
        case "offered":
            rig.run()
        case "transferring":
            until(rig, lambda: rig.receiver.verified)
        case "verifying":
            rig.withheld = {"digests"}
            until(rig, lambda: rig.receiver.phase is Phase.VERIFYING)
        case "writing":
            until(rig, lambda: rig.receiver.phase is Phase.WRITING)
            rig.stalled = True
    assert rig.receiver.phase == state
    return rig
