"""Points: which process is killed, when, and in which scene. Also the list of all points."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from iocalls import When
from people import Role, Start
from scene import Mode

T = TypeVar("T")

Path = Literal["direct", "relay", "own"]
"""Directly, through a relay, or directly with a relay in the sender's own process."""
Scene = tuple[Role, Path, Mode]
Size = Literal["small", "large"]
How = Literal["before", "after", "bytes"]
"""Just before or after an I/O call (of a relay: a message), or after this many bytes."""


@dataclass(frozen=True)
class Point:
    """``at`` numbers the moment of death in each life of the victim. After the last one it may live on."""

    victim: Role
    path: Path
    size: Size
    mode: Mode
    start: Start
    how: How
    at: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """The group in which the point is counted."""
        moment = f"{self.how} {'messages' if self.victim == 'relay' else 'calls'}"
        return (
            f"{self.size}, {'any moment' if self.how == 'bytes' else moment}{', twice' * (len(self.at) > 1)}"
        )

    @property
    def when(self) -> When:
        """When the fatal call kills the process."""
        return "after" if self.how == "after" else "before"

    def __str__(self) -> str:
        moments = ",".join(map(str, self.at)) or "-"
        return f"{self.victim} {self.path} {self.size} {self.mode} {self.start} {self.how} {moments}"


_CHOICES: tuple[Any, ...] = (Role, Path, Size, Mode, Start, How)
_STARTS: tuple[Start, ...] = get_args(Start)


def parse(text: str) -> Point:
    """Read what ``str(point)`` wrote. Raises ValueError."""
    words: list[Any] = text.split()
    chosen = zip(words, _CHOICES, strict=False)
    if len(words) != len(_CHOICES) + 1 or any(word not in get_args(choice) for word, choice in chosen):
        raise ValueError(f"no point: {text!r}")
    victim, path, size, mode, start, how, moments = words
    at = () if moments == "-" else tuple(map(int, moments.split(",")))
    return Point(victim, path, size, mode, start, how, at)


# ------------------------------------------------------------------ all points
SCENES: tuple[Scene, ...] = (
    ("receiver", "direct", "rename"),
    ("receiver", "direct", "replace"),
    ("receiver", "relay", "fresh"),
    ("sender", "direct", "fresh"),
    ("sender", "relay", "replace"),
    ("sender", "own", "rename"),
    ("relay", "direct", "rename"),
    ("relay", "relay", "fresh"),
    ("relay", "relay", "replace"),
)
"""Victims and their scenes, where every call or message of the small transfer is a point."""

TWICE: tuple[Scene, ...] = (
    ("receiver", "relay", "rename"),
    ("receiver", "own", "replace"),
    ("sender", "own", "fresh"),
)
"""Victims that also die in their second life, at each of its calls."""

LARGE: tuple[Scene, ...] = (
    ("receiver", "direct", "fresh"),
    ("receiver", "relay", "rename"),
    ("sender", "direct", "fresh"),
    ("sender", "relay", "fresh"),
    ("sender", "own", "rename"),
    ("relay", "direct", "fresh"),
    ("relay", "relay", "fresh"),
)
"""Victims of the large transfer, which die at random moments."""


def counting(scenes: Iterable[Scene]) -> list[Point]:
    """Runs without a death, which count the calls."""
    return [Point(victim, path, "small", mode, "cell", "before") for victim, path, mode in scenes]


def enumerated(counted: Point, calls: int) -> Iterator[Point]:
    """Points before and after each of ``calls`` calls. They alternate between the two ways to resume."""
    for number in range(1, calls + 1):
        for index, how in enumerate(get_args(How)[:2]):
            yield replace(counted, start=_STARTS[(number + index) % 2], how=how, at=(number,))


def first_deaths(counted: Point, calls: int, parts: int) -> list[Point]:
    """Deaths spread over the calls of a first life. They count the calls of the second one."""
    numbers = enumerate(spread(range(1, calls + 1), parts))
    return [replace(counted, start=_STARTS[index % 2], at=(number,)) for index, number in numbers]


def second_deaths(first: Point, calls: int) -> Iterator[Point]:
    """Points before each of ``calls`` calls of the second life."""
    return (replace(first, at=(*first.at, number)) for number in range(1, calls + 1))


def at_random(generator: random.Random, number: int, total: int) -> Iterator[Point]:
    """``number`` points at random moments of a large transfer."""
    for index in range(number):
        victim, path, mode = LARGE[index % len(LARGE)]
        deaths = generator.choice((1, 1, 2))
        at = tuple(sorted(generator.randrange(total) for _ in range(deaths)))
        yield Point(victim, path, "large", mode, _STARTS[index // len(LARGE) % 2], "bytes", at)


def spread(all_of: Iterable[T], parts: int) -> list[T]:
    """At most ``parts`` items, each from the middle of an equal part."""
    found = list(all_of)
    parts = min(parts, len(found))
    return [found[(2 * part + 1) * len(found) // (2 * parts)] for part in range(parts)]
