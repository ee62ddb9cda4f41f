"""The relay's deadlines."""

from __future__ import annotations

from nbferry.relay.deadlines import Deadlines


class TestDeadlines:
    def test_order(self) -> None:
        """Actions run in the order of their deadlines; those that are not due wait."""
        deadlines, done = Deadlines(), list[str]()
        for name, when in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0)]:
            deadlines.set(name, when, lambda _, name=name: done.append(name))  # type: ignore[misc]
        deadlines.passed(3.0)
        assert (done, deadlines.next()) == (["a", "b", "c"], 4.0)

    def test_changed(self) -> None:
        """A deadline that is set again is due only at its new time, a cancelled one never."""
        deadlines, done = Deadlines(), list[float]()
        deadlines.set("a", 1.0, done.append)
        deadlines.set("a", 2.0, done.append)
        deadlines.set("b", 1.5, done.append)
        deadlines.cancel("b")
        deadlines.cancel("never set")
        deadlines.passed(1.9)
        assert done == []
        deadlines.passed(2.5)
        assert (done, deadlines.next(), len(deadlines)) == ([2.5], None, 0)

    def test_memory(self) -> None:
        """Setting a deadline ten thousand times does not keep ten thousand entries."""
        deadlines = Deadlines()
        for when in range(10_000):
            deadlines.set("a", float(when), lambda _: None)
        assert len(deadlines) < 100
        assert deadlines.next() == 9999.0
