"""How transfers meet a person here: the face that fits, and what is asked in words where there is no card."""

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
    """How transfers meet a person here."""
    match face_kind.kind():
        case "widget":
            return notebook_face()
        case "text":
            return TEXT
        case _:
            return QUIET


def notebook_face() -> NotebookFace:
    """How they meet one in a notebook. Raises :class:`NoPage` elsewhere."""
    if face_kind.kind() != "widget":
        raise NoPage
    from nbferry.widget.face import face_of  # noqa: PLC0415  # ipywidgets takes its time to load

    return face_of(ask_in_words)


def picker(kind: CardKind, begin: Callable[[Any], Transfer]) -> Card:
    """A card in which a person chooses what to begin with."""
    return notebook_face().picker(kind, begin)


class _Quiet(Face):
    """Shows nothing, and asks all the same."""

    @override
    def is_in_a_cell(self) -> bool:
        return face_kind.in_ipython()

    @override
    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str:
        with live.aside():
            return ask_in_words(offer)


class _Text(_Quiet):
    """A terminal, or a log."""

    @override
    def following(self, transfer: Transfer) -> AbstractContextManager[None]:
        return live.following(transfer)


QUIET, TEXT = _Quiet(), _Text()


def ask_in_words(manifest: Manifest) -> bool | str:
    """Ask a person at the keyboard; nobody there is a no."""
    print("\n".join(describe(manifest)))  # noqa: T201  # the question is put on the screen
    try:
        answer = input("Accept? [y/N] ")
    except (EOFError, RuntimeError, NotImplementedError):
        return "no person was there to accept it; pass accept=True"
    return answer.strip().lower() in ("y", "yes")


def describe(manifest: Manifest, most: int = 20) -> list[str]:
    """Lines that say what is offered."""
    files = [entry for entry in manifest.entries if not entry.folder]
    lines = [f"Offered: {len(files):,} file{'s' * (len(files) != 1)}, {rendering.size(manifest.total_bytes)}"]
    lines += [f"  {display_name(entry.path)}  {rendering.size(entry.size)}" for entry in files[:most]]
    return lines + ([f"  … and {len(files) - most:,} more"] if len(files) > most else [])
