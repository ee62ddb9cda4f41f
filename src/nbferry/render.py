"""A snapshot as text and as a static HTML table. Names come from a peer, so they are escaped here, always."""

from __future__ import annotations

from html import escape

from nbferry.names import display_name
from nbferry.status import Snapshot, State

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Bytes as a person reads them: ``3.1 GB``. Powers of ten, as rates and disks are given."""
    at = 0
    while count >= 999.5 and at < len(_UNITS) - 1:
        count, at = count / 1000, at + 1
    return f"{count:.{0 if at == 0 or count >= 99.5 else 1}f} {_UNITS[at]}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def title(view: Snapshot) -> str:
    """What it is about: ``trips.parquet``, or ``3 files (a.csv, b.csv, …)``."""
    names = [display_name(name, 40) for name in view.names]
    if len(names) == 1 and view.files <= 1:
        return names[0]
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{view.files:,} files{f' ({shown})' if shown else ''}" if names else "nothing known yet"


def progress(view: Snapshot, *, sizes: bool = True) -> str:
    """How far it is: ``45 %  450 MB of 1.0 GB  120 MB/s  5 s left  direct``; shorter without ``sizes``."""
    parts = []
    if view.total:
        parts.append(f"{view.verified * 100 // view.total} %")
    if view.total and sizes:
        parts.append(f"{size(view.verified)} of {size(view.total)}")
    if view.state is State.TRANSFERRING and view.rate:
        parts.append(f"{size(view.rate)}/s")
    if view.eta is not None:
        parts.append(f"{duration(view.eta)} left")
    if view.via:
        parts.append(view.via)
    return "  ".join(parts)


def line(view: Snapshot) -> str:
    """One line for a ``repr``."""
    about = " ".join(part for part in (title(view), progress(view)) if part)
    return f"<nbferry {view.role} {view.id}: {view.state}, {about}>"


def text(view: Snapshot, code: str | None) -> str:
    """A few lines for a terminal or a notebook without HTML."""
    return "\n".join(f"{label + ':':10}{value}" for label, value in _rows(view, code))


def html(view: Snapshot, code: str | None) -> str:
    """A static table for a notebook; it shows the instant at which it was made."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th>"
        f"<td style='text-align:left'>{_cell(label, value)}</td></tr>"
        for label, value in _rows(view, code)
    )
    return f"<table class='nbferry' aria-label='nbferry transfer'><tbody>{rows}</tbody></table>"


def _cell(label: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if label == "code" else escape(value)


def _rows(view: Snapshot, code: str | None) -> list[tuple[str, str]]:
    rows = [(view.role, title(view)), ("state", str(view.state))]
    if code:
        rows.append(("code", code))
        if here_only(code):
            rows.append(("note", "this code works on this machine only; with relay= it works elsewhere"))
    if shown := progress(view):
        rows.append(("progress", shown))
    if view.reason:
        rows.append(("why", display_name(view.reason, 300)))
    if view.wrong_guesses:
        rows.append(("warning", f"somebody guessed the code wrong {view.wrong_guesses} time(s)"))
    if view.role == "receive" and view.state is State.OFFERED:
        rows.append(("next", "transfer.accept() or transfer.reject()"))
    return rows


def here_only(code: str) -> bool:
    """Whether a code leads to a relay that nobody on another machine can reach."""
    return any(here in code for here in ("://127.0.0.1", "://localhost", "://[::1]"))
