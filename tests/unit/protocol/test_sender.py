"""The sender, with the receiver played by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.crypto.digest import chunk_digest, file_digest
from nbferry.errors import DigestMismatch, Expired, Rejected, RemoteProtocolError, SourceChanged, StorageError
from nbferry.limits import MAX_MESSAGE, KiB, Limits, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import MAX_ASKED
from nbferry.protocol.debts import DIGESTS_PER_FRAME, HASH_BYTES, HASH_CHUNKS
from nbferry.protocol.events import Changed
from nbferry.protocol.frames import MAX_CONTROL, MAX_RANGES, Control, LeafRun, decode, encode_leaves
from nbferry.protocol.phases import Phase
from nbferry.protocol.sender import AHEAD, ENTRIES_PER_FRAME, MAX_WANTS, ReadJob, Sender
from rig import SMALL, manifest_of, read_job
from wire import chunk_frame, control, drain, hello, names, piece, the

CHUNK = SMALL.chunk_size
FILES = {"a": b"a" * (3 * CHUNK), "b": b"b" * 100, "c": b""}  # chunks 0 to 2, 3, 4
EVERYTHING = [[0, 5]]


def sender_of(files: dict[str, bytes] | None = None, limits: Limits = SMALL, **options: Any) -> Sender:
    """A sender without a connection."""
    manifest = manifest_of(FILES if files is None else files, limits.chunk_size)
    return Sender(manifest, limits, **options)


def connect(sender: Sender, now: float = 0.0) -> list[Control]:
    """Give it a connection and a greeting; what it says to that."""
    sender.connected(now)
    sender.receive(hello("receiver"), now)
    return drain(sender, now)


def accepted(files: dict[str, bytes] | None = None, limits: Limits = SMALL, **options: Any) -> Sender:
    """A sender whose offer was accepted."""
    sender = sender_of(files, limits, **options)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    return sender


def want(sender: Sender, chunks: list[list[int]], digests: list[list[int]] | None = None) -> None:
    """Want chunks and files' digests."""
    sender.receive(control("want", chunks=chunks, digests=digests or []), 0)


def read(sender: Sender, files: dict[str, bytes] | None = None) -> ReadJob | None:
    """Do its next job, if it has one."""
    job = sender.next_read()
    if job is not None:
        sender.chunks_read(job, *read_job(job, sender.manifest, FILES if files is None else files))
    return job


def digest_of(data: bytes) -> str:
    """The digest of a file of these bytes."""
    leaves = [chunk_digest(data[at : at + CHUNK]) for at in range(0, max(1, len(data)), CHUNK)]
    return file_digest(len(data), CHUNK, b"".join(leaves)).hex()


# ---------------------------------------------------------------- the offer
def test_the_offer_follows_the_greeting() -> None:
    """After hello the offer goes out, before any file is read."""
    sender = sender_of(agent="us")
    assert sender.phase is Phase.CONNECTING
    frames = connect(sender)
    assert names(frames) == ["hello", "offer"]
    assert the(frames, "hello")["role"] == "sender"
    total = sum(map(len, FILES.values()))
    assert the(frames, "offer") == {
        "id": sender.manifest.id,
        "entries": 3,
        "files": 3,
        "bytes": total,
        "chunk_size": CHUNK,
    }
    assert sender.phase is Phase.OFFERED
    assert sender.next_read() is None


def test_the_list_is_sent_when_it_is_asked_for() -> None:
    """The entries come in their order, page after page."""
    manifest = Manifest.of([Entry(f"{n:04}") for n in range(ENTRIES_PER_FRAME + 1)], CHUNK)
    sender = Sender(manifest, SMALL)
    connect(sender)
    sender.receive(control("list"), 0)
    first, second = drain(sender)
    assert first.fields["first"] == 0
    assert len(first.fields["entries"]) == ENTRIES_PER_FRAME
    assert second.fields == {"first": ENTRIES_PER_FRAME, "entries": [manifest.entries[-1].to_wire()]}
    sender.receive(control("list"), 0)
    assert len(drain(sender)) == 2


