"""One process runs a transfer; what is written down of that is believed as far as it can be checked."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from nbferry.errors import StorageError, TransferBusy
from nbferry.storage.disk.directory import Directory
from nbferry.storage.records.claim import CLAIM, FRESH_SECONDS, Claim, Here, is_claimed, pid_alive, this_boot

ME = Here(pid=10, host="here", boot_id="b1", pid_alive=lambda _: True)
OTHER = replace(ME, pid=11)
FAR = replace(ME, host="far", boot_id="b2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder of a transfer."""
    path = tmp_path / ".nbferry/0123456789ab"
    path.mkdir(parents=True)
    return path


def age(folder: Path, seconds: float) -> None:
    """Let the claim be as old as that."""
    info = (folder / CLAIM).stat()
    os.utime(folder / CLAIM, (info.st_atime, info.st_mtime - seconds))


def claim_is_alone(folder: Path) -> bool:
    """Whether nothing else was left."""
    return [path.name for path in folder.iterdir()] == [CLAIM]


# ------------------------------------------------------------------ taking
def test_taking_and_letting_go(folder: Path) -> None:
    """A free transfer is taken, says by whom, and is free again when it is let go of."""
    claim = Claim.take(folder, here=ME)
    assert claim.held()
    written = json.loads((folder / CLAIM).read_text())
    assert {name: written[name] for name in ("pid", "host", "boot_id")} == {
        "pid": 10,
        "host": "here",
        "boot_id": "b1",
    }
    assert (folder / CLAIM).stat().st_mode & 0o777 == 0o600
    assert claim_is_alone(folder)
    claim.release()
    assert not claim.held()
    assert list(folder.iterdir()) == []
    claim.release()
    Claim.take(folder, here=OTHER)


@pytest.mark.parametrize(
    ("here", "words"),
    [(ME, "This process"), (OTHER, "Process 10 is running"), (FAR, 'A process on "here"')],
    ids=["the same process", "the same computer", "another computer"],
)
def test_busy(folder: Path, here: Here, words: str) -> None:
    """What a process runs that lives is busy for every other, and for the same one; the error says where."""
    claim = Claim.take(folder, here=ME)
    with pytest.raises(TransferBusy, match=words):
        Claim.take(folder, here=here)
    assert claim.held()
    assert claim_is_alone(folder)


def test_a_process_that_is_gone(folder: Path) -> None:
    """On the same computer a claim ends with its process, at once."""
    old = Claim.take(folder, here=ME)
    Claim.take(folder, here=replace(OTHER, pid_alive=lambda pid: pid != 10))
    assert not old.held()
    assert claim_is_alone(folder)


def test_another_computers_process_numbers(folder: Path) -> None:
    """Elsewhere, or before the computer was started anew, the number of a process says nothing."""
    Claim.take(folder, here=ME)
    for there in (FAR, replace(ME, boot_id="b2"), replace(ME, host="far")):
        with pytest.raises(TransferBusy):
            Claim.take(folder, here=replace(there, pid_alive=lambda _: False))


@pytest.mark.parametrize("here", [OTHER, FAR], ids=["the same computer", "another computer"])
def test_no_beat_for_a_minute(folder: Path, here: Here) -> None:
    """A claim that was not touched for a minute is nobody's, on whatever computer."""
    old = Claim.take(folder, here=ME)
    age(folder, FRESH_SECONDS + 1)
    new = Claim.take(folder, here=here)
    assert new.held()
    assert not old.held()


def test_a_time_to_come(folder: Path) -> None:
    """A time far ahead is no life that lasts for years; one that is little ahead is another clock's."""
    Claim.take(folder, here=ME)
    age(folder, -FRESH_SECONDS / 2)
    with pytest.raises(TransferBusy):
        Claim.take(folder, here=OTHER)
    age(folder, -FRESH_SECONDS)
    Claim.take(folder, here=OTHER)


def test_taking_over(folder: Path) -> None:
    """Who insists gets it; the former holder sees that it is no longer his, and takes nothing back."""
    old = Claim.take(folder, here=ME)
    new = Claim.take(folder, take_over=True, here=FAR)
    assert not old.held()
    assert not old.beat()
    old.release()
    assert new.held()


