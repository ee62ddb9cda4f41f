"""``send``, ``receive`` and ``transfers``: arguments over environment over defaults, then on to the engine.

The environment is read here and in the command line, nowhere else: ``NBFERRY_RELAY`` (address of a relay),
``NBFERRY_HOST`` (the only address to listen on).
"""

from __future__ import annotations

import ipaddress
import math
import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import nbferry
from nbferry import kernel, render
from nbferry.engine.activity import Activity
from nbferry.engine.connect import RelayAddress, Via
from nbferry.engine.engine import Engine, Wishes
from nbferry.engine.portal import Portal, portal
from nbferry.engine.receiving import Intake
from nbferry.engine.sending import Offering
from nbferry.errors import CodeInvalid
from nbferry.limits import Limits
from nbferry.manifest import Manifest
from nbferry.names import display_name
from nbferry.storage.sink import FolderSink
from nbferry.storage.source import offer_of
from nbferry.ticket import Code, Ticket, canonical_url, new_code_words, new_ticket, parse
from nbferry.transfer import Transfer

PathLike = str | os.PathLike[str]
Overwrite = Literal["rename", "replace", "refuse"]
Accept = bool | Callable[[Manifest], "bool | str"] | None
A = TypeVar("A", bound=Activity)

_engines: dict[Portal, Engine] = {}


def send(
    paths: PathLike | Sequence[PathLike],
    *,
    to: int | None = 1,
    relay: str | None = None,
    via: Via = "auto",
    code: int | Literal["ticket"] | None = None,
    limits: Limits | None = None,
    expires: float | None = None,
    follow_symlinks: bool = False,
) -> Transfer:
    """Offer a file, a folder, or several of both, and return at once; ``.code`` is what the receiver needs.

    ``to`` is the number of receivers: 1 gives a short code that works once, more (or None: anybody until it
    expires) a long ticket. ``code`` is the number of words of the code (3 to 8) or "ticket". ``relay`` is the
    address of a relay; without it ``NBFERRY_RELAY``, then this kernel's Jupyter server, then one in this process is
    used. ``via`` is "auto", "direct" or "relay". ``expires`` is the number of seconds for which the offer stands
    (default ``limits.expires``: an hour).

    What goes wrong later, a missing file too, is raised by ``await transfer`` and ``transfer.wait()``.
    Raises ValueError on arguments that make no sense.
    """
    limits = limits or Limits()
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not named or "" in named:  # which would be the current folder
        raise ValueError("there is nothing to send")
    if to is not None and to < 1:
        raise ValueError(f"to must be at least 1, or None, not {to}")
    offering = Offering(
        open_source=partial(
            offer_of,
            [Path(path).expanduser() for path in named],
            chunk_size=limits.chunk_size,
            follow_symlinks=follow_symlinks,
            max_entries=limits.max_entries,
        ),
        invitation=_invitation(code, many=to != 1),
        receivers=to,
        expires=_positive("expires", limits.expires if expires is None else expires),
        agent=_agent(),
    )
    wishes = _wishes(relay, via, [])
    return _start(lambda engine: engine.send(offering, wishes, limits))


def receive(
    code: str,
    *,
    to: PathLike = ".",
    accept: Accept = None,
    overwrite: Overwrite = "rename",
    relay: str | None = None,
    via: Via = "auto",
    limits: Limits | None = None,
    allow_hidden: bool = False,
) -> Transfer:
    """Take in what a code stands for, into the folder ``to``, and return at once.

    ``accept`` True takes any offer; a callable is given the :class:`Manifest` and returns True, or False or the reason
    why not; None takes offers of up to ``limits.auto_accept`` bytes (10 MiB) and asks about larger ones: whoever waits
    for the transfer is asked in words, otherwise ``transfer.accept()`` decides. ``overwrite`` says what happens to a
    name that exists: "rename" the new one, "replace" the old one, or "refuse" the transfer. ``allow_hidden`` lets
    names pass that programs obey unasked (``.git``, ``.bashrc``); they are refused otherwise.

    Raises :class:`CodeInvalid` at once if the code cannot be one; that spends no guess. Everything else is
    raised by ``await transfer`` and ``transfer.wait()``.
    """
    limits = limits or Limits()
    if overwrite not in ("rename", "replace", "refuse"):
        raise ValueError(f'overwrite must be "rename", "replace" or "refuse", not {overwrite!r}')
    ticket = parse(code)
    folder = Path(to).expanduser()

    def open_sink(manifest: Manifest) -> FolderSink:
        return FolderSink(
            manifest,
            folder,
            transfer_id=secrets.token_hex(8),
            overwrite=overwrite,
            allow_hidden=allow_hidden,
        )

    decide = (lambda _: accept) if isinstance(accept, bool) else accept
    intake = Intake(ticket, open_sink, decide, _agent(), allow_hidden)
    wishes = _wishes(relay or ticket.url, via, [ticket])
    return _start(
        lambda engine: engine.receive(intake, wishes, limits), ask_in_words if accept is None else None
    )


