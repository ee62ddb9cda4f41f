"""The receiver reports its progress at intervals."""

from __future__ import annotations

from nbferry.protocol.events import Sync
from rig import SMALL
from unit.protocol.receiver_setup import accepted
from wire import the


def test_a_report_has_the_news_since_the_last_one() -> None:
    """A report has what became verified or durable since the last one; without news the receiver sends none."""
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
    """The first report on a new connection includes one that was due without a connection."""
    peer = accepted()
    chunks = peer.send(2)
    peer.receiver.disconnected()
    peer.store(chunks, now=1.0)
    assert peer.receiver.next_deadline() == 1.0 + SMALL.sync_interval
    peer.receiver.deadline_passed(2.0)
    peer.connect(2.0)
    assert the(peer.offer(2.0), "progress")["verified"] == [[2, 3]]


def test_nothing_is_due_after_the_end() -> None:
    """After the end neither reports nor flushes are due."""
    peer = accepted()
    peer.store(peer.send(2), now=1.0)
    peer.receiver.cancel("", 1.0)
    peer.receiver.synced(1.5)
    assert peer.receiver.next_deadline() == SMALL.ping_interval
    peer.heard(1.5)
    peer.receiver.deadline_passed(5.0)
    assert peer.heard() == []
    assert peer.events(Sync) == 0
