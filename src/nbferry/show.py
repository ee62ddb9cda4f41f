"""What the command prints while a transfer runs: a bar for a person, lines of JSON for a program, or next to nothing."""

from __future__ import annotations

import json
import queue
import sys
from abc import ABC, abstractmethod

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from nbferry import render
from nbferry.api import describe
from nbferry.errors import NbferryError
from nbferry.limits import Limits
from nbferry.manifest import Manifest
from nbferry.names import display_name
from nbferry.status import Result, Snapshot, State
from nbferry.transfer import Transfer

NO = "the receiver declined"


class Screen(ABC):
    """Shows one transfer. Everything is printed from the main thread, in the order in which it happened."""

    def follow(self, transfer: Transfer) -> Result:
        """Show the transfer until it ends; returns its result or raises its error."""
        news: queue.SimpleQueue[Snapshot | None] = queue.SimpleQueue()
        transfer.subscribe(news.put)
        transfer.when_done(lambda: news.put(None))
        if transfer.snapshot.role == "send":
            self.code(transfer.code)
        state = guesses = None
        offered = False
        while (view := news.get()) is not None:
            if view.files and not offered and view.role == "receive":
                offered = True
                self.offer(view)
            if (view.state, view.reason) != state:
                state = (view.state, view.reason)
                self.state(view)
            if view.wrong_guesses != (guesses or 0):
                guesses = view.wrong_guesses
                self.guessed(view.wrong_guesses)
            self.progress(view)
        result = transfer.wait()
        self.done(result, transfer.snapshot)
        return result

    @abstractmethod
    def ask(self, manifest: Manifest) -> bool | str:
        """Ask whether to accept. Called in a worker thread."""

    @abstractmethod
    def code(self, code: str) -> None:
        """The receiver needs this."""

    @abstractmethod
    def done(self, result: Result, view: Snapshot) -> None:
        """It went well."""

    @abstractmethod
    def error(self, error: NbferryError) -> None:
        """It did not."""

    def offer(self, view: Snapshot) -> None:
        """This is offered."""

    def state(self, view: Snapshot) -> None:
        """The state, or the reason for it, is another one."""

    def guessed(self, times: int) -> None:
        """Somebody guessed the code wrong."""

    def progress(self, view: Snapshot) -> None:
        """A new snapshot."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Json(Screen):
    """One JSON object a line on stdout."""

    def _print(self, event: str, **fields: object) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    def ask(self, manifest: Manifest) -> bool | str:
        """Nobody can be asked; without --yes only small offers pass."""
        return (
            manifest.total_bytes <= Limits().auto_accept
            or "it is larger than what is accepted without a question"
        )

    def code(self, code: str) -> None:
        """See :class:`Screen`."""
        self._print("code", code=code)

    def offer(self, view: Snapshot) -> None:
        """See :class:`Screen`."""
        self._print("offer", files=view.files, bytes=view.total)

    def state(self, view: Snapshot) -> None:
        """See :class:`Screen`."""
        self._print("state", state=str(view.state), reason=view.reason)

    def guessed(self, times: int) -> None:
        """See :class:`Screen`."""
        self._print("guess", wrong=times)

    def progress(self, view: Snapshot) -> None:
        """See :class:`Screen`."""
        fields = {
            name: getattr(view, name)
            for name in ("sent", "verified", "durable", "total", "rate", "eta", "via")
        }
        self._print("progress", **fields)

    def done(self, result: Result, view: Snapshot) -> None:
        """See :class:`Screen`."""
        paths = [str(path) for path in result.files]
        self._print(
            "done",
            files=paths,
            bytes=result.bytes,
            seconds=result.seconds,
            digest=result.digest,
            via=result.via,
        )

    def error(self, error: NbferryError) -> None:
        """See :class:`Screen`."""
        self._print(
            "error", code=error.code, message=error.message, hint=error.hint, retryable=error.retryable
        )


class Quiet(Screen):
    """The code on stdout, errors on stderr; questions are still asked."""

    def __init__(self) -> None:
        self._errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def ask(self, manifest: Manifest) -> bool | str:
        """See :class:`Screen`."""
        if manifest.total_bytes <= Limits().auto_accept:
            return True
        if not sys.stdin.isatty():
            return "nobody is there to accept it"
        for line in describe(manifest):
            self._errors.print(line)
        self._errors.print("Accept? [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes") or NO

    def code(self, code: str) -> None:
        """See :class:`Screen`."""
        sys.stdout.write(code + "\n")
        sys.stdout.flush()

    def done(self, result: Result, view: Snapshot) -> None:
        """See :class:`Screen`."""

    def guessed(self, times: int) -> None:
        """See :class:`Screen`."""
        self._errors.print(f"Somebody guessed the code wrong ({times} of 3).")

    def error(self, error: NbferryError) -> None:
        """See :class:`Screen`."""
        self._errors.print(f"Error: {display_name(str(error), 1000)}")


class Terminal(Quiet):
    """The code, then a bar with rate, time left and path, for a person."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[how]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def ask(self, manifest: Manifest) -> bool | str:
        """See :class:`Screen`."""
        self._bar.stop()
        return super().ask(manifest)

    def code(self, code: str) -> None:
        """See :class:`Screen`."""
        self._console.print(f"On the other side:  nbferry receive   and enter this code:\n\n    {code}\n")
        if "://127.0.0.1" in code:
            self._console.print("(It works on this machine only; --relay or NBFERRY_HOST change that.)")

    def state(self, view: Snapshot) -> None:
        """See :class:`Screen`."""
        if view.reason and not view.state.final:
            self._console.print(Text(f"{view.state}: {display_name(view.reason, 300)}"))

    def progress(self, view: Snapshot) -> None:
        """See :class:`Screen`."""
        if (
            view.state.final
            or view.state in (State.WAITING, State.CONNECTING, State.OFFERED)
            or not view.total
        ):
            return
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task(display_name(render.title(view), 40), total=view.total, how="")
        how = (
            render.progress(view)
            if view.state is State.TRANSFERRING
            else f"{view.state}  {render.progress(view)}"
        )
        self._bar.update(self._task, completed=view.verified, how=how)

    def done(self, result: Result, view: Snapshot) -> None:
        """See :class:`Screen`."""
        self.close()
        rate = render.size(result.bytes / max(result.seconds, 1e-9))
        what = "Received" if view.role == "receive" else "Sent"
        took = f"{render.size(result.bytes)} in {render.duration(result.seconds)} ({rate}/s, {result.via})"
        self._console.print(f"{what} {render.title(view)}: {took}, every byte verified.")
        for path in result.files[:10] if view.role == "receive" else ():
            self._console.print(f"  {display_name(str(path), 400)}")

    def close(self) -> None:
        """See :class:`Screen`."""
        self._bar.stop()


def screen_for(*, as_json: bool, quiet: bool) -> Screen:
    """The screen that was asked for."""
    return Json() if as_json else Quiet() if quiet else Terminal()