def test_long_names_make_short_pages() -> None:
    """However long names are and however they are escaped, a page fits into a control frame."""
    manifest = Manifest.of([Entry("\x01" * 4000 + f"{n:04}") for n in range(100)], CHUNK)
    sender = Sender(manifest, SMALL)
    connect(sender)
    sender.receive(control("list"), 0)
    sizes = []
    while (frame := sender.next_frame(0)) is not None:
        sizes.append(len(frame))
    assert len(sizes) > 1
    assert max(sizes) < MAX_CONTROL


def test_an_empty_offer_has_one_page() -> None:
    """The list of an offer of nothing is one page of nothing."""
    sender = sender_of({})
    connect(sender)
    sender.receive(control("list"), 0)
    assert the(drain(sender), "entries") == {"first": 0, "entries": []}


def test_the_list_ends_with_the_connection() -> None:
    """What was not listed when the connection broke is not sent on the next one."""
    sender = sender_of()
    connect(sender)
    sender.receive(control("list"), 0)
    sender.disconnected()
    assert names(connect(sender)) == ["hello", "offer"]


# ---------------------------------------------------------------- the answer
def test_an_accepted_offer() -> None:
    """After a yes it is transferring; a second yes, on a later connection, changes nothing."""
    sender = accepted()
    assert sender.phase is Phase.TRANSFERRING
    sender.receive(control("answer", accept=True), 0)
    assert sender.phase is Phase.TRANSFERRING


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accept": False, "reason": "too big"}, "The receiver rejected the offer: too big."),
        ({"accept": False}, "The receiver rejected the offer."),
        ({}, "The receiver rejected the offer."),
        ({"accept": 1}, "The receiver rejected the offer."),
    ],
)
def test_a_rejected_offer(fields: dict[str, Any], message: str) -> None:
    """Whatever is no yes ends it with the receiver's reason, and is answered by bye."""
    sender = sender_of()
    connect(sender)
    sender.receive(control("answer", **fields), 0)
    assert sender.phase is Phase.REJECTED
    assert isinstance(sender.error, Rejected)
    assert sender.error.message == message
    assert names(drain(sender)) == ["bye"]
    assert sender.finished


def test_a_no_after_a_yes() -> None:
    """Who has accepted cannot reject any more."""
    sender = accepted()
    sender.receive(control("answer", accept=False), 0)
    assert isinstance(sender.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "frame", [control("want", chunks=[[0, 1]]), control("done", digest="00"), chunk_frame(piece(0, b"x"))]
)
def test_what_comes_before_the_answer(frame: memoryview) -> None:
    """To want, to be done, to send a chunk: none of it is allowed before the offer is accepted."""
    sender = sender_of()
    connect(sender)
    sender.receive(frame, 0)
    assert isinstance(sender.error, RemoteProtocolError)
    assert the(drain(sender), "error")["code"] == "remote-protocol"


def test_an_offer_expires() -> None:
    """An offer that nobody took in time has expired, and the receiver is told."""
    sender = sender_of(expires_at=100)
    assert sender.next_deadline() == 100
    connect(sender, now=95)
    assert sender.next_deadline() == 100
    sender.deadline_passed(99.9)
    assert sender.phase is Phase.OFFERED
    sender.deadline_passed(100)
    assert sender.phase is Phase.EXPIRED
    assert isinstance(sender.error, Expired)
    assert the(drain(sender), "error")["code"] == "expired"


def test_an_offer_expires_while_nobody_is_there() -> None:
    """Without a connection it expires, too, and has nobody to tell."""
    sender = sender_of(expires_at=100)
    sender.deadline_passed(100)
    assert sender.phase is Phase.EXPIRED
    assert sender.finished


def test_what_is_accepted_does_not_expire() -> None:
    """Once it is accepted it may take as long as it takes."""
    sender = accepted(expires_at=100)
    assert sender.next_deadline() == SMALL.ping_interval
    sender.deadline_passed(1000)
    assert sender.phase is Phase.TRANSFERRING


