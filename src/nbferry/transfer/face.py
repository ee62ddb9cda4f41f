"""How a transfer meets a person: the port that a card, a bar and lines of a log implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from nbferry.errors import NoPage
from nbferry.model.manifest import Manifest

if TYPE_CHECKING:
    from nbferry.transfer.handle import Transfer


class Face:
    """The port, and the face of a process without a person: it shows nothing and asks nothing."""

    def ask(self, transfer: Transfer, offer: Manifest) -> bool | str | None:
        """Decide about an offer while the caller waits: True, False or a reason. None leaves it to ``accept``."""
        return None

    def following(self, transfer: Transfer) -> AbstractContextManager[object]:
        """Show the progress while the caller waits."""
        return nullcontext()

    def card(self, transfer: Transfer) -> Mapping[str, Any] | None:
        """What a notebook displays for a transfer, by MIME type; None if it has no card."""
        return None

    def cards(self, transfers: Sequence[Transfer]) -> Mapping[str, Any] | None:
        """What a notebook displays for several transfers."""
        return None

    def saving(self, transfer: Transfer) -> Any:
        """What :meth:`Transfer.save` returns."""
        raise NoPage

    def public_code(self, code: str) -> str:
        """A code with the address at which others reach the relay, if the face knows a better one."""
        return code

    def is_in_a_cell(self) -> bool:
        """Whether a cell waits, which a person may interrupt. False in a program."""
        return False


FACELESS = Face()
