"""The sender tells the digests of chunks, so that the receiver can compare what it has."""

from __future__ import annotations

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import RemoteProtocolError
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import MAX_ASKED
from nbferry.protocol.frames import LeafRun, decode, encode_leaves
from nbferry.protocol.sender import Sender
from rig import read_job
from unit.protocol.sender_setup import CHUNK, EVERYTHING, FILES, accepted, connect, read, want
from wire import control, drain, names


def leaves_of(sender: Sender) -> list[LeafRun]:
    """All frames of a sender that has only digests of chunks to send."""
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
    """The sender tells the digests of chunks without the chunks, in runs, when it has read them."""
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
    """The sender tells known digests at once, even while the transfer is paused."""
    sender = accepted()
    want(sender, EVERYTHING)
    read(sender)
    drain(sender)
    sender.receive(control("pause"), 0)
    ask(sender, [1, 3])
    (run,) = leaves_of(sender)
    assert run.chunks == RangeSet.span(1, 3)
    assert sender.next_read() is None


def test_digests_that_are_asked_for_twice() -> None:
    """The sender tells a digest once if the receiver asked twice before the answer."""
    sender = accepted()
    ask(sender, [0, 2])
    ask(sender, [1, 3])
    read(sender)
    (run,) = leaves_of(sender)
    assert run.chunks == RangeSet.span(0, 3)


def test_digests_of_chunks_go_before_those_of_files() -> None:
    """The sender reads for chunks' digests before files' digests, because the receiver waits for them."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    ask(sender, [4, 5])
    want(sender, [[3, 4]])
    jobs = [read(sender), read(sender), read(sender)]
    assert [job.chunks for job in jobs if job] == [RangeSet.of(3), RangeSet.of(4), RangeSet.span(0, 3)]


def test_too_many_digests_of_chunks() -> None:
    """The receiver may have a limited number of open questions; answered ones do not count."""
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


def test_repeated_questions_cost_nothing() -> None:
    """The sender makes frames of digests only when the driver takes them: repeated questions cost nothing."""
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
    """The sender forgets the questions of a lost connection, but not the digests that it read for them."""
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
    """Only the sender tells digests of chunks."""
    sender = accepted()
    sender.receive(memoryview(encode_leaves(0, bytes(32))), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_it_is_not_hashing_while_bytes_are_to_be_sent() -> None:
    """The sender is not hashing while chunks are read or wait to be sent, even if it owes digests."""
    sender = accepted()
    ask(sender, [4, 5])
    want(sender, [[0, 1]])
    assert not sender.hashing
    read(sender)
    assert not sender.hashing
    drain(sender)
    assert sender.hashing
