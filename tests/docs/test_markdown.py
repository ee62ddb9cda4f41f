"""The pages at the top level: their style, and that the files and links in them exist."""

from __future__ import annotations

import re
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "nbferry"
PAGES = sorted(ROOT.glob("*.md"))
README, ARCHITECTURE = ROOT / "README.md", ROOT / "ARCHITECTURE.md"
REPOSITORY = "https://github.com/nbferry/nbferry/blob/HEAD/"

COLUMNS = 100
WORDS = 25  # limit of the median sentence
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> list[str]:
    """The lines of a page without blocks of code and tables."""
    return [line for line in BLOCK.sub("", read(page)).splitlines() if not line.startswith("|")]


def sentences(page: Path) -> Iterator[str]:
    """The sentences in a page's paragraphs and lists, without headings."""
    text = "\n".join("" if line.startswith("#") else line for line in prose(page))
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        flat = re.sub(r"^\s*(?:[-*]|\d+\.) ", "", " ".join(paragraph.split()))
        yield from filter(None, re.split(r"(?<=[.:!?])(?:\*\*)?\s+(?=[A-Z`*\[])", flat))


def section(title: str) -> str:
    """The text of ARCHITECTURE.md below a heading."""
    _, found, rest = read(ARCHITECTURE).partition(f"## {title}\n")
    assert found
    return rest.partition("\n## ")[0]


def modules(wing: str) -> set[str]:
    """The names of the modules of a wing and of its rooms."""
    return {path.stem for path in (PACKAGE / wing).rglob("*.py") if path.stem != "__init__"}


# ---------------------------------------------------------------- how they are written
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_wrapped(page: Path) -> None:
    """A line of prose fits into 100 columns. Only a line with a link may be longer."""
    lines = [line for line in prose(page) if len(line) > COLUMNS]
    assert [line for line in lines if not LINK.search(line)] == []


@pytest.mark.parametrize("page", [README, ARCHITECTURE], ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    """The median sentence has at most 25 words."""
    assert statistics.median(len(sentence.split()) for sentence in sentences(page)) <= WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_are_plain(page: Path) -> None:
    """No page uses words that hide who acts."""
    assert re.findall(r"(?i)\b(?:nobody|whoever|whatever)\b", read(page)) == []


# ---------------------------------------------------------------- what they name is there
@pytest.mark.parametrize("page", [README, ARCHITECTURE], ids=lambda page: page.name)
def test_named_modules_exist(page: Path) -> None:
    """Each path of a module exists in the project or the package."""
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.py)\b", read(page))
    assert named
    assert [name for name in named if not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the project leads to an existing file."""
    links = [link.removeprefix(REPOSITORY) for link in LINK.findall(read(page))]
    files = [link for link in links if not re.match(r"https?:", link)]
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_links_of_the_readme_are_absolute() -> None:
    """The README has absolute links, as the package index shows it without the other files."""
    links = LINK.findall(read(README))
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_links_of_the_project_are_absolute() -> None:
    """Links in pyproject.toml lead into the repository, and their files exist."""
    urls: dict[str, str] = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["urls"]
    assert set(urls) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith("https://github.com/nbferry/nbferry") for url in urls.values())
    files = [url.removeprefix(REPOSITORY) for url in urls.values() if url.startswith(REPOSITORY)]
    assert files
    assert all((ROOT / name).is_file() for name in files)


def test_the_layers_are_those_of_the_contract() -> None:
    """ARCHITECTURE.md lists the wings as the contract does."""
    (block,) = BLOCK.findall(section("Layers"))
    listed = [re.split(r" {2,}", line)[0] for line in block.splitlines()[1:-1]]
    contracts = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert listed == contracts[0]["layers"]


@pytest.mark.parametrize(
    ("title", "wings"),
    [("Who does what in the engine", ("connections", "engine")), ("Storage", ("storage",))],
)
def test_each_module_has_its_job(title: str, wings: tuple[str, ...]) -> None:
    """The tables name each module of these wings, and no other."""
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section(title), re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"\w+", cell)]
    assert sorted(named) == sorted(set(named))
    assert set(named) == {name for wing in wings for name in modules(wing)}
