"""Records: what is asked for, and what another process needs to resume it; and how one is written as JSON.

A record is an object: ``version`` (2), ``role``, and the fields of the role's class: :class:`SendRecord`,
:class:`ReceiveRecord` or :class:`UploadRecord`. How a transfer ended is one with the fields of :class:`Ended`. Bytes
are hex, tuples are lists, :class:`RelayNote` and :class:`Pairing` are objects, a STUN or TURN server is one as browsers
write it (``RTCIceServer``). Entries, of which there may be very many, are a text of compact JSON: [[path, size (null
for a folder), mtime in ns], ...]. What has a default may be missing.

A file may be damaged, or written by another user: each field is checked, and unknown fields are left out.
"""

from __future__ import annotations

import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from typing_extensions import override

from nbferry.errors import CodeInvalid
from nbferry.limits import KiB, MiB
from nbferry.model.codes import is_ticket, parse
from nbferry.model.ice_servers import IceServer, ice_servers
from nbferry.model.manifest import MAX_SIZE, Entry, Manifest
from nbferry.model.names import MAX_NAME, MAX_PATH
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via
from nbferry.model.roles import Role

RECORD_VERSION = 2
# The state of a pairing whose receiver has accepted.
ACCEPTED = "accepted"
# Enough for hundreds of thousands of paths.
MAX_RECORD = 64 * MiB
ID = re.compile(r"[0-9a-f]{12}")

# The state of a pairing whose receiver has everything.
_DONE = "done"
# Characters. Windows has the longest paths.
_MAX_PATH = 32 * KiB
_MAX_SECRET = 4 * KiB
_MAX_TEXT = 2 * KiB
_MAX_RECEIVERS = 1_000_000
# Seconds since 1970: the year 9892, the last that a date can express.
_MAX_TIME = 2.5e11

T = TypeVar("T")
FieldCheck = Callable[[Any], Any]
"""Checks the JSON value of one field: returns the field's value, or raises ValueError."""


