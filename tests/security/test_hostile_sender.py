"""A sender that knows the code and lies: the receiver ends with an error of ours, says so, and publishes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbferry
from evil import EvilSender, Peer
from nbferry.crypto.digest import chunk_digest
from nbferry.engine import portal
from nbferry.errors import BY_CODE, NbferryError
from nbferry.limits import MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.protocol.frames import encode_leaves
from nbferry.transfer.handle import Transfer
from wire import chunk_frame, control, piece, raw

CHUNK = 1 * MiB
Script = Callable[[Peer], Awaitable[None]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: None) -> Iterator[Path]:
    """Where the victim receives; nothing beside it may change, and nothing may appear in it but what is unfinished."""
    outside = tmp_path / "outside.txt"
    outside.write_text("untouched")
    inside = tmp_path / "here/in"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    yield inside
    portal.stop()  # which waits until all is cleaned up
    unfinished = inside / ".nbferry"
    found = {path for path in tmp_path.rglob("*") if path != unfinished and unfinished not in path.parents}
    assert found == {inside, inside.parent, outside}
    assert not any(path.is_symlink() for path in unfinished.rglob("*"))
    assert outside.read_text() == "untouched"


def meet(folder: Path, *scripts: Script) -> NbferryError:
    """Have a victim meet a sender that follows a script, one on each connection; the error that it ends with."""

    async def scenario() -> NbferryError:
        async with EvilSender() as evil:
            victim = nbferry.receive(await evil.code, to=folder, accept=True, via="relay")
            *before, last = scripts
            for script in before:
                async with await evil.greeted() as peer:
                    await script(peer)
            await last(await evil.greeted())
            return await ending(victim)

    return asyncio.run(asyncio.wait_for(scenario(), 60))


async def ending(victim: Transfer) -> NbferryError:
    """How a victim ends."""
    try:
        await victim
    except NbferryError as error:
        return error
    raise AssertionError("the victim is content")


def offers(*entries: Any, **changes: Any) -> Script:
    """A script that offers these entries and waits for the victim's complaint."""

    async def script(peer: Peer) -> None:
        await offer(peer, *entries, **changes)
        await complaint(peer)

    return script


async def offer(peer: Peer, *entries: Any, **changes: Any) -> None:
    """Offer these entries as they are, and list them if that is asked for."""
    await peer.say(offer_frame(*entries, **changes))
    if (await peer.hear("list", "error")).name == "list":
        await peer.say(control("entries", first=0, entries=list(entries)))
    else:
        await peer.say(control("ping"))  # so that the complaint, which was heard, is answered in some way


def offer_frame(*entries: Any, **changes: Any) -> memoryview:
    """The offer of these entries, with numbers that fit if they can."""
    sizes = [entry["size"] for entry in entries if isinstance(entry, dict) and type(entry.get("size")) is int]
    fields = {
        "id": id_of(*entries),
        "entries": len(entries),
        "files": len(entries),
        "bytes": max(0, sum(sizes)),
        "chunk_size": CHUNK,
    }
    return control("offer", **fields | changes)


def id_of(*entries: Any) -> str:
    """The id of a list, if it is one that has an id."""
    try:
        return Manifest.of(map(Entry.from_wire, entries), CHUNK).id
    except NbferryError:
        return "evil"


async def complaint(peer: Peer) -> None:
    """Hear the victim complain, or say in what order it ended the connection."""
    frame = await peer.hear("error", "pong")
    assert frame.name == "pong" or frame.fields["code"] in BY_CODE
    await peer.say(control("bye"))


def file(path: str, size: int = 1) -> dict[str, Any]:
    """An entry."""
    return {"path": path, "size": size, "mtime": 0}


# ------------------------------------------------------------------ offers
@pytest.mark.parametrize(
    "paths",
    [  # one of each kind; test_hostile_names.py has thousands
        ["a/../../../outside.txt"],
        ["/etc/passwd"],
        [""],
        ["C:outside.txt"],
        ["a/.git/hooks/post-checkout"],
        ["x\x1b[31m"],
        ["\udc2e\udc2e/x"],
        ["x", "X"],
        ["x", "x/y"],
        ["good", "../outside.txt"],
    ],
    ids=ascii,
)
def test_names(folder: Path, paths: list[str]) -> None:
    """An offer with an unsafe name, or with two that collide, is refused as a whole."""
    error = meet(folder, offers(*map(file, paths)))
    assert error.code == "unsafe-path"
    assert error.message.isprintable()


