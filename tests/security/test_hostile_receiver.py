"""A receiver that knows the code and keeps to no rule: the sender ends with an error of ours, says so, stays small."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import nbferry
from evil import EvilReceiver, Peer
from nbferry.errors import NbferryError
from nbferry.limits import MiB
from nbferry.protocol.frames import encode_leaves
from nbferry.protocol.machine import Machine
from nbferry.status import Snapshot
from wire import chunk_frame, control, hello, piece

pytestmark = pytest.mark.usefixtures("engine")

Script = Callable[[Peer], Awaitable[None]]
SIZE = 3 * MiB


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    """A file that the victim offers."""
    path = tmp_path / "x"
    path.write_bytes(os.urandom(SIZE))
    return path


async def meet(offered: Path, script: Script, **options: Any) -> NbferryError:
    """Have a victim that offers a file meet a receiver that follows a script; the error that the victim ends with."""
    victim = nbferry.send(offered, via="relay", **options)
    async with EvilReceiver(await asyncio.to_thread(lambda: victim.code)) as evil:
        peer, _ = await evil.offered()
        await script(peer)
        try:
            await victim
        except NbferryError as error:
            return error
    raise AssertionError("the victim is content")


def ending(offered: Path, script: Script, **options: Any) -> NbferryError:
    """The same, within a minute."""
    return asyncio.run(asyncio.wait_for(meet(offered, script, **options), 60))


ACCEPT = control("answer", accept=True)

ABSURD = {
    "a chunk that there is not": [ACCEPT, control("want", chunks=[[0, 4]])],
    "very many of them": [ACCEPT, control("want", chunks=[[0, 10**15]])],
    "less than none": [ACCEPT, control("want", chunks=[[-1, 1]])],
    "an empty range": [ACCEPT, control("want", chunks=[[1, 1]])],
    "a range backwards": [ACCEPT, control("want", chunks=[[2, 1]])],
    "half a chunk": [ACCEPT, control("want", chunks=[[0, 0.5]])],
    "one number": [ACCEPT, control("want", chunks=[[0]])],
    "no ranges": [ACCEPT, control("want", chunks="all")],
    "too many ranges": [ACCEPT, control("want", chunks=[[0, 1]] * 65_537)],
    "the digest of a file that there is not": [ACCEPT, control("want", digests=[[0, 2]])],
    "the digest of a chunk that there is not": [ACCEPT, control("want", leaves=[[0, 4]])],
    "the rest of a chunk that it does not want": [ACCEPT, control("want", chunks=[[0, 1]], rest=[1, 1])],
    "nothing of a chunk": [ACCEPT, control("want", chunks=[[0, 1]], rest=[0, MiB])],
    "the rest of a chunk from before it": [ACCEPT, control("want", chunks=[[0, 1]], rest=[0, -1])],
    "the rest of something": [ACCEPT, control("want", chunks=[[0, 1]], rest={"0": 1})],
    "one rest after the other": [ACCEPT, *[control("want", chunks=[[0, 1]], rest=[0, MiB - 1])] * 2],
    "digests of chunks before an answer": [control("want", leaves=[[0, 1]])],
    "digests of chunks that are none": [ACCEPT, control("want", leaves={"0": 3})],
    "to tell digests": [ACCEPT, encode_leaves(0, bytes(32))],
    "too many wants": [ACCEPT, *[control("want", chunks=[[0, 3]])] * 3000],
    "a want before an answer": [control("want", chunks=[[0, 1]])],
    "a no after a yes": [ACCEPT, control("answer", accept=False, reason="")],
    "done before a yes": [control("done", digest="00" * 32)],
    "a digest that is none": [ACCEPT, control("done", digest="zz")],
    "progress beyond the end": [ACCEPT, control("progress", verified=[[0, 4]], durable=[])],
    "progress that is none": [ACCEPT, control("progress", verified={"all": True})],
    "a chunk": [ACCEPT, chunk_frame(piece(0, b"x"))],
    "a reason that is none": [control("answer", accept=False, reason=["no"])],
    "another role": [hello("sender")],
    "garbage": [memoryview(b"\xfe" * 1000)],
}


@pytest.mark.parametrize("frames", ABSURD.values(), ids=ABSURD)
def test_absurd_frames(offered: Path, frames: list[memoryview]) -> None:
    """A frame that cannot be, or not now, ends the transfer with an error that both sides hear."""

    async def script(peer: Peer) -> None:
        await peer.say(*frames)
        assert (await peer.hear("error")).fields["code"] == "remote-protocol"
        await peer.say(control("bye"))

    assert ending(offered, script).code == "remote-protocol"


def test_another_digest(offered: Path) -> None:
    """A receiver that is done with something else than was sent is not believed."""

    async def script(peer: Peer) -> None:
        await peer.say(ACCEPT, control("want", chunks=[[0, 3]], digests=[[0, 1]]))
        await peer.hear("digests")
        await peer.say(control("done", digest="00" * 32))
        assert (await peer.hear("error")).fields["code"] == "digest-mismatch"
        await peer.say(control("bye"))

    assert ending(offered, script).code == "digest-mismatch"


def test_reasons_are_shown_safely(offered: Path) -> None:
    """Whatever a receiver gives as its reason is cut and printed without its control characters."""
    reason = "\x1b]0;owned\x07<b>" + "x" * 5000

    async def script(peer: Peer) -> None:
        await peer.say(control("answer", accept=False, reason=reason))

    error = ending(offered, script)
    assert error.code == "rejected"
    assert len(error.message) < 1000
    shown = nbferry.transfers()[-1]._repr_mimebundle_()
    assert "\x1b" not in repr(nbferry.transfers()[-1]) + shown["text/plain"] + shown["text/html"]
    assert "<b>" not in shown["text/html"]


def test_digests_of_chunks_on_request(offered: Path) -> None:
    """Who asks for digests of chunks gets them without the chunks, however often, and cannot get others."""

    async def script(peer: Peer) -> None:
        await peer.say(ACCEPT)
        for _ in range(3):
            await peer.say(control("want", leaves=[[0, 3]]))
            assert (await peer.hear("leaves", "chunks", "error")).fields == {"first": 0, "count": 3}
        await peer.say(control("cancel"))

    assert ending(offered, script).code == "cancelled"


def test_more_digests_of_chunks_than_anybody_asks_for(tmp_path: Path) -> None:
    """Who asks for more digests at once than may be owed is cut off before anything is read."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(5000 * MiB)

    async def script(peer: Peer) -> None:
        await peer.say(ACCEPT, control("want", leaves=[[0, 5000]]))
        assert (await peer.hear("leaves", "error")).fields["code"] == "remote-protocol"
        await peer.say(control("bye"))

    assert ending(path, script).code == "remote-protocol"


def test_a_receiver_that_never_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants a gigabyte and reads none of it costs the sender its buffers, no more, and is given up as dead."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1024 * MiB)
    limits = nbferry.Limits(ping_interval=0.2)
    news: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    earlier, is_dead = 0.0, Machine.is_dead
    monkeypatch.setattr(Machine, "is_dead", lambda machine, now: is_dead(machine, now + earlier))

    def silent() -> Snapshot:
        while "silent" not in (view := news.get(timeout=60)).reason:
            continue
        return view

    async def script(peer: Peer) -> None:
        nonlocal earlier
        nbferry.transfers()[-1].subscribe(news.put)
        await peer.say(ACCEPT)
        peer.socket.pause_reading()  # type: ignore[attr-defined]  # asyncio's
        await peer.say(control("want", chunks=[[0, 1024]]))
        before = memory()
        # not before, as what a busy machine takes to get here must not count as silence
        earlier = limits.dead_after - 0.5
        await asyncio.to_thread(silent)
        assert memory() - before < 64 * MiB
        nbferry.transfers()[-1].cancel()

    assert ending(path, script, limits=limits).code == "cancelled"


def memory() -> int:
    """Bytes of this process in memory now."""
    return os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[1])
