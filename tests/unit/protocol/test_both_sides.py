"""Both sides of a transfer together, on a line that the tests control."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import Cancelled, DigestMismatch, Expired, Rejected, StorageError
from nbferry.limits import KiB, Limits, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.ranges import RangeSet
from nbferry.protocol.machine import LINGER
from nbferry.protocol.phases import Phase
from nbferry.protocol.window import CHUNK_COST
from rig import SMALL, TO_RECEIVER, TO_SENDER, Rig, bytes_of, manifest_of

CHUNK = SMALL.chunk_size
DATA = Random(1).randbytes  # noqa: S311  # the same in every run
FILES = {
    "a": DATA(7 * CHUNK + 5),
    "b/empty": b"",
    "b/exact": DATA(2 * CHUNK),
    "b/less": DATA(CHUNK - 1),
    "b/more": DATA(CHUNK + 1),
    "c": DATA(1),
}


def arrived(rig: Rig) -> bool:
    """Whether everything has come and both sides know it."""
    both = (rig.sender, rig.receiver)
    assert [side.error for side in both] == [None, None]
    assert rig.sender.digest == rig.receiver.digest
    return rig.received == rig.files and all(side.phase is Phase.DONE and side.finished for side in both)


def until(rig: Rig, happened: Callable[[], object]) -> None:
    """Go on until something has happened."""
    for _ in range(10_000):
        if happened():
            return
        if not rig.step():
            rig.pass_time(0.1)
    raise AssertionError("it does not happen")


def started(files: dict[str, bytes] | None = None, **options: object) -> Rig:
    """A transfer in which the first chunks have come."""
    rig = Rig(FILES if files is None else files, **options)  # type: ignore[arg-type]
    rig.connect()
    until(rig, lambda: rig.receiver.verified)
    return rig


# ---------------------------------------------------------------- the ordinary way
@pytest.mark.parametrize("frame_size", [100, 1000, CHUNK, 3 * CHUNK, MiB])
def test_files_arrive(frame_size: int) -> None:
    """Files of all sizes arrive, in frames of any size; the window and a chunk bound what is outstanding."""
    rig = Rig(FILES, frame_size=frame_size)
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.peak <= SMALL.window


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest.of([], CHUNK),
        Manifest.of([Entry("d", folder=True), Entry("d/e", folder=True)], CHUNK),
        Manifest.of([Entry("a"), Entry("b")], CHUNK),
    ],
    ids=["nothing", "folders", "empty files"],
)
def test_offers_without_data(manifest: Manifest) -> None:
    """An offer of nothing, of folders only, of empty files only is transferred like any other."""
    rig = Rig({entry.path: b"" for entry in manifest.entries if not entry.folder}, manifest=manifest)
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_many_small_files_are_packed() -> None:
    """Ten thousand files of 1 KiB travel in a few frames, and are asked for in a few."""
    files = {f"{n:05}": n.to_bytes(4) * 256 for n in range(10_000)}
    rig = Rig(files, Limits())
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] <= 20
    assert rig.said["want"] <= 20


def test_a_slow_disk_slows_the_sender() -> None:
    """While the disk does nothing no more comes than the window holds; when it works again, all of it does."""
    rig = Rig(FILES)
    rig.stalled = True
    rig.connect()
    rig.run()
    assert 0 < rig.peak <= SMALL.window
    assert rig.said["want"] == 1
    rig.stalled = False
    rig.run()
    assert arrived(rig)


def test_large_chunks_do_not_break_the_bound() -> None:
    """A chunk that is larger than the receiver's window comes alone: no more than one is ever outstanding."""
    files = {"a": DATA(20 * CHUNK)}
    large = Manifest.of([Entry("a", 20 * CHUNK)], 8 * CHUNK)
    rig = Rig(files, manifest=large, frame_size=1000)
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.peak == 8 * CHUNK + CHUNK_COST


