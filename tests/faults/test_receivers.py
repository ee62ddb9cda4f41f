"""Several receivers of one offer; lines that damage data; decisions and clean-ups that fail."""

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
    """Cancelling an offer ends it for current receivers and for later ones."""
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
    """A receiver that rejects or cancels frees its place for another."""
    sending = nbferry.send(source, to=2, limits=SMALL)
    code = sending.code
    rejecting = nbferry.receive(code, to=tmp_path / "no", accept=False, limits=SMALL)
    assert error_of(rejecting) is errors.Rejected
    until(sending, State.WAITING)
    for name in ("first", "second"):
        assert error_of(nbferry.receive(code, to=tmp_path / name, accept=True, limits=SMALL)) is None
    assert error_of(sending) is None
    assert sending.wait(PATIENCE).bytes == source.stat().st_size


def test_running_receives_outlive_the_offer(tmp_path, source, gate):
    """An expired offer admits no new receiver, but finishes the running ones."""
    sending = nbferry.send(source, to=None, limits=SMALL, expires=2)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, limits=SMALL)
    until(receiving, State.TRANSFERRING)
    # A receiver that joins in the instant of expiry tries for this long.
    hasty = nbferry.Limits(connect_timeout=1)
    while error_of(nbferry.receive(sending.code, to=tmp_path, accept=False, limits=hasty)) is errors.Rejected:
        continue
    gate.set()
    assert error_of(receiving) is None
    assert error_of(sending) is None
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


def test_the_relay_is_lost_while_pairing(tmp_path, source, monkeypatch):
    """If the relay is lost just after the key exchange, both sides have the keys and still meet."""
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


def test_a_clean_up_that_fails(tmp_path, source, gate, monkeypatch, caplog):
    """A failing clean-up is logged, and the transfer still ends on both sides."""

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
def test_an_unreliable_line(tmp_path, source, monkeypatch, via, how):
    """A line that drops, repeats, damages or cuts messages costs a connection, and the file is right."""
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
    # A later message reveals a dropped one.
    limits = replace(SMALL, ping_interval=0.05)
    sending = nbferry.send(source, via=via, limits=limits)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=True, via=via, limits=limits)
    assert error_of(receiving) is None
    assert error_of(sending) is None
    assert faults
    assert (tmp_path / "to" / "x.bin").read_bytes() == source.read_bytes()


def test_a_deciding_function_that_fails(tmp_path, source, caplog):
    """An exception in the deciding function fails the transfer on both sides and leaves nothing."""

    def decide(offer):
        raise KeyError("no such thing")

    sending = nbferry.send(source)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=decide)
    assert error_of(receiving) is errors.NbferryError
    assert error_of(sending) is errors.NbferryError
    assert "no such thing" in caplog.text
    assert not (tmp_path / "to").exists()


def test_a_disk_that_is_full_from_the_start(tmp_path, source, monkeypatch):
    """A full disk pauses an accepted offer, which starts by itself once space is free."""
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
