"""The sender follows the receiver's reports to the end."""

from __future__ import annotations

from typing import Any

import pytest

from nbferry.errors import DigestMismatch, RemoteProtocolError
from nbferry.model.ranges import RangeSet
from nbferry.protocol.events import Changed
from nbferry.protocol.phases import Phase
from unit.protocol.sender_setup import EVERYTHING, accepted, connect, read, want
from wire import control, drain, names


def test_progress_in_several_frames() -> None:
    """Frames of one report add up; the first replaces earlier reports, the last has the state."""
    sender = accepted()
    sender.receive(control("progress", verified=[[4, 5]], durable=[], all=False, state="transferring"), 0)
    sender.receive(control("progress", verified=[[0, 1]], durable=[[0, 1]], all=True), 0)
    sender.receive(control("progress", verified=[[2, 3]], durable=[], all=False, state="verifying"), 0)
    assert (sender.verified, sender.durable) == (RangeSet.of(0, 2), RangeSet.of(0))
    assert sender.phase is Phase.VERIFYING


def test_progress_is_what_the_receiver_says() -> None:
    """Reports add up; one with ``all`` replaces the earlier ones."""
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
    """The sender follows the receiver's state, forwards and back, and skips states that it missed."""
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
    """A report of chunks that do not exist is an error."""
    sender = accepted()
    sender.receive(control("progress", **fields), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_done() -> None:
    """When the receiver says done, everything is durable and the sender says bye."""
    sender = accepted()
    sender.receive(control("done", digest="ab" * 32), 0)
    assert sender.phase is Phase.DONE
    assert sender.digest == b"\xab" * 32
    assert sender.durable == sender.verified == sender.sent == RangeSet.span(0, 5)
    assert names(drain(sender)) == ["bye"]
    assert sender.finished


def test_done_is_known_before_bye_is_sent() -> None:
    """Phase and event say done before bye leaves, so that the driver can record it first."""
    sender = accepted()
    sender.events()
    sender.receive(control("done", digest="ab" * 32), 0)
    assert sender.phase is Phase.DONE
    assert Changed() in sender.events()
    assert names(drain(sender)) == ["bye"]


@pytest.mark.parametrize("digest", ["xyz", 5, None])
def test_done_without_a_digest(digest: Any) -> None:
    """A malformed digest is an error."""
    sender = accepted()
    sender.receive(control("done", digest=digest), 0)
    assert isinstance(sender.error, RemoteProtocolError)


def test_done_with_another_digest() -> None:
    """If the sender knows every chunk's digest, the receiver's digest of the whole must match."""
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
    """A receiver that did not hear bye repeats done on the next connection, and hears bye then."""
    sender = accepted()
    sender.receive(control("done", digest="ab" * 32), 0)
    sender.disconnected()
    assert names(connect(sender, 1)) == ["hello"]
    sender.receive(control("done", digest="ab" * 32), 1)
    assert names(drain(sender)) == ["bye"]