def transfers() -> list[Transfer]:
    """The transfers of this kernel, the oldest first; of ended ones the last hundred."""
    used = portal()
    engine = _engines.get(used)
    return [Transfer(activity, used) for activity in engine.activities.values()] if engine else []


def ask_in_words(manifest: Manifest) -> bool | str:
    """Ask a person at the keyboard; nobody there is a no."""
    print("\n".join(describe(manifest)))  # noqa: T201  # the question is put on the screen
    try:
        answer = input("Accept? [y/N] ")
    except (EOFError, RuntimeError, NotImplementedError):
        return "nobody is there to accept it; pass accept=True"
    return answer.strip().lower() in ("y", "yes")


def describe(manifest: Manifest, most: int = 20) -> list[str]:
    """Lines that say what is offered."""
    files = [entry for entry in manifest.entries if not entry.folder]
    lines = [f"Offered: {len(files):,} file{'s' * (len(files) != 1)}, {render.size(manifest.total_bytes)}"]
    lines += [f"  {display_name(entry.path)}  {render.size(entry.size)}" for entry in files[:most]]
    return lines + ([f"  … and {len(files) - most:,} more"] if len(files) > most else [])


def _start(begin: Callable[[Engine], A], ask: Callable[[Manifest], bool | str] | None = None) -> Transfer:
    used = portal()

    def begin_on_loop() -> A:
        if used not in _engines:
            engine = _engines[used] = Engine()
            used.at_stop(engine.aclose)
        return begin(_engines[used])

    return Transfer(used.ask(begin_on_loop), used, ask)


def _invitation(code: int | str | None, *, many: bool) -> Ticket | tuple[str, ...]:
    """A ticket, or the words of a code whose number the relay gives."""
    if code == "ticket" or (code is None and many):
        return new_ticket()
    if many:
        raise ValueError("a short code is for one receiver; for more, leave code= out")
    if code is None:
        code = 3
    if not isinstance(code, int) or not 3 <= code <= 8:
        raise ValueError(f'code must be a number of words from 3 to 8, or "ticket", not {code!r}')
    return new_code_words(code)


def _wishes(relay: str | None, via: Via, tickets: list[Code | Ticket]) -> Wishes:
    if via not in ("auto", "direct", "relay"):
        raise ValueError(f'via must be "auto", "direct" or "relay", not {via!r}')
    host = _host()
    if named := canonical_url(relay) if relay else _relay_of_environment():
        address = RelayAddress(named)
        return Wishes(lambda: address, via, host)
    if tickets:
        raise CodeInvalid(
            "This code does not say which relay it belongs to.",
            hint="Copy all of it, with @https://…, or pass relay=.",
        )
    return Wishes(kernel.server_relay, via, host)


def _relay_of_environment() -> str | None:
    named = os.environ.get("NBFERRY_RELAY")
    try:
        return canonical_url(named) if named else None
    except CodeInvalid as error:
        raise ValueError(f"NBFERRY_RELAY: {error}") from None


def _host() -> str | None:
    """The only address to listen on; None for all of them."""
    named = os.environ.get("NBFERRY_HOST")
    if not named:
        return None
    try:
        address = ipaddress.ip_address(named)
    except ValueError:
        raise ValueError(f"NBFERRY_HOST must be an IP address, not {named!r}") from None
    return None if address.is_unspecified else str(address)


def _positive(name: str, seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds}")
    return seconds


def _agent() -> str:
    return f"nbferry/{nbferry.__version__}"
