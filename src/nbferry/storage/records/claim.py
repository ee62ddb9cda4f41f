"""Which process runs a transfer: a file with its name in it, touched every ten seconds.

    <state folder>/<id>/claim    a JSON object: "pid", "host", "boot_id" (see :func:`this_boot`) and a random "nonce"

A claim counts for 60 seconds from its last time of modification, unless its process was on this computer and has ended.
It is written under another name and moved to this one without replacing anything. One that counts no more is renamed
away first, and looked at once more: if it is not what was judged, it is moved back.

No lock of the system is used: on network drives they lie or hang. So two processes may, within an instant, both
believe that a transfer is theirs; the one whose name is not in the file learns it at its next look. That wastes
work and loses nothing, because what they write is never shared.

Ages are differences between times of files in one folder, so that no clock of ours is compared with a server's.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from nbferry.errors import TransferBusy
from nbferry.model.names import display_name
from nbferry.storage.disk.atomic_file import read_whole, remove_quietly, write_temporary
from nbferry.storage.disk.directory import Directory
from nbferry.storage.disk.failures import translated
from nbferry.storage.disk.rename import rename_without_replacing
from nbferry.storage.disk.system import NOFOLLOW, READ, boot_id, no_sync

CLAIM = "claim"
BEAT_SECONDS = 10.0
"""How often :meth:`Claim.beat` is to be called."""

FRESH_SECONDS = 60.0  # six beats: a process that is stopped or swapped out for a while keeps its claim
_ATTEMPTS = 10  # against others that claim the same at the same moment
_MAX_CLAIM = 4096  # bytes
# errors that opening something gives that is no file of ours: a link, a folder, a socket, or not for us to read
_NO_CLAIM = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM})


def pid_alive(pid: int) -> bool:
    """Whether a process of this number runs here; on Windows, where asking could end it, always."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether it has ended, and nobody has taken note: in a container often nobody does."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1] == ["Z"]
    except OSError:  # this system tells in another way, or not at all
        return False


def this_boot() -> str:
    """The same for processes that see each other's numbers; "" where the system does not tell."""
    try:
        return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}"  # containers share the first
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Here:
    """This process, as others know it."""

    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    boot_id: str = field(default_factory=this_boot)
    pid_alive: Callable[[int], bool] = pid_alive


@dataclass(frozen=True, slots=True)
class _Found:
    """A claim that lies there: what is in it, {} if it is damaged, and when it was touched last."""

    fields: dict[str, Any]
    touched: float

    @property
    def nonce(self) -> object:
        return self.fields.get("nonce")


class Claim:
    """The right of this process to run a transfer; see :meth:`take`."""

    def __init__(self, opened: Callable[[], Directory], nonce: str) -> None:
        self._opened, self._nonce = opened, nonce

    @classmethod
    def take(cls, folder: Directory | Path, *, take_over: bool = False, here: Here | None = None) -> Claim:
        """Claim the transfer that has this folder, ``<state folder>/<id>``, which must exist.

        A Directory must stay open for as long as the claim is used. Raises :class:`TransferBusy` if a process that
        lives holds it, unless ``take_over``; :class:`StorageError` if the folder cannot be used.
        """
        here, opened = here or Here(), _opener(folder)
        nonce = token_hex(16)
        mine = {"pid": here.pid, "host": here.host, "boot_id": here.boot_id, "nonce": nonce}
        with _translated(folder), opened() as held:
            # not flushed: a claim that a power cut loses is nobody's any more
            temporary = write_temporary(held, CLAIM, json.dumps(mine).encode(), sync=no_sync)
            try:
                _place(held, temporary, here, take_over=take_over)
            except BaseException:
                remove_quietly(held, temporary)
                raise
        return cls(opened, nonce)

    def held(self) -> bool:
        """Whether it is still ours. What cannot be looked at, on a drive that is away for a while, still is."""
        try:
            with self._opened() as held:
                found = _look(held)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return found is not None and found.nonce == self._nonce

    def beat(self) -> bool:
        """Say that we live, every :data:`BEAT_SECONDS`; answers :meth:`held`. Raises nothing."""
        if not self.held():
            return False
        with suppress(OSError), self._opened() as held:
            _touch(held)
        return True

    def release(self) -> None:
        """Let others have it. May be called twice; does nothing if it is no longer ours. Raises nothing."""
        with suppress(OSError), self._opened() as held:
            found = _look(held)
            if found is not None and found.nonce == self._nonce:
                held.unlink(CLAIM)


