"""The card: the widget itself. Its model does the work, in :mod:`nbferry.widget.card_model`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from typing_extensions import override

from nbferry.errors import TimedOut
from nbferry.status import Result
from nbferry.text import rendering
from nbferry.transfer.handle import SLICE, Transfer
from nbferry.widget import view
from nbferry.widget.calls import Buffer
from nbferry.widget.card_model import CardModel
from nbferry.widget.unpinned import unpin

STATIC = Path(__file__).parent.parent / "static"


class Card(anywidget.AnyWidget):
    """Shows one transfer, or waits for a person to choose what to begin.

    ``transfer`` is None before a person has chosen. ``await card`` and ``card.wait()`` wait for the choice, and then
    for the result.
    """

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"
    view = traitlets.Dict().tag(sync=True)
    # The widget's own id: a model in a page does not have it.
    _line = traitlets.Unicode().tag(sync=True)

    def __init__(self, model: CardModel) -> None:
        name = uuid.uuid4().hex
        super().__init__(view=model.view(), model_id=name, _line=name)
        self._model = model
        unpin(self.comm)
        self.on_msg(self._hear)
        model.open(self._line, self._say, self._show)

    @property
    def transfer(self) -> Transfer | None:
        """The transfer that it shows; None before a person has chosen."""
        return self._model.transfer

    def hang_up(self) -> None:
        """Close the line. The comm does the same, but slower."""
        self._model.hang_up()

    def close(self) -> None:
        """Remove the card from all pages. The transfer continues."""
        # The garbage collector closes it once more.
        if self.comm is not None:
            self.hang_up()
        super().close()

    def wait_until_seen(self, seconds: float) -> bool:
        """Wait until a page shows the card. Returns whether one does."""
        return self._model.met.wait(seconds)

    def wait(self, timeout: float | None = None) -> Result:
        """Wait until a person has chosen, then for the transfer like :meth:`Transfer.wait`."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = SLICE if until is None else min(SLICE, max(0.0, until - time.monotonic()))
            try:
                transfer = self._model.begun.result(left)
                return transfer.wait(None if until is None else max(0.0, until - time.monotonic()))
            except concurrent.futures.TimeoutError:
                if until is not None and time.monotonic() >= until:
                    raise TimedOut("Nothing was chosen in time.", hint="") from None

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait_async().__await__()

    async def _wait_async(self) -> Result:
        transfer = await asyncio.wrap_future(self._model.begun)
        return await transfer

    # ---------------------------------------------------------------- faces
    @override
    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]  # one of the two forms
        if self.transfer:
            return shown(self, self.transfer)
        kind, what = self.view["kind"], self.view["what"]
        return bundle(self, rendering.unbegun_html(kind, what), rendering.unbegun(kind, what))

    # ---------------------------------------------------------------- the comm
    def _hear(self, _widget: object, message: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        self._model.hear(message, [bytes(buffer) for buffer in buffers])

    def _say(self, message: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        self.send(message, buffers)

    def _show(self, view: dict[str, Any]) -> None:
        self.view = view


def shown(card: Card, transfer: Transfer) -> dict[str, Any]:
    """What a notebook displays for a transfer's card. It has no code, because the notebook is saved with it."""
    files = transfer.files_from(0, rendering.MAX_FILES_SHOWN)
    snapshot = transfer.snapshot.evolve(reason=view.to_be_saved(transfer.snapshot.reason))
    return bundle(card, rendering.html(snapshot, None, files), rendering.text(snapshot, None))


def bundle(widget: Any, html: str, text: str) -> dict[str, Any]:
    """A widget, and the HTML and text that are shown where no kernel runs."""
    reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": reference, "text/html": html, "text/plain": text}
