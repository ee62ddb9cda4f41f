"""The receiver pauses when its user, the sender or a full disk asks for it."""

from __future__ import annotations

from nbferry.errors import (
    DiskFull,
)
from rig import manifest_of
from unit.protocol.receiver_setup import CHUNK, accepted, offered
from wire import control, names, the


def test_a_paused_receiver_wants_nothing() -> None:
    """Whoever pauses wants nothing more; what was under way is stored, and the rest is wanted on going on."""
    peer = accepted(manifest_of({"a": bytes(8 * CHUNK)}))
    peer.files = {"a": bytes(8 * CHUNK)}
    peer.receiver.pause("lunch")
    peer.heard()
    peer.store(peer.send(0, 1, 2, 3))
    assert peer.heard() == []
    peer.receiver.resume()
    assert set(names(peer.heard())) == {"resume", "want"}


def test_the_sender_pauses() -> None:
    """When the sender goes on, what became due meanwhile is wanted."""
    peer = accepted(manifest_of({"a": bytes(8 * CHUNK)}))
    peer.files = {"a": bytes(8 * CHUNK)}
    peer.heard()
    peer.say(control("pause"))
    peer.store(peer.send(0, 1, 2, 3))
    assert peer.heard() == []
    peer.say(control("resume"))
    assert the(peer.heard(), "want")["chunks"] == [[4, 8]]


def test_a_full_disk() -> None:
    """A full disk pauses both sides and says how much is needed; with room again the same chunks are wanted."""
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
    """A disk without room pauses an offer, too, until there is room and it is accepted."""
    peer = offered()
    peer.receiver.storage_full({}, DiskFull(5))
    assert peer.receiver.paused
    assert names(peer.heard()) == ["pause"]
    peer.receiver.storage_ready()
    peer.receiver.accept(0.0)
    assert names(peer.heard()) == ["resume", "answer", "want"]


def test_room_when_nothing_was_full() -> None:
    """To have room is no news if there was room."""
    peer = accepted()
    peer.heard()
    peer.receiver.storage_ready()
    assert peer.heard() == []
