"""Digests of files are remembered as long as nobody touched the files, and nobody waits or fails because of that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from nbferry.limits import GiB, KiB, MiB
from nbferry.storage.sources import digest_cache
from nbferry.storage.sources.digest_cache import SETTLED, DigestCache, identity, is_settled

CHUNK = 4 * KiB


def leaf(number: int) -> bytes:
    """A digest."""
    return number.to_bytes(32)


def leaves(first: int, stop: int) -> bytes:
    """Several digests in a row."""
    return b"".join(map(leaf, range(first, stop)))


@dataclass
class World:
    """A file, a state folder, and two clocks that stand still unless they are told."""

    file: Path
    state: Path
    now: int = 0
    ticks: float = 0.0
    size: int = 10 * CHUNK
    made: list[DigestCache] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resize(self.size)

    def resize(self, size: int) -> None:
        """Change the file."""
        with self.file.open("ab") as file:
            file.truncate(size)
        self.now = max(self.info.st_mtime_ns, self.info.st_ctime_ns) + SETTLED

    @property
    def info(self) -> os.stat_result:
        """What the file is now."""
        return self.file.stat()

    def cache(
        self, *, computer: bytes = b"this", limit: int = 128 * MiB, expected: bool = True
    ) -> DigestCache:
        """Open the cache anew, as another process does."""
        cache = DigestCache(
            self.state, clock=lambda: self.now, ticks=lambda: self.ticks, computer=computer, limit=limit
        )
        self.made.append(cache)
        if expected:
            cache.expect([self.info.st_ino])
        return cache

    def learn(self, first: int = 0, stop: int = 10, **how: int) -> None:
        """Remember digests of some chunks in a process of its own."""
        cache = self.cache(**how)
        cache.add(self.info, CHUNK, first, leaves(first, stop))
        cache.close()

    def known(self, cache: DigestCache | None = None, chunk_size: int = CHUNK) -> dict[int, bytes]:
        """What is known of the file now, by chunk."""
        found = (cache or self.cache()).known(identity(self.info, chunk_size))
        return {chunk: found[chunk] for chunk in found.known} if found else {}

    def logs(self) -> list[Path]:
        """The files of the cache."""
        return sorted((self.state / "digests").glob("*")) if self.state.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a file and a state folder that is not there yet."""
    world = World(tmp_path / "file", tmp_path / ".nbferry")
    yield world
    for cache in world.made:
        cache.close()


ALL = {chunk: leaf(chunk) for chunk in range(10)}


# ------------------------------------------------------------------ remembered
def test_remembered(world: World) -> None:
    """What one process hashed another knows; a part of a file is known as a part."""
    world.learn(2, 5)
    assert world.known() == {chunk: leaf(chunk) for chunk in (2, 3, 4)}
    world.learn(0, 3)
    world.learn(5, 10)
    assert world.known() == ALL
    assert len(world.logs()) == 3


def test_private(world: World) -> None:
    """The folder is made like any state of ours, when there is something to keep."""
    cache = world.cache()
    assert world.known(cache) == {}
    cache.close()
    assert not world.state.exists()
    world.learn()
    assert (world.state / "digests").stat().st_mode & 0o777 == 0o700
    assert (world.state / ".gitignore").exists()
    assert (world.state / "README.txt").exists()


def test_in_memory(world: World) -> None:
    """Without a folder it remembers for as long as it lives."""
    cache = DigestCache(None, clock=lambda: world.now)
    cache.add(world.info, CHUNK, 0, leaves(0, 10))
    assert world.known(cache) == ALL
    cache.close()
    assert world.known(cache) == ALL


def test_files_of_one_chunk(world: World) -> None:
    """Small and empty files have one chunk."""
    for size in (0, 1, CHUNK):
        world.resize(size)
        world.learn(0, 1)
        assert world.known() == {0: leaf(0)}


def test_known_at_once(world: World) -> None:
    """What was just learnt is known, before anything is written."""
    cache = world.cache()
    cache.add(world.info, CHUNK, 0, leaves(0, 10))
    assert world.known(cache) == ALL
    assert world.logs() == []


def test_the_last_word(world: World) -> None:
    """If two say different things of a chunk, who said it last is right, in memory and in the logs."""
    world.learn()
    cache = world.cache()
    cache.add(world.info, CHUNK, 3, leaf(77))
    assert world.known(cache) == {**ALL, 3: leaf(77)}
    cache.close()
    first, last = sorted(world.logs(), key=lambda path: path.stat().st_size, reverse=True)
    os.utime(first, (1, 1))
    os.utime(last, (2, 2))
    assert world.known() == {**ALL, 3: leaf(77)}