@dataclass(frozen=True, kw_only=True)
class RelayNote:
    """The relay of a transfer. ``port`` is that of a relay in this process, 0 for any other relay."""

    url: str
    public_url: str = ""
    port: int = 0


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A receiver that came to a sender: their secret of 32 bytes, and a state: "", "accepted" or a final one."""

    root: bytes = field(repr=False)
    state: str = ""

    @property
    def is_open(self) -> bool:
        """Whether that receiver may still come for the rest."""
        return self.state in ("", ACCEPTED)


@dataclass(frozen=True, kw_only=True)
class Record(ABC):
    """The fields of every record.

    ``id`` is 12 hex digits; ``created`` is in seconds since 1970; ``ttl`` is the seconds of disuse after which the
    transfer is removed. ``names`` are the first top-level names and ``total`` the bytes of the offer; ``durable`` are
    the bytes that were on the receiver's disk when this was written. ``reason`` says why the transfer stopped. ``ice``
    are the STUN and TURN servers that the call named, with their credentials; None means those of the environment.
    """

    role: ClassVar[Role]
    id: str
    created: float
    ttl: float = 7 * 24 * 3600.0
    names: tuple[str, ...] = ()
    total: int = 0
    relay: RelayNote | None = None
    durable: int = 0
    via: Via = Via.AUTO
    ice: tuple[IceServer, ...] | None = None
    reason: str = ""

    @abstractmethod
    def is_same_call(self, wanted: AnyRecord) -> bool:
        """Whether a call that wants ``wanted`` is the one that began this unfinished transfer."""


@dataclass(frozen=True, kw_only=True)
class SendRecord(Record):
    """The record of a sender.

    ``paths`` are absolute; ``entries`` are files of a browser's machine in their place, as they are offered.
    ``receivers`` is their number, None for any number. ``invitation`` is the words joined by "-", or a ticket;
    ``room`` is the number that the relay gave, and ``key`` (hex) opens that room. ``wrong_guesses`` counts the wrong
    guesses; ``expires_at`` is in seconds since 1970.
    """

    role: ClassVar[Role] = Role.SEND
    paths: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    follow_symlinks: bool
    chunk_size: int
    receivers: int | None
    invitation: str = field(repr=False)
    room: str = ""
    key: str = field(repr=False)
    wrong_guesses: int = 0
    expires_at: float
    pairings: tuple[Pairing, ...] = ()

    def with_pairing(self, root: bytes) -> SendRecord:
        """This record with one more pairing."""
        return replace(self, pairings=(*self.pairings, Pairing(root=root)))

    def in_state(self, number: int, state: str) -> SendRecord:
        """This record with a pairing in another state."""
        pairings = list(self.pairings)
        pairings[number] = replace(pairings[number], state=state)
        return replace(self, pairings=tuple(pairings))

    @override
    def is_same_call(self, wanted: AnyRecord) -> bool:
        # A relay that the call names must be the same one.
        return (
            isinstance(wanted, SendRecord)
            and self._asked_for == wanted._asked_for
            and (wanted.relay is None or (self.relay is not None and self.relay.url == wanted.relay.url))
            and not self.is_over()
        )

    @property
    def _asked_for(self) -> tuple[object, ...]:
        words = 0 if is_ticket(self.invitation) else len(self.invitation.split("-"))
        return self.paths, self.entries, self.follow_symlinks, self.receivers, self.via, words

    def is_over(self) -> bool:
        """Whether no other receiver can come, and all that came have ended."""
        done = sum(pairing.state == _DONE for pairing in self.pairings)
        open_ = any(pairing.is_open for pairing in self.pairings)
        full = self.receivers is not None and done >= self.receivers
        return full or (self.expires_at <= time.time() and not open_)

    @property
    def is_done(self) -> bool:
        """Whether a receiver has everything."""
        return any(pairing.state == _DONE for pairing in self.pairings)

    @property
    def accepted(self) -> bool:
        """Whether a receiver has accepted, and does not have everything yet."""
        return any(pairing.state == ACCEPTED for pairing in self.pairings)

    @property
    def invites(self) -> bool:
        """Whether a receiver can still come with the code."""
        return self.receivers is None or len(self.pairings) < self.receivers

    @property
    def was_accepted(self) -> bool:
        """Whether any receiver has accepted."""
        return any(pairing.state not in ("", "rejected") for pairing in self.pairings)


@dataclass(frozen=True, kw_only=True)
class FolderRecord(Record):
    """The record of an incoming transfer. ``to`` is absolute; ``digest`` (hex) is set once all is published."""

    to: str
    overwrite: Overwrite
    allow_hidden: bool
    accepted: bool = False
    digest: str = ""

    def is_over(self) -> bool:
        """Whether it is over. An incoming transfer that is over has no record."""
        return False

    @property
    def is_done(self) -> bool:
        """Whether everything is published. The sender may not know yet."""
        return bool(self.digest)

    @property
    def was_accepted(self) -> bool:
        """Whether the offer was accepted."""
        return self.accepted


@dataclass(frozen=True, kw_only=True)
class ReceiveRecord(FolderRecord):
    """The record of a receiver.

    ``root`` is the secret of 32 bytes, empty before the code was used. ``paired``: the sender has proved that it has
    that secret too. ``accept_all``: accept any offer. If ``digest`` is set, only the sender remains to be told.
    """

    role: ClassVar[Role] = Role.RECEIVE
    code: str = field(repr=False)
    root: bytes = field(default=b"", repr=False)
    paired: bool = False
    accept_all: bool = False

    @override
    def is_same_call(self, wanted: AnyRecord) -> bool:
        # Codes are compared without the address of a relay. A record may have been edited by hand.
        with suppress(CodeInvalid):
            return (
                isinstance(wanted, ReceiveRecord)
                and self.to == wanted.to
                and parse(self.code).with_url(None) == parse(wanted.code).with_url(None)
            )
        return False


@dataclass(frozen=True, kw_only=True)
class UploadRecord(FolderRecord):
    """The record of an upload. ``entries`` are the files of the browser's machine, as they are offered."""

    role: ClassVar[Role] = Role.UPLOAD
    entries: tuple[Entry, ...]
    chunk_size: int

    @override
    def is_same_call(self, wanted: AnyRecord) -> bool:
        return isinstance(wanted, UploadRecord) and self._asked_for == wanted._asked_for

    @property
    def _asked_for(self) -> tuple[object, ...]:
        return self.to, self.overwrite, self.allow_hidden, self.manifest

    @property
    def manifest(self) -> Manifest:
        """What is uploaded."""
        return Manifest(self.entries, self.chunk_size)


