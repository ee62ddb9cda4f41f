"""What the command prints about a transfer: text for a person, JSON for a program, or only the code and errors.

:mod:`nbferry.text.live` has the progress that a person sees: a bar, or lines of a log.
"""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Sequence

from rich.console import Console
from typing_extensions import override

from nbferry.errors import NbferryError, Rejected
from nbferry.faces import describe
from nbferry.model.manifest import Manifest
from nbferry.model.names import display_name
from nbferry.model.roles import Role
from nbferry.status import Result, Snapshot, State
from nbferry.storage.base import Skipped
from nbferry.storage.records.receipts import Verification
from nbferry.text import rendering
from nbferry.text.live import text_face
from nbferry.transfer.handle import SLICE, Transfer

NO = "no"
UNATTENDED = "no person was there to accept it"


class Screen:
    """Follows one transfer. This class prints nothing; subclasses override what they print.

    The main thread prints and asks everything, in the order in which it happened.
    """

    def __init__(self) -> None:
        self._shown: tuple[State, str] | None = None
        self._offered = self._asked = self._unattended = False
        self._guesses = 0

    def follow(self, transfer: Transfer) -> None:
        """Show the transfer until it ends, and ask about its offer. Raises the error that ended it."""
        news: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()

        def hear(view: Snapshot) -> None:
            news.put(view)
            if transfer.is_over:
                news.put(None)

        transfer.subscribe(hear)
        if transfer.snapshot.role is Role.SEND:
            code = transfer.code
            if transfer.skipped:
                self.skipped(transfer.skipped)
            if transfer.code_works:
                self.code(code)
            else:
                self.resumed(transfer.id)
        while (view := _next(news)) is not None:
            self._show(view, transfer)
        try:
            result = transfer.wait()
        except Rejected as error:
            if self._unattended:
                error.hint = "Ask for a new code, and use --yes to accept any offer."
            raise
        self.done(result, transfer.snapshot)

    def _show(self, view: Snapshot, transfer: Transfer) -> None:
        self.news(view)
        if not self._offered and view.names:
            self._offered = True
            self.offer(view)
        if view.state.final and self._offered:
            self.progress(view)
        if (view.state, view.reason) != self._shown:
            self._shown = (view.state, view.reason)
            self.state(view, view.reason)
        if view.wrong_guesses > self._guesses:
            self._guesses = view.wrong_guesses
            self.guessed(view, rendering.guessed(view))
        if not view.state.final and self._offered:
            self.progress(view)
        if not self._asked and transfer.waits_for_decision and transfer.offer:
            self._decide(transfer, transfer.offer)

    def _decide(self, transfer: Transfer, offer: Manifest) -> None:
        self._asked = True
        verdict = self.ask(offer)
        self._unattended = verdict == UNATTENDED
        if verdict is True:
            transfer.accept()
        else:
            transfer.reject(verdict or "")

    def ask(self, manifest: Manifest) -> bool | str:
        """Ask whether to accept an offer. A text is the reason why not."""
        return UNATTENDED

    def code(self, code: str) -> None:
        """Show the code that the receiver needs."""

    def resumed(self, transfer: str) -> None:
        """Say that the transfer is resumed, so its receiver needs no code."""

    def skipped(self, skipped: tuple[Skipped, ...]) -> None:
        """Show what was found in the folders and is not sent."""

    def interrupted(self, transfer: str) -> None:
        """Say that a person interrupted the transfer, and how to resume it."""

    def nothing(self) -> None:
        """Say that there is no transfer to resume."""

    def done(self, result: Result, view: Snapshot) -> None:
        """Show the result."""

    def error(self, error: NbferryError) -> None:
        """Show the error that ended the transfer."""

    def news(self, view: Snapshot) -> None:
        """Show a new snapshot. Called before the methods that show parts of it."""

    def offer(self, view: Snapshot) -> None:
        """Show what is offered."""

    def state(self, view: Snapshot, reason: str) -> None:
        """Show a new state, or a new reason for it."""

    def guessed(self, view: Snapshot, reason: str) -> None:
        """Warn of a wrong guess of the code."""

    def progress(self, view: Snapshot) -> None:
        """Show the progress, once something is offered."""

    def close(self) -> None:
        """Leave the terminal as it was. May be called twice."""


def _next(news: queue.SimpleQueue[Snapshot | None]) -> Snapshot | None:
    """Wait for the next snapshot, in slices: on some systems Ctrl-C takes effect only between two waits."""
    while True:
        try:
            return news.get(timeout=SLICE)
        except queue.Empty:
            continue


