"""The card: the widget itself. Everything that it does is at its desk."""

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

    ``transfer`` is what it shows, None before something is chosen. ``await card`` and ``card.wait()`` wait for that,
    and then for its result.
    """

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"
    view = traitlets.Dict().tag(sync=True)
    _line = traitlets.Unicode().tag(sync=True)  # the widget's own id, which a model in a page does not tell

    def __init__(self, model: CardModel) -> None:
        name = uuid.uuid4().hex
        super().__init__(view=model.view(), model_id=name, _line=name)
        self._model = model
        unpin(self.comm)
        self.on_msg(self._hear)
        model.open(self._line, self._say, self._show)

    @property
    def transfer(self) -> Transfer | None:
        """What it shows."""
        return self._model.transfer

    def hang_up(self) -> None:
        """Do without a line: it is slower then, and otherwise the same."""
        self._model.hang_up()

    def close(self) -> None:
        """Take it away, in all pages. The transfer goes on."""
        if self.comm is not None:  # else it was closed before; the garbage collector does it again
            self.hang_up()
        super().close()

    def wait_until_seen(self, seconds: float) -> bool:
        """Wait for a page to show it; whether one does."""
        return self._model.met.wait(seconds)

    def wait(self, timeout: float | None = None) -> Result:
        """Wait until something has begun, then like :meth:`Transfer.wait`."""
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
    """A card of a transfer as it is displayed; no code in it, as notebooks are saved with this."""
    files = transfer.files_from(0, rendering.MAX_FILES_SHOWN)
    snapshot = transfer.snapshot.evolve(reason=view.to_be_saved(transfer.snapshot.reason))
    return bundle(card, rendering.html(snapshot, None, files), rendering.text(snapshot, None))


def bundle(widget: Any, html: str, text: str) -> dict[str, Any]:
    """A widget, and beside it what shows where no kernel stands behind it."""
    reference = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": reference, "text/html": html, "text/plain": text}