AnyRecord = SendRecord | ReceiveRecord | UploadRecord


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a transfer ended: final state, reason, and ``at``, seconds since 1970. Holds no secret."""

    id: str
    role: Role
    state: str
    reason: str = ""
    at: float
    names: tuple[str, ...] = ()
    total: int = 0


# ------------------------------------------------------------------ checks of fields
def _text(most: int, pattern: str = r"[^\0]*") -> FieldCheck:
    compiled = re.compile(pattern, re.DOTALL)

    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > most or not compiled.fullmatch(value):
            raise ValueError("a text that cannot be")
        return value

    return check


def _member(values: tuple[StrEnum, ...]) -> FieldCheck:
    members = {str(value): value for value in values}

    def check(value: Any) -> StrEnum:
        if not isinstance(value, str) or value not in members:
            raise ValueError("a word that cannot be")
        return members[value]

    return check


def _whole(least: int, most: int) -> FieldCheck:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError("a number that cannot be")
        return value

    return check


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _MAX_TIME:
        raise ValueError("a time that cannot be")
    return float(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("neither true nor false")
    return value


def _path(value: Any) -> str:
    path: str = _text(_MAX_PATH, r"[^\0]+")(value)
    if not os.path.isabs(path):  # noqa: PTH117  # a hundred thousand of them
        raise ValueError("a path that is not absolute")
    return path


def _bytes(*lengths: int) -> FieldCheck:
    def check(value: Any) -> bytes:
        found = bytes.fromhex(_text(2 * max(lengths), "[0-9a-f]*")(value))
        if len(found) not in lengths:
            raise ValueError("bytes of a wrong length")
        return found

    return check


def _many(each: FieldCheck, most: int) -> FieldCheck:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError("no list, or too long a one")
        return tuple(map(each, value))

    return check


def _or_none(other: FieldCheck) -> FieldCheck:
    return lambda value: None if value is None else other(value)


def _object(kind: Callable[..., T], checks: Mapping[str, FieldCheck]) -> Callable[[Any], T]:
    def check(value: Any) -> T:
        if not isinstance(value, dict):
            raise ValueError("no object")  # noqa: TRY004  # a wrong type is a wrong value here
        return kind(**{name: judge(value[name]) for name, judge in checks.items() if name in value})

    return check


def _entries(value: Any) -> tuple[Entry, ...]:
    """Check the text of a list. This happens every few seconds, so it does without the functions above."""
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004  # as above
    found = []
    for path, size, mtime_ns in json.loads(value):
        if type(path) is not str or not 0 < len(path) <= MAX_PATH or "\0" in path:
            raise ValueError("a path that cannot be")
        if size is not None and (type(size) is not int or not 0 <= size <= MAX_SIZE):
            raise ValueError("a size that cannot be")
        if type(mtime_ns) is not int or abs(mtime_ns) >= 1 << 63:
            raise ValueError("a time that cannot be")
        found.append(Entry(path, size or 0, mtime_ns, folder=size is None))
    return tuple(found)


def _ice(value: Any) -> tuple[IceServer, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004  # as above
    return ice_servers(value)


_CHUNK_SIZE = _whole(4 * KiB, 64 * MiB)
_STATE = _text(32, "[a-z-]*")
_URL = _text(_MAX_TEXT, r"[^\0-\x20]*")
_NAMES = _many(_text(MAX_NAME), 10)
_TOTAL = _whole(0, 1 << 63)
_ID = _text(12, ID.pattern)

_RELAY = _object(RelayNote, {"url": _URL, "public_url": _URL, "port": _whole(0, 65_535)})
_PAIRING = _object(Pairing, {"root": _bytes(32), "state": _STATE})
_COMMON: dict[str, FieldCheck] = {
    "id": _ID,
    "created": _seconds,
    "ttl": _seconds,
    "names": _NAMES,
    "total": _TOTAL,
    "relay": _or_none(_RELAY),
    "via": _member(Via.choices()),
    "ice": _or_none(_ice),
    "durable": _TOTAL,
    "reason": _text(_MAX_TEXT),
}
_SEND: dict[str, FieldCheck] = {
    **_COMMON,
    "paths": _many(_path, 1_000_000),
    "entries": _entries,
    "follow_symlinks": _flag,
    "chunk_size": _CHUNK_SIZE,
    "receivers": _or_none(_whole(1, _MAX_RECEIVERS)),
    "invitation": _text(_MAX_SECRET),
    "room": _text(128, "[0-9a-z-]*"),
    "key": _text(128, "[0-9a-f]*"),
    "wrong_guesses": _whole(0, _MAX_RECEIVERS),
    "expires_at": _seconds,
    "pairings": _many(_PAIRING, _MAX_RECEIVERS),
}
_FOLDER: dict[str, FieldCheck] = {
    **_COMMON,
    "to": _path,
    "overwrite": _member(tuple(Overwrite)),
    "allow_hidden": _flag,
    "accepted": _flag,
    "digest": _text(64, "([0-9a-f]{64})?"),
}
_RECEIVE: dict[str, FieldCheck] = {
    **_FOLDER,
    "code": _text(_MAX_SECRET),
    "root": _bytes(0, 32),
    "paired": _flag,
    "accept_all": _flag,
}
_UPLOAD: dict[str, FieldCheck] = {**_FOLDER, "entries": _entries, "chunk_size": _CHUNK_SIZE}
_ENDED: dict[str, FieldCheck] = {
    "id": _ID,
    "role": _member(tuple(Role)),
    "state": _STATE,
    "reason": _text(_MAX_TEXT),
    "at": _seconds,
    "names": _NAMES,
    "total": _TOTAL,
}
_READ: dict[str, Callable[[Any], AnyRecord]] = {
    SendRecord.role: _object(SendRecord, _SEND),
    ReceiveRecord.role: _object(ReceiveRecord, _RECEIVE),
    UploadRecord.role: _object(UploadRecord, _UPLOAD),
}
_read_ended = _object(Ended, _ENDED)


# ------------------------------------------------------------------ to JSON and back
def encode(record: Record | Ended) -> bytes:
    """Write a record, or how one ended. Raises ValueError if it could not be read again."""
    plain = {"version": RECORD_VERSION, "role": record.role, **_plain(record)}
    data = json.dumps(plain, allow_nan=False, indent=1).encode()
    if len(data) > MAX_RECORD:
        raise ValueError("it is too long")
    if (decode_ended if isinstance(record, Ended) else decode)(data) != record:
        raise ValueError("it would not be read as it was written")
    return data


def decode(data: bytes) -> AnyRecord:
    """Read a record. Raises ValueError for anything that is none."""
    return _decoded(data, _of_any_role)


def decode_ended(data: bytes) -> Ended:
    """Read how a transfer ended. Raises ValueError for anything else."""
    return _decoded(data, _read_ended)


def _of_any_role(found: Any) -> AnyRecord:
    return _READ[found["role"]](found)


def _decoded(data: bytes, read: Callable[[Any], T]) -> T:
    try:
        found = json.loads(data)
        if found["version"] != RECORD_VERSION or found["role"] not in _READ:
            raise ValueError("another version, or no role")
        return read(found)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("a field is missing or wrong") from error


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IceServer):
        return value.as_object()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        plain = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: _rows(each) if name == "entries" else _plain(each) for name, each in plain.items()}
    return value


def _rows(entries: tuple[Entry, ...]) -> str:
    rows = [(entry.path, None if entry.folder else entry.size, entry.mtime_ns) for entry in entries]
    return json.dumps(rows, separators=(",", ":"))