def test_a_beat(folder: Path) -> None:
    """A beat makes the claim young again."""
    claim = Claim.take(folder, here=ME)
    age(folder, 1000)
    assert claim.beat()
    with pytest.raises(TransferBusy):
        Claim.take(folder, here=OTHER)


def test_a_beat_without_descriptors(folder: Path) -> None:
    """It is the same where a folder is known by its path alone, as on Windows."""
    claim = Claim.take(Directory(folder, None), here=ME)
    age(folder, 1000)
    assert claim.beat()
    with pytest.raises(TransferBusy):
        Claim.take(folder, here=OTHER)
    claim.release()
    assert list(folder.iterdir()) == []


def test_held_folders(folder: Path) -> None:
    """A folder that is held open serves as well as its path."""
    with Directory.open(folder) as held:
        claim = Claim.take(held, here=ME)
        assert claim.beat()
        assert is_claimed(held, OTHER)
        assert not is_claimed(held, replace(OTHER, pid_alive=lambda _: False))
        claim.release()
        assert not is_claimed(held, OTHER)
    assert list(folder.iterdir()) == []


# ------------------------------------------------------------------ what may lie there
PLANTED = [
    b"",
    b"\xff",
    b"{",
    b"[]",
    b"7",
    b"[" * 4000,
    b"{}" + b" " * 5000,
    b'{"pid": 1}',
    b'{"pid": "x", "host": 7, "boot_id": [], "nonce": {}}',
    b'{"pid": -1, "host": "here", "boot_id": "b1"}',
    b'{"pid": 99999999999999999999, "host": "here", "boot_id": "b1"}',
    b'{"pid": true, "host": "he\\u001bre", "boot_id": "b1"}',
]


def never(_: int) -> bool:
    """Fail the test: nobody asks the system about a number that no process has."""
    raise AssertionError


@pytest.mark.parametrize("data", PLANTED, ids=range(len(PLANTED)))
def test_a_damaged_claim(folder: Path, data: bytes) -> None:
    """What is no claim keeps others away for as long as it is young, and says nothing that is not printable."""
    (folder / CLAIM).write_bytes(data)
    with pytest.raises(TransferBusy) as caught:
        Claim.take(folder, here=replace(OTHER, pid_alive=never))
    assert str(caught.value).isprintable()
    age(folder, FRESH_SECONDS)
    assert Claim.take(folder, here=replace(OTHER, pid_alive=never)).held()
    assert claim_is_alone(folder)


def full_folder(path: Path) -> None:
    """Make a folder with something in it."""
    path.mkdir()
    (path / "file").write_bytes(b"x")


@pytest.mark.parametrize(
    "plant",
    [full_folder, os.mkfifo, lambda path: path.symlink_to("../../victim")],
    ids=["folder", "pipe", "link"],
)
def test_something_else_in_its_place(folder: Path, tmp_path: Path, plant: Callable[[Path], object]) -> None:
    """What is no file is replaced when it is old, and is not followed."""
    (tmp_path / "victim").write_bytes(b"innocent")
    plant(folder / CLAIM)
    with pytest.raises(TransferBusy):
        Claim.take(folder, here=ME)
    os.utime(folder / CLAIM, (0, 0), follow_symlinks=False)
    claim = Claim.take(folder, here=ME)
    assert claim.held()
    assert claim_is_alone(folder)
    assert (tmp_path / "victim").read_bytes() == b"innocent"


@pytest.mark.parametrize("linked", [".nbferry", ".nbferry/0123456789ab"])
def test_links_on_the_way(folder: Path, tmp_path: Path, linked: str) -> None:
    """A link in the place of the state folder, or of the transfer's, is not followed."""
    moved = (tmp_path / linked).rename(tmp_path / "moved")
    (tmp_path / linked).symlink_to(moved)
    with pytest.raises(StorageError):
        Claim.take(folder, here=ME)
    assert not list(tmp_path.rglob(f"{CLAIM}*"))


def test_no_folder(tmp_path: Path) -> None:
    """Nothing is made for a transfer that is not there; a claim whose folder has gone is not held."""
    with pytest.raises(StorageError):
        Claim.take(tmp_path / ".nbferry/0123456789ab", here=ME)
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / ".nbferry/0123456789ab"
    folder.mkdir(parents=True)
    claim = Claim.take(folder, here=ME)
    (folder / CLAIM).unlink()
    assert not claim.held()
    folder.rmdir()
    assert not claim.held()
    assert not claim.beat()
    claim.release()