@pytest.mark.parametrize(
    "entry",
    [
        file("x", -1),
        file("x", 1 << 60),
        {"path": "x", "size": 1.5},
        {"path": "x", "size": "1"},
        {"path": "x", "size": True},
        {"path": "x", "size": 1, "mtime": 1 << 70},
        {"path": "x", "size": 1, "mtime": "now"},
        {"path": "x", "size": 1, "folder": True},
        {"path": 1, "size": 1},
        {"path": None},
        {},
        "x",
        None,
        [],
    ],
    ids=str,
)
def test_entries(folder: Path, entry: Any) -> None:
    """An entry that is not what the protocol says is told so."""
    assert meet(folder, offers(entry)).code == "remote-protocol"


@pytest.mark.parametrize(
    "changes",
    [
        {"entries": 300_000},
        {"entries": -1},
        {"entries": 1e3},
        {"entries": None},
        {"bytes": 1 << 60},
        {"bytes": -1},
        {"bytes": 2},
        {"chunk_size": 0},
        {"chunk_size": 1 << 40},
        {"chunk_size": True},
        {"id": ["x"]},
        {"id": "0" * 32},
        {"entries": 0},
    ],
    ids=str,
)
def test_numbers_of_an_offer(folder: Path, changes: dict[str, Any]) -> None:
    """An offer whose numbers are impossible, or do not fit its entries, is told so before memory is used for it."""
    assert meet(folder, offers(file("x"), **changes)).code == "remote-protocol"


def test_a_list_without_end(folder: Path) -> None:
    """More entries than were announced end it."""

    async def script(peer: Peer) -> None:
        await offer(peer, file("x0"), entries=5000, bytes=5000)
        for page in range(6):
            entries = [file(f"x{1 + 1000 * page + number}") for number in range(1000)]
            await peer.say(control("entries", first=1 + 1000 * page, entries=entries))
        await complaint(peer)

    assert meet(folder, script).code == "remote-protocol"


# ------------------------------------------------------------------ frames
DEEP = b"\x01" + b"[" * 100_000

GARBAGE = {
    "empty": b"",
    "unknown type": b"\xff" * 100,
    "not JSON": b"\x01{",
    "not UTF-8": b"\x01\xff\xfe",
    "not an object": b"\x01[]",
    "without a name": b"\x01{}",
    "nested": DEEP,
    "too large": b"\x01" + b" " * (MiB + 1),
    "a large number": b'\x01{"frame":"offer","entries":' + b"9" * 5000 + b"}",
    "a name that is none": raw({"frame": 7}),
    "cut short": b"\x02" + bytes(10),
    "entries unasked": control("entries", first=0, entries=[file("x")]),
    "digests unasked": control("digests", digests=[[0, "00" * 32]]),
    "a chunk unasked": chunk_frame(piece(0, b"x")),
    "digests of chunks unasked": encode_leaves(0, bytes(32)),
    "digests of chunks cut short": b"\x03" + bytes(20),
    "very many digests of chunks": encode_leaves(0, bytes(32 * 8193)),
    "another role": control("hello", protocol=[1], role="receiver"),
    "another version": control("hello", protocol=[99], role="sender"),
    "no versions": control("hello", protocol="1", role="sender"),
}


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE)
def test_garbage(folder: Path, frame: bytes | memoryview) -> None:
    """A frame that cannot be, or not now, ends the transfer with an error that both sides hear."""

    async def script(peer: Peer) -> None:
        await peer.say(frame)
        assert (await peer.hear("error")).fields["code"] == "remote-protocol"
        await peer.say(control("bye"))

    assert meet(folder, script).code == "remote-protocol"


