"""The receiver checks the offer and its list before it asks for a decision."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import RemoteProtocolError, UnsafePath
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Offered
from nbferry.protocol.phases import Phase
from nbferry.protocol.sender import ENTRIES_PER_FRAME
from rig import SMALL
from unit.protocol.receiver_setup import CHUNK, MANIFEST, Peer, accepted, fails, offered
from wire import control, names


def test_the_sender_speaks_first() -> None:
    """A receiver says hello and waits for the offer."""
    peer = Peer()
    (frame,) = peer.connect()
    assert frame.fields["role"] == "receiver"
    assert peer.receiver.verified == RangeSet()
    assert peer.receiver.outstanding == 0


def test_the_receiver_asks_for_the_list_and_a_decision() -> None:
    """The receiver asks for the list, and for a decision when the list is complete."""
    peer = Peer()
    peer.connect()
    assert names(peer.offer()) == ["list"]
    assert peer.events(Offered) == 0
    peer.list()
    assert Offered(MANIFEST) in peer.receiver.events()
    assert peer.receiver.phase is Phase.OFFERED
    assert peer.heard() == []


def test_the_list_may_come_in_pages() -> None:
    """Pages follow each other; an empty page adds nothing."""
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
    """The receiver refuses counts and sizes beyond its limits before it uses memory for them."""
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
    """The receiver refuses pages out of order, too many entries, wrong entries and a wrong number of bytes."""
    peer = Peer()
    peer.connect()
    peer.offer()
    peer.say(control("entries", **fields))
    assert fails(peer)


def test_a_list_without_an_offer() -> None:
    """A list needs an offer before it."""
    peer = Peer()
    peer.connect()
    peer.say(control("entries", first=0, entries=[]))
    assert fails(peer)


def test_entries_after_the_whole_list() -> None:
    """After the whole list the sender may not add entries."""
    peer = offered()
    peer.say(control("entries", first=3, entries=[]))
    assert fails(peer)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "con", "a\x00b", ".bashrc", "a//b", ""])
def test_unsafe_names(path: str) -> None:
    """One unsafe name makes the receiver refuse the whole offer and tell the sender."""
    peer = offered(Manifest.of([Entry("fine"), Entry(path)], CHUNK))
    assert fails(peer, UnsafePath)
    assert peer.receiver.manifest is None


def test_hidden_names_by_consent() -> None:
    """The receiver takes hidden names only where its user allows them."""
    hidden = Manifest.of([Entry(".env")], CHUNK)
    assert fails(offered(hidden), UnsafePath)
    assert offered(hidden, allow_hidden=True).receiver.phase is Phase.OFFERED


def test_another_offer_on_the_next_connection() -> None:
    """A sender may not make another offer on a later connection."""
    peer = offered()
    peer.receiver.disconnected()
    peer.connect()
    peer.offer(id="other")
    assert isinstance(peer.receiver.error, RemoteProtocolError)


def test_a_list_that_came_in_part() -> None:
    """If only a part of the list came, the receiver asks for it again on the next connection."""
    peer = Peer()
    peer.connect()
    peer.offer()
    peer.say(control("entries", first=0, entries=[MANIFEST.entries[0].to_wire()]))
    peer.receiver.disconnected()
    peer.connect()
    assert names(peer.offer()) == ["list"]
    peer.list()
    assert peer.receiver.manifest == MANIFEST


def test_an_offer_that_awaits_a_decision_through_a_reconnection() -> None:
    """While the user decides, a known offer is neither listed nor answered on a new connection."""
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


def test_a_list_with_another_id() -> None:
    """The receiver refuses a list whose id is not that of the offer: it must not pass for a known list."""
    peer = Peer()
    peer.connect()
    peer.offer(id="0" * 32)
    peer.list()
    assert fails(peer)
    assert peer.receiver.manifest is None