def test_whoever_waits_in_the_queue() -> None:
    """A sender that is held serves nothing, and everything when it is its turn."""
    rig = Rig(FILES)
    rig.sender.held = True
    rig.connect()
    rig.run()
    assert rig.sender.phase is Phase.TRANSFERRING
    assert rig.said["chunks"] == 0
    rig.sender.held = False
    rig.run()
    assert arrived(rig)


def test_progress_is_reported() -> None:
    """In the middle of a transfer the sender knows what is verified, after each interval."""
    rig = started()
    rig.stalled = True
    rig.pass_time(SMALL.report_interval)
    while rig.step():
        continue
    assert rig.sender.verified == rig.receiver.verified


# ---------------------------------------------------------------- what is there already
def vouched_for(rig: Rig, chunks: RangeSet) -> None:
    """Have a journal vouch for some chunks, which are there."""
    for chunk in chunks:
        data = bytes_of(chunk, rig.manifest, FILES)
        rig.disk.put(chunk, data)
        rig.disk.journal[chunk] = rig.disk.written[chunk] = chunk_digest(data)


def test_the_sender_only_hashes_what_is_there() -> None:
    """A receiver that has everything gets no chunk; the sender reads its files for their digests."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.span(0, rig.manifest.chunk_count))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] == 0


def test_the_receiver_has_some_of_it() -> None:
    """Of what a receiver has already nothing is sent again."""
    rig = Rig(FILES)
    vouched_for(rig, RangeSet.of(*range(0, rig.manifest.chunk_count, 2)))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] > 0
    assert not rig.again


def older_copy(rig: Rig, changed: dict[int, bytes]) -> None:
    """Have an older copy of all files at the receiver, in which some chunks are others."""
    for chunk in range(rig.manifest.chunk_count):
        rig.disk.put(chunk, changed.get(chunk, bytes_of(chunk, rig.manifest, rig.files)))


def test_an_older_copy_is_used() -> None:
    """Of a copy in which two chunks are others only these two travel."""
    rig = Rig(FILES)
    older_copy(rig, {2: bytes(CHUNK), 6: b"x" * CHUNK})
    rig.connect()
    rig.run()
    assert arrived(rig)
    everything = RangeSet.span(0, rig.manifest.chunk_count)
    assert rig.receiver.reused == everything - RangeSet.of(2, 6)
    assert rig.said["chunks"] == 1


def test_the_sender_shows_that_it_only_hashes() -> None:
    """While nothing but digests is to be found out the sender shows it."""
    rig = Rig(FILES)
    older_copy(rig, {})
    rig.connect()
    until(rig, lambda: rig.sender.hashing)
    assert rig.sender.phase is Phase.TRANSFERRING
    rig.run()
    assert arrived(rig)
    assert not rig.sender.hashing


def test_wanting_and_comparing_go_on_side_by_side() -> None:
    """What is not here is wanted while what may be right is compared."""
    rig = Rig(FILES)
    rig.disk.put(0, bytes_of(0, rig.manifest, FILES))
    rig.connect()
    until(rig, lambda: rig.said["want"])
    assert rig.receiver.outstanding > 0
    assert rig.receiver.candidates == RangeSet.span(0, 8)
    rig.run()
    assert arrived(rig)


@pytest.mark.parametrize("lost", range(1, 30, 2))
def test_a_connection_that_is_lost_while_it_compares(lost: int) -> None:
    """Wherever the connection breaks, what is here is compared all the same."""
    rig = Rig(FILES)
    older_copy(rig, {2: bytes(CHUNK)})
    rig.connect()
    for _ in range(lost):
        rig.step()
    rig.disconnect()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.receiver.reused == RangeSet.span(0, rig.manifest.chunk_count) - RangeSet.of(2)


# ---------------------------------------------------------------- processes that end
def test_a_sender_that_is_started_anew() -> None:
    """A sender of another process offers the same, is not asked for the list, and sends only what is missing."""
    rig = started()
    before = rig.receiver.verified
    rig.crash_sender()
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert before
    assert rig.said["list"] == 0
    assert not rig.sender.error


def test_a_receiver_that_is_started_anew() -> None:
    """A receiver of another process goes on with what was durable, without the list; the rest it compares."""
    rig = started()
    rig.receiver.deadline_passed(rig.now + SMALL.sync_interval)
    rig.handle_events()
    until(rig, lambda: rig.receiver.durable)
    until(rig, lambda: rig.receiver.verified - rig.receiver.durable)
    durable = rig.receiver.durable
    rig.crash_receiver()
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["list"] == 0
    assert not rig.again
    assert not rig.receiver.reused & durable


def test_a_crash_between_writing_and_syncing() -> None:
    """What a crash left unvouched and damaged is found out, and comes again."""
    rig = started()
    written = RangeSet.of(*rig.disk.written) - rig.disk.have
    rig.crash_receiver()
    for chunk in written:
        rig.disk.put(chunk, bytes(rig.manifest.place(chunk).length))
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert not rig.receiver.reused & written


@pytest.mark.parametrize("bye", [False, True])
def test_a_receiver_that_is_started_anew_when_it_is_done(bye: bool) -> None:
    """Who had published everything says so again; a sender that has not heard it is done then."""
    rig = Rig(FILES)
    rig.connect()
    until(rig, lambda: rig.sender.phase.final if bye else rig.published)
    rig.crash_receiver()
    assert rig.receiver.phase is Phase.DONE
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] == rig.said["want"] == 0


def test_both_are_started_anew() -> None:
    """Two new processes go on where two others were."""
    rig = started()
    rig.crash_sender()
    rig.crash_receiver()
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_files_that_are_others_now() -> None:
    """When a file has changed the offer is another; what of the old one is right need not travel."""
    rig = Rig(FILES)
    rig.connect()
    until(rig, lambda: len(rig.receiver.verified) > 8)
    files = FILES | {"a": FILES["a"][: 4 * CHUNK] + DATA(3 * CHUNK)}
    rig.change_source(files, manifest_of(files))
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["list"] == 1
    assert not RangeSet.span(0, 4) - rig.receiver.reused


def test_what_the_disk_loses_comes_again() -> None:
    """Chunks that are found damaged just before they are published are sent again; then it is published."""
    rig = at("writing")
    rig.lose(RangeSet.of(1, 9))
    assert rig.receiver.phase is Phase.TRANSFERRING
    rig.stalled = False
    rig.run()
    assert arrived(rig)


# ---------------------------------------------------------------- what goes wrong
def test_a_damaged_chunk_comes_again() -> None:
    """A chunk that arrives damaged is asked for again, and then is right."""
    rig = Rig(FILES)
    rig.damage.update({0: 2, 5: 1, 9: 1})
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_a_chunk_that_is_always_damaged() -> None:
    """A sender whose chunk is damaged again and again is dropped, and hears why."""
    rig = Rig(FILES)
    rig.damage[5] = SMALL.chunk_attempts
    rig.connect()
    rig.run()
    assert isinstance(rig.receiver.error, DigestMismatch)
    assert isinstance(rig.sender.error, DigestMismatch)
    assert rig.receiver.finished
    assert rig.sender.finished
    assert not rig.published


def test_a_full_disk() -> None:
    """A full disk pauses both sides, with the number of bytes that are needed; with room it goes on."""
    rig = started()
    rig.full = True
    rig.run()
    for side in (rig.sender, rig.receiver):
        assert side.paused
        assert "needed" in side.pause_reason
    rig.make_room()
    rig.run()
    assert arrived(rig)


@pytest.mark.parametrize("frames", range(12))
def test_a_connection_that_is_lost_again_and_again(frames: int) -> None:
    """Wherever a connection breaks, the next one goes on where it was."""
    rig = Rig(FILES, frame_size=1000)
    for _ in range(30):
        rig.connect()
        for _ in range(frames):
            rig.step()
        rig.disconnect()
        while rig.work():
            continue
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_nothing_comes_twice() -> None:
    """What is stored when a connection breaks is not sent again."""
    rig = started()
    rig.run()
    whole = rig.said["chunks"]
    rig = started()
    rig.disconnect()
    while rig.work():
        continue
    before = rig.receiver.verified
    rig.said.clear()
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert before
    assert rig.said["chunks"] <= whole


def test_after_a_reconnection_everything_is_reported() -> None:
    """The first report on a new connection has all that is verified, and replaces earlier ones."""
    rig = started()
    rig.disconnect()
    rig.sender.verified = RangeSet.span(0, rig.manifest.chunk_count)
    rig.stalled = True
    rig.connect()
    until(rig, lambda: rig.sender.verified == rig.receiver.verified)


# ---------------------------------------------------------------- pauses
@pytest.mark.parametrize("sides", ["sender", "receiver", "both"])
def test_pausing(sides: str) -> None:
    """Paused from either side, or from both, nothing moves, also on a new connection, until all have gone on."""
    rig = started()
    paused = [rig.sender, rig.receiver] if sides == "both" else [getattr(rig, sides)]
    for side in paused:
        side.pause()
    rig.run()
    rig.disconnect()
    rig.connect()
    rig.said.clear()
    rig.run()
    assert rig.said["chunks"] == 0
    assert rig.sender.paused
    assert rig.receiver.paused
    for side in paused:
        assert rig.sender.paused
        side.resume()
    rig.run()
    assert arrived(rig)


def test_a_pause_when_nothing_is_under_way() -> None:
    """A sender that pauses when everything that was wanted has come goes on when it resumes."""
    rig = Rig(FILES)
    rig.stalled = True
    rig.connect()
    rig.run()
    rig.sender.pause()
    rig.run()
    rig.stalled = False
    rig.run()
    rig.sender.resume()
    rig.run()
    assert arrived(rig)


# ---------------------------------------------------------------- endings
def stop(rig: Rig, side: str, how: str) -> None:
    """End it from one side."""
    machine = rig.sender if side == "sender" else rig.receiver
    if how == "cancel":
        machine.cancel("enough", rig.now)
    else:
        machine.fail(StorageError("The disk is gone."), rig.now)


@pytest.mark.parametrize("how", ["cancel", "error"])
@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.parametrize("state", ["connecting", "offered", "transferring", "verifying", "writing"])
@pytest.mark.parametrize("lost", [False, True], ids=["at once", "after a reconnection"])
def test_ends_in_every_state(how: str, side: str, state: str, lost: bool) -> None:
    """A cancel and an error end both sides alike in each state, at once or on the next connection."""
    rig = at(state)
    if lost:
        rig.disconnect()
    stop(rig, side, how)
    if lost:
        rig.connect()
    rig.run()
    expected = Phase.CANCELLED if how == "cancel" else Phase.FAILED
    assert (rig.sender.phase, rig.receiver.phase) == (expected, expected)
    assert (
        type(rig.sender.error) is type(rig.receiver.error) is (Cancelled if how == "cancel" else StorageError)
    )
    assert rig.sender.finished
    assert rig.receiver.finished
    assert not rig.published


def at(state: str) -> Rig:
    """A transfer whose both sides are in a state, or in the one closest to it that both can be in."""
    rig = Rig(FILES, accept=None if state == "offered" else True)
    rig.connect()
    match state:
        case "offered":
            rig.run()
        case "transferring":
            until(rig, lambda: rig.receiver.verified)
        case "verifying":
            rig.withheld = {"digests"}
            until(rig, lambda: rig.receiver.phase is Phase.VERIFYING)
        case "writing":
            until(rig, lambda: rig.receiver.phase is Phase.WRITING)
            rig.stalled = True
    assert rig.receiver.phase == state
    return rig


def test_an_end_whose_news_is_lost() -> None:
    """An end is told again on each connection until bye came; both then have finished."""
    rig = started()
    rig.receiver.cancel("enough", rig.now)
    for _ in range(3):
        rig.collect(rig.receiver, TO_SENDER)
        rig.disconnect()
        rig.connect()
    assert rig.sender.phase is Phase.TRANSFERRING
    rig.run()
    assert rig.sender.phase is Phase.CANCELLED
    assert rig.receiver.finished


@pytest.mark.parametrize("end", ["cancel", "reject", "done"])
def test_a_bye_that_is_lost(end: str) -> None:
    """Whoever did not hear bye says how it ended again, and hears it then."""
    rig = Rig(FILES, accept=end != "reject")
    rig.connect()
    if end == "cancel":
        until(rig, lambda: rig.receiver.verified)
        rig.receiver.cancel("enough", rig.now)
    until(rig, lambda: rig.sender.phase.final)
    rig.disconnect()
    assert not rig.receiver.finished
    rig.connect()
    rig.run()
    assert rig.receiver.finished
    assert rig.sender.phase is rig.receiver.phase


def test_whoever_hears_nothing_any_more_gives_up() -> None:
    """A side that has ended stops trying after some seconds; the other one may still be there."""
    rig = started()
    rig.disconnect()
    rig.sender.cancel("", rig.now)
    rig.pass_time(LINGER)
    assert rig.sender.finished
    assert not rig.receiver.phase.final


def test_rejecting() -> None:
    """A rejected offer ends both sides, with the reason."""
    rig = Rig(FILES, accept=False)
    rig.connect()
    rig.run()
    assert isinstance(rig.sender.error, Rejected)
    assert isinstance(rig.receiver.error, Rejected)
    assert rig.sender.error.message.endswith("no.")
    assert rig.sender.finished
    assert rig.receiver.finished


def test_an_offer_expires() -> None:
    """An offer on which nobody decided in time has expired on both sides."""
    rig = Rig(FILES, accept=None, expires_at=60)
    rig.connect()
    rig.run()
    rig.pass_time(60)
    rig.run()
    assert (rig.sender.phase, rig.receiver.phase) == (Phase.EXPIRED, Phase.FAILED)
    assert isinstance(rig.receiver.error, Expired)
    assert rig.sender.finished
    assert rig.receiver.finished


def test_done_reaches_a_sender_that_never_heard_the_answer() -> None:
    """An offer of nothing may be done before the answer has come; the sender hears of both afterwards."""
    rig = Rig({}, manifest=Manifest.of([Entry("d", folder=True)], CHUNK))
    rig.connect()
    until(rig, lambda: rig.offered)
    rig.disconnect()
    while rig.work():
        continue
    assert rig.receiver.phase is Phase.DONE
    rig.connect()
    rig.run()
    assert rig.sender.phase is Phase.DONE


# ---------------------------------------------------------------- liveness
def test_an_idle_connection_stays_alive() -> None:
    """While somebody decides, pings keep the connection alive."""
    rig = Rig(FILES, accept=None)
    rig.connect()
    for _ in range(100):
        rig.run()
        rig.pass_time(SMALL.ping_interval)
        assert not rig.sender.is_dead(rig.now)
        assert not rig.receiver.is_dead(rig.now)
    assert rig.said["ping"] > 50


def test_a_connection_whose_other_end_is_gone() -> None:
    """When nothing comes any more both sides see that it is dead, although they ping."""
    rig = started()
    while rig.now < SMALL.dead_after:
        rig.pass_time(5)
        rig.collect(rig.sender, TO_RECEIVER)
        rig.collect(rig.receiver, TO_SENDER)
    assert rig.sender.is_dead(rig.now)
    assert rig.receiver.is_dead(rig.now)
    rig.disconnect()
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_the_memory_of_both_sides_is_bounded() -> None:
    """With the usual limits a large file never has more than the window and the read-ahead in memory."""
    limits = Limits()
    rig = Rig({"big": bytes(64 * MiB)}, limits)
    rig.stalled = True
    rig.connect()
    held = set()
    while rig.step():
        held |= {id(batch) for batch, _ in rig.sender._ready}
    assert len(held) * rig.sender._batch_size <= limits.read_ahead
    assert limits.window - limits.chunk_size <= rig.peak <= limits.window + 64 * KiB
