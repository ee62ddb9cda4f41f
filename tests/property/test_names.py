"""Any name is refused or harmless, and any name can be shown."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from nbferry.errors import UnsafePath
from nbferry.model.names import MAX_DEPTH, MAX_NAME, MAX_PATH, check_paths, display_name

NASTY = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "C:",
        "a",
        "A",
        " ",
        "~1",
        "CON",
        "nul.txt",
        ".git",
        ".nbferry",
        "é",
        "e\u0301",
        "\u200d",
        "\u202e",
    ]
)
TEXT = st.text(st.characters(), max_size=20)  # with surrogates and controls
NAMES = st.lists(NASTY | TEXT, max_size=6).map("".join)
PATHS = st.lists(NAMES, max_size=5).map("/".join)


def is_safe(*paths: str) -> bool:
    """Whether an offer of these paths is accepted."""
    try:
        check_paths(paths)
    except UnsafePath:
        return False
    return True


@given(PATHS)
@example("a/b.txt")
def test_a_safe_path_stays_inside(path: str) -> None:
    """An accepted path means the same below any folder, on POSIX and on Windows."""
    if not is_safe(path):
        return
    windows, posix = PureWindowsPath(path), PurePosixPath(path)
    assert posix.parts == windows.parts == tuple(path.split("/"))
    assert not posix.is_absolute()
    assert not windows.drive
    assert not windows.root
    assert not windows.is_reserved()
    assert ".." not in posix.parts
    assert len(posix.parts) <= MAX_DEPTH
    assert len(path.encode()) <= MAX_PATH
    assert all(len(part.encode()) <= MAX_NAME for part in posix.parts)


@given(PATHS, PATHS)
def test_refusal_is_symmetric(one: str, other: str) -> None:
    """Whether two paths collide does not depend on their order."""
    assert is_safe(one, other) == is_safe(other, one)


@given(PATHS)
def test_another_case_collides(path: str) -> None:
    """A path collides with itself in another case."""
    assert not is_safe(path, path.swapcase())


@given(PATHS, NAMES)
def test_a_file_holds_nothing(path: str, name: str) -> None:
    """A path below a file is refused."""
    assert not is_safe(path, f"{path}/{name}")


@given(st.lists(PATHS, unique=True, max_size=6))
def test_an_offer_is_as_safe_as_its_paths(paths: list[str]) -> None:
    """An offer is refused if one of its paths is."""
    if is_safe(*paths):
        assert all(map(is_safe, paths))


@given(st.text(st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=20))
def test_letters_and_digits_are_accepted(name: str) -> None:
    """A name of letters of any script is accepted, except for filler characters."""
    assert is_safe(f"x-{name}-x") or any(char in "\u115f\u1160\u3164\uffa0" for char in name)


@given(st.text(st.characters(), max_size=300), st.integers(5, 200))
def test_anything_can_be_shown(name: str, most: int) -> None:
    """A shown name is short and has no character that a terminal obeys or an eye misses."""
    shown = display_name(name, most)
    assert len(shown) <= most
    shown.encode()
    assert all(char.isprintable() or char in "\u200c\u200d" for char in shown)


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=60))
def test_plain_names_are_shown_as_they_are(name: str) -> None:
    """Printable ASCII needs no escape."""
    assert display_name(name) == name
