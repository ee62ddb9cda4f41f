"""A sender and a receiver together: an ordinary transfer, its pauses and its limits."""

from __future__ import annotations

import pytest

from nbferry.limits import KiB, Limits, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.protocol.phases import Phase
from nbferry.protocol.window import CHUNK_COST
from rig import SMALL, Rig
from unit.protocol.both_sides_setup import CHUNK, DATA, FILES, arrived, started


@pytest.mark.parametrize("frame_size", [100, 1000, CHUNK, 3 * CHUNK, MiB])
def test_files_arrive(frame_size: int) -> None:
    """Files of all sizes arrive, in frames of any size; the window limits what is outstanding."""
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
    """Offers that are empty, or of folders or empty files only, arrive like any other."""
    rig = Rig({entry.path: b"" for entry in manifest.entries if not entry.folder}, manifest=manifest)
    rig.connect()
    rig.run()
    assert arrived(rig)


def test_many_small_files_are_packed() -> None:
    """Ten thousand files of 1 KiB take few frames and few wants."""
    files = {f"{n:05}": n.to_bytes(4) * 256 for n in range(10_000)}
    rig = Rig(files, Limits())
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.said["chunks"] <= 20
    assert rig.said["want"] <= 20


def test_a_slow_disk_slows_the_sender() -> None:
    """While the disk is stalled the window limits what arrives; when it works again everything arrives."""
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
    """A chunk that is larger than the receiver's window comes alone."""
    files = {"a": DATA(20 * CHUNK)}
    large = Manifest.of([Entry("a", 20 * CHUNK)], 8 * CHUNK)
    rig = Rig(files, manifest=large, frame_size=1000)
    rig.connect()
    rig.run()
    assert arrived(rig)
    assert rig.peak == 8 * CHUNK + CHUNK_COST


def test_a_sender_in_the_queue() -> None:
    """A sender that waits in the queue sends nothing, and everything when its turn comes."""
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
    """After each interval the sender knows what is verified."""
    rig = started()
    rig.stalled = True
    rig.pass_time(SMALL.report_interval)
    while rig.step():
        continue
    assert rig.sender.verified == rig.receiver.verified


@pytest.mark.parametrize("sides", ["sender", "receiver", "both"])
def test_pausing(sides: str) -> None:
    """Nothing moves, even on a new connection, until every side that paused has resumed."""
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
    """A sender that pauses when no chunk is under way continues when it resumes."""
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


def test_an_idle_connection_stays_alive() -> None:
    """While the user decides, pings keep the connection alive."""
    rig = Rig(FILES, accept=None)
    rig.connect()
    for _ in range(100):
        rig.run()
        rig.pass_time(SMALL.ping_interval)
        assert not rig.sender.is_dead(rig.now)
        assert not rig.receiver.is_dead(rig.now)
    assert rig.said["ping"] > 50


def test_the_memory_of_both_sides_is_bounded() -> None:
    """With the usual limits, the window and the read-ahead bound the memory that a large file needs."""
    limits = Limits()
    rig = Rig({"big": bytes(64 * MiB)}, limits)
    rig.stalled = True
    rig.connect()
    held = set()
    while rig.step():
        held |= {id(batch) for batch, _ in rig.sender._ready}
    assert len(held) * rig.sender._batch_size <= limits.read_ahead
    assert limits.window - limits.chunk_size <= rig.peak <= limits.window + 64 * KiB
