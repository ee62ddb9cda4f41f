"""Showing a transfer while somebody waits for it: from when until when, and once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from nbferry.model.roles import Role
from nbferry.status import Snapshot, State
from nbferry.text import live
from nbferry.text.live import SnapshotQueue, following

WAITING = Snapshot(id="ba9876543210", role=Role.SEND, names=("x.bin",), files=1, total=1000)
DONE = WAITING.evolve(state=State.DONE)


class Ferry:
    """A transfer whose states the test says."""

    def __init__(self) -> None:
        self.snapshot = WAITING
        self.told: list[Callable[[Snapshot], None]] = []

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Tell the present state, and those that come."""
        self.told.append(callback)
        callback(self.snapshot)
        return lambda: self.told.remove(callback)

    def becomes(self, state: State, reason: str = "") -> None:
        """Tell of another state."""
        self.snapshot = self.snapshot.evolve(state=state, reason=reason)
        for callback in self.told:
            callback(self.snapshot)


@pytest.fixture(autouse=True)
def _text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is shown, whatever the tests themselves run in."""
    monkeypatch.setenv("NBFERRY_UI", "text")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the log says since it was last read, without the beginnings."""
    shown = capsys.readouterr()
    assert shown.out == ""
    return [line.partition(": ")[2] for line in shown.err.splitlines()]


def test_from_the_start_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is said by the time that the waiting is over, and nothing is listened to any more."""
    ferry = Ferry()
    with following(ferry):
        ferry.becomes(State.CONNECTING)
        ferry.becomes(State.DONE)
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting", "connecting", "done: 1.0 kB, every byte verified"]
    assert ferry.told == []
    assert "nbferry-face" not in {thread.name for thread in threading.enumerate()}


def test_what_ended_before(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a transfer that has ended already nothing is said."""
    ferry = Ferry()
    ferry.becomes(State.DONE)
    with following(ferry):
        assert ferry.told == []
    assert said(capsys) == []


def test_waiting_in_slices(capsys: pytest.CaptureFixture[str]) -> None:
    """Who waits again and again, a second each time, reads each thing once."""
    ferry = Ferry()
    for _ in range(3):
        with following(ferry):
            pass
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting"]
    with following(ferry):
        ferry.becomes(State.FAILED, "It broke.")
    assert said(capsys) == ["failed, 0 %  0 B of 1.0 kB: It broke."]


def test_two_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """Two who wait for the same transfer are shown it once, until the last of them has gone."""
    ferry = Ferry()
    with following(ferry):
        with following(ferry):
            assert len(ferry.told) == 1
        assert len(ferry.told) == 1
        ferry.becomes(State.CONNECTING)
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting", "connecting"]
    assert ferry.told == []


def test_an_error_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    """What ends the waiting is raised, Ctrl-C too, and nothing stays open."""
    ferry = Ferry()
    with pytest.raises(KeyboardInterrupt), following(ferry):
        raise KeyboardInterrupt
    assert ferry.told == []
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting"]


def test_many_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of transfers that are waited for in several threads stay whole."""
    start = threading.Barrier(8)

    def wait() -> None:
        ferry = Ferry()
        with following(ferry):
            start.wait()
            for number in range(50):
                ferry.becomes(State.PAUSED, f"reason {number:02} " + "x" * 100)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = said(capsys)
    assert len(lines) == 8 * 52
    assert {len(line) for line in lines} == {len("x.bin, 1.0 kB"), len("waiting"), 138}


def test_who_is_slow_sees_the_last_of_each_state() -> None:
    """News do not pile up: of snapshots in one state that nobody has seen the last one is left."""
    news = SnapshotQueue()
    for verified in range(1000):
        news.put(WAITING.evolve(state=State.TRANSFERRING, verified=verified))
    news.put(DONE)
    news.close()
    assert [(view.state, view.verified) for view in news.all(None)] == [
        (State.TRANSFERRING, 999),
        (State.DONE, 0),
    ]


def test_the_last_one_again() -> None:
    """Without anything new the last snapshot comes again, so that a log can say that it still goes on."""
    news = SnapshotQueue()
    news.put(WAITING)
    coming = news.all(0.001)
    assert [next(coming) for _ in range(3)] == [WAITING] * 3
    news.close()
    assert list(coming) == []


def test_no_bars_to_put_aside() -> None:
    """Who asks something where there are no bars just asks."""
    with live.aside():
        pass
