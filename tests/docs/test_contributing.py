"""The lists in CONTRIBUTING.md name all files that a change touches, and no others."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "nbferry"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

ITEM = re.compile(r"^\d+\. `([^`\s]+)`", re.MULTILINE)
QUOTED_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]*)+)`")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The rules for one list.

    Each file of the list matches ``mention``. A file that matches ``code`` outside of comments and docstrings is in
    the list, if it lies in a ``searched`` folder and not in ``home``, the package of the example itself.
    ``most`` limits the Python modules that every such change touches. It may only get smaller.
    """

    mention: str
    code: str
    searched: tuple[str, ...] = ("src/nbferry", "js/src")
    home: str = ""
    elsewhere: frozenset[str] = frozenset()
    most: int | None = None


# pyproject.toml names the example's library, not the example.
LISTS = {
    # the doctor's check is a choice, and an option's help says what its servers are for
    "Add a transport": Expected(
        mention=r"(?i)webrtc",
        code=r"(?i)webrtc",
        home="src/nbferry/transports/webrtc",
        elsewhere=frozenset({"src/nbferry/cli/doctor.py", "src/nbferry/cli/options.py"}),
        most=5,
    ),
    "Add a source": Expected(mention=r"\bPageSource\b|\bentries\b", code=r"\bPageSource\b"),
    "Add a frame": Expected(mention=r"\bdigests\b", code=r"'digests'", searched=("src/nbferry/protocol",)),
    # The list of code words has this word by chance.
    "Add a role": Expected(
        mention=r"(?i)upload",
        code=r"(?i)upload",
        elsewhere=frozenset({"src/nbferry/model/words.py"}),
        most=6,
    ),
    # A request, a label, a method, or the list of requests in a specification.
    "Add a button": Expected(
        mention=r"""\bpause resume\b|"pause"|\bpause: "|\bdef pause\b|\bPause\b""",
        code=r"'pause'",
        searched=("src/nbferry/widget",),
    ),
    "Add a text of the card": Expected(mention=r"\bcodeFor\b", code=r"\bcodeFor\b"),
    "Add an error": Expected(mention=r"\bNoReceipt\b", code=r"\bNoReceipt\b"),
}


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    _, found, rest = TEXT.partition(f"### {title}\n")
    assert found, f"there is no section {title!r}"
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def listed(title: str) -> list[str]:
    """The files of a list, in order."""
    return ITEM.findall(section(title))


class WithoutDocstrings(ast.NodeTransformer):
    """Removes docstrings, also those of attributes."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop an expression that is only a text."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


@cache
def code_of(path: Path) -> str:
    """A file's code without comments and docstrings; TypeScript unchanged."""
    text = path.read_text(encoding="utf-8")
    return ast.unparse(WithoutDocstrings().visit(ast.parse(text))) if path.suffix == ".py" else text


def found(expected: Expected) -> set[str]:
    """The files that contain the example."""
    files = (path for folder in expected.searched for path in (ROOT / folder).rglob("*"))
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in {".py", ".ts"} and re.search(expected.code, code_of(path))
    }


def test_each_list_is_expected() -> None:
    """Each list has an expectation, and each expectation a list."""
    assert re.findall(r"^### (Add .+)$", TEXT, re.MULTILINE) == list(LISTS)


@pytest.mark.parametrize("title", LISTS)
def test_the_items_are_numbered(title: str) -> None:
    """A list is in order, and each item begins with a file."""
    numbers = re.findall(r"^(\d+)\. ", section(title), re.MULTILINE)
    assert numbers == [str(number + 1) for number in range(len(listed(title)))]


@pytest.mark.parametrize("title", LISTS)
def test_each_file_has_the_example(title: str) -> None:
    """Each file of a list exists and mentions the list's example."""
    for name in listed(title):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert name == "pyproject.toml" or re.search(LISTS[title].mention, text), name


@pytest.mark.parametrize("title", LISTS)
def test_no_other_file_has_the_example(title: str) -> None:
    """No other file has the example in its code."""
    expected = LISTS[title]
    others = found(expected) - set(listed(title)) - expected.elsewhere
    assert {name for name in others if not (expected.home and name.startswith(f"{expected.home}/"))} == set()


@pytest.mark.parametrize("title", [title for title, expected in LISTS.items() if expected.most is not None])
def test_a_list_does_not_grow(title: str) -> None:
    """The number of modules that every such change touches does not grow."""
    always = section(title).partition("\nOnly if")[0]
    modules = [name for name in ITEM.findall(always) if name.startswith("src/nbferry/")]
    assert len(modules) <= (LISTS[title].most or 0)


def test_named_paths_exist() -> None:
    """Every path on the page exists in the project or in the package."""
    named = QUOTED_PATH.findall(TEXT)
    assert named
    assert [name for name in named if not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []


def test_each_folder_of_tests_is_on_the_ladder() -> None:
    """The table of test levels has a row for each folder of tests."""
    rows = set(re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE))
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    levels = {"/".join(folder.relative_to(ROOT).parts[:2]) for folder in folders}
    assert rows == levels | {"js/test"}


def test_make_targets_and_markers_exist() -> None:
    """Each ``make`` command on the page is a target, and each marker is registered."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)\b", TEXT, re.MULTILINE))
    assert targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
    markers = set(re.findall(r"pytest -m (\w+)|`-m (\w+)`", TEXT))
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = {name for pair in markers for name in pair if name}
    assert {name for name in names if f'"{name}: ' not in settings} == set()
