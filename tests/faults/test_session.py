"""Whole transfers in one process, with real files and sockets: those that succeed and those that fail."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import nbferry
from faults.ends import CHUNK, KIB, MIB, PATIENCE, SMALL, Watch, both_end, error_of, make, tree, until
from nbferry import errors
from nbferry.engine import portal
from nbferry.relay.app import RunningRelay, start_relay
from nbferry.status import State
from nbferry.storage.folder.sink import FolderSink
from nbferry.storage.sources.files import FileSource
from nbferry.transports.websocket import WebSocketTransport
from network.toxics import Faults, ToxicProxy


@pytest.fixture
def relay() -> Iterator[RunningRelay]:
    """A relay in its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = asyncio.run_coroutine_threadsafe(start_relay("127.0.0.1", 0), loop).result(PATIENCE)
    yield running
    asyncio.run_coroutine_threadsafe(running.aclose(), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# ------------------------------------------------------------------ what arrives
@pytest.mark.parametrize("via", ["direct", "relay"])
def test_files_of_every_size_arrive_as_they_were(tmp_path, via):
    """Sizes around a chunk's, empty folders, modes, times and names in any script arrive unchanged."""
    root = tmp_path / "from" / "data"
    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7):
        make(root / f"{size}.bin", size)
    for name in ("Ünïcödé.txt", "数据.csv", "данные", "بيانات.txt", "🐍 and spaces.py", "नमस्ते"):
        make(root / "names" / name, 100)
    (root / "empty" / "inside").mkdir(parents=True)
    tool = make(root / "tool.sh", 10)
    tool.chmod(0o755)
    os.utime(tool, ns=(1, 1_234_567_890_123_456_789))
    sending = nbferry.send(root, via=via, limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, via=via, limits=SMALL)
    result = receiving.wait(PATIENCE)
    assert tree(tmp_path / "to") == tree(tmp_path / "from")
    arrived = tmp_path / "to" / "data" / "tool.sh"
    assert arrived.stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert arrived.stat().st_mode & 0o111
    assert not (tmp_path / "to" / "data" / "1.bin").stat().st_mode & 0o111
    assert result.via == via
    assert result.digest == sending.wait(PATIENCE).digest


def test_thousands_of_small_files_arrive(tmp_path):
    """2,000 files of 1 KiB arrive over a line that holds a few dozen frames."""
    for number in range(2000):
        make(tmp_path / "from" / "many" / str(number % 20) / f"{number}.bin", KIB)
    sending = nbferry.send(tmp_path / "from" / "many")
    nbferry.receive(sending.code, to=tmp_path / "to", accept=True).wait(PATIENCE)
    assert tree(tmp_path / "to") == tree(tmp_path / "from")


def test_several_paths_in_one_send(tmp_path):
    """Several files and folders arrive side by side at the destination."""
    one, two = make(tmp_path / "a" / "one.bin", 10), make(tmp_path / "b" / "folder" / "two.bin", 20).parent
    sending = nbferry.send([one, two])
    result = nbferry.receive(sending.code, to=tmp_path / "to").wait(PATIENCE)
    assert set(tree(tmp_path / "to")) == {"one.bin", "folder", "folder/two.bin"}
    assert set(result.files) == {tmp_path / "to" / "one.bin", tmp_path / "to" / "folder" / "two.bin"}


def test_a_transfer_can_be_awaited_in_any_loop(tmp_path):
    """``await`` returns the same result as ``wait``."""

    async def main():
        sending = nbferry.send(make(tmp_path / "x.bin", 100))
        receiving = nbferry.receive(sending.code, to=tmp_path / "to")
        return await receiving, await sending

    received, sent = asyncio.run(main())
    assert received.digest == sent.digest
    assert received.bytes == 100


