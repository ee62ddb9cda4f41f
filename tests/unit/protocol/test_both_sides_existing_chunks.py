"""A sender and a receiver together, when the receiver has some of the chunks already."""

from __future__ import annotations

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.phases import Phase
from rig import Rig, bytes_of
from unit.protocol.both_sides_setup import CHUNK, FILES, arrived, until


def vouched_for(rig: Rig, chunks: RangeSet) -> None:
    """Put chunks on the receiver's disk and into its journal."""
    for chunk in chunks:
        data = bytes_of(chunk, rig.manifest, FILES)
        rig.disk.put(chunk, data)
        rig.disk.journal[chunk] = rig.disk.written[chunk] = chunk_digest(data)


def test_the_receiver_has_all_of_it() -> None:
    """A receiver that has everything gets no chunk; the sender reads its files only for their digests."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.span(0, rig.manifest.chunk_count))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] == 0


def test_the_receiver_has_some_of_it() -> None:
    """The sender does not send chunks that the receiver has already."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.of(*range(0, rig.manifest.chunk_count, 2)))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] > 0
    assert not rig.again


def older_copy(rig: Rig, changed: dict[int, bytes]) -> None:
    """Put an older copy of all files on the receiver's disk, in which some chunks differ."""
    for chunk in range(rig.manifest.chunk_count):
        rig.disk.put(chunk, changed.get(chunk, bytes_of(chunk, rig.manifest, rig.files)))


def test_an_older_copy_is_used() -> None:
    """Of a copy in which two chunks differ, the sender sends only these two."""
    rig = Rig(FILES)
    older_copy(rig, {2: bytes(CHUNK), 6: b"x" * CHUNK})
    rig.connect()
    rig.run()
    assert arrived(rig)
    everything = RangeSet.span(0, rig.manifest.chunk_count)
    assert rig.receiver.reused == everything - RangeSet.of(2, 6)
    assert rig.said["chunks"] == 1


def test_the_sender_shows_that_it_only_hashes() -> None:
    """The sender shows when it only computes digests."""
    rig = Rig(FILES)
    older_copy(rig, {})
    rig.connect()
    until(rig, lambda: rig.sender.hashing)
    assert rig.sender.phase is Phase.TRANSFERRING
    rig.run()
    assert arrived(rig)
    assert not rig.sender.hashing


def test_wanting_and_comparing_side_by_side() -> None:
    """The receiver wants missing chunks while it compares candidates."""
    rig = Rig(FILES)
    rig.disk.put(0, bytes_of(0, rig.manifest, FILES))
    rig.connect()
    until(rig, lambda: rig.said["want"])
    assert rig.receiver.outstanding > 0
    assert rig.receiver.candidates == RangeSet.span(0, 8)
    rig.run()
    assert arrived(rig)


@pytest.mark.parametrize("lost", range(1, 30, 2))
def test_a_connection_that_is_lost_while_it_compares(lost: int) -> None:
    """Wherever the connection breaks, the receiver compares all candidates."""
    rig = Rig(FILES)
    older_copy(rig, {2: bytes(CHUNK)})
    rig.connect()
    for _ in range(lost):
        rig.step()
    rig.disconnect()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.receiver.reused == RangeSet.span(0, rig.manifest.chunk_count) - RangeSet.of(2)