def test_no_greeting(folder: Path) -> None:
    """Who offers without having greeted is told so."""

    async def scenario() -> NbferryError:
        async with EvilSender() as evil:
            victim = nbferry.receive(await evil.code, to=folder, accept=True, via="relay")
            peer = await evil.connect()
            await peer.say(control("offer", id="x", entries=0, files=0, bytes=0, chunk_size=CHUNK))
            assert (await peer.hear("error")).fields["code"] == "remote-protocol"
            await peer.say(control("bye"))
            return await ending(victim)

    assert asyncio.run(asyncio.wait_for(scenario(), 60)).code == "remote-protocol"


# ------------------------------------------------------------------ chunks
DATA = os.urandom(CHUNK)


async def wanted(peer: Peer, size: int) -> None:
    """Offer one file, and hear the victim want it."""
    await offer(peer, file("x", size))
    await peer.hear("want")


@pytest.mark.parametrize(
    "frame",
    [
        chunk_frame(piece(7, DATA)),
        chunk_frame(piece(1 << 63, DATA)),
        chunk_frame(piece(0, DATA, chunk_digest(DATA)), piece(0, DATA, chunk_digest(DATA))),
        chunk_frame(piece(0, DATA + b"x", chunk_digest(DATA + b"x"))),
        chunk_frame(piece(0, DATA[:100], offset=100)),
        chunk_frame(piece(0, DATA[:100]), piece(0, DATA, offset=100)),
        chunk_frame(piece(0, DATA[:100]), piece(1, DATA, offset=100)),
        chunk_frame(piece(0, b"")),
        memoryview(b"\x02" + piece(0, DATA)[:-1]),
        control("digests", digests=[[0, "zz"]]),
        control("digests", digests=[[5, "00" * 32]]),
        control("digests", digests=[0]),
        control("digests", digests="x"),
        control("offer", id="another", entries=1, files=1, bytes=1, chunk_size=CHUNK),
        control("offer", id="evil", entries=1, files=1, bytes=-1, chunk_size=CHUNK),
        encode_leaves(0, bytes(32)),
        encode_leaves(2**64 - 1, bytes(64)),
        control("entries", first=1, entries=[file("y")]),
    ],
    ids=lambda frame: bytes(frame[:17]).hex() if frame[0] > 1 else ascii(bytes(frame[:50])),
)
def test_chunks_that_do_not_fit(folder: Path, frame: bytes | memoryview) -> None:
    """A chunk that was not asked for, comes twice, or has a wrong length ends the transfer; so does a second offer."""

    async def script(peer: Peer) -> None:
        await wanted(peer, 3 * CHUNK)
        await peer.say(frame)
        assert (await peer.hear("error")).fields["code"] == "remote-protocol"
        await peer.say(control("bye"))

    assert meet(folder, script).code == "remote-protocol"


@pytest.mark.parametrize(
    "frames",
    [
        [chunk_frame(piece(0, DATA[:100], offset=99))],
        [chunk_frame(piece(0, DATA[:100], offset=101))],
        [chunk_frame(piece(0, DATA, offset=100))],
        [chunk_frame(piece(0, b"", offset=100))],
        [chunk_frame(piece(1, DATA, chunk_digest(DATA)))],
        [chunk_frame(piece(0, DATA[:100]))] * 2,
    ],
    ids=lambda frames: f"{len(frames)}-{bytes(frames[0][8:17]).hex()}",
)
def test_pieces_that_do_not_go_on(folder: Path, frames: list[memoryview]) -> None:
    """On a new connection a chunk goes on where it was, or begins anew, once; all else ends the transfer."""

    async def script(peer: Peer) -> None:
        await wanted(peer, 3 * CHUNK)
        await begin(peer)

    async def again(peer: Peer) -> None:
        await peer.say(offer_frame(file("x", 3 * CHUNK)))
        assert (await peer.hear("want")).fields["rest"] == [0, 100]
        await peer.say(*frames)
        assert (await peer.hear("error")).fields["code"] == "remote-protocol"
        await peer.say(control("bye"))

    assert meet(folder, script, again).code == "remote-protocol"


