"""Virtual time: it advances only when no task can run. Hours of a transfer take milliseconds, the same in every run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

from typing_extensions import override

T = TypeVar("T")

# A run takes some thousand turns of the loop. One that takes this many gets nowhere.
MAX_TURNS = 400_000
# Seconds. Rounding must not leave the clock just before the timer that it was to reach.
INSTANT = 1e-9


class Stuck(AssertionError):
    """No task can ever run again, or the same ones run forever."""


class Killed(BaseException):
    """The process that made this call is dead, so no error handler of it may run."""


class _Jump(selectors.SelectSelector):
    """Waits for no file. Each awaited event has already happened."""

    def __init__(self, max_turns: int, turn: float) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0
        self._most = max_turns
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the clock by the time that a real selector would wait."""
        self.turns += 1
        if timeout is None:
            raise Stuck("every task waits, and nothing is due")
        if self.turns > self._most:
            raise Stuck(f"{self._most} turns of the loop have led nowhere")
        self.now += max(0.0, timeout) + self._turn
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while a task can run, and then jumps to the next timer.

    Each turn takes ``turn`` seconds. ``faults`` collects exceptions of callbacks and of forgotten tasks.
    """

    def __init__(self, max_turns: int, turn: float) -> None:
        self._jump = _Jump(max_turns, turn)
        self.faults: list[str] = []
        super().__init__(self._jump)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now

    @property
    def turns(self) -> int:
        """How many turns the loop has taken."""
        return self._jump.turns

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")


def run(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, T]],
    *,
    max_turns: int = MAX_TURNS,
    turn: float = INSTANT,
) -> T:
    """Run a coroutine on a new loop. AssertionError if it leaves a task behind or a callback fails.

    Raises :class:`Stuck` if it gets nowhere.
    """
    loop = VirtualLoop(max_turns, turn)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main(loop))
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks are left: {left}"
        assert not loop.faults, loop.faults
        return result
    finally:
        _end_all(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_all(loop: VirtualLoop) -> None:
    """Cancel the tasks that are left, as they would complain when collected, or hold files open."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop._jump.turns = 0
    with suppress(Stuck):
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


class Workers(Executor):
    """The worker threads of one process. A call takes some virtual time and happens as a whole at its end.

    ``died`` is called when a call raises :class:`Killed`. After that, or after ``kill``, no further call happens and
    no future completes.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        random: Random,
        *,
        died: Callable[[], None],
        seconds: Callable[[], float],
        threads: int = 2,
    ) -> None:
        self._loop = loop
        self._random = random
        self._died = died
        self._seconds = seconds
        self._free_at = [0.0] * threads
        self._coming: set[asyncio.TimerHandle] = set()
        self._dead = False

    @override
    def submit(self, function: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        future: Future[T] = Future()
        if not self._dead:
            thread = self._free_at.index(min(self._free_at))
            begin = max(self._loop.time(), self._free_at[thread])
            self._free_at[thread] = end = begin + self._seconds()
            handle: asyncio.TimerHandle = self._loop.call_at(
                end, lambda: self._do(handle, future, lambda: function(*arguments, **named))
            )
            self._coming.add(handle)
        return future

    def _do(self, handle: asyncio.TimerHandle, future: Future[T], call: Callable[[], T]) -> None:
        self._coming.discard(handle)
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except Killed:
            self.kill()
            self._died()
        except BaseException as error:  # noqa: BLE001  # as with a thread, the caller gets it
            future.set_exception(error)

    def kill(self) -> None:
        """The process is dead."""
        self._dead = True
        for handle in self._coming:
            handle.cancel()
        self._coming.clear()
