"""The receiver resumes an offer that an earlier run accepted."""

from __future__ import annotations

import pytest

from nbferry.errors import RemoteProtocolError
from nbferry.limits import Limits
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Offered, Sync
from nbferry.protocol.frames import RANGES_PER_FRAME
from nbferry.protocol.phases import Phase
from rig import manifest_of
from unit.protocol.receiver_setup import CHUNK, MANIFEST, Peer, offered, resumed
from wire import names, the


def test_a_known_offer_is_not_listed() -> None:
    """An offer that is known from an earlier run needs no list, but a decision like any other."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    assert peer.offer() == []
    assert Offered(MANIFEST) in peer.receiver.events()
    assert peer.receiver.phase is Phase.OFFERED
    peer.receiver.accept(0.0)
    assert names(peer.heard()) == ["answer", "want"]


def test_another_offer_than_the_known_one() -> None:
    """An offer other than that of the earlier run is listed as usual."""
    other = manifest_of({"x": b"x"})
    peer = Peer(known=(other.id, other))
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    assert peer.receiver.manifest == MANIFEST


@pytest.mark.parametrize("changes", [{"entries": 2}, {"bytes": 5}, {"chunk_size": 2 * CHUNK}], ids=str)
def test_a_known_offer_with_other_numbers(changes: dict[str, int]) -> None:
    """The receiver refuses a known id with numbers that contradict the known list."""
    peer = Peer(known=(MANIFEST.id, MANIFEST))
    peer.connect()
    peer.offer(**changes)
    assert peer.events(Offered) == 0
    assert isinstance(peer.receiver.error, RemoteProtocolError)


def test_resuming_after_a_restart() -> None:
    """The receiver reports what the journal vouches for, in place of earlier reports, and never wants it."""
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
    """Chunks that were durable from the start need no flush."""
    limits = Limits(chunk_size=CHUNK, window=5 * CHUNK, read_ahead=5 * CHUNK, sync_bytes=1)
    peer = offered(limits=limits)
    peer.receiver.accept(0.0, RangeSet.of(0, 1), peer.runs(0, 1))
    peer.receiver.deadline_passed(100.0)
    assert peer.events(Sync) == 0


def test_a_chunk_without_a_digest() -> None:
    """A chunk without a digest in the journal is a candidate."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0, 1), peer.runs(0))
    assert peer.receiver.verified == RangeSet.of(0)
    assert peer.receiver.candidates == RangeSet.of(1)


def test_a_digest_without_the_chunk() -> None:
    """The receiver ignores a digest in the journal whose chunk is missing."""
    peer = offered()
    peer.receiver.accept(0.0, RangeSet.of(0), peer.runs(0, 1))
    assert the(peer.heard(), "want")["chunks"] == [[1, 4]]
    assert peer.receiver.verified == RangeSet.of(0)
    peer.digests(0)
    assert peer.receiver.error is None


def test_half_a_million_digests() -> None:
    """A journal of half a tebibyte is read by runs and becomes one range."""
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
    """Reports and wants of very many ranges take several frames that add up; the last has the state."""
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
