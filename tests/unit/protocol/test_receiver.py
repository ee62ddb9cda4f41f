"""The receiver, with the sender and the storage played by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import (
    DigestMismatch,
    DiskFull,
    RemoteProtocolError,
    SourceChanged,
    StorageError,
    UnsafePath,
)
from nbferry.limits import GiB, Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.candidates import AT_ONCE, COMPARE_CHUNKS, MAX_ASKED
from nbferry.protocol.events import Compare, Offered, Publish, Store, Sync
from nbferry.protocol.frames import RANGES_PER_FRAME, ChunkData, Control, encode_leaves
from nbferry.protocol.leaves import Leaves
from nbferry.protocol.machine import LINGER
from nbferry.protocol.phases import Phase
from nbferry.protocol.receiver import FILE_ATTEMPTS, Receiver
from nbferry.protocol.sender import ENTRIES_PER_FRAME
from rig import SMALL, bytes_of, manifest_of
from wire import chunk_frame, control, drain, hello, names, piece, the

CHUNK = SMALL.chunk_size
FILES = {"a": b"A" * CHUNK + b"a" * CHUNK, "b": b"b" * 100, "c": b""}  # chunks 0 and 1, 2, 3
MANIFEST = manifest_of(FILES)
EVERYTHING = RangeSet.span(0, 4)


class Peer:
    """A receiver, and the other side's part played for it."""

    def __init__(self, manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> None:
        self.manifest = manifest
        self.files = FILES
        self.receiver = Receiver(limits, **options)

    def connect(self, now: float = 0.0) -> list[Control]:
        """Say hello; what the receiver says before it knows the offer."""
        self.receiver.connected(now)
        self.say(hello("sender"))
        return drain(self.receiver, now)

    def say(self, frame: memoryview, now: float = 0.0) -> None:
        """Say something to the receiver."""
        self.receiver.receive(frame, now)

    def heard(self, now: float = 0.0) -> list[Control]:
        """All that the receiver has to say."""
        return drain(self.receiver, now)

    def offer(self, now: float = 0.0, **changes: Any) -> list[Control]:
        """Make the offer, perhaps a changed one; what is said to that."""
        manifest = self.manifest
        fields = {"id": manifest.id, "entries": len(manifest.entries), "files": manifest.file_count}
        fields |= {"bytes": manifest.total_bytes, "chunk_size": manifest.chunk_size}
        self.say(control("offer", **fields | changes), now)
        return self.heard(now)

    def list(self) -> None:
        """List all entries on one page."""
        entries = [entry.to_wire() for entry in self.manifest.entries]
        self.say(control("entries", first=0, entries=entries))

    def send(self, *chunks: int, now: float = 0.0) -> list[ChunkData]:
        """Send chunks in one frame; what is to be stored."""
        parts = []
        for chunk in chunks:
            data = bytes_of(chunk, self.manifest, self.files)
            parts.append(piece(chunk, data, chunk_digest(data)))
        self.say(chunk_frame(*parts), now)
        return self.to_store()

    def to_store(self) -> list[ChunkData]:
        """The chunks that have come to be stored since somebody looked."""
        events = self.receiver.events()
        return [chunk for event in events if isinstance(event, Store) for chunk in event.chunks]

    def store(self, chunks: list[ChunkData], now: float = 0.0, right: RangeSet | None = None) -> None:
        """Say that they are stored, all of them if nothing else is said."""
        tried = {chunk.chunk: chunk.digest for chunk in chunks}
        self.receiver.chunks_stored(tried, RangeSet.of(*tried) if right is None else right, now)

    def digests(self, *entries: int) -> None:
        """Send the right digests of files."""
        self.say(control("digests", digests=[[entry, self.digest_of(entry)] for entry in entries]))

    def tell(self, first: int, stop: int | None = None) -> None:
        """Send the digests of some chunks."""
        digests = self.leaves().run(first, stop or first + 1)
        self.say(memoryview(encode_leaves(first, digests)))

    def to_compare(self) -> list[int]:
        """The chunks that have come to be compared since somebody looked."""
        events = self.receiver.events()
        return [chunk for event in events if isinstance(event, Compare) for chunk, _ in event.pairs]

    def leaves(self) -> Leaves:
        """The digests of all chunks."""
        leaves = Leaves(self.manifest)
        leaves.update(
            {
                n: chunk_digest(bytes_of(n, self.manifest, self.files))
                for n in range(self.manifest.chunk_count)
            }
        )
        return leaves

    def runs(self, *chunks: int) -> list[tuple[int, bytes]]:
        """The digests of some chunks as a journal has them."""
        leaves = self.leaves()
        return [(chunk, leaves.run(chunk, chunk + 1)) for chunk in chunks]

    def digest_of(self, entry: int) -> str:
        """The right digest of a file."""
        return self.leaves().file(entry).hex()

    def events(self, kind: type) -> int:
        """How many events of a kind have happened since somebody looked."""
        return sum(isinstance(event, kind) for event in self.receiver.events())


def offered(manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> Peer:
    """A receiver that knows the whole offer."""
    peer = Peer(manifest, limits, **options)
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    return peer


def accepted(manifest: Manifest = MANIFEST, limits: Limits = SMALL, **options: Any) -> Peer:
    """A receiver that took the offer; it has wanted what its window holds."""
    peer = offered(manifest, limits, **options)
    peer.receiver.accept(0.0)
    return peer


def stored(*, digests: bool = False) -> Peer:
    """A receiver that has all chunks, and perhaps the files' digests."""
    peer = accepted()
    peer.store(peer.send(0, 1, 2, 3))
    if digests:
        peer.digests(0, 1, 2)
    peer.heard()
    return peer


def finished() -> Peer:
    """A receiver that is done and has said so."""
    peer = stored(digests=True)
    peer.receiver.published(5.0)
    return peer


def fails(peer: Peer, kind: type[Exception] = RemoteProtocolError) -> bool:
    """Whether it has failed so, and has told the other side."""
    assert isinstance(peer.receiver.error, kind), peer.receiver.error
    assert peer.receiver.phase is Phase.FAILED
    return names(peer.heard())[-1] == "error"


# ---------------------------------------------------------------- the offer
def test_the_sender_speaks_first() -> None:
    """A receiver says hello and waits for the offer."""
    peer = Peer()
    (frame,) = peer.connect()
    assert frame.fields["role"] == "receiver"
    assert peer.receiver.verified == RangeSet()
    assert peer.receiver.outstanding == 0


def test_an_offer_is_listed_and_judged() -> None:
    """The list is asked for, and when it is complete somebody has to decide."""
    peer = Peer()
    peer.connect()
    assert names(peer.offer()) == ["list"]
    assert peer.events(Offered) == 0
    peer.list()
    assert Offered(MANIFEST) in peer.receiver.events()
    assert peer.receiver.phase is Phase.OFFERED
    assert peer.heard() == []


def test_the_list_may_come_in_pages() -> None:
    """Pages follow each other; an empty one adds nothing."""
    peer = Peer()
    peer.connect()
    peer.offer()
    for first, stop in ((0, 1), (1, 1), (1, 3)):
        entries = [entry.to_wire() for entry in MANIFEST.entries[first:stop]]
        assert peer.receiver.manifest is None
        peer.say(control("entries", first=first, entries=entries))
    assert peer.receiver.manifest == MANIFEST


@pytest.mark.parametrize(
    "changes",
    [
        {"entries": SMALL.max_entries + 1},
        {"entries": -1},
        {"entries": None},
        {"bytes": SMALL.max_bytes + 1},
        {"bytes": "1"},
        {"chunk_size": 4095},
        {"chunk_size": 64 * 1024 * 1024 + 1},
        {"id": 5},
    ],
    ids=str,
)
def test_hostile_offers(changes: dict[str, Any]) -> None:
    """Counts and sizes beyond the limits are refused before memory is used for them."""
    peer = Peer()
    peer.connect()
    peer.offer(**changes)
    assert isinstance(peer.receiver.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "fields",
    [
        {"first": 1, "entries": []},
        {"first": None, "entries": []},
        {"first": 0, "entries": [{"path": str(n)} for n in range(4)]},
        {"first": 0, "entries": [{"path": str(n)} for n in range(3)]},
        {"first": 0, "entries": [{"path": str(n)} for n in range(ENTRIES_PER_FRAME + 1)]},
        {"first": 0, "entries": [{"path": 5}]},
        {"first": 0, "entries": 5},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_hostile_lists(fields: dict[str, Any]) -> None:
    """Pages out of order, too many entries, another number of bytes than was offered, and wrong entries are refused."""
    peer = Peer()
    peer.connect()
    peer.offer()
    peer.say(control("entries", **fields))
    assert fails(peer)


def test_a_list_without_an_offer() -> None:
    """What was not offered cannot be listed."""
    peer = Peer()
    peer.connect()
    peer.say(control("entries", first=0, entries=[]))
    assert fails(peer)


def test_a_list_that_nobody_asked_for() -> None:
    """After the whole list there are no more entries."""
    peer = offered()
    peer.say(control("entries", first=3, entries=[]))
    assert fails(peer)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "con", "a\x00b", ".bashrc", "a//b", ""])
def test_unsafe_names(path: str) -> None:
    """An offer with a name that is not safe is refused as a whole, and the sender is told."""
    peer = offered(Manifest.of([Entry("fine"), Entry(path)], CHUNK))
    assert fails(peer, UnsafePath)
    assert peer.receiver.manifest is None


def test_hidden_names_by_consent() -> None:
    """Hidden names are taken by who allows them."""
    hidden = Manifest.of([Entry(".env")], CHUNK)
    assert fails(offered(hidden), UnsafePath)
    assert offered(hidden, allow_hidden=True).receiver.phase is Phase.OFFERED


def test_another_offer_on_the_next_connection() -> None:
    """A sender that suddenly offers something else is not the one that was agreed with."""
    peer = offered()
    peer.receiver.disconnected()
    peer.connect()
    peer.offer(id="other")
    assert isinstance(peer.receiver.error, RemoteProtocolError)


def test_a_list_that_was_cut() -> None:
    """A list of which only a part came is asked for again on the next connection."""
    peer = Peer()
    peer.connect()
    peer.offer()
    peer.say(control("entries", first=0, entries=[MANIFEST.entries[0].to_wire()]))
    peer.receiver.disconnected()
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    assert peer.receiver.manifest == MANIFEST


def test_an_offer_that_waits_through_a_reconnection() -> None:
    """A known offer that nobody has decided on is neither listed nor answered on the next connection."""
    peer = offered()
    peer.receiver.disconnected()
    peer.connect()
    assert peer.offer() == []
    peer.receiver.accept(0.0)
    assert names(peer.heard()) == ["answer", "want"]


def test_unknown_frames_are_ignored() -> None:
    """A frame that this version does not know changes nothing."""
    peer = accepted()
    peer.say(control("wish", fields=5))
    assert peer.receiver.error is None


def test_a_list_that_is_another_one() -> None:
    """A list that has not the id of the offer is refused: another list must not pass for the one that is known."""
    peer = Peer()
    peer.connect()
    peer.offer(id="0" * 32)
    peer.list()
    assert fails(peer)
    assert peer.receiver.manifest is None


# ---------------------------------------------------------------- an offer from an earlier run
def resumed(have: tuple[int, ...] = (), candidates: RangeSet | None = None) -> Peer:
    """A receiver that knows the offer from an earlier run, and has accepted it with what it has."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    assert peer.offer() == []
    peer.receiver.accept(0.0, RangeSet.of(*have), peer.runs(*have), candidates or RangeSet())
    return peer


def test_a_known_offer_is_not_listed() -> None:
    """The offer of an earlier run is there at once; whoever drives decides about it as about any."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    assert peer.offer() == []
    assert Offered(MANIFEST) in peer.receiver.events()
    assert peer.receiver.phase is Phase.OFFERED
    peer.receiver.accept(0.0)
    assert names(peer.heard()) == ["answer", "want"]


def test_another_offer_than_the_known_one() -> None:
    """An offer that is not the one of the earlier run is listed like any other."""
    other = manifest_of({"x": b"x"})
    peer = Peer(known=(other.id, other))
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    assert peer.receiver.manifest == MANIFEST


@pytest.mark.parametrize("changes", [{"entries": 2}, {"bytes": 5}, {"chunk_size": 2 * CHUNK}], ids=str)
def test_a_known_offer_with_other_numbers(changes: dict[str, int]) -> None:
    """An offer of a known id whose numbers are not those of the list is refused."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    peer.offer(**changes)
    assert peer.events(Offered) == 0
    assert isinstance(peer.receiver.error, RemoteProtocolError)


def test_going_on_after_a_restart() -> None:
    """What the journal vouches for is reported, in place of what the sender knows, and never wanted."""
    peer = resumed(have=(0, 2))
    frames = peer.heard()
    assert the(frames, "want")["chunks"] == [[1, 2], [3, 4]]
    peer.receiver.deadline_passed(0.0)
    report = the(peer.heard(), "progress")
    assert report == {
        "verified": [[0, 1], [2, 3]],
        "durable": [[0, 1], [2, 3]],
        "state": "transferring",
        "all": True,
    }


def test_nothing_is_synced_that_is_durable() -> None:
    """What was there from the start needs no flush."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = offered(limits=limits)
    peer.receiver.accept(0.0, RangeSet.of(0, 1), peer.runs(0, 1))
    peer.receiver.deadline_passed(100.0)
    assert peer.events(Sync) == 0


def test_having_without_knowing_the_digest() -> None:
    """A chunk whose digest the journal does not have counts as one that may be right."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0, 1), peer.runs(0))
    assert peer.receiver.verified == RangeSet.of(0)
    assert peer.receiver.candidates == RangeSet.of(1)


def test_a_digest_without_the_chunk() -> None:
    """A digest in the journal of a chunk that is not there counts for nothing."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0), peer.runs(0, 1))
    assert the(peer.heard(), "want")["chunks"] == [[1, 4]]
    assert peer.receiver.verified == RangeSet.of(0)
    peer.digests(0)
    assert peer.receiver.error is None


def test_half_a_million_digests() -> None:
    """A journal of half a tebibyte is taken in by runs; what it has is one range, and never looked at one by one."""
    manifest = Manifest.of([Entry("big", 1 << 40)], 1 << 20)
    half = 1 << 19
    peer = Peer(manifest, Limits(), known=(manifest.id, manifest))
    peer.connect()
    peer.offer()
    runs = [(first, bytes(32) * 8192) for first in range(0, half, 8192)]
    peer.receiver.accept(0.0, RangeSet.span(0, half), runs)
    assert peer.receiver.verified.ranges == ((0, half),)
    assert the(peer.heard(), "want")["chunks"][0][0] == half


def test_a_journal_full_of_holes() -> None:
    """Reports and wants of very many ranges go in several frames, which add up; the last has the state."""
    count = 4 * RANGES_PER_FRAME + 10
    manifest = Manifest.of([Entry(f"{n:06}") for n in range(count)], CHUNK)
    peer = Peer(manifest, Limits(), known=(manifest.id, manifest))
    peer.connect()
    peer.offer()
    have = RangeSet.of(*range(0, count, 2))
    peer.receiver.accept(0.0, have, [(chunk, bytes(32)) for chunk in have])
    peer.receiver.deadline_passed(0.0)
    frames = peer.heard()
    wants = [frame.fields for frame in frames if frame.name == "want"]
    reports = [frame.fields for frame in frames if frame.name == "progress"]
    assert [len(want["chunks"]) for want in wants] == [RANGES_PER_FRAME, RANGES_PER_FRAME, 5]
    assert [len(report["durable"]) for report in reports] == [RANGES_PER_FRAME, RANGES_PER_FRAME, 5]
    assert [report["all"] for report in reports] == [True, False, False]
    assert [report.get("state") for report in reports] == [None, None, "transferring"]
    assert [pair for report in reports for pair in report["verified"]] == [[n, n + 1] for n in have]


# ---------------------------------------------------------------- what is here already
def test_candidates_are_asked_about() -> None:
    """Of what may be right the digests are asked for, beside the chunks that are not here at all."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    assert the(peer.heard(), "want") == {"chunks": [[2, 4]], "digests": [[1, 3]], "leaves": [[0, 2]]}
    assert peer.receiver.candidates == RangeSet.of(0, 1)
    assert peer.to_compare() == []


def test_what_is_right_is_kept() -> None:
    """A candidate that has the sender's digest is stored, as good as one that arrived; the others are wanted."""
    peer = resumed(candidates=RangeSet.of(0, 1, 2))
    peer.heard()
    peer.tell(0, 3)
    assert peer.to_compare() == [0, 1, 2]
    peer.receiver.compared([0, 1, 2], RangeSet.of(0, 2), 1.0)
    assert peer.receiver.verified == peer.receiver.reused == RangeSet.of(0, 2)
    assert peer.receiver.durable == RangeSet()
    assert not peer.receiver.candidates
    assert the(peer.heard(), "want") == {"chunks": [[1, 2]], "digests": [[0, 1]], "leaves": []}
    peer.receiver.deadline_passed(1.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1
    peer.receiver.synced(4.0)
    assert peer.receiver.durable == RangeSet.of(0, 2)


def test_everything_is_here_already() -> None:
    """If all candidates are right no byte travels; files are compared as ever, and it is published."""
    peer = resumed(candidates=EVERYTHING)
    assert the(peer.heard(), "want") == {"chunks": [], "digests": [], "leaves": [[0, 4]]}
    peer.tell(0, 4)
    peer.to_compare()
    peer.receiver.compared(range(4), EVERYTHING, 0.0)
    assert the(peer.heard(), "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}
    peer.digests(0, 1, 2)
    assert peer.receiver.phase is Phase.WRITING
    assert peer.receiver.file_digests() == [peer.leaves().file(n) for n in range(3)]


def test_digests_in_any_order() -> None:
    """The sender tells digests as it knows them; each is compared when it is here."""
    peer = resumed(candidates=EVERYTHING)
    peer.tell(3)
    peer.tell(1, 3)
    assert peer.to_compare() == [3, 1, 2]
    peer.receiver.compared([3], RangeSet.of(3), 0.0)
    assert peer.receiver.phase is Phase.TRANSFERRING
    peer.tell(0)
    assert peer.to_compare() == [0]


@pytest.mark.parametrize("first", [1, 3, 2**64 - 1])
def test_digests_of_chunks_that_nobody_asked_for(first: int) -> None:
    """Digests of chunks that are not candidates, or were told already, end the transfer."""
    peer = resumed(candidates=RangeSet.of(1, 2))
    peer.tell(1)
    peer.say(memoryview(encode_leaves(first, bytes(32))))
    assert fails(peer)


def test_digests_of_chunks_before_the_answer() -> None:
    """Nothing has been asked for before the offer is accepted; after the end nothing matters."""
    peer = offered()
    peer.tell(0)
    assert fails(peer)
    error = peer.receiver.error
    peer.tell(0)
    assert peer.receiver.error is error


def big_copy() -> Peer:
    """A receiver that has an older copy of a file of very many chunks."""
    manifest = manifest_of({"a": bytes(3 * MAX_ASKED * CHUNK)})
    peer = Peer(manifest, known=(manifest.id, manifest))
    peer.connect()
    peer.offer()
    peer.receiver.accept(0.0, candidates=RangeSet.span(0, manifest.chunk_count))
    return peer


def told(peer: Peer, first: int, stop: int) -> None:
    """Tell digests of some chunks."""
    peer.say(memoryview(encode_leaves(first, bytes(32) * (stop - first))))


def test_questions_are_bounded() -> None:
    """So many digests are asked for, and more when half of them are told and compared."""
    peer = big_copy()
    assert the(peer.heard(), "want")["leaves"] == [[0, MAX_ASKED]]
    told(peer, 0, MAX_ASKED)
    assert peer.heard() == []
    compared = 0
    while compared < MAX_ASKED // 2:
        chunks = peer.to_compare()
        assert 0 < len(chunks) <= AT_ONCE * COMPARE_CHUNKS
        compared += len(chunks)
        peer.receiver.compared(chunks, RangeSet.of(*chunks), 0.0)
    (start, stop) = the(peer.heard(), "want")["leaves"][0]
    assert start == MAX_ASKED
    assert MAX_ASKED // 2 <= stop - start <= MAX_ASKED


def test_a_paused_receiver_asks_and_compares_nothing() -> None:
    """Whoever pauses asks for no digests and starts no comparison; what was under way counts."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.receiver.pause()
    peer.heard()
    peer.tell(0, 2)
    assert peer.to_compare() == []
    peer.receiver.resume()
    assert peer.to_compare() == [0, 1]
    peer.receiver.pause()
    peer.receiver.compared([0, 1], RangeSet.of(0), 0.0)
    assert peer.receiver.verified == RangeSet.of(0)
    assert names(peer.heard()) == ["resume", "pause"]


def test_questions_of_a_lost_connection() -> None:
    """What was asked and not answered is asked again; what was answered is compared without a connection."""
    peer = resumed(candidates=EVERYTHING)
    peer.tell(0, 2)
    peer.receiver.disconnected()
    assert peer.to_compare() == [0, 1]
    peer.receiver.compared([0, 1], RangeSet.of(1), 0.0)
    peer.connect()
    frames = peer.offer()
    assert the(frames, "want") == {"chunks": [[0, 1]], "digests": [[0, 1]], "leaves": [[2, 4]]}
    assert the(frames, "progress")["verified"] == [[1, 2]]


def test_a_disk_without_room_for_what_is_right() -> None:
    """What could not be copied into place is compared again when there is room."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    assert peer.to_compare() == [0, 1]
    peer.receiver.storage_full([0, 1], DiskFull(5))
    assert peer.receiver.candidates == RangeSet.of(0, 1)
    assert peer.to_compare() == []
    peer.receiver.storage_ready()
    assert peer.to_compare() == [0, 1]


def test_comparisons_that_end_after_the_end() -> None:
    """What was compared when it is over is not needed any more."""
    peer = resumed(candidates=RangeSet.of(0))
    peer.tell(0)
    peer.receiver.cancel("", 0.0)
    peer.receiver.compared([0], RangeSet.of(0), 0.0)
    assert peer.receiver.reused == peer.receiver.verified == RangeSet()


def test_what_was_reused_is_verified_with_its_file() -> None:
    """A file of reused chunks whose digest is another one comes from the sender as a whole."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    peer.receiver.compared([0, 1], RangeSet.of(0, 1), 0.0)
    peer.store(peer.send(2, 3))
    peer.heard()
    peer.say(control("digests", digests=[[1, peer.digest_of(1)], [2, peer.digest_of(2)]]))
    peer.say(control("digests", digests=[[0, "00" * 32]]))
    assert peer.receiver.reused == RangeSet()
    assert the(peer.heard(), "want")["chunks"] == [[0, 2]]


# ---------------------------------------------------------------- the answer
def test_accepting() -> None:
    """Whoever accepts says so and wants what the window holds, with the digests of the files that this completes."""
    peer = accepted()
    frames = peer.heard()
    assert names(frames) == ["answer", "want"]
    assert the(frames, "answer") == {"accept": True}
    assert the(frames, "want") == {"chunks": [[0, 4]], "digests": [[0, 3]], "leaves": []}
    assert peer.receiver.outstanding > 0


def test_digests_are_asked_for_with_the_last_chunk() -> None:
    """The digest of a file that is wanted in parts is asked for with the last of them, and once."""
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
    """Whoever rejects says why, and has finished with the sender's bye."""
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
    """To accept or to reject what has ended meanwhile changes nothing."""
    peer = offered()
    peer.say(control("cancel"))
    peer.receiver.accept(0.0)
    peer.receiver.reject("", 0.0)
    assert peer.receiver.phase is Phase.CANCELLED
    assert names(peer.heard()) == ["bye"]


def test_accepting_without_a_connection() -> None:
    """An answer that could not be sent is sent when the sender has made its offer again."""
    peer = offered()
    peer.receiver.disconnected()
    peer.receiver.accept(0.0)
    assert names(peer.connect()) == ["hello"]
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "progress") == {"verified": [], "durable": [], "state": "transferring", "all": True}


def test_nothing_is_wanted_before_the_answer() -> None:
    """On a new connection nothing is wanted before the answer is there, whatever else makes room for it."""
    peer = offered()
    peer.receiver.pause()
    peer.receiver.disconnected()
    peer.receiver.accept(0.0)
    peer.connect()
    peer.receiver.resume()
    assert names(peer.heard()) == ["resume"]
    assert names(peer.offer()) == ["answer", "progress", "want"]


def test_having_some_already() -> None:
    """Who has chunks already, with their digests, wants only the others."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0, 2), peer.runs(0, 2))
    frames = peer.heard()
    assert the(frames, "want") == {"chunks": [[1, 2], [3, 4]], "digests": [[0, 1], [2, 3]], "leaves": []}
    assert peer.receiver.durable == peer.receiver.verified == RangeSet.of(0, 2)


def test_having_everything_already() -> None:
    """Who has every chunk wants digests only, and publishes when they fit."""
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


# ---------------------------------------------------------------- chunks
def test_chunks_are_stored() -> None:
    """What arrived whole is to be checked and written; then it is verified, and the sender hears of it in time."""
    peer = accepted()
    peer.receiver.deadline_passed(0.0)
    peer.heard()
    chunks = peer.send(2, 3, now=7.0)
    assert [bytes(chunk.data) for chunk in chunks] == [FILES["b"], b""]
    assert peer.receiver.verified == RangeSet()
    peer.store(chunks, now=7.0)
    assert peer.receiver.verified == RangeSet.of(2, 3)
    assert peer.receiver.next_deadline() == 7.0 + SMALL.report_interval
    assert peer.heard() == []
    peer.receiver.deadline_passed(7.0 + SMALL.report_interval)
    expected = {"verified": [[2, 4]], "durable": [], "state": "transferring", "all": False}
    assert the(peer.heard(), "progress") == expected


def test_the_data_of_a_whole_chunk_lie_in_the_frame() -> None:
    """Chunks that came whole are views of the frame, which is needed until they are stored."""
    peer = accepted()
    frame = chunk_frame(piece(3, b""), piece(2, FILES["b"]))
    peer.say(frame)
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert not event.assembled
    assert all(chunk.data.obj is frame.obj for chunk in event.chunks)


def pieces_of(chunk: int, *sizes: int) -> list[bytes]:
    """A chunk cut into pieces of these sizes, as far as they go."""
    data = bytes_of(chunk, MANIFEST, FILES)
    parts, at = [], 0
    for size in sizes:
        parts.append(piece(chunk, data[at : at + size], chunk_digest(data), offset=at))
        at += size
    return parts


def test_a_chunk_in_pieces() -> None:
    """A chunk that comes in pieces is put together in memory of its own; the frames are not needed any more."""
    peer = accepted()
    for part in pieces_of(0, 1000, 3000, CHUNK - 4000):
        assert peer.to_store() == []
        peer.say(chunk_frame(part))
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert event.assembled
    assert bytes(event.chunks[0].data) == FILES["a"][:CHUNK]
    assert event.chunks[0].digest == chunk_digest(FILES["a"][:CHUNK])


def test_the_end_of_a_chunk_beside_whole_ones() -> None:
    """A frame that ends a chunk and has whole ones, too, is needed until they are stored."""
    peer = accepted()
    first, last = pieces_of(0, 4000, CHUNK - 4000)
    peer.say(chunk_frame(first))
    for order in ([last, piece(2, FILES["b"])],):
        peer.say(chunk_frame(*order))
    (event,) = [event for event in peer.receiver.events() if isinstance(event, Store)]
    assert [chunk.chunk for chunk in event.chunks] == [0, 2]
    assert not event.assembled


@pytest.mark.parametrize(
    "frames",
    [
        [[piece(9, b"")]],  # there is no such chunk
        [[piece(2**64 - 1, b"")]],
        [[piece(2, FILES["b"] + b"!")]],  # too long
        [[piece(2, FILES["b"], offset=1)]],  # as long as it should be, but not at its beginning
        [[piece(2, b"")]],  # an empty piece of what is not empty
        [[piece(3, b"!")]],
        [[piece(2, FILES["b"]), piece(2, FILES["b"])]],  # twice at once
        [[piece(2, FILES["b"])], [piece(2, FILES["b"])]],  # twice
        [pieces_of(0, 1000, 96)[1:]],  # the second piece without the first
        [pieces_of(0, 1000, 3000)[:1], pieces_of(0, 1000, 3000)[:1]],  # the first piece again
        [[*pieces_of(0, 1000)], pieces_of(0, 2000, 2096)[1:]],  # a gap
        [[*pieces_of(0, 1000)], [piece(2, FILES["b"])]],  # another chunk before the end of this one
        [[*pieces_of(0, 1000)], [piece(3, b"")]],
        [[*pieces_of(0, 1000)], pieces_of(1, 1000)],
        [[*pieces_of(0, 1000)], [piece(0, bytes(CHUNK), offset=1000)]],  # beyond its end
        [[b"short"]],
    ],
)
def test_chunks_that_nobody_asked_for_so(frames: list[list[bytes]]) -> None:
    """Unsolicited, repeated, overlong, short and disordered chunks end the transfer."""
    peer = accepted()
    for parts in frames:
        peer.say(chunk_frame(*parts))
    assert fails(peer)


def test_a_chunk_before_the_answer() -> None:
    """Nothing has been asked for before the offer is accepted."""
    peer = offered()
    peer.say(chunk_frame(piece(0, b"")))
    assert fails(peer)


def test_chunks_after_the_end_are_ignored() -> None:
    """What was under way when it ended is neither stored nor an error."""
    peer = accepted()
    peer.receiver.cancel("", 0.0)
    assert peer.send(0) == []
    assert peer.receiver.phase is Phase.CANCELLED


def test_a_frame_without_chunks() -> None:
    """A chunk frame may be empty, and stores nothing."""
    peer = accepted()
    peer.say(chunk_frame())
    assert peer.to_store() == []
    assert peer.receiver.error is None


def cut_off(*pieces: bytes) -> tuple[Peer, list[Control]]:
    """A receiver to which these pieces came before the connection was lost; what it says on the next one."""
    peer = accepted()
    peer.say(chunk_frame(*pieces))
    peer.receiver.disconnected()
    peer.connect()
    return peer, wants(peer.offer())


def wants(frames: list[Control]) -> list[dict[str, Any]]:
    """The fields of all wants, without those that are empty."""
    return [
        {name: value for name, value in frame.fields.items() if value}
        for frame in frames
        if frame.name == "want"
    ]


def test_pieces_of_a_lost_connection() -> None:
    """What has come of a chunk is kept: on the next connection its rest is wanted first, and is enough."""
    first, second, third = pieces_of(1, 1000, 3000, 96)
    peer, heard = cut_off(first, second)
    assert heard == [
        {"chunks": [[1, 2]], "rest": [1, 4000]},
        {"chunks": [[0, 1], [2, 4]], "digests": [[0, 3]]},
    ]
    peer.say(chunk_frame(third))
    (chunk,) = peer.to_store()
    assert bytes(chunk.data) == b"a" * CHUNK
    assert chunk.digest == chunk_digest(b"a" * CHUNK)


def test_pieces_over_many_connections() -> None:
    """A chunk may come over as many connections as it has pieces; those that bring nothing change nothing."""
    parts = pieces_of(0, 1000, 1000, 1000, 1096)
    peer, _ = cut_off(parts[0])
    for times, part in enumerate(parts[1:], 1):
        peer.receiver.disconnected()
        peer.connect()
        assert wants(peer.offer())[0] == {"chunks": [[0, 1]], "rest": [0, 1000 * times]}
        peer.say(chunk_frame(part))
    assert [bytes(chunk.data) for chunk in peer.to_store()] == [b"A" * CHUNK]


def test_a_sender_that_begins_the_chunk_anew() -> None:
    """A chunk may also come again from its beginning, in pieces or whole."""
    peer, _ = cut_off(*pieces_of(0, 1000))
    peer.say(chunk_frame(*pieces_of(0, 500, 3500, 96)))
    assert [bytes(chunk.data) for chunk in peer.to_store()] == [b"A" * CHUNK]
    peer, _ = cut_off(*pieces_of(0, 1000))
    assert [bytes(chunk.data) for chunk in peer.send(0)] == [b"A" * CHUNK]
    assert peer.send(1, 2)
    assert peer.receiver.error is None


def test_a_rest_that_does_not_fit_what_is_here() -> None:
    """Bytes that changed between two connections make a damaged chunk: it is wanted again, and whole."""
    peer, _ = cut_off(piece(0, b"?" * 1000, bytes(32)))
    peer.say(chunk_frame(*pieces_of(0, 1000, 3096)[1:]))
    (chunk,) = peer.to_store()
    assert chunk.digest == chunk_digest(FILES["a"][:CHUNK]) != chunk_digest(chunk.data)
    peer.store([chunk], right=RangeSet())
    assert wants(peer.heard()) == [{"chunks": [[0, 1]]}]
    assert peer.send(0)
    assert peer.receiver.error is None


def test_rests_that_never_fit() -> None:
    """A chunk whose bytes change again and again is as good as one that is damaged again and again."""
    peer = accepted()
    for _ in range(SMALL.chunk_attempts):
        peer.say(chunk_frame(piece(0, b"?" * 1000)))
        peer.receiver.disconnected()
        peer.connect()
        peer.offer()
        peer.say(chunk_frame(*pieces_of(0, 1000, 3096)[1:]))
        peer.store(peer.to_store(), right=RangeSet())
    assert fails(peer, DigestMismatch)


@pytest.mark.parametrize(
    "parts",
    [
        [pieces_of(0, 500, 1000)[1:]],  # some of what is here already
        [pieces_of(0, 2000, 1000)[1:]],  # a gap
        [pieces_of(0, 1000, 3097)[1:2], pieces_of(0, 1000, 3096)[1:]],  # all of it twice
        [pieces_of(0, 1000), pieces_of(0, 1000)],  # from its beginning, twice
        [pieces_of(0, 1000, 1000)[1:], pieces_of(0, 1000)],  # first on, then from its beginning
        [[piece(0, b"", offset=1000)]],
        [[piece(0, bytes(CHUNK), offset=1000)]],
        [[piece(2, FILES["b"])]],  # another one before
        [pieces_of(1, 1000)],
    ],
)
def test_pieces_that_do_not_go_on(parts: list[list[bytes]]) -> None:
    """What is neither the rest of the chunk nor the chunk from its beginning ends the transfer."""
    peer, _ = cut_off(*pieces_of(0, 1000))
    for part in parts:
        peer.say(chunk_frame(*part))
    assert fails(peer)


def test_a_piece_before_its_rest_is_wanted() -> None:
    """While nothing is wanted, nothing may come, what is here of a chunk or not."""
    peer = accepted()
    peer.say(chunk_frame(*pieces_of(0, 1000)))
    peer.receiver.disconnected()
    peer.receiver.pause()
    peer.connect()
    assert wants(peer.offer()) == []
    peer.say(chunk_frame(*pieces_of(0, 1000, 96)[1:]))
    assert fails(peer)


def test_a_rest_after_a_pause() -> None:
    """The rest is the first that is wanted also when the connection begins with a pause, or passes with one."""
    peer = accepted()
    peer.say(chunk_frame(*pieces_of(1, 1000)))
    peer.receiver.pause()
    for _ in range(2):
        peer.receiver.disconnected()
        peer.connect()
        assert wants(peer.offer()) == []
    peer.receiver.resume()
    assert wants(peer.heard())[0] == {"chunks": [[1, 2]], "rest": [1, 1000]}


def test_the_rest_before_what_is_lower() -> None:
    """The rest comes first, whatever else is needed, within the window; files that it does not complete stay open."""
    files = {"a": bytes(8 * CHUNK), "b": bytes(CHUNK)}
    peer = Peer(manifest_of(files))
    peer.files = files
    peer.connect()
    peer.offer()
    peer.list()
    peer.receiver.accept(0.0, RangeSet())
    assert wants(peer.heard()) == [{"chunks": [[0, 4]]}]
    stored = peer.send(0, 1, 2)
    peer.say(chunk_frame(piece(3, bytes(CHUNK - 1))))
    peer.receiver.disconnected()
    peer.store(stored, right=RangeSet.of(1, 2))
    peer.connect()
    assert wants(peer.offer()) == [
        {"chunks": [[3, 4]], "rest": [3, CHUNK - 1]},
        {"chunks": [[0, 1], [4, 6]]},
    ]
    assert peer.receiver.outstanding <= SMALL.window


def test_the_rest_that_completes_a_file() -> None:
    """Together with the last rest of a file its digest is asked for, also if nothing else is."""
    peer = accepted()
    peer.store(peer.send(0, 2, 3))
    peer.say(chunk_frame(*pieces_of(1, 1000)))
    peer.receiver.disconnected()
    peer.connect()
    first, second = wants(peer.offer())
    assert first == {"chunks": [[1, 2]], "rest": [1, 1000]}
    assert second == {"digests": [[0, 1]]}


def test_a_damaged_chunk_is_wanted_again() -> None:
    """A chunk that fails its digest is wanted again, and the other ones of its frame are not."""
    peer = accepted()
    peer.heard()
    peer.store(peer.send(0, 1, 2, 3), right=RangeSet.of(0, 2, 3))
    assert the(peer.heard(), "want") == {"chunks": [[1, 2]], "digests": [], "leaves": []}
    assert peer.receiver.verified == RangeSet.of(0, 2, 3)


def test_a_chunk_that_is_damaged_again_and_again() -> None:
    """After some attempts the sender is dropped."""
    peer = accepted()
    for _ in range(SMALL.chunk_attempts):
        assert peer.receiver.error is None
        peer.store(peer.send(1), right=RangeSet())
    assert fails(peer, DigestMismatch)


def test_what_is_stored_when_the_link_is_lost() -> None:
    """What arrived before the connection was lost counts; the rest is wanted on the next one."""
    peer = accepted()
    chunks = peer.send(0, 2)
    peer.receiver.disconnected()
    peer.store(chunks)
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "progress")["verified"] == [[0, 1], [2, 3]]
    assert the(frames, "want") == {"chunks": [[1, 2], [3, 4]], "digests": [[0, 1], [2, 3]], "leaves": []}


def test_storage_that_answers_after_the_end() -> None:
    """What the storage says when it is over is not needed any more."""
    peer = accepted()
    chunks = peer.send(0)
    peer.receiver.cancel("", 0.0)
    peer.store(chunks)
    peer.receiver.storage_full({0: bytes(32)}, DiskFull(5))
    peer.receiver.published(0.0)
    assert peer.receiver.phase is Phase.CANCELLED
    assert peer.receiver.verified == RangeSet()
    assert not peer.receiver.paused


# ---------------------------------------------------------------- pauses
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


def test_a_flush_that_does_not_fit() -> None:
    """What a failed flush lost is not verified any more, and is wanted again when there is room."""
    peer = stored(digests=True)
    assert peer.receiver.phase is Phase.WRITING
    peer.receiver.flush_failed(RangeSet.of(1, 3), DiskFull(5))
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert peer.receiver.verified == RangeSet.of(0, 2)
    assert peer.receiver.paused
    assert names(peer.heard()) == ["pause"]
    peer.receiver.storage_ready()
    assert the(peer.heard(), "want") == {"chunks": [[1, 2], [3, 4]], "digests": [], "leaves": []}
    peer.receiver.events()
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is Phase.WRITING
    assert peer.events(Publish) == 1


def test_a_flush_that_lost_nothing() -> None:
    """If nothing is lost, what was to be published is published when there is room."""
    peer = stored(digests=True)
    peer.receiver.events()
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    assert peer.events(Publish) == 0
    peer.receiver.storage_ready()
    assert peer.receiver.phase is Phase.WRITING
    assert peer.events(Publish) == 1


def test_a_flush_that_fails_while_more_comes() -> None:
    """A flush that did not fit is not counted, and is due again."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = accepted(limits=limits)
    peer.store(peer.send(0))
    assert peer.events(Sync) == 1
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    peer.receiver.storage_ready()
    peer.store(peer.send(1))
    assert peer.events(Sync) == 1
    peer.receiver.synced(1.0)
    assert peer.receiver.durable == RangeSet.of(0, 1)


def test_a_flush_that_fails_after_the_end() -> None:
    """A flush that fails when it is over changes nothing."""
    peer = accepted()
    peer.receiver.cancel("", 0.0)
    peer.receiver.flush_failed(RangeSet(), DiskFull(5))
    assert not peer.receiver.paused


def test_room_when_nothing_was_full() -> None:
    """To have room is no news if there was room."""
    peer = accepted()
    peer.heard()
    peer.receiver.storage_ready()
    assert peer.heard() == []


# ---------------------------------------------------------------- what the storage loses
@pytest.mark.parametrize("digests", [False, True], ids=["verifying", "writing"])
def test_what_is_lost_is_wanted_again(digests: bool) -> None:
    """Chunks that the storage finds damaged are wanted again; the sender hears that it knew too much."""
    peer = stored(digests=digests)
    peer.receiver.synced(1.0)
    peer.receiver.events()
    peer.receiver.lost(RangeSet.of(1, 3), 2.0)
    assert peer.receiver.phase is Phase.TRANSFERRING
    assert peer.receiver.verified == RangeSet.of(0, 2)
    assert the(peer.heard(), "want")["chunks"] == [[1, 2], [3, 4]]
    assert not peer.receiver.paused
    peer.receiver.deadline_passed(2.0 + SMALL.report_interval)
    report = the(peer.heard(), "progress")
    assert (report["verified"], report["state"], report["all"]) == ([[0, 1], [2, 3]], "transferring", True)
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is (Phase.WRITING if digests else Phase.VERIFYING)
    assert peer.events(Publish) == digests


def test_what_is_lost_is_not_durable() -> None:
    """A durable chunk that is lost is durable no more, and the rest of its file has to be compared anew."""
    peer = resumed(have=(0, 1, 2))
    peer.heard()
    peer.receiver.lost(RangeSet.of(1), 0.0)
    assert peer.receiver.durable == peer.receiver.verified == RangeSet.of(0, 2)
    peer.store(peer.send(1, 3))
    assert peer.receiver.phase is Phase.VERIFYING


def test_a_flush_that_lost_something() -> None:
    """A flush that failed counts for nothing: what it did not lose is synced by the next."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = accepted(limits=limits)
    peer.store(peer.send(0, 1))
    assert peer.events(Sync) == 1
    peer.receiver.lost(RangeSet.of(1), 1.0)
    assert peer.receiver.durable == RangeSet()
    assert peer.events(Sync) == 1
    peer.receiver.synced(2.0)
    assert peer.receiver.durable == RangeSet.of(0)


def test_what_was_reused_may_be_lost() -> None:
    """A reused chunk that is lost comes from the sender."""
    peer = resumed(candidates=RangeSet.of(0, 1))
    peer.tell(0, 2)
    peer.receiver.compared([0, 1], RangeSet.of(0, 1), 0.0)
    peer.heard()
    peer.receiver.lost(RangeSet.of(0), 0.0)
    assert peer.receiver.reused == RangeSet.of(1)
    assert the(peer.heard(), "want")["chunks"] == [[0, 1]]


def test_a_disk_that_loses_again_and_again() -> None:
    """A chunk that does not last however often it is written ends the transfer."""
    peer = stored()
    for _ in range(SMALL.chunk_attempts):
        assert peer.receiver.error is None
        peer.receiver.lost(RangeSet.of(2), 0.0)
        if peer.receiver.error is None:
            peer.store(peer.send(2))
    assert fails(peer, StorageError)


def test_losing_what_was_not_there() -> None:
    """To lose what is not stored, or nothing, or before and after it all, changes nothing."""
    peer = offered()
    peer.receiver.lost(RangeSet.of(0), 0.0)
    peer.receiver.accept(0.0)
    chunks = peer.send(0)
    peer.heard()
    peer.receiver.lost(RangeSet.span(0, 100), 0.0)
    peer.receiver.lost(RangeSet(), 0.0)
    assert peer.heard() == []
    peer.store(chunks)
    assert peer.receiver.verified == RangeSet.of(0)
    peer.receiver.cancel("", 0.0)
    peer.receiver.lost(RangeSet.of(0), 0.0)
    assert peer.receiver.verified == RangeSet.of(0)


def test_publishing_that_is_not_asked_for_any_more() -> None:
    """What was lost while it waited to be published is not done, whatever the storage says."""
    peer = stored(digests=True)
    peer.receiver.lost(RangeSet.of(0), 0.0)
    peer.receiver.published(1.0)
    assert peer.receiver.phase is Phase.TRANSFERRING


# ---------------------------------------------------------------- files
def test_files_are_compared_when_they_are_complete() -> None:
    """Digests may come before or after the chunks of their files; with the last of both it is verified."""
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
    """A digest that cannot be one, or of a file whose digest nobody asked for, is an error."""
    peer = accepted()
    peer.say(control("digests", digests=digests))
    assert fails(peer)


def test_digests_that_nobody_asked_for() -> None:
    """A digest before the answer is an error, and so is one of a file that was not asked about."""
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
    """A frame of no digests changes nothing."""
    peer = accepted()
    peer.say(control("digests", **fields))
    assert peer.receiver.error is None


def test_digests_before_the_offer() -> None:
    """A frame of no digests before the offer is one step too early."""
    peer = Peer()
    peer.connect()
    peer.say(control("digests"))
    assert fails(peer)


def test_a_file_that_does_not_fit_is_wanted_again() -> None:
    """A whole file whose digest does not fit is wanted again, once; then the sender is dropped."""
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


def test_a_file_that_fits_the_second_time() -> None:
    """A file that came right the second time is as good as any."""
    peer = stored()
    peer.say(control("digests", digests=[[0, "00" * 32], [1, peer.digest_of(1)], [2, peer.digest_of(2)]]))
    peer.store(peer.send(0, 1))
    peer.digests(0)
    assert peer.receiver.phase is Phase.WRITING


def test_a_wrong_file_while_others_are_under_way() -> None:
    """A file that does not fit is wanted again in the middle of a transfer; a flush under way does not cover it."""
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
    """A digest that did not come before the connection was lost is asked for on the next one."""
    peer = stored()
    assert peer.receiver.phase is Phase.VERIFYING
    peer.receiver.disconnected()
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress", "want"]
    assert the(frames, "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}


def test_the_last_chunk_is_stored_while_there_is_no_connection() -> None:
    """If the last chunk is stored without a connection, the digests are asked for on the next one."""
    peer = accepted()
    chunks = peer.send(0, 1, 2, 3)
    peer.receiver.disconnected()
    peer.store(chunks)
    assert peer.receiver.phase is Phase.VERIFYING
    peer.connect()
    assert the(peer.offer(), "want") == {"chunks": [], "digests": [[0, 3]], "leaves": []}
    peer.digests(0, 1, 2)
    assert peer.receiver.phase is Phase.WRITING


# ---------------------------------------------------------------- the end
def test_done() -> None:
    """When all is published it says so, with the digest of the whole, and waits for bye."""
    peer = finished()
    receiver = peer.receiver
    assert receiver.phase is Phase.DONE
    assert receiver.durable == EVERYTHING
    assert the(peer.heard(5.0), "done") == {"digest": peer.leaves().content().hex()}
    peer.say(control("bye"))
    assert receiver.finished


def test_done_is_said_again() -> None:
    """Without a bye it says on the next connection that it has accepted and is done."""
    peer = finished()
    peer.heard()
    peer.receiver.disconnected()
    assert names(peer.connect(6.0)) == ["hello", "answer", "done"]
    assert peer.offer() == []


def test_a_reconnection_while_it_is_written() -> None:
    """What is being published is not published twice, however often the connection is lost."""
    peer = stored(digests=True)
    assert peer.events(Publish) == 1
    peer.receiver.disconnected()
    peer.connect()
    frames = peer.offer()
    assert names(frames) == ["answer", "progress"]
    assert the(frames, "progress")["state"] == "writing"
    assert peer.events(Publish) == 0


def test_published_while_there_is_no_connection() -> None:
    """What is published without a connection is told on the next one."""
    peer = stored(digests=True)
    peer.receiver.disconnected()
    peer.receiver.published(5.0)
    assert names(peer.connect(6.0)) == ["hello", "answer", "done"]


# ---------------------------------------------------------------- done in an earlier run
def test_already_done() -> None:
    """Who was done in an earlier run says so, and nothing else, until it hears bye."""
    digest = Peer().leaves().content()
    peer = Peer()
    peer.receiver = Receiver.already_done(SMALL, digest, 100.0, agent="us")
    assert peer.receiver.phase is Phase.DONE
    assert not peer.receiver.finished
    assert names(peer.connect(101.0)) == ["hello", "answer", "done"]
    assert peer.offer() == []
    assert peer.receiver.digest == digest
    assert peer.receiver.verified == peer.receiver.durable == RangeSet()
    peer.receiver.accept(101.0)
    peer.say(control("bye"))
    assert peer.receiver.finished


def test_already_done_and_nobody_asks() -> None:
    """Who was done in an earlier run does not wait for the sender for longer than any that has ended."""
    receiver = Receiver.already_done(SMALL, bytes(32), 100.0)
    assert receiver.next_deadline() == 100.0 + LINGER
    receiver.deadline_passed(100.0 + LINGER - 1)
    assert not receiver.finished
    receiver.deadline_passed(100.0 + LINGER)
    assert receiver.finished


def test_the_source_changed() -> None:
    """When the sender's files changed the receiver says that what is there is kept."""
    peer = accepted()
    peer.say(control("error", code="source-changed", message="a changed while it was being sent."))
    assert isinstance(peer.receiver.error, SourceChanged)
    assert peer.receiver.error.message == "The other side failed: a changed while it was being sent."
    assert "kept" in peer.receiver.error.hint


# ---------------------------------------------------------------- reports and time
def test_reports_tell_what_is_new() -> None:
    """A report has what became verified or durable since the last one; without news there is none."""
    peer = accepted()
    peer.receiver.deadline_passed(0.0)
    assert the(peer.heard(), "progress")["state"] == "transferring"
    peer.store(peer.send(2))
    peer.store(peer.send(3))
    peer.receiver.deadline_passed(1.0)
    assert the(peer.heard(1.0), "progress")["verified"] == [[2, 4]]
    peer.receiver.deadline_passed(1.9)
    assert peer.heard(1.9) == []
    peer.receiver.synced(1.9)
    assert peer.receiver.next_deadline() == 1.9 + SMALL.report_interval
    peer.receiver.deadline_passed(1.9 + SMALL.report_interval)
    assert peer.heard(2.1) == []


def test_without_a_connection_reports_wait() -> None:
    """A report that is due while there is no connection is part of the first one on the next."""
    peer = accepted()
    chunks = peer.send(2)
    peer.receiver.disconnected()
    peer.store(chunks, now=1.0)
    assert peer.receiver.next_deadline() == 1.0 + SMALL.sync_interval
    peer.receiver.deadline_passed(2.0)
    peer.connect(2.0)
    assert the(peer.offer(2.0), "progress")["verified"] == [[2, 3]]


def test_stored_bytes_are_made_durable_in_time() -> None:
    """After some seconds what is stored is flushed; then the sender hears that it is durable."""
    peer = accepted()
    peer.store(peer.send(2), now=1.0)
    assert peer.events(Sync) == 0
    peer.receiver.deadline_passed(1.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1
    peer.store(peer.send(3), now=9.0)
    assert peer.events(Sync) == 0
    peer.receiver.synced(9.0)
    assert peer.receiver.durable == RangeSet.of(2)
    peer.heard()
    peer.receiver.deadline_passed(9.0 + SMALL.report_interval)
    assert the(peer.heard(), "progress")["durable"] == [[2, 3]]
    peer.receiver.deadline_passed(9.0 + SMALL.sync_interval)
    assert peer.events(Sync) == 1


def test_many_bytes_are_made_durable_at_once() -> None:
    """What a crash may cost is bounded: after so many bytes they are flushed without waiting."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=2 * CHUNK)
    peer = accepted(limits=limits)
    peer.store(peer.send(0))
    assert peer.events(Sync) == 0
    peer.store(peer.send(1))
    assert peer.events(Sync) == 1


def test_nothing_is_due_after_the_end() -> None:
    """When it has ended neither reports nor flushes are due, even if they were."""
    peer = accepted()
    peer.store(peer.send(2), now=1.0)
    peer.receiver.cancel("", 1.0)
    peer.receiver.synced(1.5)
    assert peer.receiver.next_deadline() == SMALL.ping_interval
    peer.heard(1.5)
    peer.receiver.deadline_passed(5.0)
    assert peer.heard() == []
    assert peer.events(Sync) == 0


def test_memory_is_bounded_by_the_window() -> None:
    """However large the offer, no more is outstanding than the window holds."""
    limits = Limits(chunk_size=CHUNK, window=20 * CHUNK, read_ahead=20 * CHUNK)
    peer = accepted(Manifest.of([Entry("a", 1 * GiB)], CHUNK), limits)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    assert (stop - start) * CHUNK <= peer.receiver.outstanding <= limits.window


# ------------------------------------------------------------------ another connection takes over
NARROW = Limits(chunk_size=CHUNK, window=2 * CHUNK, read_ahead=2 * CHUNK)


def test_a_connection_is_drained() -> None:
    """What was asked for comes, nothing more is asked for, and it is known what is left."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    assert not peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes
    peer.store(peer.send(*range(start, stop)))
    assert "want" not in names(peer.heard())
    assert peer.receiver.drained
    assert peer.receiver.left == MANIFEST.total_bytes - MANIFEST.bytes_in(RangeSet.span(start, stop)) > 0


def test_draining_can_be_given_up() -> None:
    """Nothing takes over after all: it asks for the rest at once."""
    peer = accepted(limits=NARROW)
    (start, stop) = the(peer.heard(), "want")["chunks"][0]
    peer.receiver.drain()
    peer.store(peer.send(*range(start, stop)))
    peer.heard()
    peer.receiver.drain(False)
    assert the(peer.heard(), "want")["chunks"][0][0] == stop


def test_draining_ends_with_the_connection() -> None:
    """The next one is asked for everything that is needed."""
    peer = accepted(limits=NARROW)
    peer.receiver.drain()
    peer.receiver.disconnected()
    peer.connect()
    peer.offer()
    assert peer.receiver.left == MANIFEST.total_bytes
    assert not peer.receiver.drained  # it has asked


def test_there_is_nothing_to_drain_before_an_offer() -> None:
    """Neither is anything awaited then, nor left."""
    peer = Peer()
    assert peer.receiver.drained
    assert peer.receiver.left == 0
