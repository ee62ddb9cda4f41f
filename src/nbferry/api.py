"""What a notebook calls: arguments over environment over defaults, then on to the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from nbferry import faces
from nbferry._version import AGENT
from nbferry.connections.context import Via
from nbferry.engine.activities.receive import Decide
from nbferry.engine.activities.record_store import RecordStore
from nbferry.engine.engine import Wishes
from nbferry.errors import TransferBusy, TransferUnknown
from nbferry.jupyter.state_folder import own_state_folder, state_folder
from nbferry.limits import Limits
from nbferry.model.codes import Code, Ticket, canonical_url, parse
from nbferry.model.ice_servers import IceServer, Named
from nbferry.model.manifest import Entry
from nbferry.status import Snapshot
from nbferry.storage.records import receipts
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.receipts import Verification
from nbferry.storage.records.record import (
    AnyRecord,
    FolderRecord,
    ReceiveRecord,
    RelayNote,
    SendRecord,
    UploadRecord,
)
from nbferry.storage.records.record_mac import user_key
from nbferry.transfers import arguments, registry, resuming
from nbferry.transfers.arguments import Accept, Overwrite, PathLike, ReceiveOptions, SendOptions
from nbferry.transfers.handle import Transfer, Transfers
from nbferry.transfers.registry import Begin
from nbferry.transfers.resuming import How

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
    via: Via = "auto",
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
    which the offer stands (default ``limits.expires``: an hour).

    What goes wrong later, a missing file too, is raised by ``await transfer`` and ``transfer.wait()``.
    Raises ValueError on arguments that make no sense.
    """
    limits = limits or Limits()
    if to is not None and to < 1:
        raise ValueError(f"to must be at least 1, or None, not {to}")
    secret = arguments.invitation(code, many=to != 1)
    expires = arguments.positive("expires", limits.expires if expires is None else expires)
    wishes, ice = arguments.wishes(relay, via, []), arguments.ice_servers_named(ice_servers)

    def begin(chosen: Sequence[PathLike] | Sequence[Entry]) -> Transfer:
        picked = [each for each in chosen if isinstance(each, Entry)]
        named = [arguments.absolute(each) for each in chosen if not isinstance(each, Entry)]
        memo = SendRecord(
            id=token_hex(6),
            created=time.time(),
            kept_for=limits.partials,
            via=via,
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
        return _send(memo, wishes, relay, limits)

    if paths is None:
        return faces.picker("send", begin)
    return begin(arguments.named_paths(paths, "send"))


def _send(memo: SendRecord, wishes: Wishes, relay: str | None, limits: Limits) -> Transfer:
    """Go on with the unfinished send that is the same, or begin a new one."""
    ledger = _ledger()
    address = canonical_url(relay) if relay else None
    if same := registry.settled(lambda: resuming.same_send(ledger, memo, address)):
        with suppress(TransferBusy, TransferUnknown):  # it runs, or has just ended: then this is another one
            return _go_on(same, ledger, limits, ice=memo.ice)
    sending = resuming.sending(RecordStore(memo, ledger), ledger, _how(memo, wishes, limits))
    return registry.start(sending, faces.face())


@overload
def receive(code: None = None, **options: Unpack[ReceiveOptions]) -> Card: ...
@overload
def receive(code: str, **options: Unpack[ReceiveOptions]) -> Transfer: ...
def receive(
    code: str | None = None,
    *,
    to: PathLike = ".",
    accept: Accept = None,
    overwrite: Overwrite = "rename",
    relay: str | None = None,
    via: Via = "auto",
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
    arguments.check_overwrite(overwrite)
    folder, ice = arguments.absolute(to), arguments.ice_servers_named(ice_servers)
    decide = (lambda _: accept) if isinstance(accept, bool) else accept

    def begin(code: str) -> Transfer:
        ticket = parse(code)
        wishes = arguments.wishes(relay or ticket.url, via, [ticket])
        url = relay or ticket.url or arguments.relay_of_environment() or ""
        memo = ReceiveRecord(
            id=token_hex(6),
            created=time.time(),
            kept_for=limits.partials,
            via=via,
            ice=ice,
            code=str(ticket),
            relay=RelayNote(url=canonical_url(url)),
            to=str(folder),
            overwrite=overwrite,
            allow_hidden=allow_hidden,
            willing=accept is True,
        )
        return _receive(
            memo, ticket, decide, partial(_how, wishes=wishes, limits=limits), asks=accept is None
        )

    return faces.picker("receive", begin) if code is None else begin(code)


def _receive(
    new: ReceiveRecord,
    ticket: Code | Ticket,
    decide: Decide | None,
    how: Callable[[AnyRecord], How],
    *,
    asks: bool,
) -> Transfer:
    """Go on with the unfinished receive that is the same, or begin a new one."""
    ledger = _ledger()
    memo = registry.settled(lambda: resuming.same_receive(ledger, ticket, Path(new.to)))
    if memo and (transfer := registry.transfer(memo.id, faces.face(), asks=asks)):
        if new.willing:
            transfer.accept()
        return transfer
    keeper = RecordStore(memo or new, ledger)
    with keeper.taken() if memo else nullcontext():
        _renew(keeper, new.ice)
        return registry.start(resuming.receiving(keeper, how(keeper.memo), decide), faces.face(), asks=asks)


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
    """Go on with what an earlier process of this notebook left unfinished; no new code is needed.

    Without ``id`` all that no other process runs, which a notebook shows as cards; with an id, or its beginning, that
    one. ``take_over`` takes it from another process, which then stops. Raises :class:`TransferUnknown` if there is none
    of that id, saying how it ended if that is known, and :class:`TransferBusy` if another process runs it.
    """
    limits = limits or Limits()
    ledger = _ledger()
    if id is not None:
        memo = registry.settled(lambda: ledger.find(id))
        return _going_on(memo, ledger, limits, take_over=take_over)
    resumed = Transfers([], faces.face())
    for found in ledger.memos():
        left: AnyRecord | None = registry.settled(partial(ledger.load, found.id))
        if left:
            with suppress(TransferBusy, TransferUnknown):  # one that has ended meanwhile is none of them
                resumed.append(_going_on(left, ledger, limits, take_over=take_over))
    return resumed


def transfers() -> list[Transfer]:
    """The unfinished transfers of this notebook and those of this kernel, the oldest first; of ended ones the last 100.

    Those that an earlier process left are paused; ``transfer.resume()`` goes on with them.
    """
    ledger = _ledger()
    unended = [memo for memo in ledger.memos() if not (isinstance(memo, FolderRecord) and memo.digest)]
    views = {memo.id: resuming.snapshot_of(ledger, memo) for memo in unended}
    registry.forget_resting(views)
    left = [_resting(memo, ledger, views[memo.id]) for memo in unended]
    here = [transfer for transfer in registry.transfers(faces.face()) if transfer.id not in views]
    return Transfers([*left, *here], faces.face())


def discard(id: str) -> None:  # noqa: A002  # what it is
    """End an unfinished transfer here: its part data, secrets and memo are removed; what has arrived stays.

    ``id`` may be the beginning of one. Raises like :func:`resume`.
    """
    ledger = _ledger()
    memo = ledger.find(id)
    if transfer := registry.transfer(memo.id):
        transfer.cancel()
        return
    resuming.discard(ledger, memo)
    registry.discarded(memo.id)


def upload(
    to: PathLike = ".",
    *,
    overwrite: Overwrite = "rename",
    limits: Limits | None = None,
    allow_hidden: bool = False,
) -> Card:
    """Bring files and folders of the browser's machine into the folder ``to`` of this kernel.

    Returns a card in which a person picks them; ``await card`` is the :class:`Result`. An upload is a transfer like any
    other: verified, resumable, published when all is there. ``overwrite`` and ``allow_hidden`` are those of
    :func:`receive`. Raises :class:`NoPage` where there is no notebook in a browser.
    """
    limits = limits or Limits()
    arguments.check_overwrite(overwrite)
    folder = arguments.absolute(to)

    def begin(chosen: Sequence[Entry]) -> Transfer:
        memo = UploadRecord(
            id=token_hex(6),
            created=time.time(),
            kept_for=limits.partials,
            to=str(folder),
            overwrite=overwrite,
            allow_hidden=allow_hidden,
            entries=arguments.picked(chosen, allow_hidden=allow_hidden),
            chunk_size=limits.chunk_size,
        )
        ledger = _ledger()
        same = registry.settled(lambda: resuming.same_upload(ledger, memo))
        if same:
            return _going_on(same, ledger, limits, take_over=False)
        how = How(resuming.wishes_of(memo, None), limits, _agent())
        return registry.start(resuming.uploading(RecordStore(memo, ledger), how), faces.face())

    return faces.picker("upload", begin)


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


def _going_on(memo: AnyRecord, ledger: Ledger, limits: Limits, *, take_over: bool) -> Transfer:
    """What runs here already, or goes on from now on."""
    there = registry.transfer(memo.id, faces.face(), asks=True)
    return there or _go_on(memo, ledger, limits, take_over=take_over)


def _go_on(
    memo: AnyRecord,
    ledger: Ledger,
    limits: Limits,
    *,
    take_over: bool = False,
    ice: tuple[IceServer, ...] | None = None,
) -> Transfer:
    keeper: RecordStore[Any] = RecordStore(memo, ledger)
    with keeper.taken(take_over=take_over):
        _renew(keeper, ice)
        return registry.start(_again(keeper, ledger, limits), faces.face(), asks=True)


def _renew(keeper: RecordStore[Any], ice: tuple[IceServer, ...] | None) -> None:
    """Note which STUN and TURN servers are named now, if others are: credentials may last for an hour only.

    What is started after this asks them.
    """
    if ice not in (None, keeper.memo.ice):
        keeper.note_now(ice=ice)


def _again(keeper: RecordStore[Any], ledger: Ledger, limits: Limits) -> Begin:
    wishes = resuming.wishes_of(keeper.memo, arguments.host())
    return resuming.again(keeper, ledger, _how(keeper.memo, wishes, limits))


def _how(memo: AnyRecord, wishes: Wishes, limits: Limits) -> How:
    """Run it as is wished, with the STUN and TURN servers that were named for it, else those of the environment."""
    ice = arguments.ice_servers_otherwise() if memo.ice is None else memo.ice
    return How(replace(wishes, ice=ice), limits, _agent())


def _resting(memo: AnyRecord, ledger: Ledger, view: Snapshot) -> Transfer:
    """The transfer of a memo: the one that runs here, or one that waits to be resumed."""
    keeper: RecordStore[Any] = RecordStore(memo, ledger)
    begin, give_up = _again(keeper, ledger, Limits()), partial(resuming.discard, ledger, memo)
    return registry.rest(begin, view, faces.face(), take=keeper.take, give_up=give_up)


def _ledger() -> Ledger:
    ledger = Ledger(state_folder(), key=user_key(own_state_folder()))
    resuming.sweep(ledger)
    return ledger


def _agent() -> str:
    return AGENT
