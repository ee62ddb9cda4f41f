"""The sender makes its offer, lists it, and follows the receiver's answer."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import Expired, Rejected, RemoteProtocolError
from nbferry.model.manifest import Entry, Manifest
from nbferry.protocol.events import Changed
from nbferry.protocol.frames import MAX_CONTROL
from nbferry.protocol.phases import Phase
from nbferry.protocol.sender import ENTRIES_PER_FRAME, Sender
from rig import SMALL
from unit.protocol.sender_setup import CHUNK, FILES, accepted, connect, sender_of
from wire import chunk_frame, control, drain, names, piece, the


def test_the_offer_follows_the_greeting() -> None:
    """The sender makes its offer after hello, before it reads any file."""
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
    """The sender lists its entries in their order, page after page."""
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
    """Also with long names that need escapes, a page fits into a control frame."""
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
    """The list of an empty offer is one empty page."""
    sender = sender_of({})
    connect(sender)
    sender.receive(control("list"), 0)
    assert the(drain(sender), "entries") == {"first": 0, "entries": []}


def test_the_list_ends_with_the_connection() -> None:
    """The sender does not continue a list on the next connection."""
    sender = sender_of()
    connect(sender)
    sender.receive(control("list"), 0)
    sender.disconnected()
    assert names(connect(sender)) == ["hello", "offer"]


def test_an_accepted_offer() -> None:
    """Once accepted the sender is transferring; a second yes, on a later connection, changes nothing."""
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
    """Any answer but yes ends the transfer with the receiver's reason; the sender says bye."""
    sender = sender_of()
    connect(sender)
    sender.receive(control("answer", **fields), 0)
    assert sender.phase is Phase.REJECTED
    assert isinstance(sender.error, Rejected)
    assert sender.error.message == message
    assert names(drain(sender)) == ["bye"]
    assert sender.finished


def test_a_no_after_a_yes() -> None:
    """A receiver that has accepted cannot reject any more."""
    sender = accepted()
    sender.receive(control("answer", accept=False), 0)
    assert isinstance(sender.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "frame", [control("want", chunks=[[0, 1]]), control("done", digest="00"), chunk_frame(piece(0, b"x"))]
)
def test_what_comes_before_the_answer(frame: memoryview) -> None:
    """Before it accepts, the receiver may not want chunks or say done, and never sends a chunk."""
    sender = sender_of()
    connect(sender)
    sender.receive(frame, 0)
    assert isinstance(sender.error, RemoteProtocolError)
    assert the(drain(sender), "error")["code"] == "remote-protocol"


def test_an_offer_expires() -> None:
    """An offer without an answer expires, and the sender tells the receiver."""
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


def test_an_offer_expires_without_a_connection() -> None:
    """An offer also expires without a connection."""
    sender = sender_of(expires_at=100)
    sender.deadline_passed(100)
    assert sender.phase is Phase.EXPIRED
    assert sender.finished


def test_an_accepted_offer_does_not_expire() -> None:
    """An accepted offer does not expire."""
    sender = accepted(expires_at=100)
    assert sender.next_deadline() == SMALL.ping_interval
    sender.deadline_passed(1000)
    assert sender.phase is Phase.TRANSFERRING


def test_the_same_list_is_the_same_offer() -> None:
    """Senders of the same list use the same id; a file with another time makes another id."""
    first, second = sender_of(), sender_of()
    assert first.offer_id == second.offer_id == first.manifest.id
    entries = [Entry(e.path, e.size, 1) for e in first.manifest.entries]
    assert Sender(Manifest.of(entries, CHUNK), SMALL).offer_id != first.offer_id


def test_changes_are_events() -> None:
    """An event tells the driver that there is a change to show."""
    sender = accepted()
    assert set(sender.events()) == {Changed()}
