"""The narrow waist: everything that crosses between handles and the engine, in both directions.

    in    Start; commands (Pause, Resume, Cancel, Decide, LendFiles, WithdrawFiles, AnswerPage); queries (Get...)
    out   Report, PageQuestion, EngineStopped; the answers to queries; the errors of nbferry

All of it is plain, frozen and can be pickled. No callable and no object of the engine crosses, so that the engine can
run in another process. A report with ``asks`` is a question to a person, and ``Decide`` is the answer. A page that
lends files has a name; to read them, the engine sends it a :class:`PageQuestion`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nbferry.connections.settings import Settings
from nbferry.errors import NbferryError
from nbferry.model.ice_servers import IceServer
from nbferry.status import Result, Snapshot
from nbferry.storage.records.ledger import StateFolders
from nbferry.storage.records.record import AnyRecord
from nbferry.storage.sources.pages import Slice


# ------------------------------------------------------------------ in
@dataclass(frozen=True, kw_only=True)
class Start:
    """Run a new transfer, or with ``resume`` one that an earlier process left.

    ``take_over`` takes it from another process. ``ice`` are the STUN and TURN servers that this call names; they
    replace those in the record. Raises :class:`TransferBusy` and :class:`TransferUnknown`.
    """

    record: AnyRecord
    settings: Settings
    folders: StateFolders
    resume: bool = False
    take_over: bool = False
    ice: tuple[IceServer, ...] | None = None


@dataclass(frozen=True)
class Pause:
    """Hold a transfer on both sides."""

    id: str


@dataclass(frozen=True)
class Resume:
    """Continue after a pause."""

    id: str


@dataclass(frozen=True)
class Cancel:
    """End a transfer on both sides."""

    id: str
    reason: str = ""


@dataclass(frozen=True)
class Decide:
    """Answer the question that an offer puts: True, or False or a reason to reject it, or what fails the transfer.

    ``offer`` is the id of the manifest that was judged; "" stands for the present offer, or the next one.
    """

    id: str
    verdict: bool | str | NbferryError
    offer: str = ""


@dataclass(frozen=True)
class LendFiles:
    """A page lends all files of a transfer."""

    id: str
    page: str


@dataclass(frozen=True)
class WithdrawFiles:
    """That page does not lend them any more."""

    id: str
    page: str


@dataclass(frozen=True)
class AnswerPage:
    """The answer of a page to a :class:`PageQuestion`: the slice, the digest, or an error."""

    id: str
    page: str
    number: int
    answer: Slice | bytes | NbferryError


Command = Pause | Resume | Cancel | Decide | LendFiles | WithdrawFiles | AnswerPage


@dataclass(frozen=True)
class GetFiles:
    """Ask for the progress of ``count`` files from the first on; None means all that follow."""

    id: str
    first: int = 0
    count: int | None = None


@dataclass(frozen=True)
class GetOffer:
    """Ask for the manifest of what is sent or received; None before it is known."""

    id: str


@dataclass(frozen=True)
class GetSkipped:
    """Ask for what was found in the folders and is not sent."""

    id: str


Query = GetFiles | GetOffer | GetSkipped


# ------------------------------------------------------------------ out
@dataclass(frozen=True, kw_only=True)
class Report:
    """What a handle knows of its transfer, at one instant.

    ``code`` is a sender's, "" before the relay has given a number. ``invites``: a receiver can still come with it.
    ``accepted``: the offer was accepted and the transfer is not over, so it can be resumed without a code. ``asks``
    is the id of an offer that waits for :class:`Decide`, "" if none does. ``held``: it was paused here.
    ``has_pages`` is None for files of this computer, otherwise whether a page lends them. ``result`` or ``error``
    is there once it is over in this process, and ``closed`` once nothing of it is in use any more.
    """

    snapshot: Snapshot
    code: str = field(default="", repr=False)
    invites: bool = False
    accepted: bool = False
    asks: str = ""
    held: bool = False
    has_pages: bool | None = None
    folder: Path | None = None
    result: Result | None = None
    error: NbferryError | None = None
    closed: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it is over in this process."""
        return self.result is not None or self.error is not None


@dataclass(frozen=True)
class PageQuestion:
    """Read, or only hash, bytes of a file that a page lends. :class:`AnswerPage` answers under the same number."""

    id: str
    page: str
    number: int
    op: str
    path: str
    offset: int
    length: int


@dataclass(frozen=True)
class EngineStopped:
    """The engine has released all transfers. This is its last notice."""


Notice = Report | PageQuestion | EngineStopped
