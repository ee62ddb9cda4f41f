"""The receiver answers the offer, and asks for what it needs."""

from __future__ import annotations

import pytest

from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Publish
from nbferry.protocol.phases import Phase
from rig import manifest_of
from unit.protocol.receiver_setup import CHUNK, EVERYTHING, accepted, offered
from wire import control, names, the


def test_accepting() -> None:
    """The receiver accepts, wants what the window holds, and the digests of files that this completes."""
    peer = accepted()
    frames = peer.heard()
    assert names(frames) == ["answer", "want"]
    assert the(frames, "answer") == {"accept": True}
    assert the(frames, "want") == {"chunks": [[0, 4]], "digests": [[0, 3]], "leaves": []}
    assert peer.receiver.outstanding > 0


def test_digests_are_asked_for_with_the_last_chunk() -> None:
    """The receiver asks for a file's digest once, with the last of its chunks."""
    peer = accepted(manifest_of({"a": bytes(8 * CHUNK), "b": b"", "c": b""}))
    wants = [the(peer.heard(), "want")]
    peer.files = {"a": bytes(8 * CHUNK), "b": b"", "c": b""}
    while len(wants) < 2:
        peer.store(peer.send(*range(*wants[-1]["chunks"][0])))
        wants += [frame.fields for frame in peer.heard() if frame.name == "want"]
    assert wants == [
        {"chunks": [[0, 4]], "digests": [], "leaves": []},
        {"chunks": [[4, 10]], "digests": [[0, 3]], "leaves": []},
    ]


def test_rejecting() -> None:
    """The receiver rejects with a reason, and has finished when the sender says bye."""
    peer = offered()
    peer.receiver.reject("no room", 0.0)
    assert peer.receiver.phase is Phase.REJECTED
    assert peer.receiver.error is not None
    assert peer.receiver.error.message == "The offer was rejected: no room."
    assert the(peer.heard(), "answer") == {"accept": False, "reason": "no room"}
    peer.say(control("bye"))
    assert peer.receiver.finished


def test_rejecting_without_a_reason() -> None:
    """A reason may be left out."""
    peer = offered()
    peer.receiver.reject("", 0.0)
    assert peer.receiver.error is not None
    assert peer.receiver.error.message == "The offer was rejected."


def test_a_decision_that_comes_too_late() -> None:
    """A decision about a transfer that has ended changes nothing."""
    peer = offered()
    peer.say(control("cancel"))
    peer.receiver.accept(0.0)
    peer.receiver.reject("", 0.0)
    assert peer.receiver.phase is Phase.CANCELLED
    assert names(peer.heard()) == ["bye"]


def test_accepting_without_a_connection() -> None:
    """The receiver sends a delayed answer when the sender has repeated its offer."""
    peer = offered()
    peer.receiver.disconnected()
    peer.receiver.accept(0.0)
    assert names(peer.connect()) == ["hello"]
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "progress") == {"verified": [], "durable": [], "state": "transferring", "all": True}


def test_nothing_is_wanted_before_the_answer() -> None:
    """On a new connection the receiver wants nothing before its answer, not even when it resumes."""
    peer = offered()
    peer.receiver.pause()
    peer.receiver.disconnected()
    peer.receiver.accept(0.0)
    peer.connect()
    peer.receiver.resume()
    assert names(peer.heard()) == ["resume"]
    assert names(peer.offer()) == ["answer", "progress", "want"]


def test_having_some_chunks_already() -> None:
    """A receiver that has chunks with their digests wants only the others."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0, 2), peer.runs(0, 2))
    frames = peer.heard()
    assert the(frames, "want") == {"chunks": [[1, 2], [3, 4]], "digests": [[0, 1], [2, 3]], "leaves": []}
    assert peer.receiver.durable == peer.receiver.verified == RangeSet.of(0, 2)


def test_having_every_chunk_already() -> None:
    """A receiver that has every chunk wants only file digests, and publishes when they match."""
    peer = offered()
    peer.receiver.accept(0.0, EVERYTHING, [(0, peer.leaves().run(0, 4))])
    frames = peer.heard()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}
    assert peer.receiver.phase is Phase.VERIFYING
    peer.receiver.events()
    peer.digests(0, 1, 2)
    assert peer.events(Publish) == 1


@pytest.mark.parametrize("entries", [[], [Entry("d", folder=True), Entry("d/e", folder=True)]])
def test_an_offer_without_files(entries: list[Entry]) -> None:
    """An offer of nothing, or of folders only, is published as soon as it is accepted."""
    peer = offered(Manifest.of(entries, CHUNK))
    peer.receiver.events()
    peer.receiver.accept(0.0)
    assert peer.events(Publish) == 1
    peer.receiver.published(1.0)
    assert names(peer.heard())[-1] == "done"
    assert peer.receiver.phase is Phase.DONE