def test_many_receivers_share_a_ticket(tmp_path):
    """A ticket for three receivers serves all three at once and is used up afterwards."""
    source = make(tmp_path / "x.bin", 3 * MIB)
    sending = nbferry.send(source, to=3)
    assert sending.code.startswith("nbf1")
    receivers = [nbferry.receive(sending.code, to=tmp_path / str(n), accept=True) for n in range(3)]
    digests = {receiving.wait(PATIENCE).digest for receiving in receivers}
    assert digests == {sending.wait(PATIENCE).digest}
    assert error_of(nbferry.receive(sending.code, to=tmp_path / "late")) is errors.CodeUsed


def test_three_transfers_run_at_once(tmp_path, gate):
    """Three of five transfers move bytes at once. The others queue, and all complete."""
    sendings = [nbferry.send(make(tmp_path / f"{n}.bin", 4 * CHUNK), limits=SMALL) for n in range(5)]
    receivings = [
        nbferry.receive(s.code, to=tmp_path / f"to-{n}", accept=True, limits=SMALL)
        for n, s in enumerate(sendings)
    ]
    queued = [Watch(r, lambda v: "queue" in v.reason) for r in receivings]
    moving = [Watch(r, lambda v: v.state is State.TRANSFERRING) for r in receivings]
    both = threading.Semaphore(0)
    for watch in (*queued, *moving):
        threading.Thread(target=lambda w=watch: (w._seen.wait(PATIENCE), both.release()), daemon=True).start()
    for _ in range(5):
        assert both.acquire(timeout=PATIENCE)
    assert sum(r.snapshot.state is State.TRANSFERRING for r in receivings) == 3
    gate.set()
    for transfer in (*sendings, *receivings):
        transfer.wait(PATIENCE)


# ------------------------------------------------------------------ lost connections
def test_a_relayed_transfer_survives_cuts(tmp_path, relay):
    """A relay connection that is reset six times transfers the file, and resends little of it."""
    source = make(tmp_path / "x.bin", 12 * MIB)
    cuts = [200 * KIB, 900 * KIB, 300 * KIB, MIB, 2 * MIB, 700 * KIB]
    with ToxicProxy(Faults(list(cuts))) as proxy:
        url = f"http://127.0.0.1:{proxy.front(urlsplit(relay.url).port)}/"
        sending = nbferry.send(source, relay=url, via="relay", limits=SMALL)
        receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, via="relay", limits=SMALL)
        receiving.wait(PATIENCE)
        sending.wait(PATIENCE)
        assert len(proxy.faults.times) == len(cuts)
        # every byte passes the proxy twice
        resent = proxy.carried / 2 - source.stat().st_size
        assert resent < len(cuts) * (SMALL.window + SMALL.read_ahead + SMALL.high_water + 8 * MIB)
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


def test_a_direct_transfer_survives_cuts(tmp_path, monkeypatch):
    """A direct connection that breaks after each MiB transfers 8 MiB."""
    send, cuts = WebSocketTransport.send, []

    async def send_and_break(self, size, fill):
        await send(self, size, fill)
        self.count = getattr(self, "count", 0) + size
        if self.via == "direct" and self.count > MIB and len(cuts) < 6:
            cuts.append(self)
            self._socket.underlying_transport.abort()

    monkeypatch.setattr(WebSocketTransport, "send", send_and_break)
    source = make(tmp_path / "x.bin", 8 * MIB)
    sending = nbferry.send(source, via="direct", limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, via="direct", limits=SMALL)
    receiving.wait(PATIENCE)
    sending.wait(PATIENCE)
    assert len(cuts) == 6
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


