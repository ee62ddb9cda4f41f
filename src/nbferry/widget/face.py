"""How transfers meet a person in a notebook: each has one card, displayed as often as somebody likes."""

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

MAX_CARDS = (
    32  # cards with a line: older ones of what is over have the comm only, and are made anew if need be
)
SEEN_WITHIN = 3.0  # seconds in which a page that is there has shown a card, and said so


class NotebookFace(Face):
    """See the module. ``ask`` puts an offer into words, where no page shows a card."""

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
        # The cell displays the card, unless another one has displayed it.
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
        """One that was made and not closed, and shows this handle."""
        card = self._cards.get(transfer.id)
        fits = card and card.comm is not None and card.transfer in (None, transfer)
        return card if fits else None

    def _keep(self, card: Card, transfer: Transfer) -> None:
        self._cards[transfer.id] = card
        over = [name for name, each in self._cards.items() if each.transfer and each.transfer.is_over]
        for name in over[: max(0, len(self._cards) - MAX_CARDS)]:
            self._cards.pop(name).hang_up()

    def picker(self, kind: CardKind, begin: Callable[[Any], Transfer]) -> Card:
        """A card in which a person chooses; what that begins has no other card."""

        def begin_here(chosen: Any) -> Transfer:
            transfer = begin(chosen)
            with self._lock:  # before somebody who waits hears of it, and would display another
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

        ``beside`` is the folder that their paths begin in; otherwise each has its own name. Raises
        :class:`StorageError` for what is not there.
        """
        Saving(paths, beside=beside)  # says now what is missing
        return Card(CardModel("download", portal(), savable=paths, beside=beside))


@cache
def face_of(ask: Callable[[Manifest], bool | str]) -> NotebookFace:
    """The one of this process."""
    return NotebookFace(ask)
