"""A transfer is shown live, once, while a caller waits for it."""

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
    """A transfer whose states the test sets."""

    def __init__(self) -> None:
        self.snapshot = WAITING
        self.told: list[Callable[[Snapshot], None]] = []

    def subscribe(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Report the present state and later ones."""
        self.told.append(callback)
        callback(self.snapshot)
        return lambda: self.told.remove(callback)

    def becomes(self, state: State, reason: str = "") -> None:
        """Report another state."""
        self.snapshot = self.snapshot.evolve(state=state, reason=reason)
        for callback in self.told:
            callback(self.snapshot)


@pytest.fixture(autouse=True)
def _text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show text, regardless of how the tests run."""
    monkeypatch.setenv("NBFERRY_UI", "text")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The new log lines without their prefixes."""
    shown = capsys.readouterr()
    assert shown.out == ""
    return [line.partition(": ")[2] for line in shown.err.splitlines()]


def test_from_the_start_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """When the wait ends, all states are printed and no subscription is left."""
    ferry = Ferry()
    with following(ferry):
        ferry.becomes(State.CONNECTING)
        ferry.becomes(State.DONE)
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting", "connecting", "done: 1.0 kB, every byte verified"]
    assert ferry.told == []
    assert "nbferry-face" not in {thread.name for thread in threading.enumerate()}


def test_a_transfer_that_ended_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A transfer that has already ended prints nothing."""
    ferry = Ferry()
    ferry.becomes(State.DONE)
    with following(ferry):
        assert ferry.told == []
    assert said(capsys) == []


def test_waiting_in_slices(capsys: pytest.CaptureFixture[str]) -> None:
    """Many waits of a second each print each state once."""
    ferry = Ferry()
    for _ in range(3):
        with following(ferry):
            pass
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting"]
    with following(ferry):
        ferry.becomes(State.FAILED, "It broke.")
    assert said(capsys) == ["failed, 0 %  0 B of 1.0 kB: It broke."]


def test_two_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """Two waits for the same transfer print it once, until the last of them ends."""
    ferry = Ferry()
    with following(ferry):
        with following(ferry):
            assert len(ferry.told) == 1
        assert len(ferry.told) == 1
        ferry.becomes(State.CONNECTING)
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting", "connecting"]
    assert ferry.told == []


def test_an_error_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception in the block, Ctrl-C included, is raised, and no subscription stays."""
    ferry = Ferry()
    with pytest.raises(KeyboardInterrupt), following(ferry):
        raise KeyboardInterrupt
    assert ferry.told == []
    assert said(capsys) == ["x.bin, 1.0 kB", "waiting"]


def test_many_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of transfers awaited in several threads stay whole."""
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


def test_a_slow_reader_gets_the_last_of_each_state() -> None:
    """Unread snapshots do not pile up: of each state only the last is kept."""
    news = SnapshotQueue()
    for verified in range(1000):
        news.put(WAITING.evolve(state=State.TRANSFERRING, verified=verified))
    news.put(DONE)
    news.close()
    assert [(view.state, view.verified) for view in news.all(None)] == [
        (State.TRANSFERRING, 999),
        (State.DONE, 0),
    ]


def test_the_last_snapshot_repeats() -> None:
    """Without news the last snapshot repeats, so that a log can report progress."""
    news = SnapshotQueue()
    news.put(WAITING)
    coming = news.all(0.001)
    assert [next(coming) for _ in range(3)] == [WAITING] * 3
    news.close()
    assert list(coming) == []


def test_a_question_without_bars() -> None:
    """Without bars a question needs no preparation."""
    with live.aside():
        pass
