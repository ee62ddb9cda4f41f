"""File names that try to pass for markup, code or other names are shown as they are, and do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.person import Person, write
from browser.test_sending import RECEIVE, SEND, files_below
from nbferry.model.names import display_name

ALLOWED = (
    "&lt;img src=x onerror=window.harmed=1&gt;.txt",
    "&#60;script&#62;window.harmed=1&#60;%2fscript&#62;.txt",
    "javascript&colon;window.harmed=1",
    "' onmouseover='window.harmed=1' x='.txt",
    "{{constructor.constructor('window.harmed=1')()}}.txt",
    "${window.harmed=1}.txt",
    "`window.harmed=1`.txt",
    "%s%n$(touch harmed).txt",
    "__proto__",
    "=HYPERLINK(harmed).csv",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0363\u0357\u033d\u0301l\u030f\u0366g\u0325o\u0347.txt",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea.txt",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\u200d\u2620\ufe0f.csv",
    "\u7530\u4e2d\u3055\u3093\u306b\u3042\u3052\u3066\u4e0b\u3055\u3044.md",
    "l" * 240 + "ong.txt",
)
"""Names that every system can store."""

REFUSED = (
    "<img src=x onerror=window.harmed=1>.txt",
    '"><script>window.harmed=1<\u2215script>.txt',
    "<svg onload=window.harmed=1>.txt",
    "gpj.\u202efdp.exe",
    "zero\u200bwidth.txt",
    "bell\x07 and \x1b[31mred.txt",
    "two\nlines.txt",
)
"""Names that Linux can store and every receiver refuses."""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with files of all these names."""
    for name in (*ALLOWED, *REFUSED):
        write(tmp_path / "names" / name, b"content")
    return tmp_path / "names"


def expect_no_harm(page: Page) -> None:
    """Assert that no name became an element and none was run as code."""
    harmful = "img, script, iframe, a, object, style, [onmouseover], [onerror], [onload]"
    expect(page.locator(f"section.nbferry :is({harmful})")).to_have_count(0)
    assert page.evaluate("window.harmed") is None


def test_names_that_arrive(person: Person) -> None:
    """A receiver shows each name as it is, with invisible characters escaped, and the files have these names."""
    content = {f"names/{name}": b"content" for name in ALLOWED}
    sender = person.open("import nbferry\nnbferry.send('names')", files=content)
    receiver = person.open(RECEIVE, page=1)
    sending, receiving = sender.show(), receiver.show()
    receiving.enter(sending.code)
    for card in (sending, receiving):
        card.waits_until("done")
        for name in content:
            expect(card.bar(display_name(name, 200))).to_be_visible()
        expect_no_harm(card.root.page)
    assert files_below(receiver.folder) == content


def test_names_in_the_chooser(person: Person) -> None:
    """The chooser lists the kernel's files under their true names."""
    content = dict.fromkeys((*ALLOWED, *REFUSED), b"content")
    card = person.open(SEND, files=content).show()
    card.click("The kernel's files")
    for name in content:
        expect(card.root.get_by_text(display_name(name), exact=True).first).to_be_visible()
    expect_no_harm(card.root.page)


def test_names_that_are_refused(person: Person, hostile: Path) -> None:
    """A hostile name is refused in a sentence that shows it, and another file can be chosen."""
    card = person.open(SEND).show()
    for name in REFUSED:
        card.choose("Choose files", hostile / name)
        expect(card.root.get_by_role("alert")).to_contain_text(display_name(name))
        expect_no_harm(card.root.page)
    card.choose("Choose files", hostile / ALLOWED[0])
    card.waits_until("waiting")
