"""What is lost, and when that is known."""

from __future__ import annotations

from collections.abc import Iterable

from nbferry.transports.webrtc.recovery import MANY_BLOCKS, RTO_LEAST, RTO_MOST, Packet, Recovery, Timeout


def sent(
    numbers: Iterable[int], *, at: float = 0.0, step: float = 0.0, into: Recovery | None = None
) -> Recovery:
    """Packets of 100 bytes that went out."""
    recovery = Recovery(0) if into is None else into
    for place, number in enumerate(numbers):
        recovery.sent(Packet(number, 100, b""), at + place * step)
    return recovery


def test_what_is_acknowledged_is_not_under_way():
    """In a row and in blocks, each counted once, however often it is told."""
    recovery = sent(range(10))
    news = recovery.acknowledged(2, [(5, 6)], 0.1)
    assert [packet.number for packet in news.acked] == [0, 1, 2, 5, 6]
    assert recovery.flight == 500
    assert recovery.acknowledged(2, [(5, 6)], 0.1).acked == []
    assert [packet.number for packet in recovery.acknowledged(2, [(4, 7)], 0.1).acked] == [4, 7]
    assert [packet.number for packet in recovery.acknowledged(9, [], 0.2).acked] == [3, 8, 9]
    assert (recovery.flight, len(recovery), recovery.deadline()) == (0, 0, None)


def test_acknowledgements_of_what_was_never_sent_are_nothing():
    """A peer may say what it likes."""
    recovery = sent(range(3))
    assert recovery.acknowledged(-5, [(7, 900), (2, 1), (-4, 0)], 0.1).acked == []
    assert len(recovery.acknowledged(10**9, [], 0.1).acked) == 3
    assert recovery.up_to == 2


def test_a_packet_before_one_that_arrived_is_lost_after_a_moment():
    """Not at once, as it may only be late; the moment is a quarter of a round trip."""
    recovery = sent(range(10), step=0.001)
    assert recovery.acknowledged(0, [(2, 9)], 0.1).lost == 0
    due = recovery.deadline()
    assert due is not None
    assert 0.1 < due < 0.15
    assert recovery.expired(due) is Timeout.REORDERING
    assert list(recovery.lost) == [1]
    assert recovery.flight == 0


def test_a_packet_that_was_only_late_makes_patient():
    """It is not sent again, and the next one is waited for longer."""
    recovery = sent(range(10), step=0.001)
    recovery.acknowledged(0, [(2, 9)], 0.1)
    recovery.expired(recovery.deadline() or 0)
    first = (recovery.deadline() or 0.0, list(recovery.lost))
    assert first == (0.0, [1])
    assert [packet.number for packet in recovery.acknowledged(9, [], 0.15).acked] == [1]
    assert not recovery.lost
    sent(range(10, 20), at=0.2, step=0.001, into=recovery)
    recovery.acknowledged(10, [(12, 19)], 0.3)
    patient = recovery.deadline()
    assert patient is not None
    assert patient - 0.201 > 0.091 + 0.045  # a round trip, and half of the shortest


def test_a_copy_can_be_lost_as_well():
    """It is known by what was sent after it."""
    recovery = sent(range(5), step=0.001)
    recovery.acknowledged(0, [(2, 4)], 0.1)
    assert recovery.expired(0.2) is Timeout.REORDERING
    _, packet = recovery.lost.popitem(last=False)
    recovery.sent(packet, 0.2)
    sent(range(5, 8), at=0.201, into=recovery)
    recovery.acknowledged(0, [(2, 7)], 0.3)
    assert not recovery.lost
    assert recovery.expired(0.4) is Timeout.REORDERING
    assert list(recovery.lost) == [1]
    assert recovery.again == 100


def test_a_copy_says_nothing_about_the_round_trip():
    """An answer to it may be one to the original (Karn)."""
    recovery = sent([0, 1])
    recovery.acknowledged(0, [], 0.1)
    assert recovery.min_rtt == 0.1
    packet = Packet(1, 100, b"")
    packet.times = 1
    recovery.sent(packet, 0.2)
    assert recovery.acknowledged(1, [], 0.21).rtt is None
    assert recovery.min_rtt == 0.1