def is_claimed(folder: Directory, here: Here | None = None) -> bool:
    """Whether a process that lives holds the claim in this folder, ours included. Raises OSError."""
    found = _look(folder)
    if found is None:
        return False
    temporary = write_temporary(folder, CLAIM, b"", sync=no_sync)
    try:
        return _lives(found, _touched(folder, temporary), here or Here())
    finally:
        remove_quietly(folder, temporary)


def _opener(folder: Directory | Path) -> Callable[[], Directory]:
    """Open the folder again for each look: thousands of claims hold no descriptors."""
    if isinstance(folder, Directory):
        return lambda: folder.descend("")
    return lambda: _open(folder)


def _open(folder: Path) -> Directory:
    """Open ``<state folder>/<id>``, following no link to either."""
    with Directory.open(folder.parent.parent) as above, above.child(folder.parent.name) as state:
        return state.child(folder.name)


def _translated(folder: Directory | Path) -> AbstractContextManager[None]:
    path = folder.path if isinstance(folder, Directory) else folder
    return translated(f'Claiming "{display_name(str(path))}"')


# ------------------------------------------------------------------ the file
def _place(folder: Directory, temporary: str, here: Here, *, take_over: bool) -> None:
    """Put our claim in its place, which must be free, or held by nobody who lives."""
    for _ in range(_ATTEMPTS):
        found = _look(folder)
        if found is not None:
            if not take_over and _lives(found, _touched(folder, temporary), here):
                raise _busy(found, here)
            _take_away(folder, found)
        with suppress(FileExistsError):
            rename_without_replacing(folder, temporary, folder, CLAIM)
            return
    raise TransferBusy


def _take_away(folder: Directory, judged: _Found) -> None:
    """Remove the claim that was judged; one that came into its place meanwhile is put back."""
    aside = f"{CLAIM}.{token_hex(8)}.tmp"
    try:
        folder.replace(CLAIM, folder, aside)
    except FileNotFoundError:
        return
    try:
        if _look(folder, aside) != judged:
            with suppress(FileExistsError):
                rename_without_replacing(folder, aside, folder, CLAIM)
    finally:
        _remove(folder, aside)


def _remove(folder: Directory, name: str) -> None:
    """Remove a claim, or whatever was planted under its name."""
    if folder.is_folder(name):
        folder.remove_tree(name)
    else:
        remove_quietly(folder, name)


def _look(folder: Directory, name: str = CLAIM) -> _Found | None:
    """Find out what lies there; something that is no claim counts as a damaged one. Raises OSError."""
    try:
        fields = json.loads(read_whole(folder, name, _MAX_CLAIM) or b"")
    except (ValueError, RecursionError):
        fields = {}
    except OSError as error:
        if error.errno not in _NO_CLAIM:  # a drive that is away for a while: that tells nothing of the claim
            raise
        fields = {}
    info = folder.look(name)  # after it was opened: network drives keep times for a minute, until then
    if info is None:
        return None
    return _Found(fields if isinstance(fields, dict) else {}, info.st_mtime)


def _touched(folder: Directory, name: str) -> float:
    info = folder.look(name)
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return info.st_mtime


def _touch(folder: Directory) -> None:
    """Set the time of the file to now, by the clock of who keeps it."""
    if folder.fd is None:
        os.utime(folder.at(CLAIM))
        return
    fd = folder.file(CLAIM, READ | NOFOLLOW)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def _lives(found: _Found, now: float, here: Here) -> bool:
    """Whether who wrote this claim may still be there; a time far ahead is planted, or of another clock."""
    if abs(now - found.touched) >= FRESH_SECONDS:
        return False
    pid = found.fields.get("pid")
    return not (_is_here(found, here) and type(pid) is int and 0 < pid < 1 << 31 and not here.pid_alive(pid))


def _is_here(found: _Found, here: Here) -> bool:
    return (found.fields.get("host"), found.fields.get("boot_id")) == (here.host, here.boot_id)


def _busy(found: _Found, here: Here) -> TransferBusy:
    pid, host = found.fields.get("pid"), found.fields.get("host")
    if type(pid) is not int or not isinstance(host, str):
        return TransferBusy()
    if not _is_here(found, here):
        return TransferBusy(f'A process on "{display_name(host)}" runs this transfer.')
    if pid == here.pid:
        return TransferBusy("This process runs the transfer already.", hint="See nbferry.transfers().")
    return TransferBusy(f"Process {pid} runs this transfer.")
