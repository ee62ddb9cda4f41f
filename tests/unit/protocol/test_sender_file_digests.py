"""The sender tells the digests of files, with their chunks or without."""

from __future__ import annotations

from nbferry.limits import Limits, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.debts import DIGESTS_PER_FRAME, HASH_BYTES, HASH_CHUNKS
from nbferry.protocol.frames import MAX_RANGES
from nbferry.protocol.sender import Sender
from rig import SMALL, read_job
from unit.protocol.sender_setup import CHUNK, EVERYTHING, FILES, accepted, connect, digest_of, read, want
from wire import control, drain, names, the


def test_the_digest_of_a_file_follows_its_chunks() -> None:
    """The sender tells the digest of a file once, when it has read all of its chunks."""
    sender = accepted()
    want(sender, [[0, 2], [3, 4]], [[0, 2]])
    read(sender)
    frames = drain(sender)
    assert names(frames) == ["digests", "chunks"]
    assert the(frames, "digests") == {"digests": [[1, digest_of(FILES["b"])]]}
    want(sender, [[2, 3]])
    read(sender)
    assert the(drain(sender), "digests") == {"digests": [[0, digest_of(FILES["a"])]]}


def test_a_digest_that_is_known_is_told_at_once() -> None:
    """The sender tells a known digest at once, without reading again."""
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    drain(sender)
    want(sender, [], [[0, 3]])
    (frame,) = drain(sender)
    assert [entry for entry, _ in frame.fields["digests"]] == [0, 1, 2]
    assert sender.next_read() is None


def test_many_digests_go_in_several_frames() -> None:
    """No frame has more digests than it can hold."""
    files = {f"{n:05}": b"" for n in range(DIGESTS_PER_FRAME + 1)}
    sender = accepted(files)
    want(sender, [[0, len(files)]], [[0, len(files)]])
    while read(sender, files):
        continue
    digests = [frame.fields["digests"] for frame in drain(sender) if frame.name == "digests"]
    assert [len(part) for part in digests] == [DIGESTS_PER_FRAME, 1]


def test_folders_have_no_digest() -> None:
    """A range of entries may cover folders; the sender owes nothing for them."""
    manifest = Manifest.of([Entry("d", folder=True), Entry("d/x"), Entry("e", folder=True)], CHUNK)
    sender = Sender(manifest, SMALL)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    want(sender, [[0, 1]], [[0, 3]])
    job = sender.next_read()
    assert job is not None
    sender.chunks_read(job, *read_job(job, manifest, {"d/x": b""}))
    assert [entry for entry, _ in the(drain(sender), "digests")["digests"]] == [1]
    assert sender.next_read() is None


def test_very_many_digests() -> None:
    """The sender may owe the digests of all files at once, however scattered they are."""
    count = 2 * MAX_RANGES + 4
    manifest = Manifest.of([Entry(str(n)) for n in range(count)], CHUNK)
    sender = Sender(manifest, SMALL)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    scattered = [[n, n + 1] for n in range(0, count, 2)]
    for part in (scattered[:40_000], scattered[40_000:], [[0, count]]):
        sender.receive(control("want", digests=part), 0)
    assert sender.error is None
    assert drain(sender) == []


def test_files_that_are_only_hashed() -> None:
    """The sender reads files only for their digests if no chunk of them is wanted, one job at a time."""
    sender = accepted()
    assert not sender.hashing
    want(sender, [], [[0, 2]])
    assert sender.hashing
    job = sender.next_read()
    assert job is not None
    assert (job.chunks, job.batch) == (RangeSet.span(0, 4), None)
    assert sender.next_read() is None
    sender.chunks_read(job, *read_job(job, sender.manifest, FILES))
    digests = [[0, digest_of(FILES["a"])], [1, digest_of(FILES["b"])]]
    assert the(drain(sender), "digests") == {"digests": digests}
    assert not sender.hashing
    assert read(sender) is None


def test_a_large_file_is_hashed_in_parts() -> None:
    """A file that is larger than a job takes several; its digest comes with the last."""
    files = {"big": bytes((HASH_CHUNKS + 1) * CHUNK)}
    sender = accepted(files)
    want(sender, [], [[0, 1]])
    jobs = [read(sender, files)]
    assert drain(sender) == []
    jobs += [read(sender, files)]
    assert [len(job.chunks) for job in jobs if job] == [HASH_CHUNKS, 1]
    assert names(drain(sender)) == ["digests"]


def test_a_job_of_large_chunks_has_few() -> None:
    """A hashing job is limited in bytes, so that wanted chunks need not wait for long."""
    limits = Limits(chunk_size=32 * MiB, window=32 * MiB, read_ahead=32 * MiB)
    sender = Sender(Manifest.of([Entry("big", 320 * MiB)], 32 * MiB), limits)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    want(sender, [], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    assert len(job.chunks) * 32 * MiB == HASH_BYTES


def test_scattered_files_share_a_job() -> None:
    """One job hashes as many scattered small files as it holds."""
    files = {f"{n:03}": b"x" for n in range(4 * HASH_CHUNKS)}
    sender = accepted(files)
    want(sender, [], [[n, n + 1] for n in range(0, len(files), 2)])
    sizes = []
    while job := read(sender, files):
        sizes.append(len(job.chunks))
    assert sizes == [HASH_CHUNKS, HASH_CHUNKS]


def test_wanted_chunks_go_first() -> None:
    """The sender reads wanted chunks before those that it only hashes."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    want(sender, [[3, 4]])
    jobs = [read(sender), read(sender)]
    assert [job.chunks for job in jobs if job] == [RangeSet.of(3), RangeSet.span(0, 3)]