def test_what_is_known_is_not_written_again(world: World) -> None:
    """Sending the same file again and again does not fill the disk."""
    world.learn()
    world.learn()
    world.learn(3, 4)
    assert len(world.logs()) == 1
    world.resize(5)
    world.learn(0, 1)
    world.learn(0, 1)
    assert len(world.logs()) == 2


# ------------------------------------------------------------------ another file
def test_a_touched_file(world: World) -> None:
    """A file that was written to is another one, even if its size and time were set back."""
    world.learn()
    before = world.info
    while world.info.st_ctime_ns == before.st_ctime_ns:  # until the file system's clock ticks
        with world.file.open("r+b") as file:
            file.write(b"x")
    os.utime(world.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert world.info.st_mtime_ns == before.st_mtime_ns
    assert world.known() == {}


def test_what_makes_it_another(world: World) -> None:
    """Another size of chunks, another time or another inode: nothing is known."""
    world.learn()
    assert world.known(chunk_size=2 * CHUNK) == {}
    twin = world.file.with_name("twin")
    twin.write_bytes(bytes(world.size))
    os.utime(twin, ns=(5, world.info.st_mtime_ns))
    twin.rename(world.file)
    assert world.known() == {}


def test_changed_just_now(world: World) -> None:
    """A file that was changed less than two seconds before, or in the future, is not remembered."""
    newest = max(world.info.st_mtime_ns, world.info.st_ctime_ns)
    for now in (newest, newest + SETTLED - 1, newest - 10 * SETTLED):
        world.now = now
        assert not is_settled(world.info, now)
        world.learn()
        assert world.known() == {}
    world.now = newest + SETTLED
    world.learn()
    assert world.known() == ALL


def test_another_computer(world: World) -> None:
    """On another computer the same numbers are other files."""
    world.learn()
    assert world.known(world.cache(computer=b"that")) == {}
    assert world.known() == ALL


def test_only_what_is_expected(world: World) -> None:
    """Of the logs nothing is taken in but what is going to be asked for; that may be said later."""
    world.learn()
    cache = world.cache(expected=False)
    assert world.known(cache) == {}
    cache.expect([world.info.st_ino + 1])
    assert world.known(cache) == {}
    cache.expect([world.info.st_ino])
    assert world.known(cache) == ALL


# ------------------------------------------------------------------ when it is written
def test_written_from_time_to_time(world: World) -> None:
    """What a killed process had learnt some seconds before is known to the next."""
    world.resize(100_000 * CHUNK)
    cache = world.cache()
    cache.add(world.info, CHUNK, 0, leaves(0, 5))
    assert world.known() == {}
    world.ticks += digest_cache.FLUSH_SECONDS
    cache.add(world.info, CHUNK, 5, leaves(5, 10))
    assert world.known() == ALL
    cache.add(world.info, CHUNK, 10, leaves(10, 10 + digest_cache.FLUSH_BYTES // 32))
    assert len(world.known()) == 10 + digest_cache.FLUSH_BYTES // 32


def test_closing_twice_and_going_on(world: World) -> None:
    """Closing writes what is left; afterwards it may be used again."""
    cache = world.cache()
    cache.add(world.info, CHUNK, 0, leaves(0, 5))
    cache.close()
    cache.close()
    cache.add(world.info, CHUNK, 5, leaves(5, 10))
    cache.close()
    assert world.known() == ALL
    assert len(world.logs()) == 2


def test_old_logs_go(world: World) -> None:
    """When all logs are larger than they may be the oldest go."""
    for number in range(4):
        world.learn(number, number + 1)
        for age, path in enumerate(sorted(world.logs(), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(path, (age, age))
    size = world.logs()[0].stat().st_size
    world.learn(4, 5, limit=3 * size)
    assert sorted(world.known()) == [1, 2, 3, 4]
    assert len(world.logs()) == 4


def test_not_too_many_logs(world: World) -> None:
    """There are at most 256 logs, however small."""
    world.learn()
    for number in range(300):
        (world.state / f"digests/leaves.{number:016x}.log").write_bytes(b"")
    world.learn(0, 1)
    world.resize(5)
    world.learn(0, 1)
    assert len(world.logs()) == digest_cache.MAX_LOGS


def test_one_log_is_not_too_long(world: World) -> None:
    """One writer writes no more than all may; it still knows the rest."""
    cache = world.cache(limit=500)
    cache.add(world.info, CHUNK, 0, leaves(0, 10))
    cache.close()
    cache.add(world.info, CHUNK, 0, leaves(10, 20))
    cache.close()
    assert world.known() == ALL
    assert world.known(cache)[0] == leaf(10)


# ------------------------------------------------------------------ what goes wrong
@pytest.mark.parametrize("planted", [".nbferry", ".nbferry/digests"])
def test_something_in_the_way(world: World, planted: str) -> None:
    """Where nothing can be kept, nothing is, and nobody notices."""
    path = world.state.parent / planted
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("/nowhere")
    cache = world.cache()
    cache.add(world.info, CHUNK, 0, leaves(0, 10))
    cache.close()
    assert world.known(cache) == ALL
    assert world.known() == {}
    cache.add(world.info, CHUNK, 0, leaves(10, 20))
    cache.close()


def test_damaged_logs(world: World) -> None:
    """A torn log gives what is whole of it; foreign files and folders give nothing."""
    world.learn(0, 5)
    (log,) = world.logs()
    cache = world.cache()
    cache.add(world.info, CHUNK, 5, leaves(5, 10))
    cache.close()
    torn = next(path for path in world.logs() if path != log)
    os.truncate(torn, torn.stat().st_size - 1)
    (world.state / "digests/leaves.0000000000000000.log").mkdir()
    (world.state / "digests/leaves.0000000000000001.log").symlink_to(log)
    (world.state / "digests/notes").write_bytes(b"mine")
    assert world.known() == {chunk: leaf(chunk) for chunk in range(5)}


@pytest.mark.parametrize(
    ("first", "count"), [(0, 0), (5, 6), (11, 1), ((1 << 64) - 1, 1), (0, (1 << 32) - 1)], ids=str
)
def test_impossible_items(world: World, first: int, count: int) -> None:
    """What cannot be in a file of this size is not taken in, and takes no memory."""
    item = identity(world.info, CHUNK) + digest_cache._RUN.pack(first, count) + leaves(0, min(count, 6))
    cache = world.cache()
    world.known(cache)
    cache._take_items(item, {world.info.st_ino})
    assert world.known(cache) == {}
    cache._take_items(identity(world.info, 0) + digest_cache._RUN.pack(0, 1) + leaf(0), {world.info.st_ino})
    cache._take_items(b"x" * 50, {world.info.st_ino})
    assert world.known(cache, chunk_size=0) == {}


# ------------------------------------------------------------------ large and many
def test_a_terabyte(world: World) -> None:
    """A million chunks are kept and found, however far apart they were read."""
    chunks = 1 << 20
    world.resize(chunks * MiB)
    cache = world.cache()
    run = bytes(range(32)) * 8192
    for first in (*range(0, chunks // 2, 8192), chunks - 8192):
        cache.add(world.info, MiB, first, run)
    cache.close()
    assert world.info.st_size == 1024 * GiB
    found = world.cache().known(identity(world.info, MiB))
    assert found is not None
    assert found.known.ranges == ((0, chunks // 2), (chunks - 8192, chunks))
    assert found[0] == found[chunks // 2 - 1] == found[chunks - 1] == bytes(range(32))


def test_runs_over_pages(world: World) -> None:
    """Digests are found again wherever runs begin and end."""
    world.resize(5000 * CHUNK)
    cache = world.cache()
    for first, stop in ((1000, 1030), (3000, 3001), (0, 10), (1020, 4100), (1023, 1025)):
        cache.add(world.info, CHUNK, first, leaves(first, stop))
    cache.close()
    expected = {chunk: leaf(chunk) for chunk in (*range(10), *range(1000, 4100))}
    assert world.known(cache) == expected
    assert world.known() == expected


def test_threads(world: World) -> None:
    """Several threads may learn and ask at once."""
    world.resize(800 * CHUNK)
    cache = world.cache()

    def work(first: int) -> None:
        for chunk in range(first, first + 100):
            cache.add(world.info, CHUNK, chunk, leaf(chunk))
            assert world.known(cache)[chunk] == leaf(chunk)

    threads = [Thread(target=work, args=(first,)) for first in range(0, 800, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.close()
    assert world.known() == {chunk: leaf(chunk) for chunk in range(800)}
