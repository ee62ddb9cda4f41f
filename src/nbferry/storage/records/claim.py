"""Which process runs a transfer: a file that names the process, touched every ten seconds.

    <state folder>/<id>/claim    a JSON object: "pid", "host", "boot_id" (see :func:`this_boot`) and a random "nonce"

A claim is valid for 60 seconds after its last modification, unless its process was on this computer and has ended.
A new claim is written under a temporary name, then renamed without replacing anything. An expired claim is renamed away
first and read once more. If it is not the claim that was judged, it is moved back.

Claims use no lock of the system, because locks on network drives are unreliable or hang. So for a moment two processes
may both believe that they own a transfer. The process that the file does not name notices at its next check. That
wastes work but loses nothing, because the two never write to the same file.

Ages are differences between the times of files in one folder, so our clock is never compared with a server's.
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

FRESH_SECONDS = 60.0
"""Six beats, so that a process keeps its claim while it is stopped or swapped out for a while."""
# Against processes that claim the same transfer at the same moment.
_ATTEMPTS = 10
# Bytes.
_MAX_CLAIM = 4096
# Errors from opening something that is not our file: a link, a folder, a socket, or a file that we may not read.
_NO_CLAIM = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM})


def pid_alive(pid: int) -> bool:
    """Whether a process of this number runs here; always True on Windows, where the check could end it."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # It belongs to another user.
    except OSError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended but its parent has not collected it, as often in containers."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1] == ["Z"]
    # This system has no such file.
    except OSError:
        return False


def this_boot() -> str:
    """Return an id that processes share if they see each other's numbers; "" where the system has none."""
    try:
        # Containers share the boot id but not the namespace.
        return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Here:
    """This process, as other processes know it."""

    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    boot_id: str = field(default_factory=this_boot)
    pid_alive: Callable[[int], bool] = pid_alive


@dataclass(frozen=True, slots=True)
class _Found:
    """An existing claim: its fields, {} if damaged, and its time of modification."""

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

        A Directory must stay open as long as the claim is used. Raises :class:`TransferBusy` if a live process holds
        it, unless ``take_over``; :class:`StorageError` if the folder cannot be used.
        """
        here, opened = here or Here(), _opener(folder)
        nonce = token_hex(16)
        mine = {"pid": here.pid, "host": here.host, "boot_id": here.boot_id, "nonce": nonce}
        with _translated(folder), opened() as held:
            # Not flushed: after a power failure the claim is void anyway.
            temporary = write_temporary(held, CLAIM, json.dumps(mine).encode(), sync=no_sync)
            try:
                _place(held, temporary, here, take_over=take_over)
            except BaseException:
                remove_quietly(held, temporary)
                raise
        return cls(opened, nonce)

    def held(self) -> bool:
        """Whether the claim is still ours. While the drive is unavailable it counts as ours."""
        try:
            with self._opened() as held:
                found = _look(held)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return found is not None and found.nonce == self._nonce

    def beat(self) -> bool:
        """Renew the claim, every :data:`BEAT_SECONDS`; returns :meth:`held`. Raises nothing."""
        if not self.held():
            return False
        with suppress(OSError), self._opened() as held:
            _touch(held)
        return True

    def release(self) -> None:
        """Give up the claim. May be called twice; ignores a claim that is no longer ours. Raises nothing."""
        with suppress(OSError), self._opened() as held:
            found = _look(held)
            if found is not None and found.nonce == self._nonce:
                held.unlink(CLAIM)


def is_claimed(folder: Directory, here: Here | None = None) -> bool:
    """Whether a live process, ours included, holds the claim in this folder. Raises OSError."""
    found = _look(folder)
    if found is None:
        return False
    temporary = write_temporary(folder, CLAIM, b"", sync=no_sync)
    try:
        return _lives(found, _touched(folder, temporary), here or Here())
    finally:
        remove_quietly(folder, temporary)


def _opener(folder: Directory | Path) -> Callable[[], Directory]:
    """Open the folder for each check, so that thousands of claims hold no descriptors."""
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
    """Put our claim in place, unless a live process holds the transfer."""
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
    """Remove the claim that was judged; put back a newer one."""
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
    """Remove a claim, or anything planted under its name."""
    if folder.is_folder(name):
        folder.remove_tree(name)
    else:
        remove_quietly(folder, name)


def _look(folder: Directory, name: str = CLAIM) -> _Found | None:
    """Read a claim; anything else counts as a damaged claim. Raises OSError."""
    try:
        fields = json.loads(read_whole(folder, name, _MAX_CLAIM) or b"")
    except (ValueError, RecursionError):
        fields = {}
    except OSError as error:
        # A drive that is unavailable for a while says nothing about the claim.
        if error.errno not in _NO_CLAIM:
            raise
        fields = {}
    # After opening: until then a network drive may report a time that is a minute old.
    info = folder.look(name)
    if info is None:
        return None
    return _Found(fields if isinstance(fields, dict) else {}, info.st_mtime)


def _touched(folder: Directory, name: str) -> float:
    info = folder.look(name)
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return info.st_mtime


def _touch(folder: Directory) -> None:
    """Set the time of the file to now, by its file server's clock."""
    if folder.fd is None:
        os.utime(folder.at(CLAIM))
        return
    fd = folder.file(CLAIM, READ | NOFOLLOW)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def _lives(found: _Found, now: float, here: Here) -> bool:
    """Whether the process of this claim may still run. A time far ahead is planted, or from another clock."""
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
        return TransferBusy(f'A process on "{display_name(host)}" is running this transfer.')
    if pid == here.pid:
        return TransferBusy("This process is already running the transfer.", hint="See nbferry.transfers().")
    return TransferBusy(f"Process {pid} is running this transfer.")
