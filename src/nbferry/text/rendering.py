"""A snapshot as text and as a static HTML table. Names come from a peer, so this module always escapes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from nbferry.model.names import display_name
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Snapshot, State

BEFORE = (State.WAITING, State.CONNECTING, State.OFFERED)
"""States without progress to show."""
MAX_FILES_SHOWN = 20
"""Files that are listed one by one."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LEFT = "text-align:left"


def size(count: float) -> str:
    """Format bytes for a person: ``3.1 GB``. Powers of ten, as for rates and disks."""
    at = 0
    while count >= 999.5 and at < len(_UNITS) - 1:
        count, at = count / 1000, at + 1
    return f"{count:.{0 if at == 0 or count >= 99.5 else 1}f} {_UNITS[at]}"


def duration(seconds: float) -> str:
    """Format seconds for a person: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def title(view: Snapshot) -> str:
    """Name the content: ``trips.parquet``, or ``3 files (a.csv, b.csv, …)``."""
    names = [display_name(name, 40) for name in view.names]
    if len(names) == 1 and view.files <= 1:
        return names[0]
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{view.files:,} files{f' ({shown})' if shown else ''}" if names else "nothing known yet"


def progress(view: Snapshot, *, sizes: bool = True) -> str:
    """Describe the progress: ``45 %  450 MB of 1.0 GB  120 MB/s  5 s left  direct``; shorter without ``sizes``."""
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
    """Name the path, and since when if the transfer switched to it: ``webrtc since 14:03:10``."""
    since = "" if view.via_since is None else f" since {datetime.fromtimestamp(view.via_since):%H:%M:%S}"
    return f"{view.via or ''}{since}"


def line(view: Snapshot) -> str:
    """Describe a transfer in one line, for a ``repr``."""
    about = " ".join(part for part in (title(view), progress(view)) if part)
    return f"<nbferry {view.role} {view.id}: {view.state}, {about}>"


def guessed(view: Snapshot) -> str:
    """Warn a sender of wrong guesses."""
    # Here, because the key exchange loads slowly; a sender has loaded it already.
    from nbferry.connections.pairing import MAX_GUESSES  # noqa: PLC0415

    return f"wrong guesses of the code: {view.wrong_guesses} of {MAX_GUESSES}"


def text(view: Snapshot, code: str | None, files: Sequence[FileProgress] = ()) -> str:
    """Describe a transfer in a few lines, for a terminal or a notebook without HTML.

    Without ``code``, a waiting sender says how to show it.
    """
    lines = [f"{label + ':':10}{value}" for label, value in _rows(view, code)]
    table = [f"  {name}  {amount}  {state}" for name, amount, state in _files(view, files)]
    return "\n".join([*lines, *table, *_more(view, files)])


def html(view: Snapshot, code: str | None, files: Sequence[FileProgress] = ()) -> str:
    """Describe a transfer as a static table, for a notebook without its kernel.

    Without ``code`` the table contains no secret. It needs no style sheet, because code hosts remove styles.
    """
    caption = f"<caption style='{_LEFT}'>nbferry: {escape(_caption(view))}</caption>"
    rows = "".join(
        f"<tr><th scope='row' style='{_LEFT}'>{escape(label)}</th>{_cells([_cell(label, value)])}</tr>"
        for label, value in _rows(view, code)
    )
    about = f"<table class='nbferry' aria-label='nbferry transfer'>{caption}<tbody>{rows}</tbody></table>"
    return about + _html_files(view, files)


def unbegun(kind: str, what: str = "") -> str:
    """Describe an unused card in one line; ``what`` names the files of a download, which has no role."""
    role = next((role for role in Role if role == kind), None)
    about = role.unbegun if role else f"{display_name(what, 200)} can be saved from here"
    return f"nbferry: {about} while the kernel runs."


def unbegun_html(kind: str, what: str = "") -> str:
    """Do the same for a notebook without its kernel."""
    return f"<p class='nbferry'>{escape(unbegun(kind, what))}</p>"


def _caption(view: Snapshot) -> str:
    """Say what this side does: ``sending, transferring``."""
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
    """List name, size and state of the first files."""
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
    """Say how many files are not listed; ``files`` may hold only the first ones."""
    left = max(view.files, len(files)) - len(files[:MAX_FILES_SHOWN])
    return [f"… and {left:,} more"] if files and left else []


def _rows(view: Snapshot, code: str | None) -> list[tuple[str, str]]:
    rows = [(view.role, title(view)), ("state", str(view.state))]
    if code:
        rows.append(("code", code))
        if here_only(code):
            rows.append(("note", "this code works on this machine only; pass relay= to use it elsewhere"))
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
    """Whether a code names a relay that other machines cannot reach."""
    return any(here in code for here in ("://127.0.0.1", "://localhost", "://[::1]"))
