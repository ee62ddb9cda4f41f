"""The receiver pauses when its user, the sender or a full disk asks for it."""

from __future__ import annotations

from nbferry.errors import DiskFull
from rig import manifest_of
from unit.protocol.receiver_setup import CHUNK, accepted, offered
from wire import control, names, the


def test_a_paused_receiver_wants_nothing() -> None:
    """A paused receiver wants nothing but stores what arrives; when it resumes it wants the others."""
    peer = accepted(manifest_of({"a": bytes(8 * CHUNK)}))
    peer.files = {"a": bytes(8 * CHUNK)}
    peer.receiver.pause("lunch")
    peer.heard()
    peer.store(peer.send(0, 1, 2, 3))
    assert peer.heard() == []
    peer.receiver.resume()
    assert set(names(peer.heard())) == {"resume", "want"}


def test_the_sender_pauses() -> None:
    """When the sender resumes, the receiver wants what became due during the pause."""
    peer = accepted(manifest_of({"a": bytes(8 * CHUNK)}))
    peer.files = {"a": bytes(8 * CHUNK)}
    peer.heard()
    peer.say(control("pause"))
    peer.store(peer.send(0, 1, 2, 3))
    assert peer.heard() == []
    peer.say(control("resume"))
    assert the(peer.heard(), "want")["chunks"] == [[4, 8]]


def test_a_full_disk() -> None:
    """A full disk pauses both sides and says how much is needed; with room the receiver wants the same chunks."""
    peer = accepted()
    peer.heard()
    chunks = peer.send(0, 1)
    peer.receiver.storage_full({chunk.chunk: chunk.digest for chunk in chunks}, DiskFull(1_234_567))
    assert peer.receiver.paused
    assert "1,234,567" in peer.receiver.pause_reason
    assert "1,234,567" in the(peer.heard(), "pause")["reason"]
    peer.store(peer.send(2, 3))
    assert peer.heard() == []
    peer.receiver.storage_ready()
    frames = peer.heard()
    assert the(frames, "want") == {"chunks": [[0, 2]], "digests": [], "leaves": []}
    assert "resume" in names(frames)


def test_a_disk_that_is_full_from_the_start() -> None:
    """A full disk pauses an offer until there is room and the user accepts."""
    peer = offered()
    peer.receiver.storage_full({}, DiskFull(5))
    assert peer.receiver.paused
    assert names(peer.heard()) == ["pause"]
    peer.receiver.storage_ready()
    peer.receiver.accept(0.0)
    assert names(peer.heard()) == ["resume", "answer", "want"]


def test_room_when_nothing_was_full() -> None:
    """Room on a disk that was not full changes nothing."""
    peer = accepted()
    peer.heard()
    peer.receiver.storage_ready()
    assert peer.heard() == []
