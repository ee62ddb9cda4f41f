"""The face of transfers in a notebook: each transfer has one card, which can be displayed several times."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ipywidgets
from typing_extensions import override

from nbferry.engine.portal import portal
from nbferry.errors import LocalProtocolError
from nbferry.jupyter import face_kind, server
from nbferry.model.manifest import Manifest
from nbferry.text import rendering
from nbferry.transfer.face import Face
from nbferry.transfer.handle import Transfer
from nbferry.widget.card import Card, bundle, shown
from nbferry.widget.card_model import CardModel
from nbferry.widget.saving import Saving
from nbferry.widget.view import CardKind

# Cards that keep a line. Older cards of ended transfers use the comm only.
MAX_CARDS = 32
# Seconds in which an open page shows a card and says so.
SEEN_WITHIN = 3.0


class NotebookFace(Face):
    """Shows transfers as cards. ``ask`` asks in words where no page shows a card."""

    def __init__(self, ask: Callable[[Manifest], bool | str]) -> None:
        self._ask = ask
        self._cards: dict[str, Card] = {}
        self._lock = threading.Lock()

    @override
    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str | None:
        # A card that a page shows has buttons for the answer.
        card = self._card_there(transfer)
        return None if card and card.wait_until_seen(SEEN_WITHIN) else self._ask(offer)

    @override
    @contextmanager
    def following(self, transfer: Transfer) -> Iterator[None]:
        # Display the card, unless the transfer has one already.
        if not self._card_there(transfer) and not transfer.is_over:
            from IPython.display import display  # noqa: PLC0415  # a notebook has it loaded

            display(transfer)  # type: ignore[no-untyped-call]  # it has no types
        yield

    @override
    def public_code(self, code: str) -> str:
        # A page may have reported the address at which it reaches the Jupyter server.
        return server.outside(code)

    @override
    def is_in_a_cell(self) -> bool:
        return face_kind.in_ipython()

    @override
    def card(self, transfer: Transfer) -> Mapping[str, Any]:
        return shown(self.card_of(transfer), transfer)

    @override
    def cards(self, transfers: Sequence[Transfer]) -> Mapping[str, Any] | None:
        if not transfers:
            return None
        box = ipywidgets.VBox([self.card_of(transfer) for transfer in transfers])
        files = "".join(rendering.html(transfer.snapshot, None) for transfer in transfers)
        return bundle(box, files, "\n".join(map(repr, transfers)))

    def card_of(self, transfer: Transfer) -> Card:
        """The one card of a transfer."""
        with self._lock:
            card = self._card_there(transfer)
            if not card:
                model = CardModel(transfer.snapshot.role, portal())
                model.show(transfer)
                card = Card(model)
                self._keep(card, transfer)
            return card

    def _card_there(self, transfer: Transfer) -> Card | None:
        """The card of a transfer that is open and shows this handle."""
        card = self._cards.get(transfer.id)
        fits = card and card.comm is not None and card.transfer in (None, transfer)
        return card if fits else None

    def _keep(self, card: Card, transfer: Transfer) -> None:
        self._cards[transfer.id] = card
        over = [name for name, each in self._cards.items() if each.transfer and each.transfer.is_over]
        for name in over[: max(0, len(self._cards) - MAX_CARDS)]:
            self._cards.pop(name).hang_up()

    def picker(self, kind: CardKind, begin: Callable[[Any], Transfer]) -> Card:
        """A card in which a person chooses. It also becomes the card of the transfer that ``begin`` starts."""

        def begin_here(chosen: Any) -> Transfer:
            transfer = begin(chosen)
            # A cell that waits must find this card, or it would display another one.
            with self._lock:
                self._keep(card, transfer)
            return transfer

        card = Card(CardModel(kind, portal(), begin=begin_here))
        return card

    @override
    def saving(self, transfer: Transfer) -> Card:
        if not transfer.outcome or transfer.folder is None:
            raise LocalProtocolError("There is nothing to save before it is received.")
        return self.download(transfer.outcome.files, beside=transfer.folder)

    def download(self, paths: Sequence[Path], *, beside: Path | None = None) -> Card:
        """A card with a button that saves files of the kernel onto the browser's machine.

        Paths are relative to ``beside``; without it, each file has only its name. Raises :class:`StorageError` for a
        path that does not exist.
        """
        # Raises now for what is missing.
        Saving(paths, beside=beside)
        return Card(CardModel("download", portal(), savable=paths, beside=beside))


@cache
def face_of(ask: Callable[[Manifest], bool | str]) -> NotebookFace:
    """The notebook face of this process."""
    return NotebookFace(ask)
