"""A snapshot as text and as a static HTML table. Names come from a peer, so they are escaped here, always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from nbferry.model.names import display_name
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Snapshot, State

BEFORE = (State.WAITING, State.CONNECTING, State.OFFERED)  # nothing has moved: there is no progress to show
GUESSES = 3  # after so many wrong ones a code is burnt
MAX_FILES_SHOWN = 20  # files that are shown one by one

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LEFT = "text-align:left"


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
        parts.append(path(view))
    return "  ".join(parts)


def path(view: Snapshot) -> str:
    """By which path it goes, and since when if it went by another one before: ``webrtc since 14:03:10``."""
    since = "" if view.via_since is None else f" since {datetime.fromtimestamp(view.via_since):%H:%M:%S}"
    return f"{view.via or ''}{since}"


def line(view: Snapshot) -> str:
    """One line for a ``repr``."""
    about = " ".join(part for part in (title(view), progress(view)) if part)
    return f"<nbferry {view.role} {view.id}: {view.state}, {about}>"


def guessed(view: Snapshot) -> str:
    """What a sender is to know of wrong guesses."""
    return f"somebody guessed the code wrong ({view.wrong_guesses} of {GUESSES})"


def text(view: Snapshot, code: str | None, files: Sequence[FileProgress] = ()) -> str:
    """A few lines for a terminal or a notebook without HTML. A sender that waits says how to get a code left out."""
    lines = [f"{label + ':':10}{value}" for label, value in _rows(view, code)]
    table = [f"  {name}  {amount}  {state}" for name, amount, state in _files(view, files)]
    return "\n".join([*lines, *table, *_more(view, files)])


def html(view: Snapshot, code: str | None, files: Sequence[FileProgress] = ()) -> str:
    """A static table for a notebook without its kernel; it shows the instant at which it was made.

    Without ``code`` nothing in it is secret. It needs no style sheet: a code host takes styles away.
    """
    caption = f"<caption style='{_LEFT}'>nbferry: {escape(_caption(view))}</caption>"
    rows = "".join(
        f"<tr><th scope='row' style='{_LEFT}'>{escape(label)}</th>{_cells([_cell(label, value)])}</tr>"
        for label, value in _rows(view, code)
    )
    about = f"<table class='nbferry' aria-label='nbferry transfer'>{caption}<tbody>{rows}</tbody></table>"
    return about + _html_files(view, files)


def unbegun(kind: str, what: str = "") -> str:
    """One line for a card in which nothing was chosen; ``what`` is what a download offers, which is of no role."""
    role = next((role for role in Role if role == kind), None)
    about = role.unbegun if role else f"{display_name(what, 200)} can be saved from here"
    return f"nbferry: {about}, while its kernel runs."


def unbegun_html(kind: str, what: str = "") -> str:
    """The same for a notebook without its kernel."""
    return f"<p class='nbferry'>{escape(unbegun(kind, what))}</p>"


def _caption(view: Snapshot) -> str:
    """``sending, transferring``; the verb says which side it is."""
    return f"{view.role.doing}, {view.state}"


def _html_files(view: Snapshot, files: Sequence[FileProgress]) -> str:
    if not files:
        return ""
    head = "".join(f"<th scope='col' style='{_LEFT}'>{name}</th>" for name in ("file", "size", "state"))
    rows = "".join(f"<tr>{_cells(map(escape, row))}</tr>" for row in _files(view, files))
    rows += "".join(
        f"<tr><td colspan='3' style='{_LEFT}'>{escape(more)}</td></tr>" for more in _more(view, files)
    )
    label = "aria-label='nbferry files'"
    return f"<table class='nbferry' {label}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(contents: Iterable[str]) -> str:
    return "".join(f"<td style='{_LEFT}'>{content}</td>" for content in contents)


def _cell(label: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if label in ("code", "next") else escape(value)


def _files(view: Snapshot, files: Sequence[FileProgress]) -> list[tuple[str, str, str]]:
    """Name, size and state of the first files."""
    return [
        (display_name(file.path, 80), size(file.size), _file_state(view, file))
        for file in files[:MAX_FILES_SHOWN]
    ]


def _file_state(view: Snapshot, file: FileProgress) -> str:
    if view.state is State.DONE or (file.size and file.durable >= file.size):
        return "done"
    if file.verified:
        return f"{file.verified * 100 // file.size} %"
    return "missing" if view.state.final else "waiting"


def _more(view: Snapshot, files: Sequence[FileProgress]) -> list[str]:
    """How many files are not shown one by one; ``files`` may be no more than the first."""
    left = max(view.files, len(files)) - len(files[:MAX_FILES_SHOWN])
    return [f"… and {left:,} more"] if files and left else []


def _rows(view: Snapshot, code: str | None) -> list[tuple[str, str]]:
    rows = [(view.role, title(view)), ("state", str(view.state))]
    if code:
        rows.append(("code", code))
        if here_only(code):
            rows.append(("note", "this code works on this machine only; with relay= it works elsewhere"))
    elif view.role is Role.SEND and view.state is State.WAITING:
        rows.append(("code", "print(transfer.code)"))
    if view.total and view.state in BEFORE and not view.verified:
        rows.append(("size", size(view.total)))
    elif shown := progress(view):
        rows.append(("progress", shown))
    if view.reason:
        rows.append(("why", display_name(view.reason, 300)))
    if view.wrong_guesses:
        rows.append(("warning", guessed(view)))
    if view.role is Role.RECEIVE and view.state is State.OFFERED:
        rows.append(("next", "transfer.accept() or transfer.reject()"))
    return rows


def here_only(code: str) -> bool:
    """Whether a code leads to a relay that nobody on another machine can reach."""
    return any(here in code for here in ("://127.0.0.1", "://localhost", "://[::1]"))
