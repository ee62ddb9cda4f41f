"""A sender and a receiver together, when the receiver has some of the chunks already."""

from __future__ import annotations

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.model.ranges import RangeSet
from nbferry.status import State
from rig import Rig, bytes_of
from unit.protocol.both_sides_setup import CHUNK, FILES, arrived, until


def vouched_for(rig: Rig, chunks: RangeSet) -> None:
    """Have a journal vouch for some chunks, which are there."""
    for chunk in chunks:
        data = bytes_of(chunk, rig.manifest, FILES)
        rig.disk.put(chunk, data)
        rig.disk.journal[chunk] = rig.disk.written[chunk] = chunk_digest(data)


def test_the_sender_only_hashes_what_is_there() -> None:
    """A receiver that has everything gets no chunk; the sender reads its files for their digests."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.span(0, rig.manifest.chunk_count))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] == 0


def test_the_receiver_has_some_of_it() -> None:
    """Of what a receiver has already nothing is sent again."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.of(*range(0, rig.manifest.chunk_count, 2)))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] > 0
    assert not rig.again


def older_copy(rig: Rig, changed: dict[int, bytes]) -> None:
    """Have an older copy of all files at the receiver, in which some chunks are others."""
    for chunk in range(rig.manifest.chunk_count):
        rig.disk.put(chunk, changed.get(chunk, bytes_of(chunk, rig.manifest, rig.files)))


def test_an_older_copy_is_used() -> None:
    """Of a copy in which two chunks are others only these two travel."""
    rig = Rig(FILES)
    older_copy(rig, {2: bytes(CHUNK), 6: b"x" * CHUNK})
    rig.connect()
    rig.run()
    assert arrived(rig)
    everything = RangeSet.span(0, rig.manifest.chunk_count)
    assert rig.receiver.reused == everything - RangeSet.of(2, 6)
    assert rig.said["chunks"] == 1


def test_the_sender_shows_that_it_only_hashes() -> None:
    """While nothing but digests is to be found out the sender shows it."""
    rig = Rig(FILES)
    older_copy(rig, {})
    rig.connect()
    until(rig, lambda: rig.sender.hashing)
    assert rig.sender.state is State.TRANSFERRING
    rig.run()
    assert arrived(rig)
    assert not rig.sender.hashing


def test_wanting_and_comparing_go_on_side_by_side() -> None:
    """What is not here is wanted while what may be right is compared."""
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
    """Wherever the connection breaks, what is here is compared all the same."""
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