def test_a_lost_tail_is_asked_for_before_the_timeout():
    """The last packet goes again after two round trips, and shows what else is missing."""
    recovery = sent(range(6), step=0.001)
    recovery.acknowledged(2, [], 0.1)
    due = recovery.deadline()
    assert due is not None
    assert due < 0.1 + RTO_LEAST + 0.2
    assert recovery.expired(due) is Timeout.PROBE
    (number,) = recovery.lost
    assert number == 5
    recovery.sent(recovery.lost.pop(5), due)
    news = recovery.acknowledged(2, [(5, 5)], due + 0.1)
    assert news.lost == 200
    assert list(recovery.lost) == [3, 4]
    assert recovery.timeouts == 0


def test_silence_loses_everything_and_waits_longer_each_time():
    """The first ones go first; an answer ends it."""
    recovery = sent(range(4))
    waits = []
    now = 0.0
    for _ in range(9):
        expired = Timeout.NOTHING
        while expired is not Timeout.TIMEOUT:
            due = recovery.deadline()
            assert due is not None
            waits.append(due - now)
            now = due
            expired = recovery.expired(now)
            if expired is Timeout.TIMEOUT:
                assert next(iter(recovery.lost)) == 0
            _, packet = recovery.lost.popitem(last=False)
            recovery.sent(packet, now)
    assert recovery.timeouts == 9
    assert waits[-1] == RTO_MOST
    recovery.acknowledged(0, [], now + 0.1)
    assert recovery.timeouts == 0


def test_nothing_expires_early():
    """A timer that fires before its time does nothing."""
    recovery = sent(range(3))
    assert recovery.expired(0.0) is Timeout.NOTHING
    assert Recovery(0).expired(5.0) is Timeout.NOTHING


def test_what_an_acknowledgement_had_no_room_for_is_not_lost():
    """One with many blocks may have been cut short: what is beyond may have arrived."""
    recovery = sent(range(100), step=0.0001)
    blocks = [(number, number) for number in range(2, 2 + 2 * MANY_BLOCKS, 2)]
    recovery.acknowledged(0, blocks, 0.1)
    sent([100], at=0.2, into=recovery)
    recovery.acknowledged(0, [*blocks, (100, 100)], 0.5)
    assert max(recovery.lost) < 100
    recovery = sent(range(100), step=0.0001)
    sent([100], at=0.2, into=recovery)
    recovery.lost.clear()
    recovery._rack_at, recovery._rack_number, recovery._rack_rtt = 0.2, 100, 0.1
    recovery.acknowledged(0, blocks, 0.5)
    assert max(recovery.lost) <= blocks[-1][1]


def test_the_count_of_bytes():
    """Sent, again, acknowledged."""
    recovery = sent(range(3))
    recovery.acknowledged(1, [], 0.1)
    assert (recovery.sent_bytes, recovery.again, recovery.acknowledged_bytes) == (300, 0, 200)


def test_patience_is_as_long_as_a_packet_was_late():
    """What comes 40 ms after its successors, again and again, is not taken for lost a second time."""
    recovery = sent(range(10), step=0.001)
    recovery.acknowledged(0, [(2, 9)], 0.1)
    recovery.expired(recovery.deadline() or 0)
    recovery.acknowledged(9, [], 0.14)
    sent(range(10, 20), at=1.0, step=0.001, into=recovery)
    recovery.acknowledged(10, [(12, 19)], 1.1)
    assert (recovery.deadline() or 0) > 1.13
    assert recovery.acknowledged(19, [], 1.135).lost == 0
    assert not recovery.lost


def test_an_answer_too_soon_is_to_the_copy_before():
    """A packet that was sent twice and is acknowledged at once was late, not lost: that makes patient as well."""
    recovery = sent(range(10), step=0.001)
    recovery.acknowledged(0, [(2, 9)], 0.1)
    recovery.expired(recovery.deadline() or 0)
    (late,) = recovery.lost.values()
    del recovery.lost[late.number]
    recovery.sent(late, 0.14)
    recovery.acknowledged(9, [], 0.141)
    sent(range(10, 20), at=1.0, step=0.001, into=recovery)
    recovery.acknowledged(10, [(12, 19)], 1.1)
    assert (recovery.deadline() or 0) > 1.13
