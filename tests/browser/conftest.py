"""JupyterLab, a browser, and their output when a test fails."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

from browser.lab import Lab, jupyter
from browser.person import ELSEWHERE, Person
from running import PATIENCE

SCREENSHOTS = Path(__file__).parents[2] / "bench/screenshots"
LINES = 200

_failed = pytest.StashKey[bool]()


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab."""
    with jupyter(tmp_path_factory.mktemp("lab").resolve()) as lab:
        yield lab


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser for this folder's tests. While it runs, this thread can run no other event loop."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "These tests need Chromium; `make test` installs it where there is apt."
    expect.set_options(timeout=PATIENCE / 2 * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def _persons(chromium: Browser, lab: Lab) -> Iterator[list[Person]]:
    """The person for the next test, if one exists."""
    persons: list[Person] = []
    yield persons
    for person in persons:
        person.close()


@pytest.fixture
def person(
    request: pytest.FixtureRequest, chromium: Browser, lab: Lab, _persons: list[Person]
) -> Iterator[Person]:
    """A browser without open pages; a new one after a failed test."""
    if not _persons:
        _persons.append(Person(chromium, lab))
    lab.said.clear()
    yield _persons[0]
    if request.node.stash.get(_failed, False):
        _persons.pop().close()
    else:
        _persons[0].clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows a screenshot and the output of page and server."""
    report = yield
    person = getattr(item, "funcargs", {}).get("person")
    if report.failed and isinstance(person, Person):
        item.stash[_failed] = True
        report.sections += _seen(item.name, person)
    return report


def _seen(test: str, person: Person) -> Iterator[tuple[str, str]]:
    SCREENSHOTS.mkdir(exist_ok=True)
    for number, page in enumerate(person.context.pages):
        picture = SCREENSHOTS / f"failed-{re.sub('[^a-z0-9_-]', '-', test)}-{number}.png"
        # A page that hangs or is closed has no screenshot.
        with suppress(Error):
            page.screenshot(path=picture)
            yield "screenshot", str(picture)
    yield "console", "\n".join(person.said[-LINES:])
    yield "server", "".join(person.lab.said[-LINES:])
