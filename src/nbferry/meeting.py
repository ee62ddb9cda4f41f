"""How transfers meet a person here: the face that fits, and what is asked in words where there is no card."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nbferry import faces, follow, render
from nbferry.errors import NoPage
from nbferry.manifest import Manifest
from nbferry.names import display_name
from nbferry.transfer import Face, Transfer

if TYPE_CHECKING:
    from nbferry.widget.card import Card
    from nbferry.widget.face import NotebookFace
    from nbferry.widget.view import Kind


def face() -> Face:
    """How transfers meet a person here."""
    return notebook_face() if faces.kind() == "widget" else TEXT


def notebook_face() -> NotebookFace:
    """How they meet one in a notebook. Raises :class:`NoPage` elsewhere."""
    if faces.kind() != "widget":
        raise NoPage
    from nbferry.widget.face import face_of  # noqa: PLC0415  # ipywidgets takes its time to load

    return face_of(ask_in_words)


def picker(kind: Kind, begin: Callable[[Any], Transfer]) -> Card:
    """A card in which a person chooses what to begin with."""
    return notebook_face().picker(kind, begin)


class _Text(Face):
    """A terminal, or a log."""

    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str:
        """See :meth:`Face.ask`."""
        with follow.aside():
            return ask_in_words(offer)

    def following(self, transfer: Transfer) -> AbstractContextManager[None]:
        """See :meth:`Face.following`."""
        return follow.following(transfer)


TEXT = _Text()


def ask_in_words(manifest: Manifest) -> bool | str:
    """Ask a person at the keyboard; nobody there is a no."""
    print("\n".join(describe(manifest)))  # noqa: T201  # the question is put on the screen
    try:
        answer = input("Accept? [y/N] ")
    except (EOFError, RuntimeError, NotImplementedError):
        return "nobody is there to accept it; pass accept=True"
    return answer.strip().lower() in ("y", "yes")


def describe(manifest: Manifest, most: int = 20) -> list[str]:
    """Lines that say what is offered."""
    files = [entry for entry in manifest.entries if not entry.folder]
    lines = [f"Offered: {len(files):,} file{'s' * (len(files) != 1)}, {render.size(manifest.total_bytes)}"]
    lines += [f"  {display_name(entry.path)}  {render.size(entry.size)}" for entry in files[:most]]
    return lines + ([f"  … and {len(files) - most:,} more"] if len(files) > most else [])
