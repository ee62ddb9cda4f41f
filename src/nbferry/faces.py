"""The face that fits this process: a card, text or nothing; and the question in words where no card is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from nbferry.errors import NoPage
from nbferry.jupyter import face_kind
from nbferry.model.manifest import Manifest
from nbferry.model.names import display_name
from nbferry.text import live, rendering
from nbferry.transfer.face import Face
from nbferry.transfer.handle import Transfer

if TYPE_CHECKING:
    from nbferry.widget.card import Card
    from nbferry.widget.face import NotebookFace
    from nbferry.widget.view import CardKind


def face() -> Face:
    """The face that transfers have in this process."""
    match face_kind.kind():
        case "widget":
            return notebook_face()
        case "text":
            return TEXT
        case _:
            return QUIET


def notebook_face() -> NotebookFace:
    """The face in a notebook, which shows cards. Raises :class:`NoPage` elsewhere."""
    if face_kind.kind() != "widget":
        raise NoPage
    from nbferry.widget.face import face_of  # noqa: PLC0415  # ipywidgets is slow to load

    return face_of(ask_in_words)


def picker(kind: CardKind, begin: Callable[[Any], Transfer]) -> Card:
    """A card in which a person chooses; ``begin`` is called with the choice."""
    return notebook_face().picker(kind, begin)


class _Quiet(Face):
    """Shows nothing, but asks about offers."""

    @override
    def is_in_a_cell(self) -> bool:
        return face_kind.in_ipython()

    @override
    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str:
        with live.aside():
            return ask_in_words(offer)


class _Text(_Quiet):
    """Shows text: a bar in a terminal, lines in a log."""

    @override
    def following(self, transfer: Transfer) -> AbstractContextManager[None]:
        return live.following(transfer)


QUIET, TEXT = _Quiet(), _Text()


def ask_in_words(manifest: Manifest) -> bool | str:
    """Ask the person at the keyboard. Without an answer, return a text that says why the offer is rejected."""
    print("\n".join(describe(manifest)))  # noqa: T201  # a question to the person
    try:
        answer = input("Accept? [y/N] ")
    except (EOFError, RuntimeError, NotImplementedError):
        return "no person was there to accept it; pass accept=True"
    return answer.strip().lower() in ("y", "yes")


def describe(manifest: Manifest, limit: int = 20) -> list[str]:
    """Describe an offer in lines of text, with the names of at most ``limit`` files."""
    files = [entry for entry in manifest.entries if not entry.folder]
    lines = [f"Offered: {len(files):,} file{'s' * (len(files) != 1)}, {rendering.size(manifest.total_bytes)}"]
    lines += [f"  {display_name(entry.path)}  {rendering.size(entry.size)}" for entry in files[:limit]]
    return lines + ([f"  … and {len(files) - limit:,} more"] if len(files) > limit else [])
