"""The choice of a face, and questions in words."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from nbferry import api, faces
from nbferry.errors import NoPage
from nbferry.faces import ask_in_words, describe
from nbferry.limits import KiB, MiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.transfer.handle import Face
from nbferry.widget.face import NotebookFace

MANIFEST = Manifest.of([Entry("d", folder=True), Entry("d/a", 1000), Entry("b\x1b", 0)], 4 * KiB)


def test_describing_an_offer() -> None:
    """An offer is described by number, size and file names, which are made safe to print."""
    assert describe(MANIFEST) == ["Offered: 2 files, 1.0 kB", "  d/a  1.0 kB", "  b\\x1b  0 B"]
    one = Manifest.of([Entry("a", 5)], 4 * KiB)
    assert describe(one)[0] == "Offered: 1 file, 5 B"


def test_describing_a_large_offer() -> None:
    """A large offer names its first files and counts the others."""
    many = Manifest.of([Entry(str(n), MiB) for n in range(5000)], 4 * KiB)
    lines = describe(many)
    assert lines[0] == "Offered: 5,000 files, 5.2 GB"
    assert len(lines) == 22
    assert lines[-1] == "  … and 4,980 more"
    assert len(describe(many, limit=5000)) == 5001


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("y\n", True),
        (" YES \n", True),
        ("n\n", False),
        ("\n", False),
        ("yesterday\n", False),
        ("", "no person was there to accept it; pass accept=True"),
    ],
)
def test_asking_in_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    verdict: bool | str,
) -> None:
    """A user answers yes or no. Without a user the offer is declined with a reason."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert ask_in_words(MANIFEST) == verdict
    assert capsys.readouterr().out.startswith("Offered: 2 files")


# ------------------------------------------------------------------ the face that fits
@pytest.mark.parametrize(("kind", "face"), [("text", faces.TEXT), ("none", faces.QUIET)])
def test_text_or_quiet_without_a_notebook(monkeypatch: pytest.MonkeyPatch, kind: str, face: Face) -> None:
    """Transfers are shown as text or not at all; also in a kernel, if the setting says so."""
    monkeypatch.setenv("NBFERRY_UI", kind)
    assert faces.face() is face


def test_a_quiet_face_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A quiet face shows nothing during a wait, but still asks questions."""
    with faces.QUIET.following(None):
        assert capsys.readouterr() == ("", "")


def test_a_notebook_has_one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook's face knows the card of each transfer."""
    monkeypatch.setenv("NBFERRY_UI", "widget")
    assert isinstance(faces.face(), NotebookFace)
    assert faces.face() is faces.notebook_face()


@pytest.mark.parametrize(
    "call", [api.send, api.receive, api.upload, lambda: api.download("x"), lambda: faces.TEXT.saving(None)]
)
def test_no_choice_without_a_notebook(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    """Without a notebook a choice is an error with advice."""
    monkeypatch.setenv("NBFERRY_UI", "text")
    with pytest.raises(NoPage) as raised:
        call()
    assert raised.value.hint


@pytest.mark.parametrize("paths", [[], "", ["x", ""]])
def test_nothing_to_save(monkeypatch: pytest.MonkeyPatch, paths: list[str] | str) -> None:
    """An empty name is refused, as it would mean the current folder."""
    monkeypatch.setenv("NBFERRY_UI", "widget")
    with pytest.raises(ValueError, match="nothing to save"):
        api.download(paths)


@pytest.mark.parametrize("face", [faces.TEXT, faces.QUIET])
def test_a_question_without_a_notebook(monkeypatch: pytest.MonkeyPatch, face: Face) -> None:
    """The face that shows the transfer asks the question."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert face.ask(None, MANIFEST) is True
