"""How open files are kept, shared and closed."""

from __future__ import annotations

import pytest

from nbferry.errors import LocalProtocolError
from nbferry.storage.disk.handles import Handles


class Shelf:
    """Opens and closes things, and remembers what it did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def open(self, key: str) -> str:
        """Open something."""
        self.done.append(f"+{key}")
        return key.upper()

    def close(self, value: str) -> None:
        """Close something."""
        self.done.append(f"-{value.lower()}")


@pytest.fixture
def shelf() -> Shelf:
    """Make an empty shelf."""
    return Shelf()


def test_opened_once(shelf: Shelf) -> None:
    """A handle stays open for the next use."""
    handles = Handles(shelf.open, shelf.close)
    for _ in range(3):
        with handles.use("a") as value:
            assert value == "A"
    assert shelf.done == ["+a"]
    assert len(handles) == 1


def test_the_oldest_goes(shelf: Shelf) -> None:
    """Beyond the limit the one unused for longest is closed."""
    handles = Handles(shelf.open, shelf.close, limit=2)
    for key in "abac":
        with handles.use(key):
            pass
    assert shelf.done == ["+a", "+b", "+c", "-b"]


def test_what_is_in_use_stays(shelf: Shelf) -> None:
    """Nothing is closed under its user, however many are open."""
    handles = Handles(shelf.open, shelf.close, limit=1)
    with handles.use("a"), handles.use("b"), handles.use("c"):
        assert shelf.done == ["+a", "+b", "+c"]
    assert shelf.done[3:] == ["-c", "-b"]


def test_shared(shelf: Shelf) -> None:
    """Two users share one handle; it may close when both are done."""
    handles = Handles(shelf.open, shelf.close, limit=0)
    with handles.use("a"):
        with handles.use("a"):
            pass
        assert shelf.done == ["+a"]
    assert shelf.done == ["+a", "-a"]


def test_dropping(shelf: Shelf) -> None:
    """What is dropped is closed when nobody uses it, and opened anew for the next."""
    handles = Handles(shelf.open, shelf.close)
    handles.drop("a")
    with handles.use("a"):
        handles.drop("a")
        with handles.use("a"):
            pass
        assert shelf.done == ["+a", "+a"]
    assert shelf.done == ["+a", "+a", "-a"]
    handles.drop("a")
    assert shelf.done == ["+a", "+a", "-a", "-a"]


def test_releasing(shelf: Shelf) -> None:
    """All are closed, those in use when they are given back; then they may be used again."""
    handles = Handles(shelf.open, shelf.close)
    with handles.use("a"), handles.use("b"):
        pass
    with handles.use("b"):
        handles.release()
        assert shelf.done == ["+a", "+b", "-a"]
    assert shelf.done == ["+a", "+b", "-a", "-b"]
    with handles.use("a"):
        pass
    assert shelf.done[-1] == "+a"


def test_closing(shelf: Shelf) -> None:
    """close() closes what is idle, lets users finish, and ends all use."""
    handles = Handles(shelf.open, shelf.close)
    with handles.use("a"), handles.use("b"):
        pass
    with handles.use("b"):
        handles.close()
        assert shelf.done == ["+a", "+b", "-a"]
    assert shelf.done == ["+a", "+b", "-a", "-b"]
    handles.close()
    with pytest.raises(LocalProtocolError), handles.use("a"):
        pass


def test_a_failed_opening_leaves_nothing(shelf: Shelf) -> None:
    """What cannot be opened is tried again at the next use."""
    handles: Handles[int, int] = Handles(lambda key: 1 // key, print)
    with pytest.raises(ZeroDivisionError), handles.use(0):
        pass
    assert len(handles) == 0
