"""The receiver compares whole files with the sender's digests."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import DigestMismatch
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Publish, Sync
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import FILE_ATTEMPTS
from unit.protocol.receiver_setup import CHUNK, Peer, accepted, fails, offered, stored
from wire import control, names, the


def test_files_are_compared_when_they_are_complete() -> None:
    """A file is verified when its digest and all its chunks have come, in either order."""
    peer = accepted()
    peer.digests(1, 2)
    peer.store(peer.send(2, 3))
    peer.store(peer.send(0, 1))
    assert peer.receiver.phase is Phase.VERIFYING
    assert peer.events(Publish) == 0
    peer.heard()
    peer.digests(0)
    assert peer.receiver.phase is Phase.WRITING
    assert peer.receiver.digest == peer.leaves().content()
    assert peer.events(Publish) == 1
    assert the(peer.heard(), "progress")["state"] == "writing"


@pytest.mark.parametrize(
    "digests",
    [
        [[0, "00"]],
        [[0, "x" * 64]],
        [[0, 5]],
        [["0", "00" * 32]],
        [[3, "00" * 32]],
        [[0]],
        [5],
        5,
    ],
    ids=str,
)
def test_impossible_digests(digests: Any) -> None:
    """A malformed digest, or one that the receiver did not ask for, is an error."""
    peer = accepted()
    peer.say(control("digests", digests=digests))
    assert fails(peer)


def test_digests_before_the_answer() -> None:
    """A digest before the answer is an error."""
    peer = offered()
    peer.digests(0)
    assert fails(peer)


def test_a_digest_of_a_folder() -> None:
    """A folder between files has no digest."""
    peer = accepted(Manifest.of([Entry("a"), Entry("d", folder=True), Entry("d/b")], CHUNK))
    assert the(peer.heard(), "want")["digests"] == [[0, 3]]
    peer.say(control("digests", digests=[[1, "00" * 32]]))
    assert fails(peer)


@pytest.mark.parametrize("fields", [{}, {"digests": []}])
def test_no_digests(fields: dict[str, Any]) -> None:
    """A frame without digests changes nothing."""
    peer = accepted()
    peer.say(control("digests", **fields))
    assert peer.receiver.error is None


def test_digests_before_the_offer() -> None:
    """A frame of digests before the offer is an error, even without digests in it."""
    peer = Peer()
    peer.connect()
    peer.say(control("digests"))
    assert fails(peer)


def test_a_wrong_file_is_wanted_again() -> None:
    """The receiver wants a file with a wrong digest again, once; then it fails."""
    peer = stored()
    wrong = control("digests", digests=[[0, "00" * 32], [1, peer.digest_of(1)], [2, peer.digest_of(2)]])
    peer.receiver.synced(0.0)
    peer.say(wrong)
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert peer.receiver.verified == RangeSet.of(2, 3)
    assert the(peer.heard(), "want") == {"chunks": [[0, 2]], "digests": [[0, 1]], "leaves": []}
    peer.store(peer.send(0, 1))
    assert peer.receiver.phase is Phase.VERIFYING
    peer.heard()
    assert FILE_ATTEMPTS == 2
    peer.say(control("digests", digests=[[0, "00" * 32]]))
    assert fails(peer, DigestMismatch)


def test_a_file_that_is_right_the_second_time() -> None:
    """A file that is right the second time is published."""
    peer = stored()
    peer.say(control("digests", digests=[[0, "00" * 32], [1, peer.digest_of(1)], [2, peer.digest_of(2)]]))
    peer.store(peer.send(0, 1))
    peer.digests(0)
    assert peer.receiver.phase is Phase.WRITING


def test_a_wrong_file_while_others_are_under_way() -> None:
    """The receiver wants a wrong file again while others are under way; the flush under way does not count for it."""
    peer = accepted(limits=Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1))
    peer.heard()
    peer.store(peer.send(0, 1))
    assert peer.events(Sync) == 1
    peer.say(control("digests", digests=[[0, "00" * 32]]))
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert the(peer.heard(), "want")["chunks"] == [[0, 2]]
    peer.store(peer.send(0, 1))
    peer.receiver.synced(1.0)
    assert peer.receiver.verified == RangeSet.of(0, 1)
    assert peer.receiver.durable == RangeSet()


def test_digests_are_asked_for_again_on_a_new_connection() -> None:
    """The receiver asks on each connection for the digests that it still needs."""
    peer = stored()
    assert peer.receiver.phase is Phase.VERIFYING
    peer.receiver.disconnected()
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}


def test_the_last_chunk_is_stored_while_there_is_no_connection() -> None:
    """If the last chunk is stored without a connection, the receiver asks for digests on the next one."""
    peer = accepted()
    chunks = peer.send(0, 1, 2, 3)
    peer.receiver.disconnected()
    peer.store(chunks)
    assert peer.receiver.phase is Phase.VERIFYING
    peer.connect()
    assert the(peer.offer(), "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}
    peer.digests(0, 1, 2)
    assert peer.receiver.phase is Phase.WRITING
