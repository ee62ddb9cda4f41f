"""Several receivers of one offer; lines that damage what they carry; decisions and clean-ups that go wrong."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import nbferry
from faults.ends import CHUNK, PATIENCE, SMALL, error_of, until
from nbferry import errors
from nbferry.connections import pairing
from nbferry.engine import portal
from nbferry.errors import StorageError, TransportBroken
from nbferry.relay.client import Mailbox
from nbferry.status import State
from nbferry.storage.folder.destination import Destination
from nbferry.storage.folder.sink import FolderSink
from nbferry.transports.websocket import WebSocketTransport


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of twenty chunks."""
    path = tmp_path / "x.bin"
    path.write_bytes(os.urandom(20 * CHUNK))
    return path


def test_a_cancel_is_for_all_receivers(tmp_path, source, gate):
    """Who cancels an offer to several ends it for those who receive and for those who would come later."""
    sending = nbferry.send(source, to=3, limits=SMALL)
    code = sending.code
    receiving = nbferry.receive(code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    sending.cancel("enough")
    sending.cancel("really")
    gate.set()
    assert error_of(sending) is errors.Cancelled
    assert error_of(receiving) is errors.Cancelled
    assert "enough" in receiving.snapshot.reason
    late = nbferry.receive(code, to=tmp_path / "late", accept=True, limits=SMALL)
    assert error_of(late) in (errors.CodeUsed, errors.CodeNotFound)


def test_a_receiver_that_ends_early_is_not_counted(tmp_path, source):
    """Of several receivers one that rejects or cancels leaves its place to another."""
    sending = nbferry.send(source, to=2, limits=SMALL)
    code = sending.code
    rejecting = nbferry.receive(code, to=tmp_path / "no", accept=False, limits=SMALL)
    assert error_of(rejecting) is errors.Rejected
    until(sending, State.WAITING)
    for name in ("first", "second"):
        assert error_of(nbferry.receive(code, to=tmp_path / name, accept=True, limits=SMALL)) is None
    assert error_of(sending) is None
    assert sending.wait(PATIENCE).bytes == source.stat().st_size


def test_what_is_under_way_outlives_the_offer(tmp_path, source, gate):
    """An offer that expires lets nobody in any more, but whoever is being served is served."""
    sending = nbferry.send(source, to=None, limits=SMALL, expires=2)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    hasty = nbferry.Limits(connect_timeout=1)  # who comes in the instant of the end tries for so long
    while error_of(nbferry.receive(sending.code, to=tmp_path, accept=False, limits=hasty)) is errors.Rejected:
        continue
    gate.set()
    assert error_of(receiving) is None
    assert error_of(sending) is None
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


def test_who_loses_the_relay_while_coming_in_finds_the_way(tmp_path, source, monkeypatch):
    """If the relay is lost in the instant of pairing, both sides have the keys, and meet by them."""
    send, failed = Mailbox.send, []

    async def send_but_once(self, body, *, to=0):
        if to and '"confirm"' in body and not failed:
            failed.append(body)
            await self.aclose()
            raise TransportBroken
        await send(self, body, to=to)

    monkeypatch.setattr(pairing.Mailbox, "send", send_but_once)
    sending = nbferry.send(source, limits=SMALL)
    impatient = nbferry.Limits(chunk_size=CHUNK, dead_after=0.5)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=impatient)
    assert error_of(receiving) is None
    assert failed
    assert error_of(sending) is None


def test_part_data_that_cannot_be_removed(tmp_path, source, gate, monkeypatch, caplog):
    """If cleaning up fails it is logged, and the transfer has ended all the same, on both sides."""

    def refuse(self):
        raise StorageError("The disk is gone.")

    sending = nbferry.send(source, limits=SMALL)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    monkeypatch.setattr(Destination, "discard", refuse)
    receiving.cancel()
    gate.set()
    assert error_of(receiving) is errors.Cancelled
    assert error_of(sending) is errors.Cancelled
    portal.stop()
    assert "The disk is gone." in caplog.text
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("via", ["direct", "relay"])
@pytest.mark.parametrize("how", ["drop", "repeat", "damage", "cut"])
def test_a_line_that_cannot_be_trusted(tmp_path, source, monkeypatch, via, how):
    """A line that drops, repeats, damages or cuts messages costs a connection, and what arrives is right."""
    arrived, faults = WebSocketTransport._message_arrived, []
    counts: dict[int, int] = {}

    def faulty(self, message):
        if self._deliver is None or self.via != via or len(faults) >= 6:
            arrived(self, message)
            return
        counts[id(self)] = counts.get(id(self), 0) + 1
        if counts[id(self)] != 4 + len(faults):
            arrived(self, message)
            return
        faults.append(how)
        match how:
            case "repeat":
                copy = bytes(message)
                arrived(self, memoryview(copy))
                arrived(self, memoryview(copy))
            case "damage":
                wrong = bytearray(message)
                wrong[len(wrong) // 2] ^= 1
                arrived(self, memoryview(wrong))
            case "cut":
                arrived(self, message[:-1])

    monkeypatch.setattr(WebSocketTransport, "_message_arrived", faulty)
    limits = replace(SMALL, ping_interval=0.05)  # what is dropped is missed when something follows it
    sending = nbferry.send(source, via=via, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, via=via, limits=limits)
    assert error_of(receiving) is None
    assert error_of(sending) is None
    assert faults
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


def test_a_deciding_function_that_fails(tmp_path, source, caplog):
    """A function that raises instead of deciding fails the transfer on both sides, and leaves nothing."""

    def decide(offer):
        raise KeyError("no such thing")

    sending = nbferry.send(source)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=decide)
    assert error_of(receiving) is errors.NbferryError
    assert error_of(sending) is errors.NbferryError
    assert "no such thing" in caplog.text
    assert not (tmp_path / "to").exists()


def test_a_disk_that_is_full_from_the_start(tmp_path, source, monkeypatch):
    """A disk without room pauses an offer that was accepted; when there is room it begins by itself."""
    full = threading.Event()
    full.set()
    prepare, missing = FolderSink.prepare, FolderSink.missing_space

    def prepare_if_room(self):
        if full.is_set():
            raise errors.DiskFull(12_345)
        prepare(self)

    monkeypatch.setattr(FolderSink, "prepare", prepare_if_room)
    monkeypatch.setattr(FolderSink, "missing_space", lambda self: full.is_set() or missing(self))
    limits = nbferry.Limits(chunk_size=CHUNK, space_poll=0.01)
    sending = nbferry.send(source, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=limits)
    for transfer in (sending, receiving):
        until(transfer, State.PAUSED)
        assert "12,345" in transfer.snapshot.reason
    full.clear()
    assert error_of(receiving) is None
    assert error_of(sending) is None