# ---------------------------------------------------------------- wants
def test_exactly_what_is_wanted_is_sent() -> None:
    """Each want is answered by its chunks, in the order of the wants."""
    sender = accepted()
    want(sender, [[3, 4], [1, 2]])
    want(sender, [[0, 1]])
    while read(sender):
        continue
    frames = drain(sender)
    assert [frame.fields["numbers"] for frame in frames] == [[1, 3], [0]]
    assert sender.sent == RangeSet.of(0, 1, 3)


def test_the_digest_of_a_file_follows_its_chunks() -> None:
    """The digest of a file is told when all of its chunks have been read, and once."""
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
    """A digest that was told before is told again when it is asked for, without another read."""
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
    """A range of entries may cover folders; nothing is owed for them."""
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
    """Chunks and files that there are not cannot be wanted."""
    sender = accepted()
    sender.receive(control("want", **fields), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_too_many_wants() -> None:
    """A receiver that wants without end is cut off."""
    sender = accepted()
    for _ in range(MAX_WANTS):
        want(sender, [[0, 1]])
    assert sender.error is None
    want(sender, [[0, 1]])
    assert isinstance(sender.error, RemoteProtocolError)


def test_very_many_digests() -> None:
    """Every file's digest may be owed at once, however scattered: that is bounded by the list."""
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


# ---------------------------------------------------------------- reading ahead
def test_reading_ahead_is_bounded() -> None:
    """No more is read than the batches hold, and they are as much as read_ahead allows; sending frees them."""
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
    assert len(batches) == 8  # of three chunks each: four do not fit with their headers
    assert set(batches) == held
    assert sender.sent == RangeSet.span(0, 24)


def test_a_frame_is_valid_until_the_next_is_taken() -> None:
    """The memory of a batch is used again only when its last frame is not needed any more."""
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
    assert len(taken) == 4  # the three of the first batch, and the next, for which the last was let go of


def test_frames_have_the_size_that_the_driver_asks_for() -> None:
    """A smaller frame_size makes smaller frames, beginning with the next batch."""
    sender = accepted()
    sender.frame_size = 1500
    want(sender, EVERYTHING)
    while read(sender):
        continue
    sizes = []
    while (frame := sender.next_frame(0)) is not None:
        sizes.append(len(frame))
    assert max(sizes) == 1500
    assert len(sizes) == 9  # three of each large chunk; the last has room for what is small


def pieces_sent(sender: Sender) -> list[tuple[int, int, int]]:
    """Read all that is wanted, and take it: chunk, offset and length of each piece."""
    while read(sender):
        continue
    sent = []
    while (frame := sender.next_frame(0)) is not None:
        pieces = decode(memoryview(bytes(frame)))
        assert not isinstance(pieces, Control | LeafRun)
        for part in pieces:
            stop = part.offset + len(part.data)
            assert part.data == FILES["abc"[max(0, part.chunk - 2)]][part.offset : stop]
            assert part.digest == chunk_digest((FILES["a"][:CHUNK], FILES["b"])[part.chunk == 3])
            sent.append((part.chunk, part.offset, len(part.data)))
    return sent


def test_the_rest_of_a_chunk() -> None:
    """Of a chunk of which the receiver has the beginning only what comes behind it is sent, with the whole's digest."""
    sender = accepted()
    sender.frame_size = 1500
    sender.receive(control("want", chunks=[[1, 2]], rest=[1, 3000]), 0)
    want(sender, [[2, 4]])
    assert pieces_sent(sender) == [
        (1, 3000, CHUNK - 3000),
        (2, 0, 1451),
        (2, 1451, 1451),
        (2, 2902, CHUNK - 2902),
        (3, 0, 100),
    ]


def test_the_last_byte_of_a_chunk() -> None:
    """The rest of a chunk may be one byte of it."""
    sender = accepted()
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 99]), 0)
    assert pieces_sent(sender) == [(3, 99, 1)]


def test_the_rest_belongs_to_its_want() -> None:
    """Wanted again, on this connection or on another one, the chunk comes whole."""
    sender = accepted()
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 10]), 0)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 10, 90), (3, 0, 100)]
    sender.disconnected()
    connect(sender)
    want(sender, [[3, 4]])
    assert pieces_sent(sender) == [(3, 0, 100)]