class Json(Screen):
    """Prints one JSON object per line on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: dict[str, object] = {}

    def _print(self, event: str, **fields: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    @override
    def ask(self, manifest: Manifest) -> bool | str:
        # A program cannot answer.
        return UNATTENDED

    @override
    def code(self, code: str) -> None:
        self._print("code", code=code)

    @override
    def offer(self, view: Snapshot) -> None:
        self._print("offer", files=view.files, bytes=view.total)

    @override
    def state(self, view: Snapshot, reason: str) -> None:
        self._print("state", state=str(view.state), reason=reason)

    @override
    def guessed(self, view: Snapshot, reason: str) -> None:
        self.state(view, reason)

    @override
    def progress(self, view: Snapshot) -> None:
        names = ("sent", "verified", "durable", "total", "rate", "eta", "via", "via_since")
        fields = {name: getattr(view, name) for name in names}
        if fields != self._progress:
            self._progress = fields
            self._print("progress", **fields)

    @override
    def done(self, result: Result, view: Snapshot) -> None:
        paths = [str(path) for path in result.files]
        self._print(
            "done",
            files=paths,
            bytes=result.bytes,
            seconds=result.seconds,
            digest=result.digest,
            via=result.via,
            reused=result.reused,
        )

    @override
    def error(self, error: NbferryError) -> None:
        self._print(
            "error", code=error.code, message=error.message, hint=error.hint, retryable=error.retryable
        )


class Quiet(Screen):
    """Prints the code on stdout and errors on stderr. It still asks questions."""

    def __init__(self) -> None:
        super().__init__()
        self._errors = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @override
    def ask(self, manifest: Manifest) -> bool | str:
        if not (sys.stdin and sys.stdin.isatty()):
            return UNATTENDED
        for line in describe(manifest):
            self._errors.print(line)
        self._errors.print("Accept? [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes") or NO

    @override
    def code(self, code: str) -> None:
        sys.stdout.write(code + "\n")
        sys.stdout.flush()

    @override
    def done(self, result: Result, view: Snapshot) -> None:
        """Success prints nothing."""

    @override
    def guessed(self, view: Snapshot, reason: str) -> None:
        self._errors.print(f"Warning: {reason}")

    @override
    def skipped(self, skipped: tuple[Skipped, ...]) -> None:
        first = skipped[0]
        others = f" and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
        self._errors.print(f"Not sent: {display_name(first.path)} ({first.why}){others}.")

    @override
    def error(self, error: NbferryError) -> None:
        self._errors.print(f"Error: {display_name(str(error), 1000)}")


class Terminal(Quiet):
    """Prints for a person: the code, then progress with rate, time left and path, then the result."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._face = text_face()

    @override
    def code(self, code: str) -> None:
        self._console.print(f"On the other side:  nbferry receive   and enter this code:\n\n    {code}\n")
        if rendering.here_only(code):
            self._console.print("(It works on this machine only; --relay or NBFERRY_HOST change that.)")

    @override
    def resumed(self, transfer: str) -> None:
        self._console.print(f"Transfer {transfer} is resumed. No new code is needed.")
        self._console.print(f"(To end it:  nbferry discard {transfer})")

    @override
    def interrupted(self, transfer: str) -> None:
        self.close()
        self._errors.print(f"Interrupted. What arrived is kept. To resume:  nbferry resume {transfer}")
        self._errors.print(f"To end it:  nbferry discard {transfer}")

    @override
    def nothing(self) -> None:
        self._console.print("Nothing to resume here. To see unfinished transfers:  nbferry list")

    @override
    def news(self, view: Snapshot) -> None:
        # ``done`` or ``error`` shows the end.
        if not view.state.final:
            self._face.show(view)

    @override
    def guessed(self, view: Snapshot, reason: str) -> None:
        """The live text shows it already."""

    @override
    def done(self, result: Result, view: Snapshot) -> None:
        self.close()
        self._console.print(
            f"{view.role.done} {rendering.title(view)}: {_took(result)}, every byte verified."
        )
        if result.reused:
            self._console.print(f"{rendering.size(result.reused)} were here already and were not sent.")
        shown = result.files[:10] if view.role.takes_in else ()
        for path in shown:
            self._console.print(f"  {display_name(str(path), 400)}")
        if len(result.files) > len(shown) > 0:
            self._console.print(f"  … and {len(result.files) - len(shown):,} more")

    @override
    def close(self) -> None:
        self._face.close()


def _took(result: Result) -> str:
    """How much was transferred in what time. An earlier process may have done all of it, so there is no time."""
    if not result.seconds:
        return rendering.size(result.bytes)
    how = ", ".join(filter(None, (f"{rendering.size(result.bytes / result.seconds)}/s", result.via)))
    return f"{rendering.size(result.bytes)} in {rendering.duration(result.seconds)} ({how})"


def screen_for(*, as_json: bool, quiet: bool) -> Screen:
    """The screen that was asked for."""
    return Json() if as_json else Quiet() if quiet else Terminal()


# ------------------------------------------------------------------ lists
def unfinished(views: Sequence[Snapshot], *, as_json: bool) -> list[str]:
    """One line for each unfinished transfer."""
    if as_json:
        names = ("id", "role", "state", "reason", "files", "total", "durable")
        return [
            json.dumps({**{name: getattr(view, name) for name in names}, "names": view.names})
            for view in views
        ]
    return [_line(view) for view in views] or ["There are no unfinished transfers here."]


def _line(view: Snapshot) -> str:
    there = f"{view.durable * 100 // view.total} % of " if view.total else ""
    why = f"  ({display_name(view.reason, 200)})" if view.reason else ""
    return f"{view.id}  {view.role:7}  {rendering.title(view)}  {there}{rendering.size(view.total)}{why}"


def verified(outcome: Verification, *, as_json: bool) -> list[str]:
    """The result of comparing files with a receipt: a line for each file that differs, then a summary."""
    if as_json:
        files = [{"path": str(file.path), "verdict": file.verdict} for file in outcome.files]
        return [json.dumps({"right": outcome.right, "files": files})]
    wrong = [file for file in outcome.files if file.verdict != "right"]
    lines = [f"{file.verdict}: {display_name(str(file.path), 400)}" for file in wrong]
    count = f"{len(outcome.files):,} file{'s' * (len(outcome.files) != 1)}"
    return [
        *lines,
        f"{len(wrong):,} of {count} differ." if wrong else f"{count} compared: every byte is right.",
    ]
