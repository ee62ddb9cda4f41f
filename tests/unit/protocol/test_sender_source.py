"""The sender's source is away, fails or has changed."""

from __future__ import annotations

from nbferry.errors import SourceChanged, StorageError
from unit.protocol.sender_setup import EVERYTHING, accepted, connect, want
from wire import drain, names, the


def test_a_source_that_is_away() -> None:
    """The sender pauses and tells the receiver why; when the source is back it reads the same chunks."""
    sender = accepted()
    want(sender, EVERYTHING)
    job = sender.next_read()
    assert job is not None
    sender.source_away(job, "the page is closed")
    assert the(drain(sender), "pause") == {"reason": "the page is closed"}
    assert (sender.paused, sender.pause_reason) == (True, "the page is closed")
    sender.source_back()
    assert names(drain(sender)) == ["resume"]
    repeated = sender.next_read()
    assert repeated is not None
    assert repeated.chunks == job.chunks
    assert repeated.batch is job.batch


def test_digests_whose_source_is_away() -> None:
    """The sender still owes the digests, and reads the chunks when the source is back."""
    sender = accepted()
    want(sender, [], [[0, 1]])
    job = sender.next_read()
    assert job is not None
    assert job.batch is None
    sender.source_away(job, "the page is closed")
    sender.source_back()
    repeated = sender.next_read()
    assert repeated is not None
    assert repeated.chunks == job.chunks


def test_a_person_pauses_while_the_source_is_away() -> None:
    """The sender tells both reasons, also on a new connection, and stays paused when the source is back."""
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
    """After the end the sender ignores that its source is away."""
    sender = accepted()
    want(sender, EVERYTHING)
    job = sender.next_read()
    assert job is not None
    sender.cancel("", 0)
    drain(sender)
    sender.source_away(job, "the page is closed")
    assert names(drain(sender)) == []
    assert not sender.paused


def test_a_file_that_cannot_be_read() -> None:
    """The sender tells the receiver that its storage failed."""
    sender = accepted()
    want(sender, EVERYTHING)
    sender.fail(StorageError("Reading failed."), 0)
    assert the(drain(sender), "error") == {"code": "storage", "message": "Reading failed."}
    assert sender.next_read() is None


def test_a_source_that_changed() -> None:
    """A file that is no longer what was offered ends the transfer, and the receiver hears which one."""
    sender = accepted()
    want(sender, EVERYTHING)
    sender.fail(SourceChanged("a changed."), 0)
    assert the(drain(sender), "error") == {"code": "source-changed", "message": "a changed."}