def test_the_rest_once_for_each_connection() -> None:
    """Each connection may begin with the rest of a chunk; later there is no cause to ask for one."""
    sender = accepted()
    for _ in range(2):
        sender.receive(control("want", leaves=[[0, 1]]), 0)
        sender.receive(control("want", chunks=[[0, 4]], rest=[0, 10]), 0)
        assert sender.error is None
        sender.disconnected()
        connect(sender)
    want(sender, [[0, 1]])
    sender.receive(control("want", chunks=[[3, 4]], rest=[3, 10]), 0)
    assert isinstance(sender.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "rest",
    [
        [0, 0],  # nothing is there
        [0, CHUNK],  # everything is
        [0, CHUNK + 1],
        [0, -1],
        [3, 100],  # of a shorter one
        [4, 1],  # of an empty one
        [2, 1],  # of one that is not wanted
        [5, 1],  # of one that there is not
        [-1, 1],
        [0],
        [0, 1, 2],
        [0, 0.5],
        ["0", 1],
        {"0": 1},
        "all",
        7,
    ],
    ids=str,
)
def test_a_rest_that_cannot_be(rest: Any) -> None:
    """A rest of what is not wanted, or of as many bytes as cannot be there, ends the transfer."""
    sender = accepted()
    sender.receive(control("want", chunks=[[0, 2], [3, 5]], rest=rest), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_whoever_is_in_the_queue_does_not_read() -> None:
    """While it is held by the driver nothing is read; what was wanted meanwhile is answered later."""
    sender = accepted()
    sender.held = True
    want(sender, [[0, 1]], [[1, 2]])
    assert sender.next_read() is None
    sender.held = False
    assert sender.next_read() is not None


def test_a_paused_sender_sends_no_chunks() -> None:
    """Paused by either side, what is read stays here, and control frames go on."""
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


# ---------------------------------------------------------------- a source that is away
def test_a_source_that_is_away() -> None:
    """It is paused, and the receiver told why; when it is back, the same chunks are read."""
    sender = accepted()
    want(sender, EVERYTHING)
    job = sender.next_read()
    assert job is not None
    sender.source_away(job, "the page is closed")
    assert the(drain(sender), "pause") == {"reason": "the page is closed"}
    assert (sender.paused, sender.pause_reason) == (True, "the page is closed")
    sender.source_back()
    assert names(drain(sender)) == ["resume"]
    again = sender.next_read()
    assert again is not None
    assert again.chunks == job.chunks
    assert again.batch is job.batch


def test_digests_whose_source_is_away() -> None:
    """They are owed still, and read when it is back."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    assert job.batch is None
    sender.source_away(job, "the page is closed")
    sender.source_back()
    again = sender.next_read()
    assert again is not None
    assert again.chunks == job.chunks


def test_a_person_pauses_while_the_source_is_away() -> None:
    """When it is back, the transfer is still paused; both reasons are said, also on a new connection."""
    sender = accepted()
    want(sender, EVERYTHING)
    job = sender.next_read()
    assert job is not None
    sender.pause()
    sender.source_away(job, "the page is closed")
    sender.disconnected()
    assert the(connect(sender), "pause") == {"reason": "paused; the page is closed"}
    sender.source_back()
    assert the(drain(sender), "pause") == {"reason": "paused"}
    assert sender.paused
    sender.resume()
    assert not sender.paused


def test_a_source_that_is_away_at_the_end() -> None:
    """Of a transfer that is over nothing more is said."""
    sender = accepted()
    want(sender, EVERYTHING)
    job = sender.next_read()
    assert job is not None
    sender.cancel("", 0)
    drain(sender)
    sender.source_away(job, "the page is closed")
    assert names(drain(sender)) == []
    assert not sender.paused


def test_what_is_read_soon() -> None:
    """A job says what comes after it, so that it can be asked for ahead: of as many wants as a receiver has."""
    sender = accepted({"a": bytes((AHEAD + 1) * CHUNK)})
    for first in range(AHEAD + 1):
        want(sender, [[first, first + 1]])
    job = sender.next_read()
    assert job is not None
    assert job.chunks == RangeSet.of(0)
    assert job.ahead == RangeSet.span(0, AHEAD)


def test_what_was_under_way_is_forgotten() -> None:
    """A new connection begins without wants; what a job of the old one read is not sent."""
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
    """What was read when it had already ended is not sent, whether it was to be sent or only hashed."""
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


# ---------------------------------------------------------------- digests without data
def test_files_are_hashed_that_need_not_travel() -> None:
    """Digests of files whose chunks nobody wants are found by reading them, one job at a time."""
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
    """What is only hashed does not keep wanted bytes waiting for long."""
    limits = Limits(chunk_size=32 * MiB, window=32 * MiB, read_ahead=32 * MiB)
    sender = Sender(Manifest.of([Entry("big", 320 * MiB)], 32 * MiB), limits)
    connect(sender)
    sender.receive(control("answer", accept=True), 0)
    want(sender, [], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    assert len(job.chunks) * 32 * MiB == HASH_BYTES


def test_scattered_files_share_a_job() -> None:
    """Small files that lie apart are hashed together, as many as a job holds."""
    files = {f"{n:03}": b"x" for n in range(4 * HASH_CHUNKS)}
    sender = accepted(files)
    want(sender, [], [[n, n + 1] for n in range(0, len(files), 2)])
    sizes = []
    while job := read(sender, files):
        sizes.append(len(job.chunks))
    assert sizes == [HASH_CHUNKS, HASH_CHUNKS]


def leaves_of(sender: Sender) -> list[LeafRun]:
    """All the digests of chunks that it has to send; it sends nothing else."""
    runs = []
    while (frame := sender.next_frame(0)) is not None:
        run = decode(memoryview(bytes(frame)))
        assert isinstance(run, LeafRun)
        runs.append(run)
    return runs


def ask(sender: Sender, *leaves: list[int]) -> None:
    """Ask for the digests of chunks."""
    sender.receive(control("want", leaves=list(leaves)), 0)


def test_digests_of_chunks() -> None:
    """The digests of chunks are told without the chunks, in runs, when they have been read."""
    sender = accepted()
    ask(sender, [0, 2], [3, 5])
    assert leaves_of(sender) == []
    assert sender.hashing
    job = read(sender)
    assert job is not None
    assert (job.chunks, job.batch) == (RangeSet.of(0, 1, 3, 4), None)
    first, second = leaves_of(sender)
    data = [FILES["a"][:CHUNK], FILES["a"][CHUNK : 2 * CHUNK], FILES["b"], FILES["c"]]
    assert list(first.pairs()) == [(0, chunk_digest(data[0])), (1, chunk_digest(data[1]))]
    assert list(second.pairs()) == [(3, chunk_digest(data[2])), (4, chunk_digest(data[3]))]
    assert not sender.hashing
    assert sender.next_read() is None


def test_digests_of_chunks_that_are_known() -> None:
    """What was read before is told at once, in a paused transfer, too."""
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    drain(sender)
    sender.receive(control("pause"), 0)
    ask(sender, [1, 3])
    (run,) = leaves_of(sender)
    assert run.chunks == RangeSet.span(1, 3)
    assert sender.next_read() is None


def test_chunks_that_are_asked_for_twice() -> None:
    """Digests that were asked for twice before they were told are told once."""
    sender = accepted()
    ask(sender, [0, 2])
    ask(sender, [1, 3])
    read(sender)
    (run,) = leaves_of(sender)
    assert run.chunks == RangeSet.span(0, 3)


def test_digests_of_chunks_go_before_those_of_files() -> None:
    """Who asks for chunks' digests waits for them to compare, so these are read first; wanted bytes before all."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    ask(sender, [4, 5])
    want(sender, [[3, 4]])
    jobs = [read(sender), read(sender), read(sender)]
    assert [job.chunks for job in jobs if job] == [RangeSet.of(3), RangeSet.of(4), RangeSet.span(0, 3)]


def test_too_many_digests_of_chunks() -> None:
    """No more may be owed than a receiver ever asks for; what was told is not owed."""
    files = {"a": bytes(2 * MAX_ASKED * CHUNK)}
    sender = accepted(files)
    ask(sender, [0, MAX_ASKED])
    ask(sender, [0, 1])
    assert sender.error is None
    while read(sender, files):
        continue
    assert sum(len(run.chunks) for run in leaves_of(sender)) == MAX_ASKED
    ask(sender, [MAX_ASKED, 2 * MAX_ASKED])
    assert sender.error is None
    ask(sender, [0, 1])
    assert isinstance(sender.error, RemoteProtocolError)


def test_who_asks_without_listening_costs_nothing() -> None:
    """Digests become frames only when they are taken: a question asked a thousand times costs as much as once."""
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    for _ in range(1000):
        sender.receive(control("want", digests=[[0, 3]], leaves=EVERYTHING), 0)
    frames = []
    while (frame := sender.next_frame(0)) is not None:
        frames.append(bytes(frame)[0])
    assert frames == [3, 1, 2]


def test_digests_of_a_lost_connection() -> None:
    """What was asked for on a lost connection is not told on the next; what was read for it is known."""
    sender = accepted()
    ask(sender, [0, 2])
    job = sender.next_read()
    assert job is not None
    sender.disconnected()
    assert not sender.hashing
    assert names(connect(sender)) == ["hello", "offer"]
    ask(sender, [0, 1])
    sender.chunks_read(job, *read_job(job, sender.manifest, FILES))
    (run,) = leaves_of(sender)
    assert run.chunks == RangeSet.of(0)
    assert sender.next_read() is None


def test_a_receiver_that_tells_digests() -> None:
    """To tell digests of chunks is the sender's part."""
    sender = accepted()
    sender.receive(memoryview(encode_leaves(0, bytes(32))), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_it_is_not_hashing_while_bytes_are_to_be_sent() -> None:
    """As long as bytes are read or wait for the line it is transferring, whatever is owed besides."""
    sender = accepted()
    ask(sender, [4, 5])
    want(sender, [[0, 1]])
    assert not sender.hashing
    read(sender)
    assert not sender.hashing
    drain(sender)
    assert sender.hashing


def test_wanted_chunks_go_first() -> None:
    """What the receiver waits for is read before what is only hashed."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    want(sender, [[3, 4]])
    jobs = [read(sender), read(sender)]
    assert [job.chunks for job in jobs if job] == [RangeSet.of(3), RangeSet.span(0, 3)]


# ---------------------------------------------------------------- reports and the end
def test_progress_in_several_frames() -> None:
    """Several reports add up; the first says that earlier ones are void, the last the state."""
    sender = accepted()
    sender.receive(control("progress", verified=[[4, 5]], durable=[], all=False, state="transferring"), 0)
    sender.receive(control("progress", verified=[[0, 1]], durable=[[0, 1]], all=True), 0)
    sender.receive(control("progress", verified=[[2, 3]], durable=[], all=False, state="verifying"), 0)
    assert (sender.verified, sender.durable) == (RangeSet.of(0, 2), RangeSet.of(0))
    assert sender.phase is Phase.VERIFYING


def test_progress_is_what_the_receiver_says() -> None:
    """Reports add to what is verified and durable there; with ``all`` earlier ones are forgotten."""
    sender = accepted()
    report = {"verified": [[0, 2]], "durable": [[0, 1]], "state": "transferring", "all": False}
    sender.receive(control("progress", **report), 0)
    sender.receive(control("progress", **report | {"verified": [[3, 4]]}), 0)
    assert sender.verified == sender.sent == RangeSet.of(0, 1, 3)
    assert sender.durable == RangeSet.of(0)
    sender.receive(control("progress", **report | {"durable": [], "all": True}), 0)
    assert sender.verified == RangeSet.of(0, 1)
    assert sender.durable == RangeSet()
    sender.disconnected()
    assert sender.sent == sender.verified


def test_the_receivers_phase_is_followed() -> None:
    """The sender goes to verifying and writing with the receiver, back with it, and over what it missed."""
    sender = accepted()
    states = []
    for state in ("new", "verifying", "verifying", "transferring", "writing", "verifying", "transferring"):
        sender.receive(control("progress", state=state), 0)
        states.append(sender.phase)
    verifying, transferring, writing = Phase.VERIFYING, Phase.TRANSFERRING, Phase.WRITING
    assert states == [transferring, verifying, verifying, transferring, writing, writing, transferring]
    sender = accepted()
    sender.receive(control("progress", state="verifying"), 0)
    sender.receive(control("progress", state="writing"), 0)
    assert sender.phase is Phase.WRITING


@pytest.mark.parametrize("fields", [{"verified": [[0, 9]]}, {"durable": 5}])
def test_impossible_progress(fields: dict[str, Any]) -> None:
    """Chunks that there are not cannot be verified."""
    sender = accepted()
    sender.receive(control("progress", **fields), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_done() -> None:
    """When the receiver is done everything is durable there, and it is answered by bye."""
    sender = accepted()
    sender.receive(control("done", digest="ab" * 32), 0)
    assert sender.phase is Phase.DONE
    assert sender.digest == b"\xab" * 32
    assert sender.durable == sender.verified == sender.sent == RangeSet.span(0, 5)
    assert names(drain(sender)) == ["bye"]
    assert sender.finished


def test_done_is_known_before_bye_goes_out() -> None:
    """The driver can write down that it is done, for state and event are there, before the receiver can hear bye."""
    sender = accepted()
    sender.events()
    sender.receive(control("done", digest="ab" * 32), 0)
    assert sender.phase is Phase.DONE
    assert Changed() in sender.events()
    assert names(drain(sender)) == ["bye"]


@pytest.mark.parametrize("digest", ["xyz", 5, None])
def test_done_without_a_digest(digest: Any) -> None:
    """A digest that cannot be read is an error."""
    sender = accepted()
    sender.receive(control("done", digest=digest), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_done_with_another_digest() -> None:
    """If every chunk's digest is known here, the receiver must have come to the same digest of the whole."""
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    drain(sender)
    right = sender._leaves.content()
    sender.receive(control("done", digest="00" * 32), 0)
    assert isinstance(sender.error, DigestMismatch)
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    sender.receive(control("done", digest=right.hex()), 0)
    assert sender.phase is Phase.DONE


def test_done_is_said_again() -> None:
    """A receiver that did not hear bye says done on the next connection, and hears it then."""
    sender = accepted()
    sender.receive(control("done", digest="ab" * 32), 0)
    sender.disconnected()
    assert names(connect(sender, 1)) == ["hello"]
    sender.receive(control("done", digest="ab" * 32), 1)
    assert names(drain(sender)) == ["bye"]


def test_a_file_that_cannot_be_read() -> None:
    """A failure of the storage is told to the receiver."""
    sender = accepted()
    want(sender, EVERYTHING)
    sender.fail(StorageError("Reading failed."), 0)
    assert the(drain(sender), "error") == {"code": "storage", "message": "Reading failed."}
    assert sender.next_read() is None


def test_a_source_that_changed() -> None:
    """A file that is no longer what was offered ends it, and the receiver hears what it is about."""
    sender = accepted()
    want(sender, EVERYTHING)
    sender.fail(SourceChanged("a changed."), 0)
    assert the(drain(sender), "error") == {"code": "source-changed", "message": "a changed."}


def test_the_same_list_is_the_same_offer() -> None:
    """A sender of another process offers the same list under the same id; another time of a file makes another."""
    first, second = sender_of(), sender_of()
    assert first.offer_id == second.offer_id == first.manifest.id
    entries = [Entry(e.path, e.size, 1) for e in first.manifest.entries]
    assert Sender(Manifest.of(entries, CHUNK), SMALL).offer_id != first.offer_id


def test_changes_are_events() -> None:
    """The driver hears when something is to be shown."""
    sender = accepted()
    assert set(sender.events()) == {Changed()}


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