def test_rests_that_never_fit(folder: Path) -> None:
    """Who goes on with something else than it began with is asked for the whole chunk; after some times it is over."""

    async def first(peer: Peer) -> None:
        await wanted(peer, CHUNK)
        await begin(peer)

    async def again(peer: Peer) -> None:
        await peer.say(offer_frame(file("x", CHUNK)))
        assert (await peer.hear("want")).fields["rest"] == [0, 100]
        assert (await peer.hear("want")).fields["digests"] == [[0, 1]]
        await peer.say(chunk_frame(piece(0, DATA[100:], bytes(32), offset=100)))
        if (frame := await peer.hear("want", "error")).name == "want":
            assert frame.fields["chunks"] == [[0, 1]]
            assert "rest" not in frame.fields
            await begin(peer)
        else:
            await peer.say(control("bye"))

    assert meet(folder, first, *[again] * 3).code == "digest-mismatch"


async def begin(peer: Peer) -> None:
    """Send the beginning of the first chunk, and see that it has arrived."""
    await peer.say(chunk_frame(piece(0, DATA[:100], chunk_digest(DATA))), control("ping"))
    await peer.hear("pong")


def test_chunks_that_stay_damaged(folder: Path) -> None:
    """A chunk that fails its digest is wanted again, three times in all; then the transfer ends."""
    times = 0

    async def script(peer: Peer) -> None:
        nonlocal times
        await offer(peer, file("x", CHUNK))
        while (await peer.hear("want", "error")).name == "want":
            times += 1
            await peer.say(chunk_frame(piece(0, DATA, bytes(32))))
        await peer.say(control("bye"))

    assert meet(folder, script).code == "digest-mismatch"
    assert times == 3


def test_a_file_that_is_another(folder: Path) -> None:
    """Chunks that are right one by one but do not make up the promised file are never published."""
    times = 0

    async def script(peer: Peer) -> None:
        nonlocal times
        await offer(peer, file("x", CHUNK))
        while (frame := await peer.hear("want", "error")).name == "want":
            times += 1
            if frame.fields["chunks"]:
                await peer.say(chunk_frame(piece(0, DATA, chunk_digest(DATA))))
            if frame.fields["digests"]:
                await peer.say(control("digests", digests=[[0, "00" * 32]]))
        await peer.say(control("bye"))

    assert meet(folder, script).code == "digest-mismatch"
    assert times <= 4


def test_more_than_fits_into_the_window(folder: Path) -> None:
    """A sender that sends on and on what nobody wants is cut off at its first chunk too many."""

    async def script(peer: Peer) -> None:
        await wanted(peer, 1000 * CHUNK)
        for number in range(17):
            await peer.say(chunk_frame(piece(number, DATA, bytes(32))))
        for number in range(900, 1000):
            await peer.say(chunk_frame(piece(number, DATA, bytes(32))))
        assert (await peer.hear("error")).fields["code"] in ("remote-protocol", "digest-mismatch")
        await peer.say(control("bye"))

    assert meet(folder, script).code in ("remote-protocol", "digest-mismatch")


# ------------------------------------------------------------------ below the frames
def test_records_that_are_not_sealed(folder: Path) -> None:
    """What is not sealed costs the connection, not the transfer: the receiver calls anew, and can be cancelled."""

    async def scenario() -> NbferryError:
        async with EvilSender() as evil:
            victim = nbferry.receive(await evil.code, to=folder, accept=True, via="relay")
            for _ in range(3):
                peer = await evil.greeted()
                await peer.link._transport.send_bytes(os.urandom(1000))
                await peer.ends()
            await evil.greeted()
            victim.cancel()
            return await ending(victim)

    assert asyncio.run(asyncio.wait_for(scenario(), 60)).code == "cancelled"


def test_a_sender_that_says_goodbye_at_once(folder: Path) -> None:
    """An error or a cancellation with odd fields ends the transfer in words that can be shown."""

    async def script(peer: Peer) -> None:
        await peer.say(control("error", code="no-such-code", message="\x1b[31m" + "x" * 100_000))

    error = meet(folder, script)
    assert error.message.startswith("The other side failed: ")
    assert len(error.message) < 1000