class Away(Directory):
    """A folder on a drive that is away."""

    def descend(self, path: str) -> Directory:
        """Fail."""
        raise OSError(5, "away")


def test_a_drive_that_is_away(folder: Path) -> None:
    """What cannot be looked at for a while is still ours, and nothing is raised for it."""
    with Directory.open(folder) as held:
        claim = Claim.take(held, here=ME)
        claim._opened = lambda: Away(folder, None).descend("")
        assert claim.held()
        assert claim.beat()
        claim.release()
    assert (folder / CLAIM).exists()


class Unreadable(Directory):
    """A folder on a drive that fails to read files."""

    def file(self, name: str, flags: int) -> int:
        """Fail."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_claim_that_cannot_be_read(folder: Path) -> None:
    """A failing read tells nothing of who has the claim: it stays ours, and nobody else takes it."""
    claim = Claim.take(folder, here=ME)
    claim._opened = lambda: Unreadable.open(folder)
    assert claim.held()
    assert claim.beat()
    with Unreadable.open(folder) as failing:
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            is_claimed(failing, OTHER)
        failing.descend = lambda _: Unreadable.open(folder)  # type: ignore[method-assign]
        with pytest.raises(StorageError):
            Claim.take(failing, here=OTHER)
    assert (folder / CLAIM).exists()


# ------------------------------------------------------------------ together
def test_one_of_many(folder: Path) -> None:
    """Of many who claim the same at once exactly one gets it."""
    taken: list[Claim] = []
    busy: list[TransferBusy] = []

    def take(pid: int) -> None:
        try:
            taken.append(Claim.take(folder, here=replace(ME, pid=pid)))
        except TransferBusy as error:
            busy.append(error)

    threads = [Thread(target=take, args=(pid,)) for pid in range(20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert len(busy) == 19
    assert taken[0].held()
    assert claim_is_alone(folder)


class Overtaken(Directory):
    """A folder in which another is quicker: he replaces the old claim before ours is out of the way."""

    rivals: Iterator[Callable[[], object]]

    def replace(self, name: str, to: Directory, new: str) -> None:
        """Let the rival act, then rename whatever is there."""
        for rival in self.rivals:
            rival()
            break
        super().replace(name, to, new)


def test_overtaken(folder: Path) -> None:
    """A claim that came meanwhile is not taken for the old one that was judged: it is put back."""
    Claim.take(folder, here=ME)
    age(folder, 1000)
    won: list[Claim] = []
    with Overtaken.open(folder) as held:
        assert isinstance(held, Overtaken)
        held.descend = lambda _: slow(held)  # type: ignore[method-assign]  # a folder that stays ours
        held.rivals = iter([lambda: won.append(Claim.take(folder, here=FAR))])
        with pytest.raises(TransferBusy):
            Claim.take(held, here=OTHER)
    assert won[0].held()
    assert claim_is_alone(folder)


def slow(folder: Overtaken) -> Overtaken:
    """Open the same folder again, with the same rivals."""
    again = Overtaken(folder.path, os.dup(folder.fd or 0))
    again.rivals = folder.rivals
    return again


# ------------------------------------------------------------------ this process
def test_who_we_are() -> None:
    """Two processes on this computer agree on what it is; a process that has ended is not alive."""
    code = (
        "from nbferry.storage.records.claim import Here; h = Here(); print(h.pid, h.host, h.boot_id, sep='|')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        told, _ = child.communicate()
    pid, host, boot = told.strip().split("|")
    here = Here()
    assert (host, boot) == (here.host, here.boot_id)
    assert int(pid) == child.pid != here.pid
    assert not pid_alive(child.pid)
    assert pid_alive(os.getpid())
    assert pid_alive(1)
    assert len(this_boot()) > 36 or sys.platform != "linux"


def test_a_killed_process(folder: Path) -> None:
    """What a killed process held is free at once."""
    code = (
        "import os, pathlib; from nbferry.storage.records.claim import Claim; "
        f"Claim.take(pathlib.Path({str(folder)!r})); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (folder / CLAIM).exists()
    assert Claim.take(folder).held()
