"""How transfers meet a person in a notebook: each has one card, displayed as often as somebody likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ipywidgets

from nbferry import render
from nbferry.engine.portal import portal
from nbferry.errors import LocalProtocolError
from nbferry.manifest import Manifest
from nbferry.transfer import Face, Transfer
from nbferry.widget.card import Card, bundle, shown
from nbferry.widget.desk import Desk
from nbferry.widget.saving import Saving
from nbferry.widget.view import Kind

SEEN_WITHIN = 3.0  # seconds in which a page that is there has shown a card, and said so


class NotebookFace(Face):
    """See the module. ``ask`` puts an offer into words, where no page shows a card."""

    def __init__(self, ask: Callable[[Manifest], bool | str]) -> None:
        self._ask = ask
        self._cards: dict[str, Card] = {}
        self._lock = threading.Lock()

    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str | None:
        """See :meth:`Face.ask`: a card that is seen has buttons for it."""
        card = self._cards.get(transfer.id)
        return None if card and card.wait_until_seen(SEEN_WITHIN) else self._ask(offer)

    @contextmanager
    def following(self, transfer: Transfer) -> Iterator[None]:
        """See :meth:`Face.following`: show its card, unless it is shown already."""
        if transfer.id not in self._cards and not transfer.is_over:
            from IPython.display import display  # noqa: PLC0415  # a notebook has it loaded

            display(transfer)  # type: ignore[no-untyped-call]  # it has no types
        yield

    def card(self, transfer: Transfer) -> Mapping[str, Any]:
        """See :meth:`Face.card`."""
        return shown(self.card_of(transfer), transfer)

    def cards(self, transfers: Sequence[Transfer]) -> Mapping[str, Any] | None:
        """See :meth:`Face.cards`."""
        if not transfers:
            return None
        box = ipywidgets.VBox([self.card_of(transfer) for transfer in transfers])
        files = "".join(render.html(transfer.snapshot, None) for transfer in transfers)
        return bundle(box, files, "\n".join(map(repr, transfers)))

    def card_of(self, transfer: Transfer) -> Card:
        """The one card of a transfer."""
        with self._lock:
            if transfer.id not in self._cards:
                desk = Desk(_kind(transfer), portal())
                desk.show(transfer)
                self._cards[transfer.id] = Card(desk)
            return self._cards[transfer.id]

    def picker(self, kind: Kind, begin: Callable[[Any], Transfer]) -> Card:
        """A card in which a person chooses; what that begins has no other card."""
        desk = Desk(kind, portal(), begin=begin)
        card = Card(desk)
        desk.begun.add_done_callback(lambda begun: self._remember(card, begun.result()))
        return card

    def _remember(self, card: Card, transfer: Transfer) -> None:
        with self._lock:
            self._cards[transfer.id] = card

    def saving(self, transfer: Transfer) -> Card:
        """See :meth:`Face.saving`."""
        if not transfer.outcome or transfer.folder is None:
            raise LocalProtocolError("There is nothing to save before it is received.")
        return self.download(transfer.outcome.files)

    def download(self, paths: Sequence[Path]) -> Card:
        """A card with a button that saves files of the kernel onto the browser's machine.

        Raises :class:`StorageError` for what is not there.
        """
        Saving(paths)  # says now what is missing
        return Card(Desk("download", portal(), savable=paths))


def _kind(transfer: Transfer) -> Kind:
    match transfer.snapshot.role:
        case "send":
            return "send"
        case "upload":
            return "upload"
        case _:
            return "receive"


@cache
def face_of(ask: Callable[[Manifest], bool | str]) -> NotebookFace:
    """The one of this process."""
    return NotebookFace(ask)
