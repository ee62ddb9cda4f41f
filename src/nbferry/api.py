"""The functions that a notebook calls. An argument takes precedence over the environment, and that over a default."""

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
    """Offer a file, a folder, or several of both, and return at once. The receiver needs the transfer's ``.code``.

    Without ``paths``, return a card in which a person picks files of the kernel or of the browser's machine. The latter
    are sent from there, without a copy in the kernel. Without a notebook in a browser that raises :class:`NoPage`.

    ``to``           number of receivers. One receiver gets a short code, which works once. Several receivers, or None
                     for any number, get a long ticket, which works until it expires.
    ``code``         number of words in the code, 3 to 8, or "ticket".
    ``relay``        address of a relay. Default: ``NBFERRY_RELAY``, then this kernel's Jupyter server, then a relay in
                     this process.
    ``via``          path to use: "auto", "direct" (a socket between the machines), "webrtc" (also through NATs) or
                     "relay".
    ``ice_servers``  STUN and TURN servers, which help WebRTC through NATs: addresses (``stun:host:port``,
                     ``turn:user:secret@host:port?transport=tcp``, ``turns:…``) or a browser's ``RTCIceServer``. [] is
                     none. Default: ``NBFERRY_ICE_SERVERS``, then a public STUN server.
    ``limits``       sizes and times of this transfer; see :class:`Limits`.
    ``expires``      seconds for which a receiver can come with the code. Default: ``limits.offer_ttl``, an hour.
    ``follow_symlinks``  send the targets of symbolic links, which are skipped otherwise.

    Raises ValueError for invalid arguments. Later errors, such as a missing file, are raised by ``await transfer`` and
    ``transfer.wait()``.
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
    """Receive what the sender of a code offers, into the folder ``to``, and return at once.

    Without ``code``, return a card with a box for it. Without a notebook in a browser that raises :class:`NoPage`.

    ``accept``        True accepts any offer. A function is called with the :class:`Manifest` and returns True, or False
                      or a reason to reject it. None accepts offers of up to ``limits.auto_accept`` bytes (10 MiB). For
                      a larger one, a person who waits for the transfer is asked, or ``transfer.accept()`` decides.
    ``overwrite``     what to do if a name exists already: "rename" the new file, "replace" the old one, or "refuse" the
                      transfer.
    ``allow_hidden``  allow names on which programs act without asking, such as ``.git`` and ``.bashrc``. An offer with
                      such a name is refused otherwise.
    ``relay``         as for :func:`send`. Default: the relay in the code, then ``NBFERRY_RELAY``.
    ``via``, ``ice_servers``, ``limits``  as for :func:`send`.

    Raises ValueError for invalid arguments, and :class:`CodeInvalid` if the text cannot be a code; this does not count
    as a guess. Later errors are raised by ``await transfer`` and ``transfer.wait()``.
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
    """Resume what an earlier process of this notebook left unfinished. No new code is needed.

    Without ``id``, resume all transfers that no other process runs; a notebook shows them as cards. ``id`` may be the
    beginning of an id. With ``take_over``, also resume what another process runs; that process then stops.

    Raises :class:`TransferUnknown` if no unfinished transfer has that id; the message says how it ended if that is
    known. Raises :class:`TransferBusy` if another process runs it.
    """
    limits = limits or Limits()
    if id is None:
        return notebook().resume_all(limits, take_over=take_over)
    return notebook().resume(id, limits, take_over=take_over)


def transfers() -> Transfers:
    """The unfinished transfers of this notebook, then the last 100 that ended in this kernel; the oldest come first.

    A transfer that an earlier process left is paused; ``transfer.resume()`` resumes it.
    """
    return notebook().transfers(Limits())


def discard(id: str) -> None:  # noqa: A002  # what it is
    """End an unfinished transfer here: remove its partial data, its secrets and its record. Published files stay.

    ``id`` may be the beginning of an id. Raises the errors of :func:`resume`.
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

    Returns a card in which a person picks them; ``await card`` gives the :class:`Result`. An upload is a transfer like
    any other: it is verified, can be resumed, and appears in the folder once all of it has arrived. ``overwrite`` and
    ``allow_hidden`` are as for :func:`receive`. Raises :class:`NoPage` without a notebook in a browser.
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
    """Return a card with a button that saves files and folders of this kernel onto the browser's machine.

    A browser that can write files verifies the data and writes them as they arrive. Other browsers use the download of
    the Jupyter server. Raises :class:`StorageError` for a path that does not exist, and :class:`NoPage` without a
    notebook in a browser.
    """
    return faces.notebook_face().download(arguments.named_paths(paths, "save"))


def verify(path: PathLike) -> Verification:
    """Read a received file or folder again, and compare it with the receipt of its transfer.

    Raises :class:`NoReceipt` if it has none, and :class:`StorageError` for what cannot be read.
    """
    return receipts.verify(Path(path).expanduser())


# ------------------------------------------------------------------ the notebook of this process
def notebook() -> Notebook:
    """The one of this process. After a fork, or once the portal has stopped, it is another one."""
    return portal().shared(_new_notebook)


def _new_notebook(used: Portal) -> Notebook:
    return Notebook(used, find_relay, state_folders, faces.face, arguments.settings_for)
