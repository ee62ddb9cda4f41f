"""Checks what callers and the environment say. Raises ValueError, or :class:`CodeInvalid`, for what is invalid.

The environment is read here, in :mod:`nbferry.jupyter` and in the command line, nowhere else: ``NBFERRY_RELAY``
(address of a relay), ``NBFERRY_HOST`` (the only address to listen on), ``NBFERRY_ICE_SERVERS`` (STUN and TURN servers),
``NBFERRY_STATE`` (the folder in which ``.nbferry`` keeps what is needed to resume a transfer; else beside the
notebook), ``NBFERRY_UI`` (what is shown).
"""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypedDict, TypeVar

from nbferry.connections.settings import Settings
from nbferry.errors import CodeInvalid, UnsafePath
from nbferry.limits import Limits
from nbferry.model.codes import MAX_WORDS, MIN_WORDS, Code, Ticket, canonical_url, new_code_words, new_ticket
from nbferry.model.ice_servers import PUBLIC_STUN, IceServer, Named, ice_servers
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import check_paths
from nbferry.storage.records.record import AnyRecord, RelayNote

C = TypeVar("C", bound=str)

PathLike = str | os.PathLike[str]
Accept = bool | Callable[[Manifest], "bool | str"] | None


class SendOptions(TypedDict, total=False):
    """The arguments of :func:`send` besides paths."""

    to: int | None
    relay: str | None
    via: str
    ice_servers: Named | None
    code: int | Literal["ticket"] | None
    limits: Limits | None
    expires: float | None
    follow_symlinks: bool


class ReceiveOptions(TypedDict, total=False):
    """The arguments of :func:`receive` besides the code."""

    to: PathLike
    accept: Accept
    overwrite: str
    relay: str | None
    via: str
    ice_servers: Named | None
    limits: Limits | None
    allow_hidden: bool


def named_paths(paths: PathLike | Iterable[PathLike], what: str) -> list[Path]:
    """One path, or several, as a list. ``what`` is send or save, for the ValueError if there is none."""
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    # An empty path would mean the current folder.
    if not named or "" in named:
        raise ValueError(f"there is nothing to {what}")
    return [absolute(path) for path in named]


def absolute(path: PathLike) -> Path:
    """The absolute path that a person means; ``~`` is the home folder."""
    return Path(path).expanduser().absolute()


def invitation(code: int | str | None, *, many: bool) -> Ticket | tuple[str, ...]:
    """A new ticket, or the words of a new code. The relay gives the code's number."""
    if code == "ticket" or (code is None and many):
        return new_ticket()
    if many:
        raise ValueError("a short code is for one receiver; for more, leave code= out")
    if code is None:
        code = MIN_WORDS
    if not isinstance(code, int) or not MIN_WORDS <= code <= MAX_WORDS:
        raise ValueError(
            f'code must be a number of words from {MIN_WORDS} to {MAX_WORDS}, or "ticket", not {code!r}'
        )
    return new_code_words(code)


def settings_for(record: AnyRecord, limits: Limits) -> Settings:
    """How this process runs a transfer. The environment is read only for what the record does not say."""
    ice = ice_servers_otherwise() if record.ice is None else record.ice
    relay = "" if record.relay else relay_of_environment()
    return Settings(limits=limits, via=record.via, relay=relay, host=host(), ice=ice)


def relay_of(url: str | None) -> RelayNote | None:
    """The relay that a caller names."""
    return RelayNote(url=canonical_url(url)) if url else None


def relay_for(ticket: Code | Ticket, named: str | None) -> RelayNote:
    """The relay of a receiver: the one that the caller names, the code's, or the environment's."""
    if url := named or ticket.url or relay_of_environment():
        return RelayNote(url=canonical_url(url))
    raise CodeInvalid(
        "This code does not say which relay it belongs to.",
        hint="Copy all of it, with @https://…, or pass relay=.",
    )


def relay_of_environment() -> str:
    """The relay that ``NBFERRY_RELAY`` names, "" if it names none."""
    named = os.environ.get("NBFERRY_RELAY")
    try:
        return canonical_url(named) if named else ""
    except CodeInvalid as error:
        raise ValueError(f"NBFERRY_RELAY: {error}") from None


def host() -> str | None:
    """The only address to listen on; None for all of them."""
    named = os.environ.get("NBFERRY_HOST")
    if not named:
        return None
    try:
        address = ipaddress.ip_address(named)
    except ValueError:
        raise ValueError(f"NBFERRY_HOST must be an IP address, not {named!r}") from None
    return None if address.is_unspecified else str(address)


def ice_servers_named(named: Named | None) -> tuple[IceServer, ...] | None:
    """The STUN and TURN servers that a caller names; None if it names none."""
    return None if named is None else ice_servers(named)


def ice_servers_otherwise() -> tuple[IceServer, ...]:
    """The default servers: those in ``NBFERRY_ICE_SERVERS``, which may be empty; without it, a public one."""
    try:
        return ice_servers(os.environ.get("NBFERRY_ICE_SERVERS", PUBLIC_STUN))
    except ValueError as error:
        raise ValueError(f"NBFERRY_ICE_SERVERS: {error}") from None


def picked(entries: Iterable[Entry], *, allow_hidden: bool) -> tuple[Entry, ...]:
    """Files of a browser's machine, ordered by path, so that the same files make the same offer."""
    found = sorted(entries, key=lambda entry: entry.path)
    folders = {entry.path for entry in found if entry.folder}
    try:
        check_paths((entry.path for entry in found), folders=folders, allow_hidden=allow_hidden)
    except UnsafePath as error:
        raise UnsafePath(error.message, hint="Rename it, then choose it again.") from None
    return tuple(found)


def chosen(name: str, value: str, choices: Sequence[C]) -> C:
    """The member of ``choices`` that the argument ``name`` gives. Raises ValueError for another value."""
    for choice in choices:
        if value == choice:
            return choice
    *words, last = (f'"{choice}"' for choice in choices)
    raise ValueError(f"{name} must be {', '.join(words)} or {last}, not {value!r}")


def positive(name: str, seconds: float) -> float:
    """``seconds``. Raises ValueError unless it is positive and finite."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds}")
    return seconds
