"""The sender sends the chunks that are wanted, and reads no more ahead than it may."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import RemoteProtocolError
from nbferry.limits import MAX_MESSAGE, KiB, Limits, MiB
from nbferry.model.ranges import RangeSet
from nbferry.protocol.sender import AHEAD, MAX_WANTS
from rig import read_job
from unit.protocol.sender_setup import CHUNK, EVERYTHING, FILES, accepted, connect, read, want
from wire import control, drain, names


def test_exactly_what_is_wanted_is_sent() -> None:
    """The sender answers each want with its chunks, in the order of the wants."""
    sender = accepted()
    want(sender, [[3, 4], [1, 2]])
    want(sender, [[0, 1]])
    while read(sender):
        continue
    frames = drain(sender)
    assert [frame.fields["numbers"] for frame in frames] == [[1, 3], [0]]
    assert sender.sent == RangeSet.of(0, 1, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {"chunks": [[0, 6]]},
        {"chunks": [[1, 1]]},
        {"chunks": "all"},
        {"digests": [[0, 4]]},
        {"digests": [[-1, 2]]},
        {"leaves": [[0, 6]]},
        {"leaves": 1},
    ],
)
def test_impossible_wants(fields: dict[str, Any]) -> None:
    """The receiver may not want chunks and files that do not exist."""
    sender = accepted()
    sender.receive(control("want", **fields), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_too_many_wants() -> None:
    """The sender fails when too many wants are open."""
    sender = accepted()
    for _ in range(MAX_WANTS):
        want(sender, [[0, 1]])
    assert sender.error is None
    want(sender, [[0, 1]])
    assert isinstance(sender.error, RemoteProtocolError)


def test_an_empty_want_asks_for_nothing() -> None:
    """A want without chunks and digests is allowed and has no answer."""
    sender = accepted()
    sender.receive(control("want"), 0)
    assert sender.next_read() is None
    assert drain(sender) == []


def test_unknown_frames_are_ignored() -> None:
    """A frame that this version does not know changes nothing."""
    sender = accepted()
    sender.receive(control("wish", chunks=5), 0)
    assert sender.error is None


def test_reading_ahead_is_bounded() -> None:
    """The sender reads as many batches ahead as read_ahead allows; sending frees them."""
    limits = Limits()
    files = {"big": bytes(24 * MiB)}
    sender = accepted(files, limits)
    want(sender, [[0, 24]])
    batches = []
    while job := read(sender, files):
        batches.append(job.batch)
    held = set(batches)
    assert sum(len(batch._view) for batch in held if batch) <= limits.read_ahead
    for _ in range(100):
        sender.next_frame(0)
        if job := read(sender, files):
            batches.append(job.batch)
    # Each batch has three chunks: four do not fit with their headers.
    assert len(batches) == 8
    assert set(batches) == held
    assert sender.sent == RangeSet.span(0, 24)


def test_a_frame_is_valid_until_the_next_is_taken() -> None:
    """The sender reuses the memory of a batch only when the driver has finished with its last frame."""
    limits = Limits(chunk_size=MiB, window=16 * MiB, read_ahead=4 * MiB)
    files = {"big": bytes(12 * MiB)}
    sender = accepted(files, limits)
    want(sender, [[0, 12]])
    while read(sender, files):
        continue
    taken = []
    while sender.next_read() is None:
        frame = sender.next_frame(0)
        assert frame is not None
        taken.append(frame)
    # Three frames of the first batch. Taking the fourth releases the last of them.
    assert len(taken) == 4


def test_frames_have_the_size_that_the_driver_asks_for() -> None:
    """A smaller frame_size makes smaller frames from the next batch on."""
    sender = accepted()
    sender.frame_size = 1500
    want(sender, EVERYTHING)
    while read(sender):
        continue
    sizes = []
    while (frame := sender.next_frame(0)) is not None:
        sizes.append(len(frame))
    assert max(sizes) == 1500
    # Three frames for each large chunk; the last frame also has room for the small chunks.
    assert len(sizes) == 9


def test_no_frame_is_larger_than_any_path_takes() -> None:
    """With the largest chunks and the usual frame size no frame exceeds the largest message."""
    limits = Limits(chunk_size=8 * MiB, window=16 * MiB, read_ahead=16 * MiB)
    files = {"big": bytes(8 * MiB)}
    sender = accepted(files, limits)
    want(sender, [[0, 1]])
    read(sender, files)
    sizes = []
    while (frame := sender.next_frame(0)) is not None:
        sizes.append(len(frame))
    assert sum(sizes) > 8 * MiB
    assert max(sizes) <= 1 * MiB + 4 * KiB <= MAX_MESSAGE


def test_a_held_sender_does_not_read() -> None:
    """While the driver holds it the sender reads nothing; it answers wants afterwards."""
    sender = accepted()
    sender.held = True
    want(sender, [[0, 1]], [[1, 2]])
    assert sender.next_read() is None
    sender.held = False
    assert sender.next_read() is not None


def test_a_paused_sender_sends_no_chunks() -> None:
    """While either side pauses, the sender holds chunks back, but not control frames."""
    sender = accepted()
    want(sender, EVERYTHING, [[1, 2]])
    sender.pause()
    read(sender)
    assert names(drain(sender)) == ["pause", "digests"]
    sender.receive(control("pause"), 0)
    sender.resume()
    assert names(drain(sender)) == ["resume"]
    sender.receive(control("resume"), 0)
    assert names(drain(sender)) == ["chunks"]


def test_a_job_says_which_chunks_come_next() -> None:
    """A job says which chunks come next, so that a source can fetch them ahead."""
    sender = accepted({"a": bytes((AHEAD + 1) * CHUNK)})
    for first in range(AHEAD + 1):
        want(sender, [[first, first + 1]])
    job = sender.next_read()
    assert job is not None
    assert job.chunks == RangeSet.of(0)
    assert job.ahead == RangeSet.span(0, AHEAD)


def test_a_new_connection_begins_without_wants() -> None:
    """A new connection begins without wants; the sender drops chunks that it read for the old one."""
    sender = accepted()
    want(sender, [[0, 1]])
    read(sender)
    want(sender, [[1, 2]], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    sender.disconnected()
    assert sender.next_read() is None
    sender.chunks_read(job, *read_job(job, sender.manifest, FILES))
    assert names(connect(sender)) == ["hello", "offer"]
    assert sender.next_read() is None
    assert sender.sent == RangeSet()
    want(sender, [[1, 2]])
    assert read(sender)
    assert [frame.fields["numbers"] for frame in drain(sender)] == [[1]]


def test_a_job_that_ends_after_the_transfer() -> None:
    """The sender ignores a job that ends after the transfer, with or without chunks to send."""
    sender = accepted()
    want(sender, [[0, 1]])
    job = sender.next_read()
    assert job is not None
    sender.cancel("", 0)
    sender.chunks_read(job, *read_job(job, sender.manifest, FILES))
    assert sender.next_read() is None
    assert names(drain(sender)) == ["cancel"]
    sender = accepted()
    want(sender, [], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    sender.disconnected()
    sender.chunks_read(job, *read_job(job, sender.manifest, FILES))
    assert not sender.hashing