# ------------------------------------------------------------------ commands
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_either_side_pauses_and_resumes(tmp_path, gate, side):
    """Both sides show a pause, and after ``resume`` the transfer completes."""
    sending = nbferry.send(make(tmp_path / "x.bin", 20 * CHUNK), limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    until(sending, State.TRANSFERRING)
    actor = sending if side == "sender" else receiving
    actor.pause()
    until(sending, State.PAUSED)
    until(receiving, State.PAUSED)
    gate.set()
    actor.resume()
    assert both_end(sending, receiving) == (None, None)


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_either_side_cancels(tmp_path, gate, side):
    """A cancel ends both sides. No part stays, and no file is published."""
    sending = nbferry.send(make(tmp_path / "x.bin", 20 * CHUNK), limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    (sending if side == "sender" else receiving).cancel("enough")
    gate.set()
    assert both_end(sending, receiving) == (errors.Cancelled, errors.Cancelled)
    other = receiving if side == "sender" else sending
    assert "enough" in other.snapshot.reason
    portal.stop()  # returns after the clean-up
    assert tree(tmp_path / "to") == {}


def test_a_rejection_says_why(tmp_path):
    """The sender reads the reason that the deciding function returned, and nothing is written."""
    sending = nbferry.send(make(tmp_path / "x.bin", 10))
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=lambda offer: "no room on my desk")
    assert both_end(sending, receiving) == (errors.Rejected, errors.Rejected)
    assert "no room on my desk" in sending.snapshot.reason
    assert not (tmp_path / "to").exists()


def test_a_large_offer_waits_for_a_decision(tmp_path):
    """An offer above the threshold lists its files and transfers none before ``accept``."""
    limits = nbferry.Limits(auto_accept=10)
    sending = nbferry.send(make(tmp_path / "x.bin", 11), limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", limits=limits)
    until(receiving, State.OFFERED)
    assert receiving.offer is not None
    assert [entry.path for entry in receiving.offer.entries] == ["x.bin"]
    assert not (tmp_path / "to").exists()
    receiving.accept()
    assert both_end(sending, receiving) == (None, None)


@pytest.mark.parametrize(
    ("overwrite", "left"),
    [
        ("rename", {"x.bin": b"old", "x (1).bin": b"new"}),
        ("replace", {"x.bin": b"new"}),
        ("refuse", {"x.bin": b"old"}),
    ],
)
def test_overwrite_decides_on_names_that_exist(tmp_path, overwrite, left):
    """The receiver alone decides what happens to its files."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "x.bin").write_bytes(b"new")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "x.bin").write_bytes(b"old")
    sending = nbferry.send(tmp_path / "from" / "x.bin")
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", overwrite=overwrite)
    ends = (None, None) if overwrite != "refuse" else (errors.DestinationExists, errors.DestinationExists)
    assert both_end(sending, receiving) == ends
    assert tree(tmp_path / "to") == left


def test_a_faulty_subscriber_does_no_harm(tmp_path, caplog):
    """A callback's exception is logged, and the transfer continues."""
    sending = nbferry.send(make(tmp_path / "x.bin", 10))
    faulty = [False]
    sending.subscribe(lambda view: 1 // 0 if faulty[0] else faulty.append(True))
    faulty[0] = True
    receiving = nbferry.receive(sending.code, to=tmp_path / "to")
    assert both_end(sending, receiving) == (None, None)
    assert "ZeroDivisionError" in caplog.text


# ------------------------------------------------------------------ storage
def test_a_file_that_changes_ends_the_transfer(tmp_path, gate):
    """A source that changes while it is sent fails both sides, and nothing is published."""
    source = make(tmp_path / "x.bin", 60 * CHUNK)
    sending = nbferry.send(source, limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    with source.open("r+b") as file:
        file.write(b"other")
    os.utime(source, ns=(1, 1))
    gate.set()
    assert both_end(sending, receiving) == (errors.SourceChanged, errors.SourceChanged)
    portal.stop()
    assert tree(tmp_path / "to") == {}


def test_a_missing_file_is_an_error_of_the_code_and_of_the_wait(tmp_path):
    """Both ``code`` and ``wait`` report the missing file."""
    sending = nbferry.send(tmp_path / "missing.bin")
    with pytest.raises(errors.StorageError, match=r"missing\.bin"):
        _ = sending.code
    assert error_of(sending) is errors.StorageError


def test_a_full_disk_pauses_until_there_is_room(tmp_path, monkeypatch):
    """Both sides show how many bytes are missing. Once space is free, the transfer continues by itself."""
    full = threading.Event()
    full.set()
    store = FolderSink.store
    prepared = threading.Event()

    def store_if_room(self, chunks):
        prepared.set()
        if full.is_set():
            raise errors.DiskFull(12_345)
        return store(self, chunks)

    monkeypatch.setattr(FolderSink, "store", store_if_room)
    monkeypatch.setattr(
        FolderSink, "missing_space", lambda _: 12_345 if full.is_set() and prepared.is_set() else 0
    )
    limits = nbferry.Limits(chunk_size=CHUNK, space_poll=0.01)
    sending = nbferry.send(make(tmp_path / "x.bin", 4 * CHUNK), limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=limits)
    assert "12,345" in until(receiving, State.PAUSED).reason
    assert "12,345" in until(sending, State.PAUSED).reason
    full.clear()
    assert both_end(sending, receiving) == (None, None)
    assert (tmp_path / "to" / "x.bin").read_bytes() == (tmp_path / "x.bin").read_bytes()


def test_a_failed_flush_costs_only_what_it_lost(tmp_path, monkeypatch):
    """Chunks that a full disk lost at the end are fetched again, and the file is right."""
    publish, sync, calls = FolderSink.publish, FolderSink.sync, []

    def publish_second_time(self, digest):
        calls.append("publish")
        if len(calls) == 1:
            self._stored.lose()
            raise errors.DiskFull(1)
        return publish(self, digest)

    monkeypatch.setattr(FolderSink, "publish", publish_second_time)
    monkeypatch.setattr(FolderSink, "sync", sync)
    limits = nbferry.Limits(chunk_size=CHUNK, space_poll=0.01)
    sending = nbferry.send(make(tmp_path / "x.bin", 8 * CHUNK), limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=limits)
    assert both_end(sending, receiving) == (None, None)
    assert calls == ["publish", "publish"]
    assert (tmp_path / "to" / "x.bin").read_bytes() == (tmp_path / "x.bin").read_bytes()


def test_an_internal_fault_ends_both_sides(tmp_path, monkeypatch, caplog):
    """An unexpected exception fails the transfer on both sides, and both end."""

    def broken(self, chunks, batch):
        raise RuntimeError("a bug")

    monkeypatch.setattr(FileSource, "read", broken)
    sending = nbferry.send(make(tmp_path / "x.bin", 10))
    receiving = nbferry.receive(sending.code, to=tmp_path / "to")
    assert both_end(sending, receiving) == (errors.NbferryError, errors.NbferryError)
    assert "a bug" in caplog.text


# ------------------------------------------------------------------ codes
def test_an_unused_offer_expires(tmp_path):
    """The sender ends after ``expires`` seconds, and the code no longer works."""
    sending = nbferry.send(make(tmp_path / "x.bin", 10), expires=0.2)
    code = sending.code
    assert error_of(sending) is errors.Expired
    assert error_of(nbferry.receive(code, to=tmp_path)) in (
        errors.CodeExpired,
        errors.CodeNotFound,
        errors.CodeUsed,
    )


def test_a_wait_that_times_out(tmp_path):
    """``wait(timeout)`` raises TimedOut and does not end the transfer."""
    sending = nbferry.send(make(tmp_path / "x.bin", 10))
    with pytest.raises(errors.TimedOut):
        sending.wait(0.01)
    assert sending.snapshot.state is State.WAITING
    assert nbferry.receive(sending.code, to=tmp_path / "to").wait(PATIENCE).bytes == 10


def test_the_transfers_of_a_process_are_listed(tmp_path):
    """``transfers()`` lists both sides of a transfer within one process."""
    sending = nbferry.send(make(tmp_path / "x.bin", 10))
    nbferry.receive(sending.code, to=tmp_path / "to").wait(PATIENCE)
    assert [transfer.snapshot.role for transfer in nbferry.transfers()] == ["send", "receive"]
