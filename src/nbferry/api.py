"""What a notebook calls: arguments over environment over defaults, then on to the :class:`Notebook`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Literal, Unpack, overload

from nbferry import faces
from nbferry.engine.portal import Portal, portal
from nbferry.jupyter.server import find_relay
from nbferry.jupyter.state_folder import state_folders
from nbferry.limits import Limits
from nbferry.model.codes import Ticket, parse
from nbferry.model.ice_servers import Named
from nbferry.model.manifest import Entry
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via
from nbferry.model.roles import Role
from nbferry.storage.records import receipts
from nbferry.storage.records.receipts import Verification
from nbferry.storage.records.record import ReceiveRecord, SendRecord, UploadRecord
from nbferry.transfer import arguments
from nbferry.transfer.arguments import Accept, PathLike, ReceiveOptions, SendOptions
from nbferry.transfer.handle import Transfer, Transfers
from nbferry.transfer.notebook import Notebook

if TYPE_CHECKING:
    from nbferry.widget.card import Card


@overload
def send(paths: None = None, **options: Unpack[SendOptions]) -> Card: ...
@overload
def send(paths: PathLike | Sequence[PathLike], **options: Unpack[SendOptions]) -> Transfer: ...
def send(
    paths: PathLike | Sequence[PathLike] | None = None,
    *,
    to: int | None = 1,
    relay: str | None = None,
    via: str = Via.AUTO,
    ice_servers: Named | None = None,
    code: int | Literal["ticket"] | None = None,
    limits: Limits | None = None,
    expires: float | None = None,
    follow_symlinks: bool = False,
) -> Transfer | Card:
    """Offer a file, a folder, or several of both, and return at once; ``.code`` is what the receiver needs.

    Without ``paths``, in a notebook: a card in which a person picks files, of the kernel or of the browser's machine;
    what is picked there is sent from there, without a copy in between. Elsewhere that raises :class:`NoPage`.

    ``to`` is the number of receivers: 1 gives a short code that works once, more (or None: anybody until it
    expires) a long ticket. ``code`` is the number of words of the code (3 to 8) or "ticket". ``relay`` is the
    address of a relay; without it ``NBFERRY_RELAY``, then this kernel's Jupyter server, then one in this process is
    used. ``via`` is "auto", "direct" (a socket from one machine to the other), "webrtc" (also through NATs) or "relay".
    ``ice_servers`` are those that WebRTC asks for the way through NATs, as addresses (``stun:host:port``,
    ``turn:user:secret@host:port?transport=tcp``, ``turns:…``) or as a browser's ``RTCIceServer``; without it
    ``NBFERRY_ICE_SERVERS``, then a public STUN server is used; [] is none. ``expires`` is the number of seconds for
    which the offer stands (default ``limits.offer_ttl``: an hour).

    What goes wrong later, a missing file too, is raised by ``await transfer`` and ``transfer.wait()``.
    Raises ValueError on arguments that make no sense.
    """
    limits = limits or Limits()
    if to is not None and to < 1:
        raise ValueError(f"to must be at least 1, or None, not {to}")
    path = arguments.chosen("via", via, Via.choices())
    secret = arguments.invitation(code, many=to != 1)
    expires = arguments.positive("expires", limits.offer_ttl if expires is None else expires)
    named_relay, ice = arguments.relay_of(relay), arguments.ice_servers_named(ice_servers)

    def begin(chosen: Sequence[PathLike] | Sequence[Entry]) -> Transfer:
        picked = [each for each in chosen if isinstance(each, Entry)]
        named = [arguments.absolute(each) for each in chosen if not isinstance(each, Entry)]
        record = SendRecord(
            id=token_hex(6),
            created=time.time(),
            ttl=limits.keep_unfinished,
            relay=named_relay,
            via=path,
            ice=ice,
            paths=tuple(map(str, named)),
            entries=arguments.picked(picked, allow_hidden=False),
            follow_symlinks=follow_symlinks,
            chunk_size=limits.chunk_size,
            receivers=to,
            invitation=str(secret) if isinstance(secret, Ticket) else "-".join(secret),
            key=token_hex(16),
            expires_at=time.time() + expires,
        )
        return notebook().start(record, limits)

    if paths is None:
        return faces.picker(Role.SEND, begin)
    return begin(arguments.named_paths(paths, "send"))


@overload
def receive(code: None = None, **options: Unpack[ReceiveOptions]) -> Card: ...
@overload
def receive(code: str, **options: Unpack[ReceiveOptions]) -> Transfer: ...
def receive(
    code: str | None = None,
    *,
    to: PathLike = ".",
    accept: Accept = None,
    overwrite: str = Overwrite.RENAME,
    relay: str | None = None,
    via: str = Via.AUTO,
    ice_servers: Named | None = None,
    limits: Limits | None = None,
    allow_hidden: bool = False,
) -> Transfer | Card:
    """Take in what a code stands for, into the folder ``to``, and return at once.

    Without ``code``, in a notebook: a card with a box for it. Elsewhere that raises :class:`NoPage`.

    ``accept`` True takes any offer; a callable is given the :class:`Manifest` and returns True, or False or the reason
    why not; None takes offers of up to ``limits.auto_accept`` bytes (10 MiB) and asks about larger ones: whoever waits
    for the transfer is asked in words, otherwise ``transfer.accept()`` decides. ``overwrite`` says what happens to a
    name that exists: "rename" the new one, "replace" the old one, or "refuse" the transfer. ``allow_hidden`` lets
    names pass that programs obey unasked (``.git``, ``.bashrc``); they are refused otherwise. ``relay``, ``via`` and
    ``ice_servers`` are as for :func:`send`; the relay is the code's, if none is named.

    Raises :class:`CodeInvalid` at once if the code cannot be one; that spends no guess. Everything else is
    raised by ``await transfer`` and ``transfer.wait()``.
    """
    limits = limits or Limits()
    mode = arguments.chosen("overwrite", overwrite, tuple(Overwrite))
    path = arguments.chosen("via", via, Via.choices())
    folder, ice = arguments.absolute(to), arguments.ice_servers_named(ice_servers)

    def begin(code: str) -> Transfer:
        ticket = parse(code)
        record = ReceiveRecord(
            id=token_hex(6),
            created=time.time(),
            ttl=limits.keep_unfinished,
            relay=arguments.relay_for(ticket, relay),
            via=path,
            ice=ice,
            code=str(ticket),
            to=str(folder),
            overwrite=mode,
            allow_hidden=allow_hidden,
            accept_all=accept is True,
        )
        decide = (lambda _: accept) if isinstance(accept, bool) else accept
        return notebook().start(record, limits, decide=decide, interactive=accept is None)

    return faces.picker(Role.RECEIVE, begin) if code is None else begin(code)


@overload
def resume(id: None = None, *, take_over: bool = False, limits: Limits | None = None) -> list[Transfer]: ...
@overload
def resume(id: str, *, take_over: bool = False, limits: Limits | None = None) -> Transfer: ...
def resume(
    id: str | None = None,  # noqa: A002  # what it is
    *,
    take_over: bool = False,
    limits: Limits | None = None,
) -> list[Transfer] | Transfer:
    """Resume what an earlier process of this notebook left unfinished; no new code is needed.

    Without ``id`` all that no other process runs, which a notebook shows as cards; with an id, or its beginning, that
    one. ``take_over`` takes it from another process, which then stops. Raises :class:`TransferUnknown` if there is none
    of that id, saying how it ended if that is known, and :class:`TransferBusy` if another process runs it.
    """
    limits = limits or Limits()
    if id is None:
        return notebook().resume_all(limits, take_over=take_over)
    return notebook().resume(id, limits, take_over=take_over)


def transfers() -> Transfers:
    """The unfinished transfers of this notebook and those of this kernel, the oldest first; of ended ones the last 100.

    Those that an earlier process left are paused; ``transfer.resume()`` resumes them.
    """
    return notebook().transfers(Limits())


def discard(id: str) -> None:  # noqa: A002  # what it is
    """End an unfinished transfer here: its part data, secrets and memo are removed; what has arrived stays.

    ``id`` may be the beginning of one. Raises like :func:`resume`.
    """
    notebook().discard(id)


def upload(
    to: PathLike = ".",
    *,
    overwrite: str = Overwrite.RENAME,
    limits: Limits | None = None,
    allow_hidden: bool = False,
) -> Card:
    """Bring files and folders of the browser's machine into the folder ``to`` of this kernel.

    Returns a card in which a person picks them; ``await card`` is the :class:`Result`. An upload is a transfer like any
    other: verified, resumable, published when all is there. ``overwrite`` and ``allow_hidden`` are those of
    :func:`receive`. Raises :class:`NoPage` where there is no notebook in a browser.
    """
    limits = limits or Limits()
    mode = arguments.chosen("overwrite", overwrite, tuple(Overwrite))
    folder = arguments.absolute(to)

    def begin(chosen: Sequence[Entry]) -> Transfer:
        record = UploadRecord(
            id=token_hex(6),
            created=time.time(),
            ttl=limits.keep_unfinished,
            to=str(folder),
            overwrite=mode,
            allow_hidden=allow_hidden,
            entries=arguments.picked(chosen, allow_hidden=allow_hidden),
            chunk_size=limits.chunk_size,
        )
        return notebook().start(record, limits)

    return faces.picker(Role.UPLOAD, begin)


def download(paths: PathLike | Sequence[PathLike]) -> Card:
    """Save files and folders of this kernel onto the browser's machine: a card with a button for it.

    What is saved is verified on the way, and written to the disk as it comes where the browser can; otherwise the
    server's own download is used. Raises :class:`StorageError` if something is not there, and :class:`NoPage` where
    there is no notebook in a browser.
    """
    return faces.notebook_face().download(arguments.named_paths(paths, "save"))


def verify(path: PathLike) -> Verification:
    """Read a received file or folder again and compare it with the receipt that its transfer left.

    Raises :class:`NoReceipt` if there is none, and :class:`StorageError` if something cannot be read.
    """
    return receipts.verify(Path(path).expanduser())


# ------------------------------------------------------------------ the notebook of this process
def notebook() -> Notebook:
    """The one of this process. After a fork, or once the portal has stopped, it is another one."""
    return portal().shared(_new_notebook)


def _new_notebook(used: Portal) -> Notebook:
    return Notebook(used, find_relay, state_folders, faces.face, arguments.settings_for)
